"""The folder of env files: what is read again, and when."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from credential_injector.environments import folder
from credential_injector.environments.folder import Folder, InvalidEnvironments
from tests.environments.files import WHOLE, mistakes


def write(folder: Path, name: str, *lines: str) -> None:
    text = [f"HOST=https://{name}.example.com", "CLIENT_ID=abc", *(lines or ["CLIENT_SECRET=def"])]
    (folder / f"{name}.env").write_text("\n".join([*text, ""]))


def client_secrets(folder: Folder) -> dict[str, str]:
    return {environment.name: environment.token_request.client_secret for environment in folder.read()}


@pytest.fixture
def counting(envs: Path) -> str:
    """A command that prints how often it has run."""
    (envs / "count.py").write_text(
        "from pathlib import Path\n"
        "runs = Path('runs')\n"
        "runs.write_text((runs.read_text() if runs.exists() else '') + 'x')\n"
        "print(len(runs.read_text()))\n"
    )
    return f"CLIENT_SECRET_COMMAND={sys.executable} count.py"


def test_command(envs: Path, counting: str) -> None:
    """A command runs again only when its file changes, or is to be forgotten."""
    write(envs, "qa", counting)
    folder = Folder(envs)
    assert client_secrets(folder) == {"qa": "1"}
    write(envs, "dev")
    assert client_secrets(folder) == {"dev": "def", "qa": "1"}
    write(envs, "qa", counting, "SCOPE=read")
    assert client_secrets(folder)["qa"] == "2"
    assert folder.forget(["qa"])
    assert client_secrets(folder)["qa"] == "3"


def test_forget(envs: Path) -> None:
    """Only what may tell another secret is forgotten."""
    write(envs, "qa")
    folder = Folder(envs)
    folder.read()
    assert not folder.forget(["qa"])
    assert not folder.forget(["dev"])


def test_command_and_mistake(envs: Path, counting: str) -> None:
    """A mistake in one file does not make the commands of others run again."""
    write(envs, "qa", counting)
    (envs / "dev.env").write_text("HOST=ftp://x\n")
    folder = Folder(envs)
    for _ in range(3):
        with pytest.raises(InvalidEnvironments):
            folder.read()
    write(envs, "dev")
    assert client_secrets(folder)["qa"] == "1"


def test_pipe(envs: Path) -> None:
    """A pipe is read again only when it may hold another secret."""
    os.mkfifo(envs / "pipe")
    write(envs, "qa", "CLIENT_SECRET_FILE=pipe")
    folder = Folder(envs)
    for secret in ("one", "two"):
        writer = threading.Thread(target=(envs / "pipe").write_text, args=(secret,), daemon=True)
        writer.start()
        assert [client_secrets(folder), client_secrets(folder)] == [{"qa": secret}, {"qa": secret}]
        writer.join()
        assert folder.forget(["qa"])


def test_secret_file(envs: Path, tmp_path: Path) -> None:
    """A changed secret file is a change."""
    secret = tmp_path / "secret"
    secret.write_text("one")
    write(envs, "qa", "CLIENT_SECRET_FILE=../secret")
    folder = Folder(envs)
    assert client_secrets(folder) == {"qa": "one"}
    secret.write_text("three")
    assert client_secrets(folder) == {"qa": "three"}
    secret.unlink()
    with pytest.raises(InvalidEnvironments, match="cannot be read"):
        folder.read()


def test_overdue(envs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What takes long to read is told: nobody would know why changes are not noticed."""
    os.mkfifo(envs / "pipe")
    write(envs, "qa", "CLIENT_SECRET_FILE=pipe")
    monkeypatch.setattr(folder, "OVERDUE", 0.0)

    def answers() -> None:
        deadline = threading.Event()
        while not caplog.messages and not deadline.wait(0.01):
            pass
        (envs / "pipe").write_text("def")

    threading.Thread(target=answers, daemon=True).start()
    assert client_secrets(Folder(envs, shown_as="envs")) == {"qa": "def"}
    (line,) = caplog.messages
    assert "still being read, 0 s after envs was begun" in line


def test_all_mistakes(envs: Path) -> None:
    """All mistakes of all files are told at once."""
    (envs / "dev.env").write_text(WHOLE.replace("CLIENT_ID=abc", "CLIENT_ID="))
    (envs / "prod.env").write_text("HOST=https://prod.example.com\nOVERWRITE=x\n")
    with pytest.raises(InvalidEnvironments) as error:
        Folder(envs, shown_as="envs").read()
    assert [line.split(" ", 2)[:2] for line in error.value.mistakes] == [
        ["envs/dev.env:", "CLIENT_ID:"],
        ["envs/prod.env:", "OVERWRITE:"],
        ["envs/prod.env:", "CLIENT_ID:"],
        ["envs/prod.env:", "CLIENT_SECRET:"],
    ]


def test_shared_origin(envs: Path) -> None:
    """Two files with the same origin are both named."""
    (envs / "dev.env").write_text(WHOLE.replace("api.qa", "API.qa"))
    (said,) = mistakes(envs, WHOLE)
    assert said == (
        "envs/qa.env: HOST: claims https://api.qa.example.com, which envs/dev.env claims too;"
        " expected each origin in one file, or AS in each, which says who asks"
    )


@pytest.mark.parametrize(
    ("one", "other", "wrong"),
    [
        ("AS=admin", "AS=user, guest", None),
        ("AS=admin", "DEFAULT=true", None),
        ("AS=admin\nDEFAULT=true", "AS=user", None),
        ("AS=admin", "", "claims too; expected AS or DEFAULT=true in envs/qa.env, too"),
        ("AS=admin, user", "AS=guest,user", "claims too; and both have AS=user; expected each name in one file"),
        ("AS=a\nDEFAULT=true", "AS=b\nDEFAULT=true", "claims too; and both have DEFAULT=true; expected one of them"),
        ("DEFAULT=true", "", "claims too; expected each origin in one file, or AS in each"),
    ],
)
def test_who_asks(envs: Path, one: str, other: str, wrong: str | None) -> None:
    """Two files of one origin differ by who asks."""
    (envs / "dev.env").write_text(f"{WHOLE}{one}\n")
    if wrong is None:
        (envs / "qa.env").write_text(f"{WHOLE}{other}\n")
        assert len(Folder(envs).read()) == 2
    else:
        (said,) = mistakes(envs, f"{WHOLE}{other}\n")
        assert wrong in said


def test_only(envs: Path) -> None:
    """Only the environments that are asked for are read."""
    (envs / "broken.env").write_text("nonsense")
    (envs / "qa.env").write_text(WHOLE)
    assert [environment.name for environment in Folder(envs, only=["qa"]).read()] == ["qa"]


def test_did_you_mean(envs: Path) -> None:
    """An environment that does not exist is told with the one whose name is near."""
    (envs / "prod.env").write_text(WHOLE)
    with pytest.raises(InvalidEnvironments, match=r"inject_env: prd: .*prd\.env does not exist, did you mean prod\?"):
        Folder(envs, only=["prd"]).read()


def test_no_ending(envs: Path) -> None:
    """An environment that is asked for, whose file lacks its .env."""
    (envs / "qa").write_text(WHOLE)
    with pytest.raises(InvalidEnvironments) as error:
        Folder(envs, only=["qa"], shown_as="envs").read()
    assert str(error.value) == "inject_env: qa: envs/qa.env does not exist; rename envs/qa to envs/qa.env"


async def following(folder: Folder) -> AsyncGenerator[dict[str, str]]:
    async with aclosing(folder.changes()) as changes:
        async for _ in changes:
            yield client_secrets(folder)


async def test_changes(envs: Path, tmp_path: Path) -> None:
    """Changes are told in whatever way they are made."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("one")
    write(envs, "qa")
    folder = Folder(envs)
    folder.read()

    async def wait_for(expected: dict[str, str]) -> None:
        async with asyncio.timeout(20):
            async for now in seen:
                if now == expected:
                    return

    async with aclosing(following(folder)) as seen:
        await wait_for({"qa": "def"})
        write(envs, "dev")
        await wait_for({"dev": "def", "qa": "def"})
        write(tmp_path, "new", "CLIENT_SECRET=replaced")
        (tmp_path / "new.env").replace(envs / "dev.env")
        await wait_for({"dev": "replaced", "qa": "def"})
        (envs / "dev.env").rename(envs / "uat.env")
        await wait_for({"qa": "def", "uat": "replaced"})
        write(envs, "qa", "CLIENT_SECRET_FILE=../elsewhere/secret")
        await wait_for({"qa": "one", "uat": "replaced"})
        (tmp_path / "elsewhere" / "secret").write_text("two")
        await wait_for({"qa": "two", "uat": "replaced"})
        (envs / "uat.env").unlink()
        await wait_for({"qa": "two"})


async def test_later_folder(tmp_path: Path) -> None:
    """A folder that is made later is noticed."""
    folder = Folder(tmp_path / "envs")
    async with aclosing(following(folder)) as seen:
        assert await anext(seen) == {}
        (tmp_path / "envs").mkdir()
        async with asyncio.timeout(20):
            assert await anext(seen) == {}
            write(tmp_path / "envs", "qa")
            async for now in seen:
                if now:
                    break
    assert now == {"qa": "def"}

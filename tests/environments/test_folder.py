import asyncio
import os
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from credential_injector.environments import folder
from credential_injector.environments.env_file import EnvFile
from credential_injector.environments.environment import Environment, read
from credential_injector.environments.folder import Folder, InvalidEnvironments


@pytest.fixture
def envs(tmp_path: Path) -> Path:
    folder = tmp_path / "envs"
    folder.mkdir()
    return folder


def write(folder: Path, name: str, *lines: str) -> None:
    text = [f"HOST=https://{name}.example.com", "CLIENT_ID=abc", *(lines or ["CLIENT_SECRET=def"])]
    (folder / f"{name}.env").write_text("\n".join([*text, ""]))


def secrets(folder: Folder) -> dict[str, str]:
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


def test_a_command_runs_again_only_when_its_file_changes_or_is_to_be_forgotten(envs: Path, counting: str) -> None:
    write(envs, "qa", counting)
    folder = Folder(envs)
    assert secrets(folder) == {"qa": "1"}
    write(envs, "dev")
    assert secrets(folder) == {"dev": "def", "qa": "1"}
    write(envs, "qa", counting, "SCOPE=read")
    assert secrets(folder)["qa"] == "2"
    assert folder.forget(["qa"])
    assert secrets(folder)["qa"] == "3"


def test_a_name_that_no_terminal_should_see_can_be_printed(envs: Path) -> None:
    (envs / "\x1b[2J.env").touch()
    (envs / os.fsdecode(b"\xff.env")).touch()
    (envs / "\x07.ENV").touch()
    folder = Folder(envs, shown_as="envs")
    with pytest.raises(InvalidEnvironments) as error:
        folder.read()
    assert [mistake.partition(": ")[0] for mistake in error.value.mistakes] == [
        "envs/?.ENV",
        "envs/?[2J.env",
        "envs/?.env",
    ]
    assert folder.names() == ["?[2J", "?"]


def test_only_what_may_tell_another_secret_is_forgotten(envs: Path) -> None:
    write(envs, "qa")
    folder = Folder(envs)
    folder.read()
    assert not folder.forget(["qa"])
    assert not folder.forget(["dev"])


def test_a_mistake_in_one_file_does_not_make_the_commands_of_others_run_again(envs: Path, counting: str) -> None:
    write(envs, "qa", counting)
    (envs / "dev.env").write_text("HOST=ftp://x\n")
    folder = Folder(envs)
    for _ in range(3):
        with pytest.raises(InvalidEnvironments):
            folder.read()
    write(envs, "dev")
    assert secrets(folder)["qa"] == "1"


@pytest.mark.parametrize(
    ("path", "todo"),
    [
        ("dev.env.example", "envs/dev.env.example is an example, which is not read; copy it to envs/dev.env and"),
        ("qa.example", "envs/qa.example is an example, which is not read; copy it to envs/qa.env and fill it in"),
        ("team/qa.env", "envs/team/qa.env lies in a folder of its own, where it is not read; move it to envs, or name"),
        ("qa", "envs/qa has a HOST, and is not read; rename it to envs/qa.env"),
        ("qa.txt", "envs/qa.txt has a HOST, and is not read; rename it to envs/qa.env"),
        ("team/notes.txt", ""),
        ("README.md", ""),
    ],
)
def test_what_lies_there_instead_of_an_env_file_is_told(envs: Path, path: str, todo: str) -> None:
    (envs / path).parent.mkdir(exist_ok=True)
    (envs / path).write_text("nonsense" if path == "README.md" else "CLIENT_ID=x\nHost = x\n")
    found = Folder(envs, shown_as="envs").found_instead()
    assert found.startswith(todo)
    assert bool(found) == bool(todo)


def test_where_there_is_no_folder_nothing_lies(tmp_path: Path) -> None:
    assert Folder(tmp_path / "envs").found_instead() == ""


def test_what_takes_long_to_read_is_told(
    envs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that does not answer, say. Nobody would know why changes are not noticed."""
    write(envs, "qa")
    monkeypatch.setattr(folder, "OVERDUE", 0.0)

    def reads(file: EnvFile) -> Environment | None:
        deadline = threading.Event()
        while not caplog.messages and not deadline.wait(0.01):
            pass
        return read(file)

    monkeypatch.setattr(folder, "read", reads)
    assert secrets(Folder(envs, shown_as="envs")) == {"qa": "def"}
    (line,) = caplog.messages
    assert "still being read, 0 s after envs was begun" in line


def test_a_pipe_is_read_again_only_when_it_may_hold_another_secret(envs: Path) -> None:
    os.mkfifo(envs / "pipe")
    write(envs, "qa", "CLIENT_SECRET_FILE=pipe")
    folder = Folder(envs)
    for secret in ("one", "two"):
        writer = threading.Thread(target=(envs / "pipe").write_text, args=(secret,), daemon=True)
        writer.start()
        assert [secrets(folder), secrets(folder)] == [{"qa": secret}, {"qa": secret}]
        writer.join()
        assert folder.forget(["qa"])


def test_a_changed_secret_file_is_a_change(envs: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one")
    write(envs, "qa", "CLIENT_SECRET_FILE=../secret")
    folder = Folder(envs)
    assert secrets(folder) == {"qa": "one"}
    secret.write_text("three")
    assert secrets(folder) == {"qa": "three"}
    secret.unlink()
    with pytest.raises(InvalidEnvironments, match="cannot be read"):
        folder.read()


async def following(folder: Folder) -> AsyncGenerator[dict[str, str]]:
    async with aclosing(folder.changes()) as changes:
        async for _ in changes:
            yield secrets(folder)


async def test_changes_are_told_whatever_way_they_are_made(envs: Path, tmp_path: Path) -> None:
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


async def test_a_folder_that_is_made_later_is_noticed(tmp_path: Path) -> None:
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

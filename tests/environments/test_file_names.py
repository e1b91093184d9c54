"""Which files of a folder are env files."""

import os
from pathlib import Path

import pytest

from credential_injector.environments.folder import Folder, InvalidEnvironments
from tests.environments.files import WHOLE


def test_others(envs: Path) -> None:
    """Files that are no env files are left alone."""
    for name in ("dev.env.example", "README.md", ".#qa.env"):
        (envs / name).write_text("nonsense")
    assert Folder(envs).read() == ()
    assert Folder(envs / "missing").read() == ()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        (
            ".env",
            "envs/.env: the file's name: is not read; expected NAME.env, a file for each environment; rename it to"
            " envs/qa.env",
        ),
        (
            "qa.env.txt",
            "envs/qa.env.txt: the file's name: is not read; expected NAME.env, a file for each environment; rename it"
            " to envs/qa.env",
        ),
        (
            "QA.ENV",
            "envs/QA.ENV: the file's name: is not read; expected NAME.env, a file for each environment; rename it to"
            " envs/QA.env",
        ),
        ("a b.env", "envs/a b.env: the file's name: cannot name an environment"),
    ],
)
def test_misnamed(envs: Path, name: str, wrong: str) -> None:
    """A file whose name only looks like an environment is told of."""
    (envs / name).write_text(WHOLE)
    with pytest.raises(InvalidEnvironments) as error:
        Folder(envs, shown_as="envs").read()
    assert str(error.value).startswith(wrong)


@pytest.mark.parametrize(
    ("name", "others", "advice"),
    [
        (".env", ["qa"], "envs/dev.env"),
        (".env", ["qa", "dev", "test"], "envs/NAME.env"),
        ("qa.env.txt", ["qa"], "envs/NAME.env"),
        ("qa.env.txt", ["dev"], "envs/qa.env"),
    ],
)
def test_rename(envs: Path, name: str, others: list[str], advice: str) -> None:
    """No file that is there has the name that a misnamed one should get."""
    for other in (name, *(f"{other}.env" for other in others)):
        (envs / other).write_text("")
    (said,) = Folder(envs, shown_as="envs").misnamed()
    assert said.endswith(f"; rename it to {advice}")


def test_printable(envs: Path) -> None:
    """A name that no terminal should see is printed without its control characters."""
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


@pytest.mark.parametrize(
    ("path", "todo"),
    [
        ("dev.env.example", ""),  # our own, of which `init` makes a file
        ("qa.env.example", "envs/qa.env.example is an example, which is not read; copy it to envs/qa.env and"),
        ("qa.example", "envs/qa.example is an example, which is not read; copy it to envs/qa.env and fill it in"),
        ("team/qa.env", "envs/team/qa.env lies in a folder of its own, where it is not read; move it to envs, or name"),
        ("qa", "envs/qa has a HOST, and is not read; rename it to envs/qa.env"),
        ("qa.txt", "envs/qa.txt has a HOST, and is not read; rename it to envs/qa.env"),
        ("qa.yaml", "envs/qa.yaml has a HOST, and is not read; write KEY=value lines into envs/qa.env"),
        ("team/notes.txt", ""),
        ("README.md", ""),
    ],
)
def test_found_instead(envs: Path, path: str, todo: str) -> None:
    """What lies there in place of an env file is told, with what to do."""
    (envs / path).parent.mkdir(exist_ok=True)
    text = {"README.md": "nonsense", "qa.yaml": "client_id: x\nhost: x\n"}.get(path, "CLIENT_ID=x\nHost = x\n")
    (envs / path).write_text(text)
    found = Folder(envs, shown_as="envs").found_instead()
    assert found.startswith(todo)
    assert bool(found) == bool(todo)


def test_no_folder(tmp_path: Path) -> None:
    """Where there is no folder, nothing lies."""
    assert Folder(tmp_path / "envs").found_instead() == ""

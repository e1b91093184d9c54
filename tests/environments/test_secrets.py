"""Secrets from files, named pipes and commands."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from credential_injector.environments import secrets
from credential_injector.environments.env_file import Binding, EnvFile
from tests.environments.files import ENOUGH, SECRET, mistakes, read


def test_file(envs: Path) -> None:
    """A secret may come from a file beside the env file."""
    (envs / "secret.txt").write_text(f"{SECRET}\n")
    assert read(envs, f"{ENOUGH}CLIENT_SECRET_FILE=secret.txt\n").token_request.client_secret == SECRET


def test_missing_file(envs: Path) -> None:
    """A file that is not there is named by its key."""
    (said,) = mistakes(envs, f"{ENOUGH}CLIENT_SECRET_FILE=nowhere.txt\n")
    assert said.startswith("envs/qa.env: CLIENT_SECRET_FILE: names a file that cannot be read (No such file")


def value(file: Path) -> str:
    return EnvFile(file.parent / "qa.env", "envs/qa.env").value(
        "PASSWORD", "_FILE", Binding(file.name, 1, "PASSWORD_FILE"), secret=True
    )


@pytest.mark.parametrize(
    ("path", "reason"), [("/dev/zero", "File too large"), (".", "Is a directory"), ("\0", "ValueError")]
)
def test_no_file(tmp_path: Path, path: str, reason: str) -> None:
    """What is no file at all cannot be read."""
    with pytest.raises(ValueError, match=f"cannot be read .{reason}"):
        EnvFile(tmp_path / "qa.env", "envs/qa.env").value(
            "PASSWORD", "_FILE", Binding(path, 1, "PASSWORD_FILE"), secret=True
        )


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(secrets, "PIPE_DEADLINE", 5 * secrets.PIPE_STEP)
    return tmp_path / "pipe"


def test_pipe(pipe: Path) -> None:
    """A pipe is read to its end: whoever writes may open it late, and write piece by piece."""

    def write() -> None:
        with pipe.open("wb", buffering=0) as file:
            for piece in (b"\xef\xbb\xbfa", b" secret", b"\r\n"):
                file.write(piece)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    assert value(pipe) == "a secret"
    writer.join()


@pytest.mark.parametrize("holds", [None, b"", b"half a secret"], ids=["nobody", "nothing", "never closed"])
def test_endless_pipe(pipe: Path, holds: bytes | None) -> None:
    """A pipe that does not end is given up."""
    ends = [os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)]  # else nobody could write before it is read
    try:
        if holds is not None:
            ends.append(os.open(pipe, os.O_WRONLY))
            os.write(ends[1], holds)
        with pytest.raises(ValueError, match="nobody wrote into it and closed it within"):
            value(pipe)
    finally:
        for end in ends:
            os.close(end)


def test_command(envs: Path) -> None:
    """A command prints the secret; it runs without a shell."""
    (envs / "print.py").write_text("import sys; print(sys.argv[1])")
    text = f"{ENOUGH}CLIENT_SECRET_COMMAND={sys.executable} print.py '{SECRET};$HOME'\n"
    assert read(envs, text).token_request.client_secret == f"{SECRET};$HOME"


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("{python} -c 'import sys; print(\"canary\", file=sys.stderr); sys.exit(3)'", "ended with 3"),
        ("{python} -c 'import sys; sys.stdout.buffer.write(bytes([255]))'", "printed something that is not UTF-8"),
        ("/no/such/program", "cannot be started (No such file"),
        ("echo 'open", "has a quote that is not closed; expected a command that prints the secret"),
        (
            "echo secret | cat",
            "holds a shell's |; expected a command that prints the secret; it runs without a shell",
        ),
        ("{python} -c 'print(1); print(2)'", "holds a line break or a control character; expected one line"),
        ("{python} -c pass", "is empty"),
    ],
)
def test_no_secret(envs: Path, command: str, wrong: str) -> None:
    """A command that prints no secret is named by its key."""
    text = f"{ENOUGH}CLIENT_SECRET_COMMAND={command.format(python=sys.executable)}\n"
    (said,) = mistakes(envs, text)
    assert said.startswith(f"envs/qa.env: CLIENT_SECRET_COMMAND: {wrong}")
    assert "canary" not in said


@pytest.fixture
def silent_input() -> Iterator[None]:
    """Standard input of this process is one that nobody writes into and nobody closes."""
    before, (ours, theirs) = os.dup(0), os.pipe()
    os.dup2(ours, 0)
    yield
    os.dup2(before, 0)
    for end in (before, ours, theirs):
        os.close(end)


@pytest.mark.usefixtures("silent_input")
def test_no_input(envs: Path) -> None:
    """A command that asks for a password is not waited for: there is nobody who could answer."""
    (said,) = mistakes(envs, f"{ENOUGH}CLIENT_SECRET_COMMAND={sys.executable} -c 'input()'\n")
    assert said.startswith("envs/qa.env: CLIENT_SECRET_COMMAND: ended with 1")


def test_deadline(envs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command has a deadline, and what it started ends with it."""
    monkeypatch.setattr(secrets, "COMMAND_DEADLINE", 0.3)
    os.mkfifo(envs / "alive")
    alive = os.open(envs / "alive", os.O_RDONLY | os.O_NONBLOCK)
    (said,) = mistakes(envs, f"{ENOUGH}CLIENT_SECRET_COMMAND=sh -c 'sleep 600 > alive & echo > alive; wait'\n")
    assert "did not end within" in said
    os.set_blocking(alive, True)
    assert os.read(alive, 10) == b"\n"
    assert os.read(alive, 10) == b""  # nobody has it open any more
    os.close(alive)

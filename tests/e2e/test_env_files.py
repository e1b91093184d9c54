"""Env files and secrets that others may write, or that nobody can read: what a running mitmproxy does with them."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from credential_injector.launch.programs import SCRIPT, program
from tests.e2e.conftest import CLIENT_SECRET, Curl, Stage
from tests.e2e.test_life_cycle import eventually


@pytest.fixture
def pipe(stage: Stage) -> Path:
    """A named pipe beside the folder of the env files, in which a secret is looked for."""
    path = stage.folder / "pipe"
    os.mkfifo(path)
    return path


def has_reader(pipe: Path) -> bool:
    with suppress(OSError):
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return True
    return False


@contextmanager
def starting(stage: Stage) -> Iterator[subprocess.Popen[str]]:
    words = ["--listen-host", "127.0.0.1", "--listen-port", "0", "-s", str(SCRIPT), *stage.options({})]
    process = subprocess.Popen(
        [program("mitmdump"), *words],
        cwd=stage.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_sigint(stage: Stage, pipe: Path) -> None:
    """SIGINT ends a start that waits for a pipe, long before the pipe's own deadline, with one line."""
    stage.env(stage.http, "CLIENT_SECRET_FILE=../pipe", without="CLIENT_SECRET")
    with starting(stage) as process:
        eventually(lambda: has_reader(pipe))
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=8)
    assert process.returncode in (0, 1)  # mitmproxy 11 ends as it does with every SIGINT
    assert "envs/qa.env: interrupted while it was read" in said
    assert "Traceback" not in said


def test_silent_pipe(stage: Stage, pipe: Path) -> None:
    """A pipe that nobody writes into ends the start with a message."""
    stage.env(stage.http, "CLIENT_SECRET_FILE=../pipe", without="CLIENT_SECRET")
    with starting(stage) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "envs/qa.env: CLIENT_SECRET_FILE: names a file that cannot be read (nobody wrote into it" in said
    assert "Traceback" not in said


def test_silent_pipe_later(stage: Stage, pipe: Path, curl: Curl) -> None:
    """A pipe holds up neither requests nor the next change."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    stage.env(stage.http, "CLIENT_SECRET_FILE=../pipe", without="CLIENT_SECRET")
    eventually(lambda: has_reader(pipe))
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    proxy.wait_for("CLIENT_SECRET_FILE: names a file that cannot be read")
    stage.env(stage.http, "METHODS=GET")
    proxy.wait_for("The environment files are fixed")
    assert curl("--proxy", proxy.url, "--data", "x", f"{stage.http}/orders").status == 502


def test_pipe(stage: Stage, pipe: Path, curl: Curl) -> None:
    """A secret that comes out of a pipe, as with a shell's <(...), is used and asked for once."""
    stage.env(stage.http, "CLIENT_SECRET_FILE=../pipe", without="CLIENT_SECRET")
    writer = threading.Thread(target=pipe.write_text, args=(CLIENT_SECRET + "\n",), daemon=True)
    writer.start()
    proxy = stage.mitmdump()
    writer.join(timeout=20)
    assert not writer.is_alive()
    stage.env("http://localhost:1", name="dev")
    proxy.wait_for("dev: .* with tokens from")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200


def test_writable(stage: Stage) -> None:
    """A file that others may write ends the start before its command runs."""
    stage.env(stage.http, "CLIENT_SECRET_COMMAND=touch ../ran", without="CLIENT_SECRET")
    (stage.folder / "envs" / "qa.env").chmod(0o666)
    with starting(stage) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"run: chmod 600 {stage.folder}/envs/qa.env" in said
    assert not (stage.folder / "ran").exists()


def test_writable_later(stage: Stage, curl: Curl) -> None:
    """A folder that others may write later is read no more until that is mended."""
    envs = stage.folder / "envs"
    stage.env(stage.http)
    proxy = stage.mitmdump()
    envs.chmod(0o777)
    proxy.wait_for(f"the folder: can be changed by other users of this machine, .*; run: chmod go-w {envs}$")
    stage.env(stage.http, "METHODS=POST")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    envs.chmod(0o700)
    proxy.wait_for("The environment files are fixed")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 502

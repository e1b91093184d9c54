"""Env files and secrets that others may write, or that nobody can read: what a running mitmproxy does with them."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from credential_injector.demo.processes import SCRIPT, program
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


def test_sigint_ends_a_start_that_waits_for_a_pipe(stage: Stage, pipe: Path) -> None:
    """Long before the pipe's own deadline, with one line."""
    stage.env(stage.http, "CLIENT_SECRET_FILE=../pipe", without="CLIENT_SECRET")
    with starting(stage) as process:
        eventually(lambda: has_reader(pipe))
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=8)
    assert process.returncode in (0, 1)  # mitmproxy 11 ends as it does with every SIGINT
    assert "envs/qa.env: interrupted while it was read" in said
    assert "Traceback" not in said


def test_a_pipe_that_nobody_writes_into_ends_the_start_with_a_message(stage: Stage, pipe: Path) -> None:
    stage.env(stage.http, "CLIENT_SECRET_FILE=../pipe", without="CLIENT_SECRET")
    with starting(stage) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "envs/qa.env: CLIENT_SECRET_FILE: names a file that cannot be read (nobody wrote into it" in said
    assert "Traceback" not in said


def test_a_pipe_holds_up_neither_requests_nor_the_next_change(stage: Stage, pipe: Path, curl: Curl) -> None:
    stage.env(stage.http)
    proxy = stage.mitmdump()
    stage.env(stage.http, "CLIENT_SECRET_FILE=../pipe", without="CLIENT_SECRET")
    eventually(lambda: has_reader(pipe))
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    proxy.wait_for("CLIENT_SECRET_FILE: names a file that cannot be read")
    stage.env(stage.http, "METHODS=GET")
    proxy.wait_for("The environment files are mended")
    assert curl("--proxy", proxy.url, "--data", "x", f"{stage.http}/orders").status == 502


def test_a_secret_that_comes_out_of_a_pipe_is_used_and_asked_for_once(stage: Stage, pipe: Path, curl: Curl) -> None:
    """A shell's <(...), and password managers that mount one, work like this."""
    stage.env(stage.http, "CLIENT_SECRET_FILE=../pipe", without="CLIENT_SECRET")
    writer = threading.Thread(target=pipe.write_text, args=(CLIENT_SECRET + "\n",), daemon=True)
    writer.start()
    proxy = stage.mitmdump()
    writer.join(timeout=20)
    assert not writer.is_alive()
    stage.env("http://localhost:1", name="dev")
    proxy.wait_for("dev: .* with tokens from")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200


def test_a_file_that_others_may_write_ends_the_start_before_its_command_runs(stage: Stage) -> None:
    stage.env(stage.http, "CLIENT_SECRET_COMMAND=touch ../ran", without="CLIENT_SECRET")
    (stage.folder / "envs" / "qa.env").chmod(0o666)
    with starting(stage) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"run: chmod 600 {stage.folder}/envs/qa.env" in said
    assert not (stage.folder / "ran").exists()


def test_a_folder_that_others_may_write_later_is_read_no_more_until_that_is_mended(stage: Stage, curl: Curl) -> None:
    envs = stage.folder / "envs"
    stage.env(stage.http)
    proxy = stage.mitmdump()
    envs.chmod(0o777)
    proxy.wait_for(f"the folder: can be changed by other users of this machine, .*; run: chmod go-w {envs}$")
    stage.env(stage.http, "METHODS=POST")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    envs.chmod(0o700)
    proxy.wait_for("The environment files are mended")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 502

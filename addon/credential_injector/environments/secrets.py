"""Secrets that stand in no file: what comes out of a named pipe, and what a command prints."""

import contextlib
import errno
import os
import select
import shlex
import signal
import subprocess
from pathlib import Path

COMMAND_DEADLINE = 10.0  # seconds that a _COMMAND may take; a password manager that asks for a fingerprint needs a few
PIPE_DEADLINE = 10.0  # seconds in which the secret must come out of a named pipe
PIPE_STEP = 0.05  # seconds
MOST_BYTES = 1 << 20  # that come out of a pipe

_SHELL_WORDS = {"|", "||", "&", "&&", ";", ">", ">>", "<", "2>&1"}


def from_pipe(path: Path) -> bytes:
    """All that comes out of a pipe in time. Raises OSError."""
    # Opened like this, a pipe that nobody writes into can be waited for, and left.
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        return _written(pipe)
    finally:
        os.close(pipe)


def _written(pipe: int) -> bytes:
    """What comes out of a pipe until whoever writes closes it. Raises OSError."""
    content = b""
    for _ in range(round(PIPE_DEADLINE / PIPE_STEP)):
        ready, _, _ = select.select([pipe], [], [], PIPE_STEP)
        try:
            more = os.read(pipe, MOST_BYTES) if ready else None
        except BlockingIOError:
            continue
        if more:
            content += more
            if len(content) > MOST_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        elif more is not None and content:
            return content
        elif more is not None:
            select.select([], [], [], PIPE_STEP)  # nobody writes yet, so every read ends at once
    raise TimeoutError(errno.ETIMEDOUT, f"nobody wrote into it and closed it within {PIPE_DEADLINE:.0f} s")


def reason(error: Exception) -> str:
    """Why something cannot be read, without its name."""
    return getattr(error, "strerror", None) or type(error).__name__


def from_command(command: str, folder: Path) -> str:
    """What a command prints; it runs without a shell. Raises ValueError.

    Its standard error goes nowhere, as it may hold secrets, too.
    """
    expected = "expected a command that prints the secret; it runs without a shell"
    try:
        words = shlex.split(command)
    except ValueError:
        raise ValueError(f"has a quote that is not closed; {expected}") from None
    if not words:
        raise ValueError(f"is empty; {expected}")
    if shell := _SHELL_WORDS.intersection(words):
        raise ValueError(f"holds a shell's {min(shell)}; {expected}, so wrap it: sh -c '...'")
    try:
        # Windows programs split their own command line.
        process = subprocess.Popen(  # noqa: S603 - the user's own command, from the user's own file, without a shell
            command if os.name == "nt" else words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot be started ({reason(error)}); {expected}") from None
    with process:
        try:
            printed, _ = process.communicate(timeout=COMMAND_DEADLINE)
        except subprocess.TimeoutExpired:
            _end(process)
            raise ValueError(f"did not end within {COMMAND_DEADLINE:.0f} s; {expected}") from None
    if process.returncode != 0:
        raise ValueError(f"ended with {process.returncode}; {expected}")
    try:
        return printed.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"printed something that is not UTF-8 text; {expected}") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command with what it started, which would otherwise hold its output open."""
    if os.name == "nt":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

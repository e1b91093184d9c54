"""A command in the foreground: its streams, signals and exit code. tests/e2e/test_run.py drives it from outside."""

import os
import signal
import sys

import pytest

from credential_injector.launch import command
from credential_injector.launch.command import NOT_EXECUTABLE, NOT_FOUND, NoCommand

PYTHON = sys.executable


def python(script: str, **environ: str) -> int:
    return command.run([PYTHON, "-c", script], {**os.environ, **environ})


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_exit_code(code: int) -> None:
    """The command's own."""
    assert python(f"raise SystemExit({code})") == code


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ended_by_signal(number: signal.Signals) -> None:
    """128 and the signal's number, as a shell has it."""
    assert python(f"import os; os.kill(os.getpid(), {number})") == 128 + number


def test_environment() -> None:
    """The command gets the environment that is given, and no other."""
    assert python("import os, sys; sys.exit(int(os.environ['CODE']))", CODE="7") == 7
    assert command.run([PYTHON, "-c", "import os, sys; sys.exit('HOME' in os.environ)"], {}) == 0


@pytest.mark.parametrize(("word", "code"), [("no-such-command", NOT_FOUND), (os.sep, NOT_EXECUTABLE)])
def test_no_command(word: str, code: int) -> None:
    """A line names it, with a shell's exit code."""
    with pytest.raises(NoCommand, match=word) as raised:
        command.run([word], os.environ)
    assert raised.value.code == code


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_passed_on(number: signal.Signals) -> None:
    """A signal that this process gets reaches the command, and the handlers before it are there again."""
    before = signal.getsignal(number)
    script = f"""
import os, signal, sys
signal.signal({number}, lambda *_: sys.exit(9))
os.kill(os.getppid(), {number})
signal.pause()
signal.pause()
"""
    assert python(script) == 9
    assert signal.getsignal(number) is before


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ignored_stays_ignored() -> None:
    """What this process ignores, as with nohup, the command ignores as well."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert python("import signal, sys; sys.exit(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)") == 1
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(os.name != "posix", reason="descriptors")
def test_descriptors() -> None:
    """Those that are named are open in there."""
    reads, writes = os.pipe()
    script = f"import os; os.write({writes}, b'told')"
    assert command.run([PYTHON, "-c", script], os.environ, (writes,)) == 0
    assert os.read(reads, 4) == b"told"
    os.close(reads)
    os.close(writes)

"""A command that runs in the terminal in place of this one: its standard streams, signals and exit code."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from credential_injector.launch.programs import NotStarted

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells say it


class NoCommand(NotStarted):
    """The command cannot be run."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code
        """The exit code, as a shell's."""


def run(words: Sequence[str], environ: Mapping[str, str], pass_fds: tuple[int, ...] = ()) -> int:
    """Run it to its end. Returns its exit code, 128 and the signal's number where one ended it. Raises NoCommand."""
    path = shutil.which(words[0], path=environ.get("PATH"))
    try:
        with _signals() as pass_to:
            process = subprocess.Popen(
                [path or words[0], *words[1:]] if os.name == "nt" else list(words),
                env=dict(environ),
                pass_fds=pass_fds,
            )
            pass_to(process)
            code = process.wait()
    except FileNotFoundError:
        raise NoCommand(f"{words[0]}: there is no such command", NOT_FOUND) from None
    except OSError as error:
        raise NoCommand(f"{words[0]} cannot be run ({error.strerror})", NOT_EXECUTABLE) from None
    return 128 - code if code < 0 else code


@contextmanager
def _signals() -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
    """Stay until the block ends, and pass signals on to the process that is named; it gets earlier ones, too."""
    early: list[int] = []
    receivers: list[subprocess.Popen[bytes]] = []

    def send(number: int) -> None:
        for process in receivers:
            with suppress(OSError, ValueError):
                process.send_signal(number)

    def pass_on(number: int, _frame: Any) -> None:
        if number == signal.SIGINT and _is_the_terminals():
            return  # the terminal has told the command, too
        if receivers:
            send(number)
        else:
            early.append(number)

    def pass_to(process: subprocess.Popen[bytes]) -> None:
        receivers.append(process)
        for number in early:
            send(number)

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
    # What this process ignores, as nohup's SIGHUP, the command ignores as well.
    before = {number: signal.getsignal(number) for name in names if (number := getattr(signal, name))}
    caught = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, pass_on)
    try:
        yield pass_to
    finally:
        for number in caught:
            signal.signal(number, before[number])


def _is_the_terminals() -> bool:
    """Whether this process is in the terminal's foreground, which gets its Ctrl-C as a whole."""
    if os.name != "posix":
        return True
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)

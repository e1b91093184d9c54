"""What a command prints, and how it ends with an error."""

import errno
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click


class WrongCall(click.ClickException):
    """One line, unlike click's own usage errors."""

    exit_code = 2


def write(text: str) -> None:
    """Write to standard output. Where that is full or closed, ends the command with a line on standard error."""
    try:
        if sys.stdout is None:  # it was closed before the start, for which Python has no file
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        click.echo(text)
    except OSError as error:
        if sys.stdout is not None:  # else Python tries to write the rest again when it ends, and complains
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        reason = f"standard output cannot be written ({error.strerror}); check the file or the program that it goes to"
        raise click.ClickException(reason) from None


def program(name: str) -> str:
    """A program that is installed beside this one, as a shell takes it: its path, unless the name alone finds it."""
    own = Path(sys.argv[0])
    beside = own.with_name(name)
    found = shutil.which(name)
    if own.name != "credential-injector" or not beside.exists() or (found and beside.samefile(found)):
        return name
    return shlex.quote(str(beside))


def lines(mistakes: Sequence[str]) -> str:
    """The mistakes of environment files, without mitmproxy's name of the option."""
    return "\n".join(mistake.removeprefix("inject_envs: ") for mistake in mistakes)

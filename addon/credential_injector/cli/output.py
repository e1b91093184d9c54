"""What a command prints, and how it ends with an error."""

import errno
import os
import sys
from collections.abc import Sequence

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


def lines(mistakes: Sequence[str]) -> str:
    """The mistakes of environment files, without mitmproxy's name of the option."""
    return "\n".join(mistake.removeprefix("inject_envs: ") for mistake in mistakes)

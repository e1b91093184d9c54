"""One env file: text -> keys and values, strictly. The only reader of env files and of the secrets that they name."""

import logging
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from dotenv.parser import parse_stream
from dotenv.variables import Variable, parse_variables

logger = logging.getLogger(__name__)

COMMAND_DEADLINE = 10.0  # seconds that a _COMMAND may take; a password manager that wants a finger needs a few


class Binding(NamedTuple):
    """A key's value, as it stands in the file."""

    value: str | None
    """None: it could not be read, and that has been said."""
    line: int


class EnvFile:
    """One reading of one file: it gathers mistakes instead of stopping at the first.

    A mistake names file and key (or line), what is wrong and what was expected, never the value: it may be a secret.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self.path = path
        self.shown = shown
        """The path as messages name it: `envs/qa.env`."""
        self.mistakes: list[str] = []

    def wrong(self, where: str, what: str) -> None:
        """Note a mistake."""
        self.mistakes.append(f"{self.shown}: {where}: {what}")

    def text(self) -> str | None:
        """What stands in the file. None: it cannot be read, and that has been said."""
        try:
            return self.path.read_text(encoding="utf-8-sig")  # Windows editors begin with a byte order mark
        except OSError as error:
            self.wrong("the file", f"cannot be read ({_reason(error)}), a text file was expected")
        except UnicodeDecodeError:
            self.wrong("the file", "is not UTF-8 text, UTF-8 was expected")
        return None

    def bindings(self, text: str, canonical: Callable[[str], str]) -> dict[str, Binding]:
        """Each key, in the form that `canonical` gives it, with its value.

        python-dotenv forgives where a secret must not be forgiven: it drops a line that it cannot parse, an unset
        ${NAME} becomes empty, a key without "=" becomes None, and single quotes do not stop ${NAME}. Hence its parser
        without its `dotenv_values`.
        """
        bindings: dict[str, Binding] = {}
        for parsed in parse_stream(StringIO(text)):
            written = parsed.original.string.lstrip()
            line = parsed.original.line + parsed.original.string[: -len(written) or None].count("\n")
            if parsed.error:
                self.wrong(f"line {line}", "cannot be read (is a quote not closed?), KEY=value was expected")
                continue
            if parsed.key is None:
                continue
            key = canonical(parsed.key)
            if key in bindings:
                self.wrong(key, f"is set twice (lines {bindings[key].line} and {line}), once was expected")
                continue
            value = parsed.value
            if value is None:
                self.wrong(shown_key(key, line), f"has no '=' (line {line}), KEY=value was expected")
            elif not re.match(r"[^=]*=[^\S\r\n]*'", written):
                value = self._interpolated(key, value, line, {name: bound.value for name, bound in bindings.items()})
            bindings[key] = Binding(value, line)
        return bindings

    def secret(self, key: str, how: str, value: str) -> str:
        """The value itself, the text of the file that it names (`_FILE`), or what a command prints (`_COMMAND`).

        Raises ValueError.
        """
        if how == "_FILE":
            try:
                return (self.path.parent / value).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, ValueError) as error:
                wrong = f"names a file that cannot be read ({_reason(error)}), a path beside the env file was expected"
                raise ValueError(wrong) from None
        if how == "_COMMAND":
            logger.info(f"{self.shown}: {key}: running the command")
            return _output(value, self.path.parent)
        return value

    def _interpolated(self, key: str, value: str, line: int, earlier: Mapping[str, str | None]) -> str | None:
        parts = []
        for atom in parse_variables(value):
            if not isinstance(atom, Variable):
                parts.append(atom.resolve({}))
                continue
            here = atom.name.upper() in earlier
            found = earlier[atom.name.upper()] if here else os.environ.get(atom.name, atom.default)
            if found is None:
                # Inside a secret this may be no variable but a part of the secret.
                shown = f"${{{atom.name}}}" if re.fullmatch(r"[A-Z_][A-Z0-9_]*", atom.name) else "a ${...}"
                self.wrong(
                    key,
                    f"uses {shown} on line {line}, which is not set; an exported variable was expected,"
                    " or single quotes around a value that is meant literally",
                )
                return None
            parts.append(found)
        return "".join(parts)


def shown_key(key: str, line: int) -> str:
    """The key, or only its line: a stray line of a pasted secret looks like a key, too."""
    return key if re.fullmatch(r"[A-Z_]{1,40}", key) else f"line {line}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _output(command: str, folder: Path) -> str:
    """The standard output of a command, run without a shell; what it prints on standard error may hold secrets too."""
    try:
        words = command if os.name == "nt" else shlex.split(command)  # Windows programs split their own command line
        if not words:
            raise ValueError("is empty")
        done = subprocess.run(  # noqa: S603 - the user's own command, from the user's own file, without a shell
            words, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_DEADLINE, check=True
        )
        return done.stdout.decode("utf-8").rstrip("\r\n")
    except subprocess.TimeoutExpired:
        what = f"did not end within {COMMAND_DEADLINE:.0f} s"
    except subprocess.CalledProcessError as error:
        what = f"ended with {error.returncode}"
    except OSError as error:
        what = f"cannot be started ({_reason(error)})"
    except UnicodeDecodeError:
        what = "printed something that is not UTF-8 text"
    except ValueError:
        what = "is empty or has a quote that is not closed"
    raise ValueError(f"{what}; a command that prints the secret was expected, try it in a shell")

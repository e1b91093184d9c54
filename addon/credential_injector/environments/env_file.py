"""Reads one env file, strictly: text -> keys and values; and the files that hold its secrets."""

import logging
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dotenv.parser import Binding as Parsed
from dotenv.variables import Variable, parse_variables

from credential_injector.environments import plain_lines, secrets
from credential_injector.permissions import Look

logger = logging.getLogger(__name__)

SINGLE_QUOTED = re.compile(r"[^=]*=[^\S\r\n]*'")
# What python-dotenv cuts off from a bare value; `comment` where a space follows the #, or nothing.
CUT_OFF = re.compile(r"[^=]*=(?![^\S\r\n]*['\"]).*?[^\S\r\n]#(?P<comment>\s|$)?")
BARE = re.compile(r"[^=]*=[^\S\r\n]*[^'\"\s]")
# A file whose first line, after comments, is a key of YAML.
YAML = re.compile(r"(?:[^\S\n]*(?:#.*|---.*)?\n)*[^\S\n]*[A-Za-z_]{1,40}:\s")
ASSIGNMENT = re.compile(r"^[^\S\n]*(?:export\s+)?[A-Za-z_-]+[^\S\n]*=", re.MULTILINE)
TYPOGRAPHIC_QUOTES = tuple("“”„‟‘’‚‛«»")  # noqa: RUF001 - they look like others


LEFT = {"LOGIN_BODY": ("USERNAME", "PASSWORD")}
"""Variables that stay, by keys: the login puts them in, escaped for their place."""


class Binding(NamedTuple):
    """A key's value, as it stands in the file."""

    value: str | None
    """None: it could not be read, which is a mistake already."""
    line: int
    written: str
    """The key, as it stands in the file."""
    cut: bool = False
    """What follows it was cut off, as it looks like a comment."""


class EnvFile:
    """One reading of one file. It gathers all mistakes.

    A mistake names file and key (or line), what is wrong and what is expected; never the value, which may be a secret.
    """

    def __init__(self, path: Path, shown: str, look: Look | None = None) -> None:
        self.path = path
        self._look = look or Look()
        self.shown = shown
        """The path as messages name it: `envs/qa.env`."""
        self.mistakes: list[str] = []
        self.warnings: list[str] = []
        """Values that may be meant otherwise, worded like mistakes."""
        self.files: list[Path] = []
        """The files that its _FILE keys name."""
        self.secret_files: list[Path] = []
        """Those of them that nobody else should read, and the env file itself where it holds a secret."""
        self.runs_commands = False
        """Whether a secret comes from a command or a pipe, which may hold another one next time."""

    def wrong(self, where: str, what: str) -> None:
        """Note a mistake."""
        self.mistakes.append(f"{self.shown}: {where}: {what}")

    def note(self, where: str, what: str) -> None:
        """Log what is no mistake, but may surprise."""
        logger.info(f"{self.shown}: {where}: {what}")

    def text(self) -> str | None:
        """What stands in the file. None after a mistake: it cannot be read, or must not be."""
        if objection := self._look.objection(self.path):
            self.wrong("the file", objection)
            return None
        try:
            text = self._text_of(self.path)
        except OSError as error:
            self.wrong("the file", f"cannot be read ({secrets.reason(error)}); expected a text file")
        except UnicodeDecodeError:
            self.wrong("the file", "is not UTF-8 text; expected one that is saved as UTF-8")
        else:
            if not YAML.match(text) or ASSIGNMENT.search(text):
                return text
            self.wrong("the file", "looks like YAML; expected KEY=value lines")
        return None

    def bindings(
        self,
        text: str,
        canonical: Callable[[str], str],
        shown: Callable[[str, int], str],
        parse: Callable[[str], Iterable[Parsed]] = plain_lines.parse,
    ) -> dict[str, Binding]:
        """Each key, in the form that `canonical` gives it, with its value. `shown` names a key or its line in messages.

        This uses python-dotenv's parser without its `dotenv_values`, which would change a secret silently: it drops a
        line that it cannot parse, makes an unset ${NAME} empty, takes a key without "=", and expands ${NAME} in single
        quotes.
        """
        bindings: dict[str, Binding] = {}
        for parsed in parse(text):
            written = parsed.original.string.lstrip()
            line = parsed.original.line + parsed.original.string[: -len(written) or None].count("\n")
            if parsed.error:
                colon = re.match(r"[A-Za-z_]+\s*:\s", written)
                why = "':' in place of '='" if colon else "is a quote not closed, or followed by something?"
                self.wrong(f"line {line}", f"cannot be read ({why}); expected KEY=value")
                if begun := re.match(r"(?:export\s+)?([A-Za-z_]+)\s*=", written):
                    bindings.setdefault(canonical(begun[1]), Binding(None, line, begun[1]))
                continue
            if parsed.key is None:
                continue
            key, where = canonical(parsed.key), partial(shown, parsed.key, line)
            if key in bindings:
                self.wrong(where(), f"is set twice (lines {bindings[key].line} and {line}); expected once")
            else:
                value, is_cut = self._value_of(parsed, line, where, bindings)
                bindings[key] = Binding(value, line, parsed.key, is_cut)
        return bindings

    def _value_of(
        self, parsed: Parsed, line: int, where: Callable[[], str], earlier: Mapping[str, Binding]
    ) -> tuple[str | None, bool]:
        """The value of a line, and whether something that looks like a comment was cut off from it."""
        value, written = parsed.value, parsed.original.string.lstrip()
        if value is None:
            self.wrong(where(), f"has no '=' (line {line}); expected KEY=value")
        elif "${" in value and not SINGLE_QUOTED.match(written):
            value = self._interpolated(where(), value, line, earlier)
        cut = CUT_OFF.match(written)
        is_comment = cut is not None and cut["comment"] is not None
        if cut is not None and not is_comment:
            self._warn_of_cut(where(), line)
        if value and BARE.match(written) and (value[0] in TYPOGRAPHIC_QUOTES or value[-1] in TYPOGRAPHIC_QUOTES):
            self.warnings.append(
                f"{self.shown}: {where()}: has a typographic quote on line {line}, which counts as part of the"
                " value; expected ' or \" around it, or nothing"
            )
        return value, is_comment

    def _warn_of_cut(self, key: str, line: int) -> None:
        self.warnings.append(
            f"{self.shown}: {key}: ends before the ' #' on line {line}, and the rest counts as a comment; if it belongs"
            " to the value, put single quotes around all of it"
        )

    def value(self, key: str, how: str, binding: Binding, *, secret: bool) -> str:
        """The value itself, the text of the file that it names (`_FILE`), or what a command prints (`_COMMAND`).

        `secret`: nobody else should read the file in which it stands. Raises ValueError.
        """
        value = binding.value or ""
        if secret and not how and binding.cut:
            self._warn_of_cut(key, binding.line)
        if how and not value:
            raise ValueError("is empty; expected a value")
        if how == "_FILE":
            file = self.path.parent / value
            self.files.append(file)
            if objection := self._look.objection(file):
                raise ValueError(f"names a file that {objection}")
            try:
                text = self._text_of(file).rstrip("\r\n")
            except (OSError, ValueError) as error:
                reason = secrets.reason(error)
                wrong = f"names a file that cannot be read ({reason}); expected a path from the env file's folder"
                raise ValueError(wrong) from None
            self._keep_private(file, text)
            return text
        if how == "_COMMAND":
            self.runs_commands = True
            logger.info(f"{self.shown}: {key}: running the command")
            return secrets.from_command(value, self.path.parent)
        if secret:
            self._keep_private(self.path, value)
        return value

    def _text_of(self, path: Path) -> str:
        is_file = os.name == "nt" or stat.S_ISREG(path.stat().st_mode)
        self.runs_commands |= not is_file
        content = path.read_bytes() if is_file else secrets.from_pipe(path)
        # Windows editors begin with a byte order mark. `read_text` takes twice as long.
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")

    def _keep_private(self, path: Path, text: str) -> None:
        if "-----BEGIN CERTIFICATE-----" not in text or "PRIVATE KEY-----" in text:  # a certificate alone is public
            self.secret_files.append(path)

    def _interpolated(self, key: str, value: str, line: int, earlier: Mapping[str, Binding]) -> str | None:
        parts = []
        for atom in parse_variables(value):
            if isinstance(atom, Variable) and atom.name in LEFT.get(key, ()):
                parts.append(f"${{{atom.name}}}")
                continue
            if not isinstance(atom, Variable):
                parts.append(atom.resolve({}))
                continue
            here = earlier.get(atom.name.upper())
            found = here.value if here is not None else os.environ.get(atom.name, atom.default)
            if found is None:
                # It may be no variable but a part of a secret.
                variable = value if re.fullmatch(r"\$\{[A-Z_][A-Z0-9_]*\}", value) else "a ${...}"
                self.wrong(
                    key,
                    f"uses {variable} on line {line}, which is not set; expected an exported variable, or single quotes"
                    " around a value that is meant literally",
                )
                return None
            parts.append(found)
        return "".join(parts)

"""One env file: text -> keys and values, strictly. The only reader of env files and of the secrets that they name."""

import contextlib
import errno
import logging
import os
import re
import select
import shlex
import signal
import stat
import subprocess
from collections.abc import Callable, Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from dotenv.parser import Binding as Parsed
from dotenv.parser import Original, parse_stream
from dotenv.variables import Variable, parse_variables

from credential_injector.permissions import Look

logger = logging.getLogger(__name__)

COMMAND_DEADLINE = 10.0  # seconds that a _COMMAND may take; a password manager that wants a finger needs a few
PIPE_DEADLINE = 10.0  # seconds in which the secret must come out of a named pipe
PIPE_STEP = 0.05  # seconds
MOST_BYTES = 1 << 20  # that come out of a pipe

# A line on which python-dotenv's grammar has nothing to decide: a comment, nothing, or a key and a bare value.
PLAIN = re.compile(r"#.*|(?:([A-Za-z_][A-Za-z0-9_]*)=((?:[!%&(-\[\]-~](?:[ !%&(-\[\]-~]*[!%&(-\[\]-~])?)?))?")
SINGLE_QUOTED = re.compile(r"[^=]*=[^\S\r\n]*'")
# What python-dotenv cuts off a bare value; `comment` where it is written like one.
CUT_OFF = re.compile(r"[^=]*=(?![^\S\r\n]*['\"]).*?[^\S\r\n]#(?P<comment>\s|$)?")
BARE = re.compile(r"[^=]*=[^\S\r\n]*[^'\"\s]")
TYPOGRAPHIC_QUOTES = tuple("“”„‟‘’‚‛«»")  # noqa: RUF001 - they look like others
SHELL_WORDS = {"|", "||", "&", "&&", ";", ">", ">>", "<", "2>&1"}


class Binding(NamedTuple):
    """A key's value, as it stands in the file."""

    value: str | None
    """None: it could not be read, and that has been said."""
    line: int
    written: str
    """The key, as it stands in the file."""
    cut: bool = False
    """What looks like a comment followed, and was cut off."""


class EnvFile:
    """One reading of one file: it gathers mistakes instead of stopping at the first.

    A mistake names file and key (or line), what is wrong and what was expected, never the value: it may be a secret.
    """

    def __init__(self, path: Path, shown: str, look: Look | None = None) -> None:
        self.path = path
        self._look = look or Look()
        self.shown = shown
        """The path as messages name it: `envs/qa.env`."""
        self.mistakes: list[str] = []
        self.warnings: list[str] = []
        """What may be meant otherwise, worded like mistakes."""
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
        """Tell in the log what is no mistake, and may surprise."""
        logger.info(f"{self.shown}: {where}: {what}")

    def text(self) -> str | None:
        """What stands in the file. None: it cannot be read, or must not be, and that has been said."""
        if objection := self._look.objection(self.path):
            self.wrong("the file", objection)
            return None
        try:
            return _text(self._content(self.path))
        except OSError as error:
            self.wrong("the file", f"cannot be read ({_reason(error)}), a text file was expected")
        except UnicodeDecodeError:
            self.wrong("the file", "is not UTF-8 text, UTF-8 was expected")
        return None

    def bindings(
        self, text: str, canonical: Callable[[str], str], shown: Callable[[str, int], str]
    ) -> dict[str, Binding]:
        """Each key, in the form that `canonical` gives it, with its value. `shown` names a key or its line in messages.

        python-dotenv forgives where a secret must not be forgiven: it drops a line that it cannot parse, an unset
        ${NAME} becomes empty, a key without "=" becomes None, and single quotes do not stop ${NAME}. Hence its parser
        without its `dotenv_values`.
        """
        bindings: dict[str, Binding] = {}
        for parsed in _parsed(text):
            written = parsed.original.string.lstrip()
            line = parsed.original.line + parsed.original.string[: -len(written) or None].count("\n")
            if parsed.error:
                what = "cannot be read (is a quote not closed, or followed by something?), KEY=value was expected"
                self.wrong(f"line {line}", what)
                if begun := re.match(r"(?:export\s+)?([A-Za-z_]+)\s*=", written):
                    bindings.setdefault(canonical(begun[1]), Binding(None, line, begun[1]))
                continue
            if parsed.key is None:
                continue
            key = canonical(parsed.key)
            if key in bindings:
                self.wrong(
                    shown(parsed.key, line), f"is set twice (lines {bindings[key].line} and {line}), once was expected"
                )
                continue
            value = parsed.value
            if value is None:
                self.wrong(shown(parsed.key, line), f"has no '=' (line {line}), KEY=value was expected")
            elif "${" in value and not SINGLE_QUOTED.match(written):
                earlier = {name: bound.value for name, bound in bindings.items()}
                value = self._interpolated(shown(parsed.key, line), value, line, earlier)
            cut = CUT_OFF.match(written)
            if cut is not None and cut["comment"] is None:
                self._warn_of_cut(shown(parsed.key, line), line)
            if value and BARE.match(written) and (value[0] in TYPOGRAPHIC_QUOTES or value[-1] in TYPOGRAPHIC_QUOTES):
                self.warnings.append(
                    f"{self.shown}: {shown(parsed.key, line)}: has a typographic quote on line {line}, which counts as"
                    " part of the value; expected ' or \" around it, or nothing"
                )
            bindings[key] = Binding(value, line, parsed.key, cut is not None and cut["comment"] is not None)
        return bindings

    def _warn_of_cut(self, key: str, line: int) -> None:
        self.warnings.append(
            f"{self.shown}: {key}: ends before the ' #' on line {line}, and the rest counts as a comment; if it belongs"
            " to the value, put single quotes around all of it"
        )

    def value(self, key: str, how: str, binding: Binding, *, secret: bool) -> str:
        """The value itself, the text of the file that it names (`_FILE`), or what a command prints (`_COMMAND`).

        `secret`: what stands in the file itself is for nobody else to read. Raises ValueError.
        """
        value = binding.value or ""
        if secret and not how and binding.cut:
            self._warn_of_cut(key, binding.line)
        if how and not value:
            raise ValueError("is empty, a value was expected")
        if how == "_FILE":
            file = self.path.parent / value
            self.files.append(file)
            if objection := self._look.objection(file):
                raise ValueError(f"names a file that is not read: {objection}")
            try:
                text = _text(self._content(file)).rstrip("\r\n")
            except (OSError, ValueError) as error:
                wrong = f"names a file that cannot be read ({_reason(error)}), a path beside the env file was expected"
                raise ValueError(wrong) from None
            self._keep_private(file, text)
            return text
        if how == "_COMMAND":
            self.runs_commands = True
            logger.info(f"{self.shown}: {key}: running the command")
            return _output(value, self.path.parent)
        if secret:
            self._keep_private(self.path, value)
        return value

    def _content(self, path: Path) -> bytes:
        """All that a file holds, or that comes out of a pipe in time. Raises OSError or ValueError."""
        if os.name == "nt" or stat.S_ISREG(path.stat().st_mode):
            return path.read_bytes()
        self.runs_commands = True
        # Opened like this, a pipe that nobody writes into can be waited for, and left.
        pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            return _written(pipe)
        finally:
            os.close(pipe)

    def _keep_private(self, path: Path, text: str) -> None:
        if "-----BEGIN CERTIFICATE-----" not in text or "PRIVATE KEY-----" in text:  # a certificate alone is public
            self.secret_files.append(path)

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
                variable = value if re.fullmatch(r"\$\{[A-Z_][A-Z0-9_]*\}", value) else "a ${...}"
                self.wrong(
                    key,
                    f"uses {variable} on line {line}, which is not set; an exported variable was expected,"
                    " or single quotes around a value that is meant literally",
                )
                return None
            parts.append(found)
        return "".join(parts)


def _parsed(text: str) -> Iterable[Parsed]:
    """What python-dotenv makes of a text. Nearly all lines are plain, and need a fraction of its time."""
    lines = text.split("\n")
    matches = [PLAIN.fullmatch(line) for line in lines]
    if None in matches:
        return parse_stream(StringIO(text))
    return [
        Parsed(match[1], match[2], Original(line, number), error=False)
        for number, (line, match) in enumerate(zip(lines, matches, strict=True), start=1)
        if match is not None and match[1] is not None
    ]


def _text(content: bytes) -> str:
    # Windows editors begin with a byte order mark. `read_text` takes twice as long.
    return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


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
            select.select([], [], [], PIPE_STEP)  # nobody writes yet: it is at its end, again and again
    raise TimeoutError(errno.ETIMEDOUT, f"nobody wrote into it and closed it within {PIPE_DEADLINE:.0f} s")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _output(command: str, folder: Path) -> str:
    """The standard output of a command, run without a shell; what it prints on standard error may hold secrets too."""
    expected = "a command that prints the secret was expected; it runs without a shell"
    try:
        words = shlex.split(command)
    except ValueError:
        raise ValueError(f"has a quote that is not closed, {expected}") from None
    if not words:
        raise ValueError(f"is empty, {expected}")
    if shell := SHELL_WORDS.intersection(words):
        raise ValueError(f"holds a shell's {min(shell)}, {expected}, so wrap it: sh -c '...'")
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
        raise ValueError(f"cannot be started ({_reason(error)}), {expected}") from None
    with process:
        try:
            printed, _ = process.communicate(timeout=COMMAND_DEADLINE)
        except subprocess.TimeoutExpired:
            _end(process)
            raise ValueError(f"did not end within {COMMAND_DEADLINE:.0f} s, {expected}") from None
    if process.returncode != 0:
        raise ValueError(f"ended with {process.returncode}, {expected}")
    try:
        return printed.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"printed something that is not UTF-8 text, {expected}") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command with what it started, which would otherwise hold its output open."""
    if os.name == "nt":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

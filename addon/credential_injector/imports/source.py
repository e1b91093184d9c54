"""A file of another program's: read carefully, as anybody may have written it."""

import json
import os
import re
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from credential_injector.environments.file_names import printable
from credential_injector.permissions import Look

LARGEST = 20 << 20  # bytes; the largest collections that people share have a few MB
DEEPEST = 100  # objects and lists within one another
MOST_VALUES = 500_000  # in a document, whatever they are
MOST_BRACKETS = 2_000_000  # in its text, also within strings
MOST_REQUESTS = 20_000
MOST_ENVIRONMENTS = 50
MOST_DRAFTS = 200  # environments, each with an auth
STDIN = Path("-")


class NotImportable(ValueError):
    """Why a file cannot be imported: `FILE: PLACE: what is wrong; expected ...`. It repeats no value."""

    def __init__(self, path: Path, place: str, what: str) -> None:
        super().__init__(": ".join(filter(None, (shown(path), place, what))))


class Source(NamedTuple):
    """One file."""

    path: Path
    text: str
    document: Any
    """What the JSON or YAML in it says; None where it is neither."""

    def __repr__(self) -> str:
        return f"Source({self.name!r})"  # the rest may hold secrets

    @property
    def name(self) -> str:
        """As messages name it."""
        return shown(self.path)

    def beside(self, name: str) -> "Source | None":
        """Another file of the same folder; None where there is none. Raises NotImportable."""
        path = self.path.with_name(name)
        if self.path == STDIN or not path.is_file():
            return None
        if Look().objection(path) is not None:  # what it says decides where the secrets of this file go
            raise NotImportable(
                path,
                "",
                f"is beside {self.name}, and other users of this machine can change it; name it, too, if you trust it",
            )
        return open_source(path)

    def check_size(self, *, requests: int = 0, environments: int = 0, auths: int = 0) -> None:
        """Raises NotImportable where a file has more than any that people share: to read it would take long."""
        for most, found, what in (
            (MOST_REQUESTS, requests, "requests"),
            (MOST_ENVIRONMENTS, environments, "environments"),
            (MOST_DRAFTS, max(environments, 1) * auths, "auths in its environments"),
        ):
            if found > most:
                raise self.wrong("", f"has more than {most} {what}; import a part of it")

    def wrong(self, place: str, what: str) -> NotImportable:
        """The mistake at this place."""
        return NotImportable(self.path, place, what)


def shown(path: Path) -> str:
    """A path as messages name it."""
    return "standard input" if path == STDIN else printable(str(path))


def open_source(path: Path) -> Source:
    """Read a file, or standard input for `-`. Raises NotImportable."""
    with suppress(ValueError):  # a NUL in the name, of which `_content` tells
        if (path / "bruno.json").is_file():  # Bruno's collections are folders
            path /= "bruno.json"
    content = _stdin() if path == STDIN else _content(path)
    if len(content) > LARGEST:
        raise NotImportable(path, "", f"is larger than {LARGEST >> 20} MB; expected an export of a few")
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise NotImportable(path, f"byte {error.start}", "is not UTF-8; expected text that is saved as UTF-8") from None
    return Source(path, text, document_of(path, text))


def _stdin() -> bytes:
    return sys.stdin.buffer.read(LARGEST + 1)


def _content(path: Path) -> bytes:
    try:
        # Not before it is known to be a file: to open a pipe would wait for somebody to write.
        if not stat.S_ISREG(path.stat().st_mode):
            raise NotImportable(path, "", "is no file; expected an exported file, or - for standard input")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return b"" if size == 0 else file.read(LARGEST + 1)
    except (OSError, ValueError) as error:  # a ValueError where the name holds a NUL
        if isinstance(error, NotImportable):
            raise
        reason = error.strerror if isinstance(error, OSError) else "its name holds a NUL"
        raise NotImportable(path, "", f"cannot be read ({reason}); expected an exported file") from None


def document_of(path: Path, text: str) -> Any:
    """What JSON or, in a file of that name, YAML says; None where it is neither. Raises NotImportable."""
    if re.match(r"\s*[\[{]", text):
        document = _json(path, text)
    elif path.suffix.lower() in (".yaml", ".yml"):
        document = _yaml(path, text)
    else:
        return None
    _check_shape(path, document)
    return document


def _json(path: Path, text: str) -> Any:
    if text.count("[") + text.count("{") > MOST_BRACKETS:  # an empty list takes 30 times the memory of its text
        raise _too_many(path)
    found = 0

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        found += len(pairs) + 1
        if found > MOST_VALUES:  # while it is read: each takes many times the memory of its text
            raise _too_many(path)
        made = dict(pairs)
        if len(made) != len(pairs):
            raise NotImportable(path, "", "gives one key of an object twice, and programs differ in which one counts")
        return made

    def no_number(_: str) -> NoReturn:
        raise NotImportable(path, "", "holds NaN or Infinity, which is no JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=no_number)
    except NotImportable:
        raise
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        cut = "; is the file complete?" if error.pos >= len(text.rstrip()) else ""
        raise NotImportable(path, place, f"is no JSON ({error.msg}); expected an exported file{cut}") from None
    except RecursionError:
        raise _too_deep(path) from None
    except ValueError:  # a number of thousands of digits
        raise NotImportable(path, "", "holds a number that is too long; expected an exported file") from None


def _yaml(path: Path, text: str) -> Any:
    from credential_injector.imports.yaml_text import NoYaml, read_yaml  # late: it takes a while

    try:
        return read_yaml(text)
    except NoYaml as error:
        raise NotImportable(path, error.place, str(error)) from None
    except RecursionError:
        raise _too_deep(path) from None


def _check_shape(path: Path, document: Any) -> None:
    """Readers of formats recurse. Raises NotImportable."""
    layer: list[Any] = [document]
    found = 0
    for _ in range(DEEPEST):
        found += len(layer)
        if found + sum(len(part) for part in layer if isinstance(part, dict | list)) > MOST_VALUES:
            raise _too_many(path)
        nested = [part for part in layer if isinstance(part, dict | list)]
        layer = [inner for part in nested for inner in (part.values() if isinstance(part, dict) else part)]
        if not layer:
            return
    raise _too_deep(path)


def _too_deep(path: Path) -> NotImportable:
    return NotImportable(path, "", f"nests more than {DEEPEST} objects and lists; expected an exported file")


def _too_many(path: Path) -> NotImportable:
    return NotImportable(path, "", f"holds more than {MOST_VALUES} values; expected an exported file of a few thousand")

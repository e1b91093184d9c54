"""YAML of another program's, without aliases and as much as people write. Imported late: it is slow."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent

LARGEST_YAML = 2 << 20  # bytes
MOST_NODES = 100_000  # a reader of YAML in Python takes seconds for these


class NoYaml(ValueError):
    """What is wrong, and `place`, where: `line 2, column 3`."""

    def __init__(self, what: str, place: str = "") -> None:
        super().__init__(what)
        self.place = place


class _Composer(Composer):
    """Stops while it reads, before what is left takes time or memory."""

    found = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        if isinstance(event, AliasEvent):  # a few lines of them come to more than there is memory
            raise NoYaml("uses aliases of YAML (*name); expected a file without them", _place(event.start_mark))
        self.found += 1
        if self.found > MOST_NODES:
            raise NoYaml(f"holds more than {MOST_NODES} values; expected JSON for a file of this size")
        return super().compose_node(parent, index)


def read_yaml(text: str) -> Any:
    """What it says. Raises NoYaml, or RecursionError where it is nested too deeply."""
    if len(text) > LARGEST_YAML:
        raise NoYaml(f"is larger than {LARGEST_YAML >> 20} MB; expected JSON for a file of this size")
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer
    try:
        return yaml.load(text)
    except YAMLError as error:
        raise NoYaml("is no YAML; expected an exported file", _place(getattr(error, "problem_mark", None))) from None
    except NoYaml:
        raise
    # An impossible date, `!!bool maybe`, `!!int ''`: the reader makes one of them, and fails in its own ways.
    except (ValueError, LookupError, AttributeError, TypeError):
        raise NoYaml("holds a value that YAML cannot be; expected an exported file") from None


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""

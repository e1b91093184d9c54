"""Variables of other programs: `{{name}}`. Pure."""

import re
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

DEEPEST = 10  # variables whose values are variables
LONGEST = 1 << 16  # characters that a value may come to
MOST_SHOWN = 80  # characters of a name

_VARIABLE = re.compile(r"\{\{\s*(?:_\.|process\.env\.)?([^{}\s]+)\s*\}\}")


class Variables:
    """Values by name. What has none stays as it is."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values: ChainMap[str, str] = ChainMap(_texts(values))

    def over(self, values: Mapping[str, Any]) -> "Variables":
        """These with others, which count more."""
        new = Variables({})
        new._values = self._values.new_child(_texts(values))
        return new

    def resolved(self, text: Any) -> str:
        """A text with the variables' values."""
        now = text_of(text)
        if len(now) > LONGEST:
            return now
        for _ in range(DEEPEST):
            # Counted first: a few variables in one another come to more than there is memory.
            length = len(now) + sum(len(self._values.get(name, "")) for name in names_in(now))
            if length > LONGEST:
                break
            new = _VARIABLE.sub(lambda match: self._values.get(match[1], match[0]), now)
            if new == now:
                break
            now = new
        return now

    def value(self, text: Any) -> str:
        """The same, or nothing where a variable is left that has no value."""
        new = self.resolved(text)
        return "" if names_in(new) else new.strip()

    def without(self, text: Any) -> str:
        """The variables in a text that have no value, as a comment names them; empty where all have one."""
        return ", ".join(name[:MOST_SHOWN] for name in names_in(self.resolved(text))[:5])


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: text_of(value) for name, value in values.items()}


def names_in(text: str) -> list[str]:
    """The variables in a text."""
    found = [match[1] for match in _VARIABLE.finditer(text)]
    # A filter, a prompt or a function of a template language: nothing here can tell its value.
    return found or (["of a template"] if "{{" in text or "{%" in text else [])


def text_of(value: Any) -> str:
    """What is written for a value; nothing for one that is made of others."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return str(value) if isinstance(value, str | int | float) else ""
    except ValueError:  # a number of thousands of digits, which YAML takes in hexadecimal
        return ""

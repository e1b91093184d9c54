"""An environment file that is to be written. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

LONGEST_NAME = 200  # characters


@dataclass(frozen=True, slots=True)
class Draft:
    """What another program's file, or a capture, says about one environment."""

    name: str
    """The environment's."""
    values: Mapping[str, str] = field(repr=False)
    """By key, as in `environments.keys`: the text that shall be read back."""
    source: str
    """Where it comes from, as messages name it: `orders.json: the collection's auth`."""
    left_out: tuple[str, ...] = ()
    """A line for each thing that has no equal here, and what to do about it."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """A comment above a key's line, by key; also for a key that has no value."""


def environment_name(text: str, default: str = "imported") -> str:
    """A name for an environment, from whatever another program calls it: `QA (EU)` -> `qa-eu`."""
    return re.sub(r"[^a-z0-9_]+", "-", text[:LONGEST_NAME].lower()).strip("-_")[:40].strip("-_") or default

"""WWW-Authenticate -> challenges (RFC 9110 section 11.6.1). Pure, and in linear time.

Servers break the grammar: what cannot be read is left out, and commas may be missing.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

LONGEST = 16384  # characters of all fields that are read

# All repetition is possessive: nothing is read twice, whatever stands there. A quoted string without an end reaches to
# the end of the field.
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED = r'"(?P<quoted>(?:[^"\\]|\\.)*+)(?P<end>"|\\?\Z)'
_GAP = re.compile(r"[\s,]*+")
# Servers leave the quotes out around values that need them.
_PARAMETER = re.compile(rf'(?P<name>{_NAME})[ \t]*+=[ \t]*+(?:{_QUOTED}|(?P<plain>[^\s,"]++))', re.DOTALL)
_TOKEN68 = r"[0-9A-Za-z._~+/-]++=*+(?=[ \t]*+(?:,|\Z))"
_SCHEME = re.compile(rf"(?P<scheme>{_NAME})(?:[ \t]++{_TOKEN68})?")
_JUNK = re.compile(rf"{_QUOTED}|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in which a server wants to be asked."""

    scheme: str
    """As the server writes it; upper and lower case are the same."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """By their names in lower case; of one that is there twice, the first."""


def read(fields: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges of all fields of that name, in their order."""
    challenges: list[Challenge] = []
    left = LONGEST
    for text in fields:
        challenges += _read(text[:left])
        left -= min(len(text), left)
    return tuple(challenges)


def _read(text: str) -> Iterable[Challenge]:
    parameters: dict[str, str] | None = None
    place = _GAP.match(text).end()  # type: ignore[union-attr]  # it matches everywhere
    while place < len(text):
        if match := _PARAMETER.match(text, place):
            if parameters is not None and match["end"] in ('"', None):
                value = match["plain"] or re.sub(r"\\(.)", r"\1", match["quoted"] or "", flags=re.DOTALL)
                parameters.setdefault(match["name"].lower(), value)
        elif match := _SCHEME.match(text, place):
            parameters = {}
            yield Challenge(match["scheme"], parameters)
        else:
            match = _JUNK.match(text, place)
        place = _GAP.match(text, match.end()).end()  # type: ignore[union-attr]  # junk matches where nothing else does

"""Paths and queries as expressions of RE2: what `origins/paths.py` and `proxy/asked_methods.py` say in Python. Pure."""

import re
from collections.abc import Iterable
from itertools import product

_ANY = r"\C*"  # bytes: "." would stop at what is no UTF-8
_SEPARATOR = r"([/\\]|%(25)*(2f|5c))"
_DOT = r"(\.|%(25)*2e)"
_BLANK = r"(%(25)*(20|0[09ad]))"
_BETWEEN = f"({_SEPARATOR}({_DOT}|{_BLANK})*)*{_SEPARATOR}{_BLANK}*"
_PARAMETERS = rf"{_BLANK}*((;|%(25)*3b)[^/\\]*)?"
_END = f"((#|%(25)*(3f|23)){_ANY})?"

AMBIGUOUS = (
    rf"(?i){_ANY}(/\.{{1,2}}(/|$)|[\\;#\x00-\x20\x7f]"
    rf"|%([01][0-9a-f]|23|25|2e|2f|3b|5c|7f|c0|c1|e0%80|f0%80)){_ANY}"
)
"""Paths that servers read in different ways (origins.paths.AMBIGUOUS)."""

CLIMBS = rf"(?i){_ANY}{_SEPARATOR}{_BLANK}*{_DOT}{_DOT}{_BLANK}*(({_SEPARATOR}|;|#|%(25)*(3b|3f|23)){_ANY})?"
"""Paths that hold `..`, however it is spelt."""

_JOINT = r"([-_. \[+]|%5b)"
# What hides behind percent signs counts as a method's name, but for brackets, which many queries have.
METHOD_IN_QUERY = (
    rf"(?i){_ANY}\?({_ANY}[&;?#])?("
    r"[^=&;?#]*%([0-46-9a-f][0-9a-f]|5[0-9ace-f])[^=&;?#]*"
    rf"|\+*({_JOINT}|x{_JOINT}http{_JOINT})method\+*"
    rf"|\+*x{_JOINT}(http{_JOINT})?method{_JOINT}override\+*"
    rf")={_ANY}"
)
"""Of a path with its query, that may name another method."""

OVERRIDES = tuple(
    "".join(letter for pair in zip(words, (*joints, ""), strict=True) for letter in pair)
    for words in (("x", "http", "method", "override"), ("x", "http", "method"), ("x", "method", "override"))
    for joints in product("-_.", repeat=len(words) - 1)
)
"""The headers that may name another method."""


def spelt(path: str, *, below: bool = False) -> str:
    """A path in every spelling that some server reads as this one; or as one `below` it."""
    segments = "".join(f"{_BETWEEN}{_letters(one)}{_PARAMETERS}" for one in path.strip("/").split("/") if one)
    rest = f"({_SEPARATOR}{_ANY})?" if below else f"({_SEPARATOR}({_DOT}|{_BLANK})*)*"
    return f"(?i){segments}{rest}{_END}"


def _letters(text: str) -> str:
    return "".join(
        f"({_one_of({*map(re.escape, (one.lower(), one.upper()))})}|%(25)*({_encoded(one)}))" for one in text
    )


def _encoded(letter: str) -> str:
    return _one_of({f"{byte:02x}" for case in (letter.lower(), letter.upper()) for byte in case.encode()})


def _one_of(words: Iterable[str]) -> str:
    return "|".join(sorted(words))

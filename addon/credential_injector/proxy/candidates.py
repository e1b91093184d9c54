"""Texts -> the tokens in them whose fingerprints are known.

A flow that was saved with `inject_mask` holds no token to look for, and an answer's body may repeat it all the same.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from credential_injector.oauth.fingerprints import fingerprint
from credential_injector.proxy.masking import SHORTEST_SECRET

LONGEST_TOKEN = 1 << 16  # characters
NESTED = 3  # times that a text is escaped at most: a URL in a URL in JSON

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})|\\u00([0-9A-Fa-f]{2})|\\([\"/\\])|\\[bfnrt]")
_START = re.compile(rb"(?<![A-Za-z0-9])[!#-~]")
_LETTERS = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def length_of(value: object) -> int | None:
    """A token's length, as a capture holds it; None where it is malformed, or where the token is not looked for."""
    return value if isinstance(value, int) and SHORTEST_SECRET <= value <= LONGEST_TOKEN else None


def recognised(value: Any, wanted: Mapping[int, Collection[str]]) -> Iterator[str]:
    """The tokens in a text, or in whatever is made of texts, with these fingerprints, by the tokens' lengths.

    A token is a piece of visible ASCII without quotes and spaces, with no letter or digit right before and after it.
    All such pieces of those lengths are hashed, so the cost grows with the text and the number of lengths.
    """
    match value:
        case str():
            yield from recognised(value.encode("utf-8", "surrogatepass"), wanted)
        case bytes() if wanted:
            run = re.compile(rb"[!#-~]{%d,}" % min(wanted))
            for text in _unescaped(value):
                for found in run.finditer(text):
                    yield from _in_run(found[0], wanted)
        case dict():
            for part in value.values():
                yield from recognised(part, wanted)
        case list() | tuple():
            for part in value:
                yield from recognised(part, wanted)


def _in_run(run: bytes, wanted: Mapping[int, Collection[str]]) -> Iterator[str]:
    for start in _START.finditer(run):
        for length, fingerprints in wanted.items():
            end = start.start() + length
            if end > len(run) or (end < len(run) and run[end] in _LETTERS):
                continue
            candidate = run[start.start() : end].decode("ascii")
            if fingerprint(candidate) in fingerprints:
                yield candidate


def _unescaped(text: bytes) -> Iterator[bytes]:
    """A text, and the same without its escapes: percent-encoding, and JSON's."""
    for _ in range(NESTED + 1):
        yield text
        if b"%" not in text and b"\\" not in text:
            return
        before, text = text, _ESCAPE.sub(_character, text)
        if text == before:
            return


def _character(escape: re.Match[bytes]) -> bytes:
    code, character = escape[1] or escape[2], escape[3]
    return bytes([int(code, 16)]) if code else character or b" "

"""What the fuzz tests share: odd values, canaries in them, and what must be true of all that is said about them."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from hypothesis import strategies as st

from credential_injector.oauth.request import TokenRequest

T = TypeVar("T")

NOW = 1_700_000_000.0
SECRET = "s3cret-C4nary-0f"
TOKEN = "t0ken-C4nary-2d"
OWN = "cl1ent-C4nary-1e"  # the client's own credential
CANARY = re.compile("s3cret|t0ken|cl1ent|c4nary", re.IGNORECASE)

REQUEST = TokenRequest("https://login.example.com/token?key=C4nary", "abc", client_secret=SECRET)

ANY_TEXT = st.text(st.characters())  # surrogates, too
CANARIES = st.sampled_from([SECRET, TOKEN, OWN])
TEXT = ANY_TEXT | CANARIES | st.sampled_from(["", " ", "\0", "a\r\nX: y", "\x1b[31m", "\ud800", "\u2028", "1" * 5000])
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 2**63, 0.0, -0.0, 1e308])


def json_values(leaves: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Odd JSON, these leaves among it."""
    return st.recursive(
        st.none() | st.booleans() | NUMBERS | TEXT | leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=6,
    )


def mostly(usual: st.SearchStrategy[T], odd: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """Odd once in eight times: where many odd values come together, the first one hides what the others would do."""
    return st.sampled_from([usual] * 7 + [odd]).flatmap(lambda chosen: chosen)


def as_bytes(value: object) -> bytes:
    """JSON, in which a lone surrogate is escaped or, as other servers write it, encoded."""
    return json.dumps(value).encode()


def mutated(valid: bytes) -> st.SearchStrategy[bytes]:
    """The same with up to four pieces cut out, put in or doubled."""
    place = st.integers(0, len(valid))
    pieces = st.binary(max_size=4) | st.sampled_from(
        [b"\n", b"\r", b"\0", b"'", b'"', b"=", b"{", b"[" * 5000, b"\\u0000"]
    )
    edits = st.lists(st.tuples(place, st.integers(0, 12), pieces), min_size=1, max_size=4)

    def edit(edits: list[tuple[int, int, bytes]]) -> bytes:
        content = valid
        for start, length, piece in edits:
            content = content[:start] + piece + content[start + length :]
        return content

    return edits.map(edit)


@contextmanager
def nothing_secret_is_logged() -> Iterator[list[str]]:
    """Gathers each log line, tracebacks included."""
    said: list[str] = []

    class Gather(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(logging.Formatter().format(record))

    root, gather = logging.getLogger(), Gather()
    before = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(gather)
    try:
        yield said
    finally:
        root.removeHandler(gather)
        root.setLevel(before)
    for line in said:
        assert_harmless(line)


def assert_harmless(said: str) -> None:
    """One line for a person, with nothing secret in it."""
    assert not CANARY.search(said), said
    assert said.isprintable(), said

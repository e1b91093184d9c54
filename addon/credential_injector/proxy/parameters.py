"""The parameters of a URL's query: their bytes stay as the client wrote them, but for those that are replaced. Pure."""

import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote_to_bytes

_SEPARATOR = re.compile(rb"([&;])")  # some servers read a semicolon as one, others as part of a value


def read(path: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each parameter's name, decoded, and its value as it is written."""
    for part in _SEPARATOR.split(_query(path)[1])[::2]:
        name, _, value = part.partition(b"=")
        yield decoded(name), value


def replaced(path: bytes, name: bytes, value: bytes | None) -> bytes:
    """The path with this parameter once, at the place of the first one of its name; without it where `value` is None.

    `value` is percent-encoded already.
    """
    new: list[bytes] = [] if value is None else [b"%b=%b" % (encoded(name), value)]
    query, made = _query(path)[1], []
    for between in query.split(b"&"):
        others: list[bytes] = []
        for part in between.split(b";"):
            if decoded(part.partition(b"=")[0]) != name:
                others.append(part)
            elif new:  # between ampersands, as a semicolon beside it would be a part of its value for some servers
                made += [b";".join(others), new.pop()] if others else [new.pop()]
                others = []
        made += [b";".join(others)] if others else []
    left = b"&".join(made)
    return _with(path, query, b"&".join(filter(None, (left, *new))) if new else left)


def without(path: bytes, holds: Callable[[bytes], bool]) -> bytes:
    """The path without the parameters of which this holds."""
    query = _query(path)[1]
    return _with(path, query, _mapped(query, lambda part: None if holds(part) else part))


def each(path: bytes, changed: Callable[[bytes], bytes]) -> bytes:
    """The path with each parameter as this changes it."""
    query = _query(path)[1]
    return _with(path, query, _mapped(query, changed))


def encoded(name: bytes) -> bytes:
    """A name as it stands in a query."""
    return re.sub(rb"[^A-Za-z0-9._~\[\]$!*'()-]", lambda match: b"%%%02X" % match[0][0], name)


def decoded(name: bytes) -> bytes:
    """A name as servers read it."""
    return unquote_to_bytes(name.replace(b"+", b" "))


def _query(path: bytes) -> tuple[bytes, bytes, bytes]:
    """What stands before the question mark, behind it, and from a number sign on, which no client should send."""
    before, sign, fragment = path.partition(b"#")
    before, _, query = before.partition(b"?")
    return before, query, sign + fragment


def _with(path: bytes, query: bytes, new: bytes) -> bytes:
    before, _, fragment = _query(path)
    return path if new == query else before + (b"?" + new if new else b"") + fragment


def _mapped(query: bytes, kept: Callable[[bytes], bytes | None]) -> bytes:
    """The query with other parts, or without those that become None and the separator before them."""
    parts = _SEPARATOR.split(query)
    made: list[bytes] = []
    for separator, part in zip([b"", *parts[1::2]], parts[::2], strict=True):
        if (left := kept(part)) is not None:
            made += [separator if made else b"", left]
    return b"".join(made)

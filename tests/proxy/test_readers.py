"""What servers read in a query and in cookies into which a credential was written, whatever the client sent."""

from collections.abc import Iterator
from urllib.parse import parse_qsl

import pytest
from django.http import parse_cookie as read_by_django
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.http import parse_cookie as read_by_werkzeug

from credential_injector.proxy import cookies, parameters

NEW = "canary-1"
PARTS = st.sampled_from(
    [
        "key",
        "KEY",
        "keys",
        "k%65y",
        "%6Bey",
        "+key",
        "key+",
        "%20key",
        "x",
        "=",
        "=1",
        "=%26",
        "&",
        "&",
        ";",
        "+",
        "%",
        "?",
        "/",
        "\xff",
    ]
)
PAIRS = st.sampled_from(
    ["sid", "SID", "sids", "sid ", " sid", "\tsid", "a", "=", "=1", '="x"', ";", "; ", ";", " ", "\xff"]
)


@given(st.lists(PARTS, max_size=12).map("".join))
@example("key=1;x")
@example("x;key=1;x&key")
def test_query(query: str) -> None:
    """Those that read semicolons and those that do not find the credential, once; and all else in its order."""
    path = f"/a?{query}".encode("latin-1")
    written = parameters.replaced(path, b"key", NEW.encode())
    text = written.decode("latin-1").partition("?")[2]
    for separator in ("&", ";"):
        read = parse_qsl(
            text if separator == "&" else text.replace("&", ";"), keep_blank_values=True, separator=separator
        )
        assert [value for name, value in read if name == "key"] == [NEW]
    assert list(others(written)) == list(others(path))
    assert parameters.replaced(written, b"key", NEW.encode()) == written
    assert list(others(parameters.replaced(path, b"key", None))) == list(others(path))
    assert b"key=" + NEW.encode() not in parameters.replaced(written, b"key", None)


def others(path: bytes) -> Iterator[bytes]:
    """The parameters of other names, byte by byte."""
    for part in path.partition(b"?")[2].replace(b";", b"&").split(b"&"):
        if part and parameters.decoded(part.partition(b"=")[0]) != b"key":
            yield part


@given(st.lists(st.lists(PAIRS, max_size=8).map("".join), max_size=3))
@example(["sid =1; a"])
def test_cookies(values: list[str]) -> None:
    """Servers find the credential and no other cookie of its name; all else stays."""
    fields = tuple((b"cookie", value.encode()) for value in values)
    written = cookies.replaced(fields, b"sid", NEW.encode())
    assert [value for name, value in cookies.read(written) if name == b"sid"] == [NEW.encode()]
    joined = b"; ".join(value for _, value in written).decode("latin-1")  # as HTTP/1 gets those of HTTP/2
    assert read_by_django(joined)["sid"] == NEW
    assert read_by_werkzeug(joined).getlist("sid") == [NEW]
    assert other_cookies(written) == other_cookies(fields)
    assert cookies.replaced(written, b"sid", NEW.encode()) == written
    left = cookies.replaced(fields, b"sid", None)
    assert other_cookies(left) == other_cookies(fields)
    assert not [name for name, _ in cookies.read(left) if name == b"sid"]


def other_cookies(fields: cookies.Fields) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in cookies.read(fields) if name not in (b"sid", b"")]


@pytest.mark.parametrize("path", ["/a?x=1;key=old", "/a?key=old;x=1"])
def test_semicolon(path: str) -> None:
    """A semicolon beside the credential would be a part of its value."""
    assert ("key", NEW) in parse_qsl(
        parameters.replaced(path.encode(), b"key", NEW.encode()).decode().partition("?")[2]
    )

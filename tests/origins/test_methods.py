"""Methods with and without paths."""

import pytest

from credential_injector.origins.methods import SAFE, parse_methods


@pytest.mark.parametrize(
    ("items", "text"),
    [
        (("get", "HEAD"), "GET,HEAD"),
        (("POST /search", "get"), "GET, POST /search"),
        (("POST  /search/", "POST /search"), "POST /search"),
        (("DELETE /a/b.c-d_e~1",), "DELETE /a/b.c-d_e~1"),
        ((), ""),
    ],
)
def test_text(items: tuple[str, ...], text: str) -> None:
    """What is read is shown in one form."""
    assert str(parse_methods(items)) == text


@pytest.mark.parametrize(
    ("item", "wrong"),
    [
        ("GE T", "is malformed"),
        ("G\x00", "is malformed"),
        ("", "is malformed"),
        ("GET search", "is malformed"),
        ("GET /", "has an ambiguous path"),
        ("GET /a/../b", "has an ambiguous path"),
        ("GET /a;b", "has an ambiguous path"),
        ("GET /a?b", "has an ambiguous path"),
        ("GET /a//b", "has an ambiguous path"),
        ("GET /a%2fb", "has an ambiguous path"),
        ("GET /a b", "has an ambiguous path"),
    ],
)
def test_mistake(item: str, wrong: str) -> None:
    """What servers read in different ways is no path."""
    with pytest.raises(ValueError, match=wrong):
        parse_methods([item])


def test_safe() -> None:
    """The safe methods, wherever they go."""
    assert [SAFE.allows(method, "/a/../b") for method in ("GET", "HEAD", "OPTIONS", "POST", "get")] == [True] * 3 + [
        False
    ] * 2


@pytest.mark.parametrize(
    ("method", "path", "may"),
    [
        ("PUT", "/x", True),
        ("POST", "/orders", True),
        ("POST", "/orders/7?a=/..", True),
        ("POST", "//Orders", True),
        ("POST", "/%6frders", True),
        ("POST", "/x/../y", True),
        ("POST", "/x%2fy", True),
        ("POST", "/ordersx", False),
        ("POST", "/x?/orders", False),
        ("DELETE", "/orders", False),
    ],
)
def test_in_doubt(method: str, path: str, may: bool) -> None:
    """A path that some server may read as one below the prefix counts."""
    assert parse_methods(["PUT", "POST /orders"]).may_mean(method, path) == may

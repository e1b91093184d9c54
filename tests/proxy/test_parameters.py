"""The query's parameters: those of one name are replaced, and nothing else changes."""

import pytest

from credential_injector.proxy import parameters


@pytest.mark.parametrize(
    ("path", "replaced", "removed"),
    [
        ("/a", "/a?key=new", "/a"),
        ("/a?", "/a?key=new", "/a?"),
        ("/a?x=1", "/a?x=1&key=new", "/a?x=1"),
        ("/a?key=old", "/a?key=new", "/a"),
        ("/a?key", "/a?key=new", "/a"),
        ("/a?key=", "/a?key=new", "/a"),
        ("/a?x=%2f&key=old&y=+%20&key=older", "/a?x=%2f&key=new&y=+%20", "/a?x=%2f&y=+%20"),
        ("/a?key=old&x=1", "/a?key=new&x=1", "/a?x=1"),
        ("/a?k%65y=old&x=1", "/a?key=new&x=1", "/a?x=1"),
        # Servers that read no semicolon as a separator would take it for a part of a value.
        ("/a?x=1;key=old", "/a?x=1&key=new", "/a?x=1"),
        ("/a?key=old;x=1;key;y&key=older", "/a?key=new&x=1;y", "/a?x=1;y"),
        ("/a?x=1;y=2&key=old", "/a?x=1;y=2&key=new", "/a?x=1;y=2"),
        ("/a?+key=old&%20key=old", "/a?+key=old&%20key=old&key=new", "/a?+key=old&%20key=old"),
        ("/a?KEY=old", "/a?KEY=old&key=new", "/a?KEY=old"),
        ("/a?keys=1&x=key", "/a?keys=1&x=key&key=new", "/a?keys=1&x=key"),
        ("/a?&&x", "/a?&&x&key=new", "/a?&&x"),
        ("/a?x=1#y", "/a?x=1&key=new#y", "/a?x=1#y"),
        ("/key=1?x=a?b", "/key=1?x=a?b&key=new", "/key=1?x=a?b"),
        ("/a?x=\u20ac", "/a?x=\u20ac&key=new", "/a?x=\u20ac"),
    ],
)
def test_replaced(path: str, replaced: str, removed: str) -> None:
    """The first one of a name has the new value, and the others of that name are gone, however it is written."""
    assert parameters.replaced(path.encode(), b"key", b"new").decode() == replaced
    assert parameters.replaced(path.encode(), b"key", None).decode() == removed


def test_name() -> None:
    """A name is encoded where it has to be."""
    assert parameters.replaced(b"/a?a%26b=1", b"a&b", b"2") == b"/a?a%26b=2"
    assert parameters.replaced(b"/a", b"filter[key]", b"2") == b"/a?filter[key]=2"


def test_without() -> None:
    """Those of which something holds go, with the separator before them."""
    assert parameters.without(b"/a?x=1&y=2&z=1", lambda part: part.endswith(b"1")) == b"/a?y=2"
    assert parameters.without(b"/a?x=1", lambda part: part.endswith(b"1")) == b"/a"
    assert parameters.without(b"/a?", lambda _: False) == b"/a?"


def test_each() -> None:
    """Each one may become another, and what separates them stays."""
    assert parameters.each(b"/a=1?a=1;b=2&a=3#c", lambda part: part.replace(b"a", b"b")) == b"/a=1?b=1;b=2&b=3#c"

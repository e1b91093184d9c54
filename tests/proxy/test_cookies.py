"""A request's cookies: those of one name are replaced, and nothing else changes."""

import pytest

from credential_injector.proxy import cookies

ACCEPT = ("Accept", "*/*")


@pytest.mark.parametrize(
    ("sent", "replaced", "removed"),
    [
        ([], [("Cookie", "sid=new")], []),
        ([("Cookie", "a=1")], [("Cookie", "a=1; sid=new")], [("Cookie", "a=1")]),
        ([("Cookie", "sid=old")], [("Cookie", "sid=new")], []),
        ([("cookie", "a=1; sid=old; b=2")], [("cookie", "a=1; sid=new; b=2")], [("cookie", "a=1; b=2")]),
        ([("Cookie", "sid=old; b=2")], [("Cookie", "sid=new; b=2")], [("Cookie", "b=2")]),
        ([("Cookie", "sid=1;sid=2;c")], [("Cookie", "sid=new;c")], [("Cookie", "c")]),
        ([("Cookie", 'a="x=y"; SID=1')], [("Cookie", 'a="x=y"; SID=1; sid=new')], [("Cookie", 'a="x=y"; SID=1')]),
        (
            [("cookie", "a=1"), ACCEPT, ("cookie", "sid=old"), ("cookie", "sid=older"), ("cookie", "b=2")],
            [("cookie", "a=1"), ACCEPT, ("cookie", "sid=new"), ("cookie", "b=2")],
            [("cookie", "a=1"), ACCEPT, ("cookie", "b=2")],
        ),
        # As Django, Express and Go read it.
        ([("Cookie", "sid =old; a=1;\tsid= x")], [("Cookie", "sid=new; a=1")], [("Cookie", "a=1")]),
        ([("Cookie", "")], [("Cookie", "sid=new")], [("Cookie", "")]),
    ],
)
def test_replaced(sent: list[tuple[str, str]], replaced: list[tuple[str, str]], removed: list[tuple[str, str]]) -> None:
    """The first one of a name has the new value, and the others of that name are gone."""
    fields = tuple((name.encode(), value.encode()) for name, value in sent)

    def changed(value: bytes | None) -> list[tuple[str, str]]:
        return [(name.decode(), text.decode()) for name, text in cookies.replaced(fields, b"sid", value)]

    assert changed(b"new") == replaced
    assert changed(None) == removed


def test_read() -> None:
    """Each pair of each field."""
    fields = ((b"Cookie", b"a=1;b = 2;c"), (b"Accept", b"d=4"), (b"cookie", b"e=5=6"))
    assert list(cookies.read(fields)) == [(b"a", b"1"), (b"b", b"2"), (b"c", b""), (b"e", b"5=6")]


def test_each() -> None:
    """Each one may become another, with the spaces around it."""
    assert cookies.each(b"a=1; b;a=2", lambda pair: pair.replace(b"a", b"c")) == b"c=1; b;c=2"

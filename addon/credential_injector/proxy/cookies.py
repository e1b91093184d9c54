"""The cookies of a request: their bytes stay as the client wrote them, but for those that are replaced. Pure."""

from collections.abc import Callable, Iterable, Iterator

Fields = tuple[tuple[bytes, bytes], ...]


def read(fields: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Each cookie's name and value. HTTP/2 may send each one in a field of its own (RFC 9113 section 8.2.3)."""
    for name, value in fields:
        if len(name) == 6 and name.lower() == b"cookie":
            for pair in value.split(b";"):
                key, _, content = pair.partition(b"=")
                yield key.strip(), content.strip()


def replaced(fields: Fields, name: bytes, value: bytes | None, header: bytes = b"Cookie") -> Fields:
    """The fields with this cookie once, at the place of the first one of its name; without it where `value` is None.

    Where there is none, it goes behind the other cookies, in their field: many servers read one field only.
    """
    new: list[bytes] = [] if value is None else [b"%b=%b" % (name, value)]

    def kept(pair: bytes) -> bytes | None:
        if pair.partition(b"=")[0].strip() != name:  # as servers read it, but for its spaces
            return pair
        return new.pop() if new else None

    fields = _mapped(fields, kept)
    if not new:
        return fields
    last = max((number for number, (key, _) in enumerate(fields) if key.lower() == b"cookie"), default=None)
    if last is None:
        return (*fields, (header, new[0]))
    key, others = fields[last]
    return (*fields[:last], (key, b"%b; %b" % (others, new[0]) if others.strip() else new[0]), *fields[last + 1 :])


def without(value: bytes, holds: Callable[[bytes], bool]) -> bytes:
    """The value of a Cookie header without the cookies of which this holds."""
    return _pairs(value, lambda pair: None if holds(pair) else pair)


def each(value: bytes, changed: Callable[[bytes], bytes]) -> bytes:
    """The value of a Cookie header with each cookie as this changes it."""
    return b";".join(map(changed, value.split(b";")))


def _mapped(fields: Fields, kept: Callable[[bytes], bytes | None]) -> Fields:
    made = []
    for key, value in fields:
        if key.lower() != b"cookie":
            made.append((key, value))
        elif (left := _pairs(value, kept)) == value or left.strip():
            made.append((key, left))
    return tuple(made)


def _pairs(value: bytes, kept: Callable[[bytes], bytes | None]) -> bytes:
    made = []
    for pair in value.split(b";"):
        if (left := kept(pair)) is not None:
            space = pair[: len(pair) - len(pair.lstrip())] if left is not pair else b""
            made.append(space + left)
    return b";".join(made).lstrip() if made and not value[:1].isspace() else b";".join(made)

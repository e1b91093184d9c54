"""A credential -> the placeholder that hides it: `<qa sha256:ab12cd34ef56>`, or `<qa secret>`."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from credential_injector.oauth.fingerprints import fingerprint
from credential_injector.proxy import cookies, parameters

LONGEST_PREFIX = 8  # words; trying each one costs a hash
SHORTEST_SECRET = 8  # characters; a shorter one may stand elsewhere by chance, and is masked in its own header only

_BACKSLASH = rb"(?:\\|%(?:25)*5[Cc])"


class Headers(Protocol):
    """The part of mitmproxy's headers that is needed here."""

    fields: tuple[tuple[bytes, bytes], ...]


class Mask(NamedTuple):
    """A secret, and what is shown instead."""

    header: str
    """In which it was sent; lower case."""
    secret: str
    placeholder: str


def mask_of(environment: str, header: str, secret: str, label: str) -> Mask:
    """The mask of an environment's credential. Each secret of an environment needs its own label: see `show`."""
    # In a query a plus sign is a space, and a space would end the URL.
    space = "+" if header == ":path" else " "
    return Mask(header.lower(), secret, f"<{environment} {label}>".replace(" ", space))


def unnamed(header: str = "") -> str:
    """The label of a secret that a person chose: a fingerprint would let a thief of the key try such secrets out.

    `header` is that of a secret which goes beside a token.
    """
    return f"secret {header}" if header else "secret"


def find(headers: Headers, environment: str, sought: str) -> Mask | None:
    """The mask of the credential with this fingerprint; None where no header holds it, behind a prefix or none."""
    for name, value in headers.fields:
        for credential in endings(_text(value)):
            if fingerprint(credential) == sought:
                return mask_of(environment, name.decode("latin-1"), credential, sought)
    return None


def values(headers: Headers, header: str) -> list[str]:
    """The values of a header, one for each time that it is there."""
    lower = header.lower().encode()
    return [_text(value) for name, value in headers.fields if name.lower() == lower]


def endings(value: str) -> list[str]:
    """A header's value, and what is left of it behind each word of a prefix."""
    words = value.split(" ")
    return [" ".join(words[start:]) for start in range(min(len(words), LONGEST_PREFIX))]


def hide(headers: Headers, masks: Iterable[Mask], *, escaped: bool = True) -> None:
    """Put the placeholders in the credentials' place.

    With `escaped`, in the place of their escaped forms, too; `show` cannot undo that.
    """
    for mask in masks:
        _replace(headers, mask, mask.placeholder, mask.secret)
        if not escaped:
            _replace(headers, mask, mask.secret, mask.placeholder)
        elif any(_reaches(mask, name) and _holds(value, mask.secret) for name, value in headers.fields):
            headers.fields = tuple(
                (name, _masked_in(name, value, mask) if _reaches(mask, name) else value)
                for name, value in headers.fields
            )


def show(headers: Headers, masks: Iterable[Mask]) -> None:
    """Put the credentials back."""
    for mask in masks:
        _replace(headers, mask, mask.placeholder, mask.secret)


def drop(headers: Headers, masks: Iterable[Mask]) -> None:
    """Remove every header that holds one of the credentials, in whatever form, or its placeholder.

    Of a request's path and of a Cookie header only the parameter or the cookie is removed.
    """
    for mask in masks:
        headers.fields = tuple(
            (name, left)
            for name, value in headers.fields
            if (left := _without(name, value, mask) if _reaches(mask, name) else value) is not None
        )


def _without(name: bytes, value: bytes, mask: Mask) -> bytes | None:
    def holds(part: bytes) -> bool:
        return _bytes(mask.placeholder) in part or _holds(part, mask.secret)

    def is_one(part: bytes) -> bool:
        return any(_is(part, _bytes(own)) for own in (mask.secret, mask.placeholder))

    if not holds(value):
        return value
    one = is_one if _is_short(mask) else holds
    match name.lower():
        case b":path":
            return parameters.without(value, one)
        case b"cookie":
            left = cookies.without(value, one)
            # It may be several cookies (HEADER_Cookie=a=1; b=2).
            return None if not left or value == _bytes(mask.secret) or (one is holds and holds(left)) else left
    return None


def masked(value: Any, masks: Iterable[Mask]) -> Any:
    """A text, or whatever is made of texts, with the placeholders in the secrets' place, however deep they are."""
    match value:
        case str():
            # It may hold any surrogate, while headers hold only those that stand for a byte.
            before = value.encode("utf-8", "surrogatepass")
            after = masked(before, masks)
            return value if after == before else after.decode("utf-8", "surrogatepass")
        case bytes():
            for mask in masks:
                if len(mask.secret) >= SHORTEST_SECRET:
                    value = _masked(value, mask)
        case dict():
            value = {key: masked(part, masks) for key, part in value.items()}
        case list() | tuple():
            value = type(value)(masked(part, masks) for part in value)
    return value


@lru_cache(maxsize=1024)
def _forms(secret: str) -> tuple[bytes, re.Pattern[bytes]]:
    """The longest piece of a secret that no encoder touches, and a pattern of the secret in all of its escaped forms.

    Percent-encoding (RFC 3986 section 2.1) and JSON's escapes (RFC 8259 section 7), once or, as of a URL inside a URL,
    several times: `/` may stand there as `%2F`, `%252f`, `\\/`, `\\u002F`. Not base64.
    """
    pieces = re.findall(rb"[A-Za-z0-9]+|\\+|[^\\]", _bytes(secret))
    pattern = b"".join(piece if piece.isalnum() else _escaped(piece) for piece in pieces)
    return max((piece for piece in pieces if piece.isalnum()), key=len, default=b""), re.compile(pattern)


def _escaped(piece: bytes) -> bytes:
    code = piece[0]
    if code == ord("\\"):  # each escape doubles it
        return rb"(?:%b|(?i:\\u005c))+" % _BACKSLASH
    return rb"(?:%b*(?:%b|(?i:%%(?:25)*%02x))|%b+(?i:u00%02x))" % (_BACKSLASH, re.escape(piece), code, _BACKSLASH, code)


def _holds(value: bytes, secret: str) -> bool:
    """Whether a text holds the secret, in whatever form."""
    return _bytes(secret) in value or (_may_hold(value, secret) and _forms(secret)[1].search(value) is not None)


def _masked(value: bytes, mask: Mask) -> bytes:
    placeholder = _bytes(mask.placeholder)
    value = value.replace(_bytes(mask.secret), placeholder)
    return _forms(mask.secret)[1].sub(lambda _: placeholder, value) if _may_hold(value, mask.secret) else value


def _may_hold(value: bytes, secret: str) -> bool:
    """Whether an escaped form is worth looking for, which takes far longer."""
    return (b"%" in value or b"\\" in value) and _forms(secret)[0] in value


def _reaches(mask: Mask, name: bytes) -> bool:
    """Whether the mask counts in the header of this name."""
    return not _is_short(mask) or name.lower() == mask.header.encode()


def _is_short(mask: Mask) -> bool:
    return len(mask.secret) < SHORTEST_SECRET


def _replace(headers: Headers, mask: Mask, old: str, new: str) -> None:
    before, after = _bytes(old), _bytes(new)
    if any(before in value and _reaches(mask, name) for name, value in headers.fields):
        headers.fields = tuple(
            (name, _replaced(name, value, mask, before, after) if _reaches(mask, name) else value)
            for name, value in headers.fields
        )


def _replaced(name: bytes, value: bytes, mask: Mask, old: bytes, new: bytes) -> bytes:
    each = _EACH.get(name.lower()) if _is_short(mask) else None
    if each is None or value == old:
        return value.replace(old, new)
    return each(value, lambda part: part.replace(old, new) if _is(part, old) else part)


def _masked_in(name: bytes, value: bytes, mask: Mask) -> bytes:
    if _is_short(mask) and name.lower() in _EACH:
        return _replaced(name, value, mask, _bytes(mask.secret), _bytes(mask.placeholder))
    return _masked(value, mask)


_EACH: Mapping[bytes, Callable[[bytes, Callable[[bytes], bytes]], bytes]] = {
    b":path": parameters.each,
    b"cookie": cookies.each,
}
"""The fields of many parts, of which a short secret is one."""


def _is(part: bytes, secret: bytes) -> bool:
    """Whether this is a parameter's or a cookie's value, or all of it."""
    return secret in (part.strip(), part.partition(b"=")[2].strip())


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")

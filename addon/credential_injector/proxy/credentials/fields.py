"""The fields of a request's headers."""

from typing import Protocol

from credential_injector.proxy.masking import Headers

_HTTP2 = (b"HTTP/2.0", b"HTTP/3")  # as mitmproxy writes them


class _Versioned(Protocol):
    http_version: bytes


def is_http2(request: _Versioned) -> bool:
    """Whether names of headers are in lower case: HTTP/2 and 3."""
    return request.http_version in _HTTP2


def drop_header(headers: Headers, name: str) -> None:
    """Remove a header."""
    lower = name.lower().encode()
    headers.fields = tuple(field for field in headers.fields if field[0].lower() != lower)


def set_header(headers: Headers, name: bytes, value: bytes) -> None:
    """Put a value into a header, in the place of all that stands there."""
    lower = name.lower()
    fields: list[tuple[bytes, bytes]] = []
    new: tuple[bytes, bytes] | None = (name, value)
    for field in headers.fields:
        if field[0].lower() != lower:
            fields.append(field)
        elif new is not None:
            fields.append((field[0], value))
            new = None
    headers.fields = (*fields, new) if new is not None else tuple(fields)

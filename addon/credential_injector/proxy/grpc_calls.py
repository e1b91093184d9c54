"""gRPC, whose calls have a status of their own: to HTTP, each is a POST that is answered with 200.

It stands in the answer's trailers, or, where no message came before it, in the headers ("Trailers-Only" in
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
"""

from base64 import b64encode
from enum import IntEnum
from typing import Any, Protocol
from urllib.parse import quote

from mitmproxy import http

KIND = "application/grpc"
_WEB = f"{KIND}-web"
_WEB_TEXT = f"{_WEB}-text"
_TRAILERS = b"\x80"  # of gRPC-Web: the message that follows holds the trailers
# Of ASCII, all but the percent sign is sent as it is.
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class Status(IntEnum):
    """Why we block a call. No client tries these again by itself: each would wait long, and hide the reason."""

    PERMISSION_DENIED = 7
    INTERNAL = 13
    UNAUTHENTICATED = 16


_AS_HTTP = {Status.UNAUTHENTICATED: 401, Status.PERMISSION_DENIED: 403}


class Answer(Protocol):
    """What is looked at here."""

    @property
    def status_code(self) -> int:
        """HTTP's."""

    @property
    def headers(self) -> Any:
        """A mapping."""

    @property
    def trailers(self) -> Any:
        """A mapping; None where there are none, or not yet."""


def is_call(message: http.Message) -> bool:
    """Whether a request or an answer is one of gRPC or gRPC-Web."""
    return str(message.headers.get("content-type", "")).lower().startswith(KIND)


def status(answer: Answer) -> int | None:
    """The status of a call; None where it is none, or where its trailers are not there yet or stand in the body."""
    if answer.status_code != 200 or not answer.headers.get("content-type", "").lower().startswith(KIND):
        return None
    for fields in (answer.headers, answer.trailers):
        if fields is not None and (value := fields.get("grpc-status", "")).isdecimal() and len(value) < 10:
            return int(value)
    return None


def as_http(answer: Answer) -> int:
    """The status that the answer would have without gRPC, as far as that is about the credential."""
    if answer.status_code != 200 or (own := status(answer)) is None:
        return answer.status_code
    return _AS_HTTP.get(own, 200)  # type: ignore[call-overload, no-any-return]  # a plain number is a Status's equal


def shown(answer: Answer) -> str:
    """The status as people read it: `401`, `grpc 16`."""
    own = status(answer)
    return str(answer.status_code) if own is None else f"grpc {own}"


def refusal(request: http.Request, why: Status, line: str) -> http.Response:
    """The answer to a call that is blocked."""
    kind = request.headers["content-type"]
    trailers = {"grpc-status": str(int(why)), "grpc-message": quote(line, safe=_PLAIN)}
    headers = {"content-type": kind, "cache-control": "no-store"}
    if not kind.lower().startswith(_WEB):
        return http.Response.make(200, b"", headers | trailers)
    block = "".join(f"{name}: {value}\r\n" for name, value in trailers.items()).encode()
    body = _TRAILERS + len(block).to_bytes(4, "big") + block
    return http.Response.make(200, b64encode(body) if kind.lower().startswith(_WEB_TEXT) else body, headers)

"""gRPC, whose calls have a status of their own: to HTTP, each is a POST that is answered with 200.

It stands in the answer's trailers, or, where no message came before it, in the headers ("Trailers-Only" in
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
"""

from enum import IntEnum
from typing import Any, Protocol

KIND = "application/grpc"


class Status(IntEnum):
    """Why we block a call. No client tries these again by itself: each would wait long, and hide the reason."""

    PERMISSION_DENIED = 7
    INTERNAL = 13
    UNAUTHENTICATED = 16


_AS_HTTP = {Status.UNAUTHENTICATED: 401, Status.PERMISSION_DENIED: 403}


class Message(Protocol):
    """What is looked at here of a request."""

    @property
    def headers(self) -> Any:
        """A mapping."""


class Answer(Message, Protocol):
    """What is looked at here of an answer."""

    @property
    def status_code(self) -> int:
        """HTTP's."""

    @property
    def trailers(self) -> Any:
        """A mapping; None where there are none, or not yet."""


def is_call(message: Message) -> bool:
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

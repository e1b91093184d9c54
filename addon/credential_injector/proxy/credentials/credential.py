"""How a token goes into a request, and what the API says to it.

A credential sees a request and its answer, and awaits nothing.
"""

import re
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from credential_injector.oauth import jwt_claims
from credential_injector.oauth.jwt_claims import JwtClaims
from credential_injector.oauth.schemes import SCHEMES
from credential_injector.oauth.token import AccessToken
from credential_injector.proxy import grpc_calls
from credential_injector.proxy.grpc_calls import Answer
from credential_injector.proxy.masking import Headers, Mask

LONGEST_SENT = 65536  # bytes of what a client sends that are looked at and remembered; no server takes as many

_INSUFFICIENT_SCOPE = re.compile(r'error="?insufficient_scope', re.IGNORECASE)  # RFC 6750 section 3.1


class Again(Enum):
    """What the answer to a request with a credential asks for."""

    NO = "no"
    SAME_TOKEN = "same token"  # noqa: S105 - not a password
    """As with another proof."""
    NEW_TOKEN = "new token"  # noqa: S105 - not a password


class Carrier(Protocol):
    """What a credential may stand in: mitmproxy's `request.data`, whose parts can be replaced."""

    path: bytes
    """With its query."""

    @property
    def headers(self) -> Headers:
        """They can be replaced."""


class Request(Carrier, Protocol):
    """What a credential needs of a request."""

    http_version: bytes
    """`HTTP/1.1`, `HTTP/2.0` or `HTTP/3`."""


class Signed(Request, Protocol):
    """What a signature covers."""

    method: bytes
    content: bytes | None
    """The body; None: it is not there."""


class Before(NamedTuple):
    """What the client sent in a credential's place, and not its value."""

    scheme: str
    """Its authentication scheme, as `scheme` tells it."""
    claims: JwtClaims | None = None
    """What it says of itself; None: it is no JWT."""


class Credential(Protocol):
    """How an environment's token goes into a request, and what the API says to it."""

    @property
    def place(self) -> str:
        """Where it goes, as messages name it."""

    @property
    def label(self) -> str:
        """The word for it in a flow's headline: its prefix, else its place."""

    def apply(self, request: Request, token: AccessToken) -> Before | None:
        """Write it into the request. Returns what the client sent in its place, as `found_in`.

        Raises NoToken where its place cannot hold this one.
        """

    @property
    def signs(self) -> tuple[str, ...]:
        """The headers that `sign` writes; none for most credentials."""

    def sign(self, request: Signed, token: AccessToken, url: str, now: float) -> str | None:
        """Sign the request as it leaves for this URL, at `now` (unix seconds). Returns why that cannot be."""

    def learn(self, answer: Answer, url: str) -> None:
        """Take note of what the API wants of the next signature."""

    def found_in(self, request: Carrier) -> Before | None:
        """What the client sent in its place; None where it sent nothing."""

    def remove(self, request: Carrier) -> None:
        """Remove whatever stands in its place."""

    def is_in(self, request: Carrier, token: AccessToken) -> bool:
        """Whether it is still where `apply` wrote it."""

    def masks(self, token: AccessToken) -> tuple[Mask, ...]:
        """Of all the secrets that `apply` writes."""

    def fingerprint(self, token: AccessToken) -> str | None:
        """What may be shown of a token. None: a person chose it, so that it could be found by trying."""

    def described(self, token: AccessToken) -> str:
        """What `apply` writes, without a secret: `Authorization: Bearer <sha256:…>`, a line each."""

    def record(self, token: AccessToken, into: dict[str, Any]) -> None:
        """Write into a flow's record what `earlier_masks` needs, with the token's fingerprint as `token`."""

    def answered(self, answer: Answer, url: Callable[[], str]) -> Again:
        """Whether the API refused the token. `url` tells where the request went."""


@lru_cache(maxsize=64)
def sent(value: bytes) -> Before:
    """What a header's value tells of itself.

    Cached: a client sends the same one again and again, and reading a JWT takes longer than all the rest.
    """
    text = value.decode("utf-8", "surrogateescape")
    return Before(scheme(text), jwt_claims.read(without_scheme(text)))


def scheme(value: str) -> str:
    """The authentication scheme of a header value (RFC 9110 section 11.1), or `another value`."""
    return SCHEMES.get(value.partition(" ")[0].lower(), "another value")


def without_scheme(value: str) -> str:
    """What stands behind the authentication scheme of a header value; all of it where that is no known scheme."""
    first, _, rest = value.partition(" ")
    return rest if first.lower() in SCHEMES else value


def refused(answer: Answer) -> Again:
    """Whether an API refuses a token as RFC 6750 has it."""
    if grpc_calls.as_http(answer) != 401:
        return Again.NO
    # A token that lacks a scope is a good one; the next one would lack it, too.
    lacks_scope = _INSUFFICIENT_SCOPE.search(answer.headers.get("www-authenticate", ""))
    return Again.NO if lacks_scope else Again.NEW_TOKEN

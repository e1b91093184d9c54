"""What goes into a request: the only code that knows where a token is written there.

A credential sees a request and its answer, and awaits nothing.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from credential_injector.environments.environment import Environment
from credential_injector.oauth import fingerprints, jwt_claims
from credential_injector.oauth.grants import FIXED
from credential_injector.oauth.jwt_claims import JwtClaims
from credential_injector.oauth.schemes import SCHEMES
from credential_injector.oauth.token import AccessToken
from credential_injector.proxy import grpc_calls, masking
from credential_injector.proxy.grpc_calls import Answer
from credential_injector.proxy.masking import Headers, Mask

LONGEST_SENT = 65536  # bytes of what a client sends that are looked at and remembered; no server takes as many

_HTTP2 = ("HTTP/2.0", "HTTP/3")  # as mitmproxy writes them
_INSUFFICIENT_SCOPE = re.compile(r'error="?insufficient_scope', re.IGNORECASE)  # RFC 6750 section 3.1


class Again(Enum):
    """What the answer to a request with a credential asks for."""

    NO = "no"
    NEW_TOKEN = "new token"  # noqa: S105 - not a password


class Carrier(Protocol):
    """Anything that has a request's headers."""

    @property
    def headers(self) -> Headers:
        """They can be replaced."""


class Request(Carrier, Protocol):
    """What a credential needs of a request."""

    @property
    def http_version(self) -> str:
        """`HTTP/1.1`, `HTTP/2.0` or `HTTP/3`."""


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
        """Write it into the request. Returns what the client sent in its place, as `found_in`."""

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

    def answered(self, answer: Answer) -> Again:
        """Whether the API refused the token."""


class HeaderCredential:
    """A token in a header, behind a prefix or none, and maybe further headers of the environment beside it."""

    __slots__ = ("_extra", "_extra_http2", "_fixed", "_header", "_header_http2", "_name", "_prefix", "label", "place")

    def __init__(self, environment: Environment) -> None:
        self.place = environment.header
        self.label = environment.prefix or environment.header
        self._name = environment.name
        self._fixed = environment.token_request.grant_type in FIXED
        self._prefix = f"{environment.prefix} " if environment.prefix else ""
        self._header = environment.header.encode()
        self._header_http2 = self._header.lower()  # RFC 9113 section 8.2: upper case is malformed there
        self._extra = environment.extra_headers
        self._extra_http2 = tuple((name.lower(), value) for name, value in self._extra)

    def apply(self, request: Request, token: AccessToken) -> Before | None:
        """As in Credential."""
        http2 = request.http_version in _HTTP2
        replaced, headers = self.found_in(request), request.headers
        field = self._header_http2 if http2 else self._header, (self._prefix + token.value).encode()
        if replaced is None:
            headers.fields += (field,)
        else:
            _set(headers, *field)
        for name, value in self._extra_http2 if http2 else self._extra:
            _set(headers, name.encode(), value.encode())
        return replaced

    def headers(self, token: AccessToken) -> dict[str, str]:
        """The headers as the API gets them."""
        return {self.place: self._prefix + token.value, **dict(self._extra)}

    def found_in(self, request: Carrier) -> Before | None:
        """As in Credential."""
        lower = self._header_http2
        length = len(lower)
        for field, value in request.headers.fields:
            if len(field) == length and field.lower() == lower:
                return _sent(value[:LONGEST_SENT])
        return None

    def remove(self, request: Carrier) -> None:
        """As in Credential."""
        for name in (self.place, *dict(self._extra)):
            _drop(request.headers, name)

    def is_in(self, request: Carrier, token: AccessToken) -> bool:
        """As in Credential."""
        return masking.carries(request.headers, self.masks(token)[0])

    def masks(self, token: AccessToken) -> tuple[Mask, ...]:
        """As in Credential."""
        label = self.fingerprint(token) or masking.unnamed()
        return (
            masking.mask_of(self._name, self.place, token.value, label),
            *(masking.mask_of(self._name, name, value, masking.unnamed(name)) for name, value in self._extra),
        )

    def fingerprint(self, token: AccessToken) -> str | None:
        """As in Credential."""
        return None if self._fixed else token.fingerprint

    def described(self, token: AccessToken) -> str:
        """As in Credential."""
        shown = "secret" if self._fixed else token.fingerprint
        return "\n".join([f"{self.place}: {self._prefix}<{shown}>", *(f"{name}: <secret>" for name, _ in self._extra)])

    def record(self, token: AccessToken, into: dict[str, Any]) -> None:
        """As in Credential."""
        into["header"] = self.place
        if not self._fixed:
            into["token"], into["token_length"] = token.fingerprint, len(token.value)
        if self._extra:
            into["headers"] = [name for name, _ in self._extra]

    def answered(self, answer: Answer) -> Again:
        """As in Credential."""
        if grpc_calls.as_http(answer) != 401:
            return Again.NO
        # A token that lacks a scope is a good one; the next one would lack it, too.
        lacks_scope = _INSUFFICIENT_SCOPE.search(answer.headers.get("www-authenticate", ""))
        return Again.NO if lacks_scope else Again.NEW_TOKEN


# --- What an earlier run wrote, by the record in the flow's metadata (see record.was_injected) ------------------------


def is_recorded(record: Mapping[str, Any]) -> bool:
    """Whether a record holds what the functions below need. What was read from a file may hold anything."""
    names = record.get("headers", [])
    return (
        isinstance(record.get("header", ""), str)
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
    )


def take_back(headers: Headers, record: Mapping[str, Any]) -> None:
    """Remove an earlier credential, or its mask, from a request that is replayed: it may go elsewhere by now."""
    for name in record.get("headers", []):
        _drop(headers, name)
    token, length, masks = record["token"], record.get("token_length"), earlier_masks(headers, record)
    # What is of another length is none of ours: a person has put it in the token's place, and it stays.
    if not isinstance(length, int) or any(
        len(mask.secret) == length or fingerprints.fingerprint(mask.secret) == token for mask in masks
    ):
        masking.drop(headers, masks)
    placeholder = masking.mask_of(record["environment"], "", "", token or masking.unnamed()).placeholder
    masking.drop(headers, [Mask("", placeholder, placeholder)])


def earlier_masks(headers: Headers, record: Mapping[str, Any]) -> list[Mask]:
    """The masks of an earlier credential, as far as it is not masked yet.

    Where no header holds the token's fingerprint (it has none, or was made with the key of another user), that is
    whatever stands in the token's own header.
    """
    environment, token = record["environment"], record["token"]
    found = masking.find(headers, environment, token) if token is not None else None
    masks = [found] if found is not None else []
    if found is None:
        header, label = record.get("header", "Authorization"), token or masking.unnamed()
        # The prefix may be any: all of the secret may stand behind each of the words.
        masks += _masks(headers, environment, header, label, lambda value: masking.endings(without_scheme(value)))
    for name in record.get("headers", []):
        masks += _masks(headers, environment, name, masking.unnamed(name), lambda value: [value])
    return masks


@lru_cache(maxsize=64)
def _sent(value: bytes) -> Before:
    """Cached: a client sends the same one again and again, and reading a JWT takes longer than all the rest."""
    text = value.decode("utf-8", "surrogateescape")
    return Before(scheme(text), jwt_claims.read(without_scheme(text)))


def scheme(value: str) -> str:
    """The authentication scheme of a header value (RFC 9110 section 11.1), or `another value`."""
    return SCHEMES.get(value.partition(" ")[0].lower(), "another value")


def without_scheme(value: str) -> str:
    """What stands behind the authentication scheme of a header value; all of it where that is no known scheme."""
    first, _, rest = value.partition(" ")
    return rest if first.lower() in SCHEMES else value


def _masks(
    headers: Headers, environment: str, header: str, label: str, secrets: Callable[[str], list[str]]
) -> list[Mask]:
    """The masks of the secrets in this header, where they are not masked yet."""
    placeholder = masking.mask_of(environment, header, "", label).placeholder
    return [
        masking.mask_of(environment, header, secret, label)
        for value in masking.values(headers, header)
        if placeholder not in value
        for secret in secrets(value)
        if secret
    ]


def _drop(headers: Headers, name: str) -> None:
    lower = name.lower().encode()
    headers.fields = tuple(field for field in headers.fields if field[0].lower() != lower)


def _set(headers: Headers, name: bytes, value: bytes) -> None:
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

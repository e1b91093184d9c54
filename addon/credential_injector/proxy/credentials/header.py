"""A token in a header."""

import re
from typing import Any

from credential_injector.environments.environment import Environment
from credential_injector.oauth.grants import FIXED
from credential_injector.oauth.token import AccessToken
from credential_injector.proxy import grpc_calls, masking
from credential_injector.proxy.credentials.credential import LONGEST_SENT, Again, Before, Carrier, Request, sent
from credential_injector.proxy.credentials.fields import drop_header, set_header
from credential_injector.proxy.grpc_calls import Answer
from credential_injector.proxy.masking import Mask

_HTTP2 = (b"HTTP/2.0", b"HTTP/3")  # as mitmproxy writes them
_INSUFFICIENT_SCOPE = re.compile(r'error="?insufficient_scope', re.IGNORECASE)  # RFC 6750 section 3.1


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
            set_header(headers, *field)
        for name, value in self._extra_http2 if http2 else self._extra:
            set_header(headers, name.encode(), value.encode())
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
                return sent(value[:LONGEST_SENT])
        return None

    def remove(self, request: Carrier) -> None:
        """As in Credential."""
        for name in (self.place, *dict(self._extra)):
            drop_header(request.headers, name)

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

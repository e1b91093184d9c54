"""A token that is bound to a key, with a proof of that key for each request (RFC 9449 section 7)."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from credential_injector.environments.environment import Environment
from credential_injector.oauth import dpop
from credential_injector.oauth.token import AccessToken
from credential_injector.proxy import grpc_calls
from credential_injector.proxy.credentials.credential import Again, Before, Carrier, Request, Signed
from credential_injector.proxy.credentials.fields import drop_header, is_http2, set_header
from credential_injector.proxy.credentials.placed import PlacedCredential
from credential_injector.proxy.grpc_calls import Answer
from credential_injector.proxy.masking import Mask

HEADER = "DPoP"
MOST_ORIGINS = 1000  # whose nonces are remembered: a wildcard covers any number
_WANTS_NONCE = re.compile(r'error="?use_dpop_nonce', re.IGNORECASE)  # RFC 9449 section 9


class DpopCredential:
    """As Credential."""

    signs = (HEADER,)

    def __init__(self, environment: Environment, placed: PlacedCredential) -> None:
        self._placed = placed
        self._key = environment.token_request.value("DPOP_KEY")
        self._nonces: dict[str, str] = {}
        """What each origin wants in the next proof."""
        self.place, self.label = placed.place, placed.label

    def apply(self, request: Request, token: AccessToken) -> Before | None:
        """As in Credential. The client's own proof is none of this key."""
        before = self._placed.apply(request, token)
        drop_header(request.headers, HEADER)
        return before

    def sign(self, request: Signed, token: AccessToken, url: str, now: float) -> str | None:
        """As in Credential."""
        nonce = self._nonces.get(_origin(url), "")
        made = dpop.proof(self._key, request.method.decode(), url, now, nonce=nonce, token=token.value)
        name = HEADER.lower() if is_http2(request) else HEADER
        set_header(request.headers, name.encode(), made.encode())
        return None

    def learn(self, answer: Answer, url: str) -> None:
        """As in Credential."""
        origin = _origin(url)
        if nonce := dpop.nonce_in(answer.headers):
            if len(self._nonces) >= MOST_ORIGINS:
                self._nonces.clear()
            self._nonces[origin] = nonce

    def answered(self, answer: Answer, url: Callable[[], str]) -> Again:
        """As in Credential. Without the nonce that the API wants, another request would fare no better."""
        if grpc_calls.as_http(answer) == 401 and _WANTS_NONCE.search(answer.headers.get("www-authenticate", "")):
            return Again.SAME_TOKEN if dpop.nonce_in(answer.headers) else Again.NO
        return self._placed.answered(answer, url)

    def found_in(self, request: Carrier) -> Before | None:
        """As in Credential."""
        return self._placed.found_in(request)

    def remove(self, request: Carrier) -> None:
        """As in Credential."""
        self._placed.remove(request)
        drop_header(request.headers, HEADER)

    def is_in(self, request: Carrier, token: AccessToken) -> bool:
        """As in Credential."""
        return self._placed.is_in(request, token)

    def masks(self, token: AccessToken) -> tuple[Mask, ...]:
        """As in Credential."""
        return self._placed.masks(token)

    def fingerprint(self, token: AccessToken) -> str | None:
        """As in Credential."""
        return self._placed.fingerprint(token)

    def described(self, token: AccessToken) -> str:
        """As in Credential."""
        return f"{self._placed.described(token)}\n{HEADER}: <proof of the key {dpop.thumbprint(self._key)[:12]}>"

    def record(self, token: AccessToken, into: dict[str, Any]) -> None:
        """As in Credential."""
        self._placed.record(token, into)
        into["headers"] = [*into.get("headers", []), HEADER]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"

"""How a client authenticates at the token endpoint: a row for each method (RFC 7591 section 2)."""

from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote_plus

from credential_injector.token_request import TokenRequest

Message = tuple[dict[str, str], str]
"""Headers and form."""


class Method(NamedTuple):
    """One client authentication method."""

    needs: tuple[str, ...]
    """Its keys in the environment file."""
    apply: Callable[[TokenRequest, str, float, Message], Message]
    """Authenticate a message to an endpoint (URL) at a time (unix seconds)."""
    may: tuple[str, ...] = ()
    """Its keys that may be left out."""
    certificate: bool = False
    """The client shows its certificate (RFC 8705 section 2)."""


# Authlib takes a while to import: with the first token request, not when mitmproxy starts.


def _authlib(method: str, encode: Callable[[str], str] = str) -> Callable[[TokenRequest, str, float, Message], Message]:
    def apply(request: TokenRequest, endpoint: str, _now: float, message: Message) -> Message:
        from authlib.oauth2.auth import ClientAuth

        if not request.client_id:
            return message
        client = ClientAuth(encode(request.client_id), encode(request.client_secret), method)
        _, headers, form = client.prepare("POST", endpoint, *message)  # type: ignore[no-untyped-call]
        return headers, form

    return apply


# The methods, in the order in which one is chosen where only the server's metadata tells which it supports.
METHODS: Mapping[str, Method] = {
    "client_secret_post": Method(("CLIENT_SECRET",), _authlib("client_secret_post")),
    # RFC 6749 section 2.3.1: id and secret are form-encoded before they are joined; Authlib joins them as they are.
    "client_secret_basic": Method(("CLIENT_SECRET",), _authlib("client_secret_basic", quote_plus)),
    "none": Method((), _authlib("none")),
}

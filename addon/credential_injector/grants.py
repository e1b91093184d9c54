"""What a client shows for a token: a row for each grant."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from credential_injector.token_request import Fields, TokenRequest


class Grant(NamedTuple):
    """One grant."""

    needs: tuple[str, ...]
    """Its keys in the environment file."""
    form: Callable[[TokenRequest, str, float], Fields]
    """The fields of a token request to an endpoint (URL) at a time (unix seconds), beside those of every grant."""
    may: tuple[str, ...] = ()
    """Its keys that may be left out."""


def _nothing(_request: TokenRequest, _endpoint: str, _now: float) -> Fields:
    return ()


GRANTS: Mapping[str, Grant] = {
    "client_credentials": Grant(("CLIENT_ID",), _nothing),  # RFC 6749 section 4.4
}

"""The query with which a browser comes back from a login -> the code in it (RFC 6749 section 4.1.2). Pure."""

import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from credential_injector.oauth.answers import error_code
from credential_injector.oauth.token import NoToken


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """What the answer must match."""

    state: str = field(repr=False)
    issuer: str
    """Who must have answered; empty where the file names no issuer."""
    names_issuer: bool
    """The issuer's metadata says that its answers name it (`authorization_response_iss_parameter_supported`)."""


def read_code(query: str, request: AuthorizationRequest) -> str:
    """The code that the authorization server sent.

    Raises ValueError for an answer to another request. Raises NoToken for an error, and for an answer that another
    server may have sent (RFC 9207 section 2.4).
    """
    parameters = parse_qsl(query, keep_blank_values=True)
    states = [value for name, value in parameters if name == "state"]
    if len(states) != 1 or not secrets.compare_digest(states[0].encode(), request.state.encode()):
        raise ValueError("state")
    said = dict(parameters)
    if len(said) != len(parameters):  # RFC 6749 section 3.1
        raise _malformed("with a parameter that is there twice")
    issuer = said.get("iss")
    if issuer == "":
        raise _malformed("with an empty iss")
    if issuer is None and request.names_issuer:
        raise _malformed("without the iss that its metadata promises")
    if issuer is not None and request.issuer and issuer != request.issuer:
        raise NoToken("issuer_mismatch", "another authorization server than ISSUER answered the login")
    if said.get("error"):
        raise NoToken(error_code(said) or "login_refused", "the authorization server refused the login")
    if not said.get("code"):
        raise NoToken("login_refused", "the authorization server answered the login without a code")
    return said["code"]


def _malformed(how: str) -> NoToken:
    return NoToken("invalid_authorization_response", f"the authorization server answered the login {how}")

"""What a client sends to get a token; one row per grant, and one per credential that is no OAuth2."""

import base64
from collections.abc import Callable, Mapping
from typing import NamedTuple

from credential_injector.oauth import pem
from credential_injector.oauth.request import Fields, TokenRequest

JWT_LIFETIME = 180.0  # seconds: the most that Salesforce takes; Google takes an hour


class Grant(NamedTuple):
    """One grant."""

    needs: tuple[str, ...]
    """The keys that it needs in the environment file."""
    form: Callable[[TokenRequest, str, float], Fields]
    """The fields that only this grant sends, to an endpoint (URL) at a time (unix seconds)."""
    may: tuple[str, ...] = ()
    """Further keys that it uses where they are given."""
    urn: str = ""
    """Its name in a token request, if that differs."""
    public: bool = False
    """A client without a secret uses the client authentication method none."""
    refreshes: bool = False
    """A token request sends the last refresh token, and its answer may bring the next one."""
    login_endpoint: str = ""
    """The key of the endpoint at which a person logs in. A login brings the first refresh token."""


def _nothing(_request: TokenRequest, _endpoint: str, _now: float) -> Fields:
    return ()


def _password(request: TokenRequest, _endpoint: str, _now: float) -> Fields:
    return ("username", request.value("USERNAME")), ("password", request.value("PASSWORD"))


def _refresh_token(request: TokenRequest, _endpoint: str, _now: float) -> Fields:
    return (("refresh_token", request.value("REFRESH_TOKEN")),)


def _jwt_bearer(request: TokenRequest, endpoint: str, now: float) -> Fields:
    from credential_injector.oauth.jwt import signed  # late, as it imports Authlib, which takes a while

    key = request.value("PRIVATE_KEY")
    assertion = signed(
        pem.jwk(key),
        algorithm=request.value("SIGNING_ALG") or pem.algorithms(key)[0],
        header={"kid": request.value("KEY_ID")} if request.value("KEY_ID") else {},
        issuer=request.value("JWT_ISSUER"),
        subject=request.value("JWT_SUBJECT"),
        audience=request.value("JWT_AUDIENCE") or endpoint,
        now=now,
        lifetime=float(request.value("JWT_LIFETIME") or JWT_LIFETIME),
        scope=request.scope,  # Google wants it here; RFC 7523 wants it in the form, where it is, too
    )
    return (("assertion", assertion),)


def _token_exchange(request: TokenRequest, _endpoint: str, _now: float) -> Fields:
    access_token = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type, not a token
    fields = [
        ("subject_token", request.value("SUBJECT_TOKEN")),
        ("subject_token_type", request.value("SUBJECT_TOKEN_TYPE") or access_token),
    ]
    if actor := request.value("ACTOR_TOKEN"):
        fields += [("actor_token", actor), ("actor_token_type", request.value("ACTOR_TOKEN_TYPE") or access_token)]
    if requested := request.value("REQUESTED_TOKEN_TYPE"):
        fields.append(("requested_token_type", requested))
    return tuple(fields)


GRANTS: Mapping[str, Grant] = {
    # RFC 6749 sections 4.4, 4.3 and 6
    "client_credentials": Grant(("CLIENT_ID",), _nothing),
    "password": Grant(("CLIENT_ID", "USERNAME", "PASSWORD"), _password),
    "refresh_token": Grant(("CLIENT_ID", "REFRESH_TOKEN"), _refresh_token, refreshes=True),
    # RFC 7523 section 2.1
    "jwt_bearer": Grant(
        ("PRIVATE_KEY", "JWT_ISSUER"),
        _jwt_bearer,
        may=("CLIENT_ID", "JWT_SUBJECT", "JWT_AUDIENCE", "JWT_LIFETIME", "KEY_ID", "SIGNING_ALG"),
        urn="urn:ietf:params:oauth:grant-type:jwt-bearer",
        public=True,
    ),
    # RFC 8693 section 2.1
    "token_exchange": Grant(
        ("SUBJECT_TOKEN",),
        _token_exchange,
        may=("CLIENT_ID", "SUBJECT_TOKEN_TYPE", "ACTOR_TOKEN", "ACTOR_TOKEN_TYPE", "REQUESTED_TOKEN_TYPE"),
        urn="urn:ietf:params:oauth:grant-type:token-exchange",
        public=True,
    ),
    # RFC 6749 section 4.1 with RFC 7636, and RFC 8628: a person logs in once, then refresh tokens serve.
    "authorization_code": Grant(
        ("CLIENT_ID",),
        _refresh_token,
        may=("AUTHORIZATION_ENDPOINT", "REDIRECT_URI"),
        public=True,
        refreshes=True,
        login_endpoint="AUTHORIZATION_ENDPOINT",
    ),
    "device_code": Grant(
        ("CLIENT_ID",),
        _refresh_token,
        may=("DEVICE_AUTHORIZATION_ENDPOINT",),
        urn="urn:ietf:params:oauth:grant-type:device_code",
        public=True,
        refreshes=True,
        login_endpoint="DEVICE_AUTHORIZATION_ENDPOINT",
    ),
    # No OAuth2: login_recipe.py says what is sent.
    "login": Grant(
        ("LOGIN_URL", "TOKEN_AT"),
        _nothing,
        may=("LOGIN_METHOD", "LOGIN_BODY", "USERNAME", "PASSWORD", "EXPIRES_IN_AT", "EXPIRES_AT", "LIFETIME"),
        public=True,
    ),
}


class FixedCredential(NamedTuple):
    """A credential taken from the file; no token request."""

    needs: tuple[str, ...]
    """The keys that it needs in the environment file."""
    credential: Callable[[TokenRequest], str]
    """What follows the prefix in the header."""
    may: tuple[str, ...] = ()
    """Further keys that it uses where they are given."""
    prefix: str = ""
    """The default of PREFIX, for any header. Empty: the same default as for a token."""


def _basic(request: TokenRequest) -> str:
    return base64.b64encode(f"{request.value('USERNAME')}:{request.value('PASSWORD')}".encode()).decode()


FIXED: Mapping[str, FixedCredential] = {
    "static": FixedCredential(("VALUE",), lambda request: request.value("VALUE")),
    "basic": FixedCredential(("USERNAME", "PASSWORD"), _basic, prefix="Basic"),  # RFC 7617
    # A key with which each request is signed.
    "aws_sigv4": FixedCredential(
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        lambda request: request.value("AWS_ACCESS_KEY_ID"),
        may=("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_SERVICE"),
        prefix="AWS4-HMAC-SHA256",
    ),
}
"""The values of GRANT_TYPE that are not OAuth2."""


def grant_type(request: TokenRequest) -> str:
    """The field grant_type of the token requests."""
    grant = GRANTS[request.grant_type]
    return "refresh_token" if grant.login_endpoint else grant.urn or request.grant_type

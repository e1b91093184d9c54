"""Grants that oidc-provider does not have, against Authlib's own server; it shares no code with how they are asked for:
the JWT is verified and the fields are taken apart there.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import pytest
from authlib.oauth2.rfc6749 import InvalidGrantError, TokenEndpointMixin
from authlib.oauth2.rfc6749.grants import BaseGrant, ResourceOwnerPasswordCredentialsGrant
from authlib.oauth2.rfc7523 import JWTBearerGrant

from credential_injector.demo.servers import Client, DemoAuthorizationServer, ProtectedApi, serve
from tests.certificates import KEYS, pem_of
from tests.e2e.conftest import Curl, Stage
from tests.e2e.oidc_provider import public

STRANGE = 'p@ss:w%rd +&=/"~'
AUDIENCE = "https://login.example.com"
URN = "urn:ietf:params:oauth"
KEY = pem_of(KEYS["RSA"]())
CLIENT = Client(
    STRANGE,
    STRANGE,
    grant_types=["password", f"{URN}:grant-type:jwt-bearer", f"{URN}:grant-type:token-exchange"],
)


class Password(ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_post",)

    def authenticate_user(self, username: str, password: str) -> str | None:
        return username if (username, password) == ("me@example.com", STRANGE) else None


class JwtBearer(JWTBearerGrant):
    def get_audiences(self) -> list[str]:
        return [AUDIENCE]

    def resolve_issuer_client(self, issuer: str) -> Client | None:
        return CLIENT if issuer == "service@example.com" else None

    def _key(self, client: Client, *_: Any) -> dict[str, Any]:
        return public(KEY)

    # Authlib 1.6 asks for the one, newer ones for the other, and warn of the one.
    if hasattr(JWTBearerGrant, "resolve_client_public_key"):
        resolve_client_public_key = _key
    else:
        resolve_client_key = _key

    def authenticate_user(self, subject: str) -> str | None:
        return subject if subject == "me@example.com" else None

    def has_granted_permission(self, client: Client, user: str) -> bool:
        return True


class TokenExchange(BaseGrant, TokenEndpointMixin):
    """RFC 8693 section 2.1, as far as a client can tell."""

    GRANT_TYPE = f"{URN}:grant-type:token-exchange"
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_post",)

    def validate_token_request(self) -> None:
        form = self.request.form
        self.request.client = self.authenticate_token_endpoint_client()
        expected = {
            "subject_token": STRANGE,
            "subject_token_type": f"{URN}:token-type:jwt",
            "actor_token": "actor",
            "actor_token_type": f"{URN}:token-type:access_token",
            "requested_token_type": f"{URN}:token-type:access_token",
        }
        if {name: form.get(name) for name in expected} != expected:
            raise InvalidGrantError

    def create_token_response(self) -> tuple[int, Any, Any]:
        token = self.generate_token(user=None, scope="", include_refresh_token=False)
        self.save_token(token)  # type: ignore[no-untyped-call]
        issued = {**token, "issued_token_type": f"{URN}:token-type:access_token"}
        return 200, issued, self.TOKEN_RESPONSE_HEADER


@pytest.fixture
def server() -> Iterator[tuple[str, str]]:
    """A token endpoint and an API."""
    authorization_server = DemoAuthorizationServer([CLIENT], grants=[Password, JwtBearer, TokenExchange])
    with serve(authorization_server.app) as origin, serve(ProtectedApi(authorization_server).app) as api:
        yield f"{origin}/oauth2/v2.0/token", api


GRANTS = {
    "password": ["USERNAME=me@example.com", "PASSWORD_FILE=secret"],
    "jwt_bearer": [
        "PRIVATE_KEY_FILE=key.pem",
        "JWT_ISSUER=service@example.com",
        "JWT_SUBJECT=me@example.com",
        f"JWT_AUDIENCE={AUDIENCE}",
        "JWT_LIFETIME=60",
    ],
    "token_exchange": [
        "SUBJECT_TOKEN_FILE=secret",
        f"SUBJECT_TOKEN_TYPE={URN}:token-type:jwt",
        "ACTOR_TOKEN_COMMAND=echo actor",
        f"REQUESTED_TOKEN_TYPE={URN}:token-type:access_token",
    ],
}


def write(stage: Stage, server: tuple[str, str], grant: str, *lines: str) -> None:
    endpoint, api = server
    # A JWT alone says who the client is.
    client = [] if grant == "jwt_bearer" else [f"CLIENT_ID='{STRANGE}'", f"CLIENT_SECRET='{STRANGE}'"]
    without = "CLIENT_ID,CLIENT_SECRET,SCOPE"
    stage.env(api, f"TOKEN_ENDPOINT={endpoint}", f"GRANT_TYPE={grant}", *client, *lines, without=without)
    (stage.folder / "envs" / "secret").write_text(f"{STRANGE}\n")
    (stage.folder / "envs" / "key.pem").write_text(KEY)


@pytest.mark.parametrize("grant", GRANTS)
def test_grant(stage: Stage, server: tuple[str, str], curl: Curl, grant: str) -> None:
    """Each grant gets a token."""
    write(stage, server, grant, *GRANTS[grant])
    proxy = stage.mitmdump(termlog_verbosity="debug")
    reply = curl("--proxy", proxy.url, f"{server[1]}/orders")
    assert (reply.status, reply.body and json.loads(reply.body).get("client_id")) == (200, STRANGE)
    log = "\n".join(proxy.log)
    assert not [secret for secret in (STRANGE, quote_plus(STRANGE), "PRIVATE KEY", "assertion=") if secret in log]


@pytest.mark.parametrize(
    ("grant", "wrong", "code"),
    [
        ("password", "PASSWORD=wrong", "invalid_request"),
        ("jwt_bearer", "JWT_SUBJECT=nobody@example.com", "invalid_grant"),
        ("token_exchange", "SUBJECT_TOKEN=wrong", "invalid_grant"),
    ],
)
def test_refused(stage: Stage, server: tuple[str, str], curl: Curl, grant: str, wrong: str, code: str) -> None:
    """A grant that is refused is told with its OAuth error."""
    key = wrong.partition("=")[0]
    lines = [line for line in GRANTS[grant] if line.partition("=")[0] not in (key, f"{key}_FILE")]
    write(stage, server, grant, *lines, wrong)
    reply = curl("--proxy", stage.mitmdump().url, f"{server[1]}/orders")
    assert reply.status == 502
    assert f"no token ({code})" in reply.body

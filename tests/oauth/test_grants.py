"""What each grant puts into a token request. What servers make of it is in tests/e2e."""

import base64
import json
from typing import Any

import pytest

from credential_injector.oauth.grants import FIXED, GRANTS, grant_type
from credential_injector.oauth.request import TokenRequest
from tests.certificates import KEYS, pem_of

NOW = 1_000_000.5
ENDPOINT = "https://login.example.com/token"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


def form(grant: str, scope: str = "", **values: str) -> dict[str, str]:
    request = TokenRequest(grant_type=grant, scope=scope, values=tuple(values.items()))
    return {"grant_type": grant_type(request), **dict(GRANTS[grant].form(request, ENDPOINT, NOW))}


@pytest.mark.parametrize(
    ("grant", "values", "expected"),
    [
        ("client_credentials", {}, {"grant_type": "client_credentials"}),
        (
            "password",
            {"USERNAME": "me", "PASSWORD": "p w"},
            {"grant_type": "password", "username": "me", "password": "p w"},
        ),
        ("refresh_token", {"REFRESH_TOKEN": "r"}, {"grant_type": "refresh_token", "refresh_token": "r"}),
        ("authorization_code", {"REFRESH_TOKEN": "r"}, {"grant_type": "refresh_token", "refresh_token": "r"}),
        ("device_code", {"REFRESH_TOKEN": "r"}, {"grant_type": "refresh_token", "refresh_token": "r"}),
        (
            "token_exchange",
            {"SUBJECT_TOKEN": "s"},
            {
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "subject_token": "s",
                "subject_token_type": ACCESS_TOKEN,
            },
        ),
        (
            "token_exchange",
            {"SUBJECT_TOKEN": "s", "SUBJECT_TOKEN_TYPE": "x", "ACTOR_TOKEN": "a", "REQUESTED_TOKEN_TYPE": "y"},
            {
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "subject_token": "s",
                "subject_token_type": "x",
                "actor_token": "a",
                "actor_token_type": ACCESS_TOKEN,
                "requested_token_type": "y",
            },
        ),
    ],
)
def test_fields(grant: str, values: dict[str, str], expected: dict[str, str]) -> None:
    """A grant sends its own fields."""
    assert form(grant, **values) == expected


@pytest.mark.parametrize(
    ("scope", "values", "claims"),
    [
        ("", {}, {"iss": "me", "aud": ENDPOINT, "iat": 1_000_000, "exp": 1_000_180}),
        (
            "read write",
            {"JWT_SUBJECT": "you", "JWT_AUDIENCE": "https://a.example", "JWT_LIFETIME": "60"},
            {
                "iss": "me",
                "sub": "you",
                "aud": "https://a.example",
                "iat": 1_000_000,
                "exp": 1_000_060,
                "scope": "read write",
            },
        ),
    ],
)
def test_jwt_bearer(scope: str, values: dict[str, str], claims: dict[str, Any]) -> None:
    """The JWT of jwt_bearer holds the claims that the file names."""
    key = pem_of(KEYS["P-256"]())
    fields = form("jwt_bearer", scope, PRIVATE_KEY=key, KEY_ID="k", JWT_ISSUER="me", **values)
    assert fields["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    header, said = (
        json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        for part in fields["assertion"].split(".")[:2]
    )
    assert (header["alg"], header["kid"]) == ("ES256", "k")
    assert {name: value for name, value in said.items() if name != "jti"} == claims


def test_fixed() -> None:
    """static and basic take the credential from the file."""
    static = TokenRequest(grant_type="static", values=(("VALUE", "abc"),))
    assert FIXED["static"].credential(static) == "abc"
    basic = TokenRequest(grant_type="basic", values=(("PASSWORD", "p:ä"), ("USERNAME", "mé")))
    assert base64.b64decode(FIXED["basic"].credential(basic)).decode() == "mé:p:ä"

"""What a token says of itself."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from credential_injector.oauth import jwt_claims
from credential_injector.oauth.jwt_claims import JwtClaims
from credential_injector.oauth.token import AccessToken


def jwt(**claims: Any) -> str:
    """A JWT with these claims, which nobody has signed."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "x"}, claims)
    ]
    return ".".join([*parts, "c2ln"])


@pytest.mark.parametrize(
    ("claims", "read"),
    [
        ({}, JwtClaims()),
        ({"iss": "a", "sub": "b", "aud": "c"}, JwtClaims("a", "b", ("c",))),
        ({"aud": ["c", 5, "d"]}, JwtClaims(audience=("c", "d"))),
        ({"scope": "r w"}, JwtClaims(scope=("r", "w"))),
        ({"scp": ["r w", "x"]}, JwtClaims(scope=("r w", "x"))),
        ({"scope": "", "roles": ["admin"]}, JwtClaims(scope=(), roles=("admin",))),
        ({"roles": "admin"}, JwtClaims(roles=("admin",))),
        ({"azp": "me", "tid": "t", "acr": "1"}, JwtClaims(client="me", tenant="t", acr="1")),
        ({"iat": 1, "nbf": "2", "exp": 3.5}, JwtClaims(issued_at=1, not_before=2, expires_at=3.5)),
        ({"auth_time": 4}, JwtClaims(auth_time=4)),
        ({"exp": True, "iat": "soon", "nbf": None}, JwtClaims()),
        ({"cnf": {"jkt": "k", "x5t#S256": "c"}}, JwtClaims(key_thumbprint="k", certificate_thumbprint="c")),
        ({"cnf": "k"}, JwtClaims()),
        ({"iss": "a\u202eb", "sub": "x" * 257, "aud": "a\nb"}, JwtClaims()),
    ],
)  # fmt: skip
def test_read(claims: dict[str, Any], read: JwtClaims) -> None:
    """What is there is read in the forms that servers write; what cannot be shown is left out."""
    said = jwt_claims.read(jwt(**claims))
    assert said is not None
    assert said.names == tuple(claims)
    assert replace(said, names=()) == read


@pytest.mark.parametrize(
    "token", ["", "opaque", "a.b.c", "a.é.c", "a.W10.c", "a.bnVsbA.c", "a..c", "a.b.c.d", f"a.{'Wy' * 9999}.c"]
)
def test_no_jwt(token: str) -> None:
    """Any other token is none, and no error."""
    assert jwt_claims.read(token) is None


def test_shown() -> None:
    """What is shown are plain values, which mitmproxy can save: no huge number, and nothing that is not there."""
    said = jwt_claims.read(jwt(iss="a", scope="r", exp=5.9, iat=float("inf"), more={"x": 1}))
    assert said is not None
    assert said.shown() == {"iss": "a", "scope": ["r"], "exp": 5, "names": ["iss", "scope", "exp", "iat", "more"]}


def test_read_once() -> None:
    """A token that is copied is not read again."""
    claims = JwtClaims(issuer="a")
    assert AccessToken("x.y.z", 0.0, 1.0, claims=claims).claims is claims

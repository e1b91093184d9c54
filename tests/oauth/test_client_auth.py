"""What each method adds to a token request. What servers make of it is in test_endpoint.py and tests/e2e."""

import base64
import importlib
import json
import warnings
from typing import Any
from urllib.parse import parse_qs

import pytest

from credential_injector.oauth import jwt as assertion
from credential_injector.oauth import pem
from credential_injector.oauth.client_auth import METHODS, possible
from credential_injector.oauth.request import TokenRequest
from tests.certificates import KEYS, pem_of, self_signed

NOW = 1_000_000.5
ENDPOINT = "https://login.example.com/token"
STRANGE = 'p@ss:w%rd +&=/"~ä'


def applied(method: str, request: TokenRequest) -> tuple[dict[str, str], dict[str, str]]:
    headers, form = METHODS[method].apply(request, ENDPOINT, NOW, ({"X-A": "b"}, "grant_type=x&audience=1&audience=2"))
    fields = parse_qs(form, strict_parsing=True, keep_blank_values=True)
    assert (fields.pop("grant_type"), fields.pop("audience"), headers.pop("X-A")) == (["x"], ["1", "2"], "b")
    return headers, {name: value for name, (value,) in fields.items()}


def decoded(jwt: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, claims = (
        json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in jwt.split(".")[:2]
    )
    return header, claims


def test_client_secret_post() -> None:
    """client_secret_post sends the secret in the form."""
    request = TokenRequest(client_id=STRANGE, client_secret=STRANGE)
    assert applied("client_secret_post", request) == ({}, {"client_id": STRANGE, "client_secret": STRANGE})


def test_client_secret_basic() -> None:
    """client_secret_basic sends the secret form-encoded (RFC 6749 section 2.3.1)."""
    headers, fields = applied("client_secret_basic", TokenRequest(client_id="a:b c", client_secret=STRANGE))
    sent = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
    assert (sent, fields) == ("a%3Ab+c:p%40ss%3Aw%25rd+%2B%26%3D%2F%22~%C3%A4", {})


@pytest.mark.parametrize("method", ["none", "tls_client_auth", "self_signed_tls_client_auth"])
def test_client_id(method: str) -> None:
    """Without a secret the client sends its id."""
    assert applied(method, TokenRequest(client_id="abc")) == ({}, {"client_id": "abc"})
    assert METHODS[method].certificate == method.endswith("tls_client_auth")


def test_nobody() -> None:
    """Without an id nothing is added."""
    assert applied("none", TokenRequest()) == ({}, {})


@pytest.mark.parametrize("secret", ["short", STRANGE])
def test_client_secret_jwt(secret: str) -> None:
    """client_secret_jwt signs a JWT with the secret, each with a new jti (RFC 7523 section 3)."""
    request = TokenRequest(client_id="abc", client_secret=secret)
    headers, fields = applied("client_secret_jwt", request)
    header, claims = decoded(fields["client_assertion"])
    assert headers == {}
    assert fields["client_id"] == "abc"
    assert fields["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert header["alg"] == "HS256"
    jti = claims.pop("jti")
    assert claims == {"iss": "abc", "sub": "abc", "aud": ENDPOINT, "iat": 1_000_000, "exp": 1_000_300}
    assert decoded(applied("client_secret_jwt", request)[1]["client_assertion"])[1]["jti"] != jti


@pytest.mark.parametrize(("kind", "algorithm"), [("RSA", "RS256"), ("P-384", "ES384"), ("Ed25519", "EdDSA")])
def test_private_key_jwt(kind: str, algorithm: str) -> None:
    """A private key signs by the usual algorithm of its kind."""
    values = ("PRIVATE_KEY", pem_of(KEYS[kind]()))
    _, fields = applied("private_key_jwt", TokenRequest(client_id="abc", values=(values,)))
    header, claims = decoded(fields["client_assertion"])
    assert (header["alg"], "kid" in header, claims["iss"]) == (algorithm, False, "abc")


def test_key_header() -> None:
    """The file may name algorithm, key and certificate."""
    certificate, _ = self_signed("abc")
    values = {
        "PRIVATE_KEY": pem_of(KEYS["RSA"]()),
        "SIGNING_ALG": "PS384",
        "KEY_ID": "key 1",
        "CLIENT_CERT": certificate,
    }
    _, fields = applied("private_key_jwt", TokenRequest(client_id="abc", values=tuple(values.items())))
    header, _ = decoded(fields["client_assertion"])
    assert (header["alg"], header["kid"], header["x5t#S256"]) == ("PS384", "key 1", pem.thumbprint(certificate))


def test_no_warning() -> None:
    """joserfc writes no warning over mitmproxy's console."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(assertion)
        applied("client_secret_jwt", TokenRequest(client_id="abc", client_secret="short"))
        values = (("PRIVATE_KEY", pem_of(KEYS["Ed25519"]())),)
        applied("private_key_jwt", TokenRequest(client_id="abc", values=values))


@pytest.mark.parametrize(
    ("given", "methods"),
    [
        ([], []),
        (["CLIENT_ID"], []),
        (["CLIENT_ID", "CLIENT_SECRET"], ["client_secret_post", "client_secret_basic", "client_secret_jwt"]),
        (["CLIENT_ID", "PRIVATE_KEY"], ["private_key_jwt"]),
        (["CLIENT_ID", "CLIENT_CERT", "CLIENT_KEY"], ["tls_client_auth", "self_signed_tls_client_auth"]),
    ],
)
def test_possible(given: list[str], methods: list[str]) -> None:
    """A method is possible where all its keys are given."""
    assert possible(given) == methods

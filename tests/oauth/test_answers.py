"""What is read from an answer of an authorization server."""

import base64
import json
from typing import Any

import pytest

from credential_injector.oauth.answers import Answer, read_answer
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken, NoToken

SECRET = "canary-secret"
NOW = 1_000_000.0
REQUEST = TokenRequest(endpoint="https://login.example.com/token", client_id="abc", client_secret=SECRET)
TOKEN = {"access_token": "abc", "token_type": "Bearer", "expires_in": 60}


def read(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> AccessToken:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_answer(Answer(status, headers or {}, content), REQUEST, NOW)


def refused(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> NoToken:
    with pytest.raises(NoToken) as error:
        read(body, status, headers)
    return error.value


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER", None, "N_A"])
def test_token_type(kind: str | None) -> None:
    """The token type is bearer, in any case."""
    assert read({**TOKEN, "token_type": kind}).value == "abc"


@pytest.mark.parametrize("kind", ["DPoP", "mac", "", 1, ["Bearer"]])
def test_other_token_type(kind: Any) -> None:
    """Any other token type is refused."""
    assert refused({**TOKEN, "token_type": kind}).code == "invalid_response"


@pytest.mark.parametrize(
    "value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b", "a\x7fb", "tökén", "", " a", "a ", 5, None, ["a"]]
)
def test_unsendable(value: Any) -> None:
    """An access token that cannot stand in a header is refused."""
    error = refused({**TOKEN, "access_token": value})
    assert error.code == "invalid_response"
    assert "Evil" not in error.reason


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [
        (60, 60.0),
        (59.5, 59.5),
        ("60", 60.0),
        (" 60 ", 60.0),
        (None, 300.0),
        ("soon", 300.0),
        (True, 300.0),
        ([60], 300.0),
        (float("nan"), 300.0),
        (10**12, 365 * 86400.0),
        (10**400, 365 * 86400.0),
        (float("inf"), 365 * 86400.0),
        ("1e999", 365 * 86400.0),
    ],
)
def test_expires_in(expires_in: Any, lifetime: float) -> None:
    """expires_in may be anything."""
    token = read({**TOKEN, "expires_in": expires_in})
    assert token.expires_at - NOW == lifetime


@pytest.mark.parametrize("expires_in", [0, "0", -1, -(10**400), float("-inf")])
def test_expired(expires_in: Any) -> None:
    """A token that has expired already is refused."""
    assert refused({**TOKEN, "expires_in": expires_in}).code == "expired"


def jwt(claims: Any) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part(claims)}.signature"


@pytest.mark.parametrize(
    ("claims", "lifetime"),
    [({"exp": NOW + 90}, 90.0), ({"exp": "x"}, 300.0), ({}, 300.0), ([1], 300.0), ({"exp": 1e30}, 365 * 86400.0)],
)
def test_exp(claims: Any, lifetime: float) -> None:
    """Without expires_in the token's own exp counts."""
    assert read({"access_token": jwt(claims)}).expires_at - NOW == lifetime
    assert read({"access_token": jwt(claims), "expires_in": 60}).expires_at - NOW == 60


HOUR = 3600.0


@pytest.mark.parametrize(
    ("claims", "expires_in", "lifetime"),
    [
        # The server's clock is right, behind, far behind, ahead.
        ({"iat": NOW, "exp": NOW + HOUR}, None, HOUR),
        ({"iat": NOW - 600, "exp": NOW - 300}, None, 300.0),
        ({"iat": NOW - HOUR, "exp": NOW - HOUR + 60}, None, 60.0),
        ({"iat": NOW + 600, "exp": NOW + 900}, None, 300.0),
        # The same token again: it does not live longer for that.
        ({"iat": NOW - 3000, "exp": NOW + 600}, None, 600.0),
        # expires_in is longer than the token's own life.
        ({"iat": NOW, "exp": NOW + 60}, HOUR, 60.0),
        ({"exp": NOW + 60}, HOUR, 60.0),
        ({"iat": NOW - 600, "exp": NOW - 300}, HOUR, 300.0),
        ({"iat": NOW, "exp": NOW + HOUR}, 3_600_000, HOUR),
        # It is shorter.
        ({"iat": NOW, "exp": NOW + HOUR}, 60, 60.0),
        # By the server's clock it has expired, but nothing says when it was issued: expires_in counts.
        ({"exp": NOW - 300}, HOUR, HOUR),
        # What makes no sense says nothing.
        ({"iat": NOW + HOUR, "exp": NOW + 60}, None, 60.0),
        ({"iat": "x", "exp": NOW + 60}, None, 60.0),
        ({"iat": NOW}, HOUR, HOUR),
        ({"iat": NOW}, None, 300.0),
    ],
)
def test_jwt_life(claims: dict[str, Any], expires_in: float | None, lifetime: float) -> None:
    """By the server's clock, the shorter of a JWT's own life and expires_in counts."""
    assert read({"access_token": jwt(claims), "expires_in": expires_in}).expires_at - NOW == lifetime


@pytest.mark.parametrize(
    "claims", [{"exp": NOW - 1}, {"iat": NOW - 86400, "exp": NOW - 82800}, {"iat": NOW - 1e6, "exp": NOW}]
)
def test_old_jwt(claims: dict[str, Any]) -> None:
    """A JWT is expired where no clock that is a little behind explains it."""
    assert refused({"access_token": jwt(claims)}).code == "expired"


@pytest.mark.parametrize("token", ["a.b.c", "..", "a.!!!.c", "a.b", "a.b.c.d"])
def test_no_jwt(token: str) -> None:
    """A token that only resembles a JWT gets the default lifetime."""
    assert read({"access_token": token}).expires_at - NOW == 300


@pytest.mark.parametrize(
    ("status", "body", "code", "lasting"),
    [
        (400, {"error": "invalid_scope", "error_description": SECRET}, "invalid_scope", True),
        (401, {"error": "invalid_client"}, "invalid_client", True),
        (200, {"error": "invalid_client"}, "invalid_client", True),
        (403, b"", "http_403", True),
        (404, b"<html>Not found</html>", "http_404", True),
        (429, {"error": "slow_down"}, "slow_down", False),
        (400, {"error": "slow_down"}, "slow_down", False),
        (400, {"error": "temporarily_unavailable"}, "temporarily_unavailable", False),
        (401, {"error": "server_error"}, "server_error", False),
        (200, {"error": "server_error"}, "server_error", False),
        (400, {"error": "authorization_pending"}, "authorization_pending", False),
        (429, b"", "http_429", False),
        (503, {"error": "temporarily_unavailable"}, "temporarily_unavailable", False),
        (500, b"<html>", "http_500", False),
        (302, b"", "redirect", True),
        (200, b"<html>Log in</html>", "invalid_response", False),
        (200, b"", "invalid_response", False),
        (200, b"[1]", "invalid_response", False),
        (200, b"[" * 100_000, "invalid_response", False),
        (200, b"\xff\xfe\xfd", "invalid_response", False),
        (204, b"", "invalid_response", False),
        (201, json.dumps(TOKEN).encode(), "invalid_response", False),
        (400, {"error": SECRET}, "http_400", True),
        (400, {"error": SECRET[:8]}, "http_400", True),
        (408, b"", "http_408", False),
        (425, b"", "http_425", False),
        (400, {"error": "a\r\nSet-Cookie: x"}, "http_400", True),
        (400, {"error": "x" * 500}, "http_400", True),
        (400, {"error": {"code": 1}}, "http_400", True),
    ],
)
def test_refusal(status: int, body: Any, code: str, lasting: bool) -> None:
    """A refusal has a code, and nothing of the server's text."""
    error = refused(body, status)
    assert (error.code, error.lasting) == (code, lasting)
    assert SECRET not in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("99999999", 3600.0),
        ("Mon, 12 Jan 1970 13:47:10 GMT", 30.0),
        ("Mon, 12 Jan 1970 13:46:10 -0000", 0.0),
        ("Mon, 12 Jan 1970 13:47:10", 30.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    """Retry-After is a number or a date."""
    assert refused(b"", 503, {"Retry-After": header}).retry_after == seconds


@pytest.mark.parametrize("value", [5, "", "a\nb", None, ["a"]])
def test_refresh_token_malformed(value: Any) -> None:
    """A malformed refresh token is none."""
    assert read({**TOKEN, "refresh_token": value}).refresh_token is None

"""Against the embedded authorization server, and against a fake one for what no real server does on demand."""

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import pytest

from credential_injector.demo.servers import Client, DemoAuthorizationServer, serve
from credential_injector.oauth import endpoint as token_endpoint
from credential_injector.oauth.answers import Answer, read_answer
from credential_injector.oauth.endpoint import TokenEndpoint
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.oauth.server import AuthorizationServer
from credential_injector.oauth.token import AccessToken, NoToken
from tests import fakes
from tests.fakes import http

STRANGE = 'p@ss:w%rd +&=/"~ä'
SECRET = "canary-secret"
NOW = 1_000_000.0
REQUEST = TokenRequest(endpoint="https://login.example.com/token", client_id="abc", client_secret=SECRET)


def ask(request: TokenRequest, transport: Transport | None = None) -> AccessToken:
    return asyncio.run(TokenEndpoint(request, transport or Transport()).token(NOW))


def refusal(request: TokenRequest, transport: Transport | None = None) -> NoToken:
    with pytest.raises(NoToken) as error:
        ask(request, transport)
    assert SECRET not in f"{error.value} {error.value!r} {error.value.__cause__}"
    return error.value


# --- The embedded authorization server ---


@pytest.fixture
def server() -> Iterator[tuple[DemoAuthorizationServer, TokenRequest]]:
    authorization_server = DemoAuthorizationServer([Client(f"id {STRANGE}", STRANGE)], lifetime=120)
    with serve(authorization_server.app) as origin:
        yield (
            authorization_server,
            TokenRequest(
                endpoint=f"{origin}/oauth2/v2.0/token", client_id=f"id {STRANGE}", client_secret=STRANGE, scope="read"
            ),
        )


def test_a_token_is_issued_even_to_the_strangest_id_and_secret(
    server: tuple[DemoAuthorizationServer, TokenRequest],
) -> None:
    # With client_secret_post; Authlib's server does not decode Basic, so test_oidc_provider.py has that.
    authorization_server, request = server
    token = ask(request)
    assert token.value in authorization_server.tokens
    assert token.issued_at == NOW
    assert token.expires_at == NOW + 120


def test_every_field_and_header_of_the_file_is_sent(server: tuple[DemoAuthorizationServer, TokenRequest]) -> None:
    authorization_server, request = server
    ask(replace(request, audience=("a", "b"), resource=("urn:1", "urn:2"), params=(("Tenant", "ä &="),)))
    (form,) = authorization_server.token_requests
    assert form == {
        "grant_type": ["client_credentials"],
        "scope": ["read"],
        "client_id": [f"id {STRANGE}"],
        "audience": ["a", "b"],
        "resource": ["urn:1", "urn:2"],
        "Tenant": ["ä &="],
        "authorization": "",
    }


def test_a_wrong_secret_is_refused_with_the_oauth_error(server: tuple[DemoAuthorizationServer, TokenRequest]) -> None:
    _, request = server
    error = refusal(replace(request, client_secret=SECRET))
    assert (error.code, error.lasting) == ("invalid_client", True)
    assert error.reason == f"{request.endpoint} answered 401"


# --- A server that misbehaves ---


@contextmanager
def answering(*answers: bytes | float, reads: bool = True) -> Iterator[tuple[TokenRequest, list[bytes]]]:
    with fakes.answering(*answers, reads=reads) as (url, received):
        yield replace(REQUEST, endpoint=url), received


TOKEN = {"access_token": "abc", "token_type": "Bearer", "expires_in": 60}


def test_the_request_is_a_form_post_with_our_headers_and_nothing_from_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with answering(http(200, TOKEN)) as (request, received):
        ask(replace(request, scope="a b", headers=(("X-Tenant", "acme"),)))
    head, _, body = received[0].decode().partition("\r\n\r\n")
    assert head.startswith("POST /token HTTP/1.1\r\n")
    assert "\r\nX-Tenant: acme" in head
    assert "\r\nAccept: application/json" in head
    assert "\r\nContent-Type: application/x-www-form-urlencoded" in head
    assert "\r\nContent-Length: " in head
    assert "Authorization" not in head
    assert body == f"grant_type=client_credentials&scope=a+b&client_id=abc&client_secret={SECRET}"


def test_basic_form_encodes_id_and_secret_before_they_are_joined() -> None:
    with answering(http(200, TOKEN)) as (request, received):
        ask(replace(request, client_id="a:b c", client_secret=STRANGE, auth_method="client_secret_basic"))
    head, _, body = received[0].decode().partition("\r\n\r\n")
    credentials = head.partition("Authorization: Basic ")[2].partition("\r\n")[0]
    assert base64.b64decode(credentials).decode() == "a%3Ab+c:p%40ss%3Aw%25rd+%2B%26%3D%2F%22~%C3%A4"
    assert body == "grant_type=client_credentials"


def test_without_a_method_only_the_client_id_is_sent() -> None:
    with answering(http(200, TOKEN)) as (request, received):
        ask(replace(request, client_secret="", auth_method="none"))
    assert received[0].endswith(b"\r\n\r\ngrant_type=client_credentials&client_id=abc")


def test_a_redirect_is_not_followed() -> None:
    with (
        answering(http(200, TOKEN)) as (elsewhere, asked),
        answering(http(307, b"", f"Location: {elsewhere.endpoint}")) as (
            request,
            _,
        ),
    ):
        error = refusal(request)
    assert (error.code, error.lasting) == ("redirect", True)
    assert asked == []


def test_where_a_redirect_leads_does_not_matter() -> None:
    with answering(http(302, b"", "Location: http://[canary")) as (request, _):
        assert refusal(request).code == "redirect"


def test_a_redirect_with_an_endless_body_is_read_no_further_than_any_answer() -> None:
    pieces = [b"X" * (1 << 20)] * 64
    head = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n"
    with answering(head, *pieces, 60.0) as (request, _):
        error = refusal(request)
    assert (error.code, error.reason) == ("invalid_response", f"{request.endpoint} answered more than 1 MiB")


def test_a_server_that_refuses_the_connection_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = refusal(replace(REQUEST, endpoint=f"http://127.0.0.1:{unused.getsockname()[1]}/token"))
    assert (error.code, error.lasting) == ("unreachable", False)
    assert error.reason.endswith("/token cannot be reached (Connection refused)")


def test_a_name_that_does_not_exist_is_unreachable() -> None:
    assert refusal(replace(REQUEST, endpoint="https://login.invalid/token")).code == "unreachable"


def test_a_server_that_speaks_no_tls_is_unreachable() -> None:
    with answering(http(200, TOKEN), reads=False) as (request, _):
        error = refusal(replace(request, endpoint=request.endpoint.replace("http:", "https:")))
    assert error.code == "unreachable"
    assert error.reason.endswith("/token cannot be reached (the TLS handshake failed)")


@pytest.mark.parametrize(
    "answer", [b"", b"\x00\x01 nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"]
)
def test_an_answer_that_breaks_off_is_unreachable(answer: bytes) -> None:
    with answering(answer) as (request, _):
        assert refusal(request).code == "unreachable"


@pytest.mark.parametrize(
    "pieces",
    [
        [60.0],
        [b"HTTP/1.1 200 OK\r\n", *[b"X-A: b\r\n", 0.05] * 400],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", *[b" ", 0.05] * 400],
    ],
    ids=["silence", "drip of headers", "drip of a body"],
)
def test_a_slow_server_meets_the_deadline_and_leaves_no_thread_behind(
    pieces: list[bytes | float],
) -> None:
    with answering(*pieces) as (request, _):
        error = refusal(request, Transport(timeout=0.3))
        assert (error.code, error.lasting) == ("timeout", False)
        for thread in threading.enumerate():
            if thread.name == "token request":
                thread.join(timeout=5)
                assert not thread.is_alive()


def test_an_answer_that_is_too_large_is_not_read_to_its_end() -> None:
    with answering(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 65536] * 1000) as (request, _):
        error = refusal(request)
    assert error.code == "invalid_response"
    assert error.reason.endswith("/token answered more than 1 MiB")


# --- Understanding an answer ---


def read(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> AccessToken:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_answer(Answer(status, headers or {}, content), REQUEST, NOW)


def refused(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> NoToken:
    with pytest.raises(NoToken) as error:
        read(body, status, headers)
    return error.value


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER", None, "N_A"])
def test_the_token_type_is_bearer_in_any_case(kind: str | None) -> None:
    assert read({**TOKEN, "token_type": kind}).value == "abc"


@pytest.mark.parametrize("kind", ["DPoP", "mac", "", 1, ["Bearer"]])
def test_another_token_type_is_refused(kind: Any) -> None:
    assert refused({**TOKEN, "token_type": kind}).code == "invalid_response"


@pytest.mark.parametrize(
    "value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b", "a\x7fb", "tökén", "", " a", "a ", 5, None, ["a"]]
)
def test_an_access_token_that_cannot_stand_in_a_header_is_refused(value: Any) -> None:
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
def test_expires_in_may_be_anything(expires_in: Any, lifetime: float) -> None:
    token = read({**TOKEN, "expires_in": expires_in})
    assert token.expires_at - NOW == lifetime


@pytest.mark.parametrize("expires_in", [0, "0", -1, -(10**400), float("-inf")])
def test_a_token_that_has_expired_already_is_none(expires_in: Any) -> None:
    assert refused({**TOKEN, "expires_in": expires_in}).code == "expired"


def jwt(claims: Any) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part(claims)}.signature"


@pytest.mark.parametrize(
    ("claims", "lifetime"),
    [({"exp": NOW + 90}, 90.0), ({"exp": "x"}, 300.0), ({}, 300.0), ([1], 300.0), ({"exp": 1e30}, 365 * 86400.0)],
)
def test_without_expires_in_the_tokens_own_exp_counts(claims: Any, lifetime: float) -> None:
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
def test_a_jwt_lives_as_long_as_it_says_by_the_servers_clock(
    claims: dict[str, Any], expires_in: float | None, lifetime: float
) -> None:
    """Whichever is shorter: its own life, or expires_in."""
    assert read({"access_token": jwt(claims), "expires_in": expires_in}).expires_at - NOW == lifetime


@pytest.mark.parametrize(
    "claims", [{"exp": NOW - 1}, {"iat": NOW - 86400, "exp": NOW - 82800}, {"iat": NOW - 1e6, "exp": NOW}]
)
def test_a_jwt_that_is_old_has_expired(claims: dict[str, Any]) -> None:
    """No clock that is a little behind explains it."""
    assert refused({"access_token": jwt(claims)}).code == "expired"


@pytest.mark.parametrize("token", ["a.b.c", "..", "a.!!!.c", "a.b", "a.b.c.d"])
def test_a_token_that_only_resembles_a_jwt_gets_the_default_lifetime(token: str) -> None:
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
def test_a_refusal_has_a_code_and_nothing_of_the_servers_text(status: int, body: Any, code: str, lasting: bool) -> None:
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
def test_retry_after_is_a_number_or_a_date(header: str, seconds: float | None) -> None:
    assert refused(b"", 503, {"Retry-After": header}).retry_after == seconds


def test_the_libraries_do_not_write_tokens_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with answering(http(200, TOKEN)) as (request, _):
        ask(request)
    assert [record.name for record in caplog.records if record.name != "asyncio"] == []


async def test_a_token_request_that_is_given_up_leaves_no_thread_behind() -> None:
    drip: list[bytes | float] = [b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"]
    for _ in range(400):
        drip += [b" ", 0.05]
    with answering(*drip) as (request, received):
        asking = asyncio.create_task(TokenEndpoint(request, Transport()).token(NOW))
        while not received:  # noqa: ASYNC110 - the server runs in another thread
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        for thread in threading.enumerate():
            if thread.name == "token request":
                await asyncio.to_thread(thread.join, 5)
                assert not thread.is_alive()


# --- Refresh tokens ---


class Login:
    """A server that takes each refresh token once, and tells what it was asked."""

    def __init__(self, *, rotates: bool = True) -> None:
        self.valid = "first"
        self.asked: list[dict[str, str]] = []
        self._rotates = rotates

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        form = dict(parse_qsl(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()))
        self.asked.append(form)
        good = form["refresh_token"] == self.valid
        answer: dict[str, Any] = {"error": "invalid_grant"}
        if good:
            answer = {**TOKEN, "access_token": f"token-{len(self.asked)}"}
        if good and self._rotates:
            self.valid = answer["refresh_token"] = f"refresh-{len(self.asked)}"
        start_response("200 OK" if good else "400 Bad Request", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]


REFRESH = TokenRequest(
    client_id="abc", client_secret=SECRET, grant_type="refresh_token", values=(("REFRESH_TOKEN", "first"),)
)


@pytest.mark.parametrize("rotates", [True, False])
async def test_the_last_refresh_token_is_shown(rotates: bool) -> None:
    login = Login(rotates=rotates)
    with serve(login) as origin:
        endpoint = TokenEndpoint(replace(REFRESH, endpoint=f"{origin}/token"), Transport())
        tokens = [await endpoint.token(NOW)]
        for _ in range(2):
            tokens.append(await endpoint.token(NOW, tokens[-1].refresh_token or ""))
    shown = ["first", "refresh-1", "refresh-2"] if rotates else ["first"] * 3
    assert [form["refresh_token"] for form in login.asked] == shown
    assert {form["grant_type"] for form in login.asked} == {"refresh_token"}
    assert [token.refresh_token for token in tokens] == [*shown[1:], login.valid]
    assert "refresh-1" not in repr(tokens)


async def test_the_refresh_token_of_another_grant_is_not_kept() -> None:
    with answering(http(200, {**TOKEN, "refresh_token": SECRET})) as (request, _):
        assert (await TokenEndpoint(request, Transport()).token(NOW)).refresh_token is None


@pytest.mark.parametrize("value", [5, "", "a\nb", None, ["a"]])
def test_a_malformed_refresh_token_is_none(value: Any) -> None:
    assert read({**TOKEN, "refresh_token": value}).refresh_token is None


@pytest.mark.parametrize("grant", ["authorization_code", "device_code"])
async def test_where_nobody_has_logged_in_nothing_is_asked(grant: str) -> None:
    with answering(http(200, TOKEN)) as (request, received):
        endpoint = TokenEndpoint(replace(request, grant_type=grant), Transport())
        with pytest.raises(NoToken) as error:
            await endpoint.token(NOW)
    assert (error.value.code, error.value.lasting, error.value.retry_after) == ("login_required", False, 0.0)
    assert received == []


async def test_a_login_that_has_ended_says_so() -> None:
    login = Login()
    with serve(login) as origin:
        request = TokenRequest(f"{origin}/token", client_id="abc", auth_method="none", grant_type="device_code")
        endpoint = TokenEndpoint(request, Transport())
        await endpoint.token(NOW, "first")
        login.valid = "another"
        for reason in ("the login has ended: ", "nobody has logged in again since the login ended"):
            with pytest.raises(NoToken, match=f"login_required: {reason}") as error:
                await endpoint.token(NOW, "first")
            assert error.value.retry_after == 0.0
        assert len(login.asked) == 2
        await endpoint.token(NOW, "another")


# --- Discovery ---


async def test_a_login_finds_its_endpoint_as_a_token_request_does() -> None:
    url = "https://login.example.com/authorize"
    with discovered() as (issuer, request):
        issuer.document["authorization_endpoint"] = url
        told = replace(request, issuer="", auth_method="none", login=(("AUTHORIZATION_ENDPOINT", url),))
        for asked, method in ((request, "client_secret_basic"), (told, "none")):
            endpoint, server = TokenEndpoint(asked, Transport()), AuthorizationServer(Transport())
            where = partial(endpoint.locate, asked_at=NOW, endpoint="authorization_endpoint")
            assert await server.converse(where, url) == (url, method)


async def test_a_device_code_is_asked_for_as_a_token_is() -> None:
    """RFC 8628 section 3.1: with client authentication and scope."""
    with answering(http(200, {"device_code": "abc"})) as (request, received):
        login = (("DEVICE_AUTHORIZATION_ENDPOINT", request.endpoint.replace("/token", "/device")),)
        endpoint = TokenEndpoint(replace(request, endpoint="", login=login, scope="a"), Transport())
        said = await endpoint.ask(lambda url: (), NOW, lambda answer, *_: answer.body, "device_authorization_endpoint")
    assert json.loads(said) == {"device_code": "abc"}
    assert received[0].startswith(b"POST /device HTTP/1.1")
    assert received[0].endswith(f"scope=a&client_id=abc&client_secret={SECRET}".encode())


class Issuer:
    """An issuer that publishes `document` at the path that ends so, and a token endpoint."""

    def __init__(self, place: str = "oauth-authorization-server") -> None:
        self.place = place
        self.document: dict[str, Any] = {}
        self.asked: list[str] = []
        self.status = "200 OK"
        self.answer: dict[str, Any] = TOKEN
        self.may_publish = threading.Event()
        self.may_publish.set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        self.asked.append(f"{environ['REQUEST_METHOD']} {path}")
        if path.startswith("/.well-known"):
            self.may_publish.wait(60)
            found = path.endswith(self.place)
            start_response("200 OK" if found else "404 Not Found", [("Content-Type", "application/json")])
            return [json.dumps(self.document).encode()]
        start_response(self.status, [("Content-Type", "application/json")])
        return [json.dumps(self.answer).encode()]


@contextmanager
def discovered(place: str = "oauth-authorization-server") -> Iterator[tuple[Issuer, TokenRequest]]:
    issuer = Issuer(place)
    with serve(issuer) as origin:
        issuer.document = {"issuer": origin, "token_endpoint": f"{origin}/t"}
        try:
            yield issuer, replace(REQUEST, endpoint="", issuer=origin, auth_method="")
        finally:
            issuer.may_publish.set()


OAUTH, OPENID = "GET /.well-known/oauth-authorization-server", "GET /.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("place", "asked"), [("oauth-authorization-server", [OAUTH]), ("openid-configuration", [OAUTH, OPENID])]
)
async def test_an_issuer_is_asked_once_a_day_and_after_a_failure(place: str, asked: list[str]) -> None:
    with discovered(place) as (issuer, request):
        endpoint = TokenEndpoint(request, Transport())
        await endpoint.token(NOW)
        await endpoint.token(NOW + 86399)
        assert issuer.asked == [*asked, "POST /t", "POST /t"]
        await endpoint.token(NOW + 86400)
        assert issuer.asked[len(asked) + 2 :] == [*asked, "POST /t"]
        issuer.asked.clear()
        issuer.status = "503 Busy"
        for _ in range(2):
            with pytest.raises(NoToken, match="http_503"):
                await endpoint.token(NOW + 86401)
        assert issuer.asked == ["POST /t", *asked, "POST /t"]


async def test_an_issuer_is_not_asked_again_while_a_person_logs_in_with_a_code() -> None:
    with discovered() as (issuer, request):
        endpoint = TokenEndpoint(request, Transport())
        issuer.status = "400 Bad Request"
        for code in ("authorization_pending", "slow_down", "authorization_pending"):
            issuer.answer = {"error": code}
            with pytest.raises(NoToken, match=code):
                await endpoint.token(NOW)
        assert issuer.asked == [OAUTH, "POST /t", "POST /t", "POST /t"]


async def test_what_an_issuer_published_counts_until_it_publishes_something_else() -> None:
    with discovered() as (issuer, request):
        endpoint = TokenEndpoint(request, Transport())
        await endpoint.token(NOW)
        issuer.place = "nowhere"
        await endpoint.token(NOW + 86400)
        assert issuer.asked[-3:] == [OAUTH, OPENID, "POST /t"]


async def test_old_metadata_serves_while_newer_does_not_come() -> None:
    """And what comes late counts from then on."""
    with discovered() as (issuer, request):
        endpoint = TokenEndpoint(request, Transport(timeout=5.0))
        await endpoint.token(NOW)
        issuer.may_publish.clear()
        issuer.asked.clear()
        for later in (86400, 86401):
            assert (await endpoint.token(NOW + later)).value == "abc"
        assert issuer.asked == [OAUTH, "POST /t", "POST /t"]
        issuer.document["token_endpoint"] += "2"
        issuer.may_publish.set()
        discovery = endpoint._discovery
        assert discovery is not None
        await discovery
        await endpoint.token(NOW + 86402)
        assert issuer.asked[3:] == ["POST /t2"]


async def test_old_metadata_serves_after_a_failure_too() -> None:
    with discovered() as (issuer, request):
        endpoint = TokenEndpoint(request, Transport(timeout=5.0))
        await endpoint.token(NOW)
        issuer.may_publish.clear()
        issuer.status = "503 Busy"
        with pytest.raises(NoToken, match="http_503"):
            await endpoint.token(NOW + 1)
        issuer.status = "200 OK"
        assert (await endpoint.token(NOW + 2)).value == "abc"


async def test_the_wait_for_newer_metadata_counts_as_part_of_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_endpoint, "METADATA_SHARE", 1.0)
    with discovered() as (issuer, request):
        endpoint = TokenEndpoint(request, Transport(timeout=0.5))
        await endpoint.token(NOW)
        issuer.may_publish.clear()
        with pytest.raises(NoToken, match="timeout"):
            await endpoint.token(NOW + 86400)


def test_an_issuer_without_metadata_is_told() -> None:
    with discovered("nowhere") as (issuer, request):
        error = refusal(request)
    assert (error.code, error.lasting) == ("no_metadata", False)
    assert error.reason.endswith("answered 404 without metadata in a JSON object")
    assert issuer.asked == [OAUTH, OPENID]


def test_the_metadata_of_another_issuer_is_not_used() -> None:
    with discovered() as (issuer, request):
        issuer.document["issuer"] = f"https://evil.example/{SECRET}"
        error = refusal(request)
    assert error.code == "issuer_mismatch"
    assert issuer.asked == [OAUTH, OPENID]


def test_a_redirect_to_the_metadata_is_not_followed() -> None:
    with (
        discovered() as (issuer, request),
        fakes.in_turn(
            *[http(302, b"", f"Location: {request.issuer}/.well-known/oauth-authorization-server", keep=True)] * 2
        ) as (url, _),
    ):
        assert refusal(replace(request, issuer=url)).code == "no_metadata"
        assert issuer.asked == []


def test_a_slow_issuer_meets_the_deadline() -> None:
    with fakes.answering(60.0) as (url, _):
        error = refusal(replace(REQUEST, endpoint="", issuer=url), Transport(timeout=0.3))
    assert (error.code, error.reason) == ("timeout", f"{url} did not answer within 0 s")

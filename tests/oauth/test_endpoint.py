"""Token requests to the embedded authorization server, and to fakes for what no real server does on demand."""

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
from credential_injector.oauth.answers import accepted
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


def test_strange_credentials(
    server: tuple[DemoAuthorizationServer, TokenRequest],
) -> None:
    """The strangest id and secret get a token; test_oidc_provider.py has client_secret_basic."""
    authorization_server, request = server
    token = ask(request)
    assert token.value in authorization_server.tokens
    assert token.issued_at == NOW
    assert token.expires_at == NOW + 120


def test_fields(server: tuple[DemoAuthorizationServer, TokenRequest]) -> None:
    """Every field of the file is sent."""
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


def test_wrong_secret(server: tuple[DemoAuthorizationServer, TokenRequest]) -> None:
    """A wrong secret is refused with the OAuth error code."""
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


def test_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The request is a form POST with our headers, and nothing of the machine: no .netrc, no proxy variables."""
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


def test_basic() -> None:
    """client_secret_basic form-encodes id and secret before it joins them."""
    with answering(http(200, TOKEN)) as (request, received):
        ask(replace(request, client_id="a:b c", client_secret=STRANGE, auth_method="client_secret_basic"))
    head, _, body = received[0].decode().partition("\r\n\r\n")
    credentials = head.partition("Authorization: Basic ")[2].partition("\r\n")[0]
    assert base64.b64decode(credentials).decode() == "a%3Ab+c:p%40ss%3Aw%25rd+%2B%26%3D%2F%22~%C3%A4"
    assert body == "grant_type=client_credentials"


def test_no_method() -> None:
    """Without a method only the client id is sent."""
    with answering(http(200, TOKEN)) as (request, received):
        ask(replace(request, client_secret="", auth_method="none"))
    assert received[0].endswith(b"\r\n\r\ngrant_type=client_credentials&client_id=abc")


def test_redirect() -> None:
    """A redirect is not followed."""
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


def test_redirect_malformed() -> None:
    """A redirect to a malformed URL is a redirect, too."""
    with answering(http(302, b"", "Location: http://[canary")) as (request, _):
        assert refusal(request).code == "redirect"


def test_redirect_endless() -> None:
    """A redirect's body is read no further than any answer's."""
    pieces = [b"X" * (1 << 20)] * 64
    head = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n"
    with answering(head, *pieces, 60.0) as (request, _):
        error = refusal(request)
    assert (error.code, error.reason) == ("invalid_response", f"{request.endpoint} answered more than 1 MiB")


def test_refused() -> None:
    """A server that refuses the connection is unreachable."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = refusal(replace(REQUEST, endpoint=f"http://127.0.0.1:{unused.getsockname()[1]}/token"))
    assert (error.code, error.lasting) == ("unreachable", False)
    assert error.reason.endswith("/token cannot be reached (Connection refused)")


def test_unknown_name() -> None:
    """A name that does not exist is unreachable."""
    assert refusal(replace(REQUEST, endpoint="https://login.invalid/token")).code == "unreachable"


def test_no_tls() -> None:
    """The reason tells where a server answers https in plain http."""
    with answering(http(200, TOKEN), reads=False) as (request, _):
        error = refusal(replace(request, endpoint=request.endpoint.replace("http:", "https:")))
    assert error.code == "unreachable"
    assert error.reason.endswith("/token cannot be reached (it does not speak TLS on this port)")


@pytest.mark.parametrize(
    "answer", [b"", b"\x00\x01 nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"]
)
def test_broken_answer(answer: bytes) -> None:
    """An answer that breaks off is none."""
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
def test_slow(
    pieces: list[bytes | float],
) -> None:
    """A slow server ends at the deadline, and leaves no thread behind."""
    with answering(*pieces) as (request, _):
        error = refusal(request, Transport(timeout=0.3))
        assert (error.code, error.lasting) == ("timeout", False)
        for thread in threading.enumerate():
            if thread.name == "token request":
                thread.join(timeout=5)
                assert not thread.is_alive()


def test_large_answer() -> None:
    """An answer that is too large is not read to its end."""
    with answering(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 65536] * 1000) as (request, _):
        error = refusal(request)
    assert error.code == "invalid_response"
    assert error.reason.endswith("/token answered more than 1 MiB")


def test_log(caplog: pytest.LogCaptureFixture) -> None:
    """The libraries write no tokens to the log."""
    caplog.set_level("DEBUG")
    with answering(http(200, TOKEN)) as (request, _):
        ask(request)
    assert [record.name for record in caplog.records if record.name != "asyncio"] == []


async def test_cancelled() -> None:
    """A token request that is cancelled leaves no thread behind."""
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
async def test_refresh_token(rotates: bool) -> None:
    """Each token request shows the last refresh token."""
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


async def test_refresh_token_unused() -> None:
    """A grant without refresh tokens keeps none."""
    with answering(http(200, {**TOKEN, "refresh_token": SECRET})) as (request, _):
        assert (await TokenEndpoint(request, Transport()).token(NOW)).refresh_token is None


@pytest.mark.parametrize("grant", ["authorization_code", "device_code"])
async def test_no_login(grant: str) -> None:
    """Where nobody has logged in, nothing is asked."""
    with answering(http(200, TOKEN)) as (request, received):
        endpoint = TokenEndpoint(replace(request, grant_type=grant), Transport())
        with pytest.raises(NoToken) as error:
            await endpoint.token(NOW)
    assert (error.value.code, error.value.lasting, error.value.retry_after) == ("login_required", False, 0.0)
    assert received == []


async def test_ended_login() -> None:
    """A login that has ended is told as such, and its refresh token is not shown again."""
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


async def test_login_endpoint() -> None:
    """A login finds its endpoint as a token request does."""
    url = "https://login.example.com/authorize"
    with discovered() as (issuer, request):
        issuer.document["authorization_endpoint"] = url
        told = replace(request, issuer="", auth_method="none", login=(("AUTHORIZATION_ENDPOINT", url),))
        for asked, method in ((request, "client_secret_basic"), (told, "none")):
            endpoint, server = TokenEndpoint(asked, Transport()), AuthorizationServer(Transport())
            where = partial(endpoint.locate, asked_at=NOW, endpoint="authorization_endpoint")
            assert await server.converse(where, url) == (url, method)


async def test_device_code() -> None:
    """A device code is asked for with client authentication and scope (RFC 8628 section 3.1)."""
    with answering(http(200, {"device_code": "abc"})) as (request, received):
        login = (("DEVICE_AUTHORIZATION_ENDPOINT", request.endpoint.replace("/token", "/device")),)
        endpoint = TokenEndpoint(replace(request, endpoint="", login=login, scope="a"), Transport())
        said = await endpoint.ask(lambda url: (), NOW, lambda answer, *_: answer.body, "device_authorization_endpoint")
    assert json.loads(said) == {"device_code": "abc"}
    assert received[0].startswith(b"POST /device HTTP/1.1")
    assert received[0].endswith(f"scope=a&client_id=abc&client_secret={SECRET}".encode())


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http(404, b""), "login_endpoint"),
        (http(302, b""), "login_endpoint"),
        (http(200, b"<html>"), "login_endpoint"),
        (http(401, {"error": "invalid_client"}), "invalid_client"),
    ],
)
async def test_wrong_login_endpoint(answer: bytes, code: str) -> None:
    """Where the device authorization endpoint is a wrong URL, the token endpoint is not blamed."""
    with answering(answer) as (request, _):
        login = (("DEVICE_AUTHORIZATION_ENDPOINT", request.endpoint.replace("/token", "/device")),)
        endpoint = TokenEndpoint(replace(request, login=login), Transport())
        with pytest.raises(NoToken, match=rf"^{code}: http://\S+/device answered ") as error:
            await endpoint.ask(lambda url: (), NOW, accepted, "device_authorization_endpoint")
    assert error.value.lasting == (b" 200 " not in answer)


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
async def test_discovery(place: str, asked: list[str]) -> None:
    """An issuer is asked once a day, and after a failure."""
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


async def test_discovery_pending() -> None:
    """An issuer is not asked again while a person logs in with a code."""
    with discovered() as (issuer, request):
        endpoint = TokenEndpoint(request, Transport())
        issuer.status = "400 Bad Request"
        for code in ("authorization_pending", "slow_down", "authorization_pending"):
            issuer.answer = {"error": code}
            with pytest.raises(NoToken, match=code):
                await endpoint.token(NOW)
        assert issuer.asked == [OAUTH, "POST /t", "POST /t", "POST /t"]


async def test_metadata_gone() -> None:
    """Metadata counts until the issuer publishes something else."""
    with discovered() as (issuer, request):
        endpoint = TokenEndpoint(request, Transport())
        await endpoint.token(NOW)
        issuer.place = "nowhere"
        await endpoint.token(NOW + 86400)
        assert issuer.asked[-3:] == [OAUTH, OPENID, "POST /t"]


async def test_metadata_late() -> None:
    """Old metadata serves while newer does not come; what comes late counts from then on."""
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
        async with asyncio.timeout(10):
            while not endpoint.published[0].endswith("2"):  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)
        await endpoint.token(NOW + 86402)
        assert issuer.asked[3:] == ["POST /t2"]


async def test_metadata_after_failure() -> None:
    """Old metadata serves after a failure, too."""
    with discovered() as (issuer, request):
        endpoint = TokenEndpoint(request, Transport(timeout=5.0))
        await endpoint.token(NOW)
        issuer.may_publish.clear()
        issuer.status = "503 Busy"
        with pytest.raises(NoToken, match="http_503"):
            await endpoint.token(NOW + 1)
        issuer.status = "200 OK"
        assert (await endpoint.token(NOW + 2)).value == "abc"


async def test_metadata_wait() -> None:
    """The wait for newer metadata is part of the timeout."""
    with discovered() as (issuer, request):
        endpoint = TokenEndpoint(request, Transport(timeout=0.5), metadata_share=1.0)
        await endpoint.token(NOW)
        issuer.may_publish.clear()
        with pytest.raises(NoToken, match="timeout"):
            await endpoint.token(NOW + 86400)


def test_no_metadata() -> None:
    """An issuer without metadata is told."""
    with discovered("nowhere") as (issuer, request):
        error = refusal(request)
    assert (error.code, error.lasting) == ("no_metadata", False)
    assert error.reason.endswith("answered 404 without metadata in a JSON object")
    assert issuer.asked == [OAUTH, OPENID]


def test_other_issuer() -> None:
    """The metadata of another issuer is not used."""
    with discovered() as (issuer, request):
        issuer.document["issuer"] = f"https://evil.example/{SECRET}"
        error = refusal(request)
    assert error.code == "issuer_mismatch"
    assert issuer.asked == [OAUTH, OPENID]


def test_metadata_redirect() -> None:
    """A redirect to the metadata is not followed."""
    with (
        discovered() as (issuer, request),
        fakes.in_turn(
            *[http(302, b"", f"Location: {request.issuer}/.well-known/oauth-authorization-server", keep=True)] * 2
        ) as (url, _),
    ):
        assert refusal(replace(request, issuer=url)).code == "no_metadata"
        assert issuer.asked == []


def test_slow_issuer() -> None:
    """A slow issuer ends at the deadline."""
    with fakes.answering(60.0) as (url, _):
        error = refusal(replace(REQUEST, endpoint="", issuer=url), Transport(timeout=0.3))
    assert (error.code, error.reason) == ("timeout", f"{url} did not answer within 0 s")

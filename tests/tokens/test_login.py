"""Logins that go wrong, against servers that do what no real one does on demand; real ones are in e2e/test_login.py."""

import asyncio
import base64
import hashlib
import json
import math
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
import requests

from credential_injector.demo.servers import serve
from credential_injector.environments.environment import Environment
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.origins.origin import parse_origin
from credential_injector.tokens.file_store import open_file
from credential_injector.tokens.login import Terminal, log_in
from credential_injector.tokens.provider import Provider
from credential_injector.tokens.sharing import identify
from credential_injector.tokens.store import TokenStore
from tests.ports import free_port

TOKEN = {"access_token": "abc", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "first"}
DEVICE = {
    "device_code": "canary-device",
    "user_code": "ABCD-EFGH",
    "verification_uri": "https://login.example.com/device",
    "expires_in": 600,
    "interval": 1,
}


class Server:
    """A token endpoint that gives these answers in turn, the last one for ever, and tells what it was asked."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.asked: list[dict[str, str]] = []
        self._answers = list(answers)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.asked.append(dict(parse_qsl(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        status = "400 Bad Request" if "error" in answer else "200 OK"
        status = "503 Service Unavailable" if answer.get("error") == "temporarily_unavailable" else status
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]


@contextmanager
def environment(server: Server, grant: str = "authorization_code", **values: str) -> Iterator[Environment]:
    with serve(server) as origin:
        given = {
            "AUTHORIZATION_ENDPOINT": "https://login.example.com/authorize?tenant=acme",
            "DEVICE_AUTHORIZATION_ENDPOINT": f"{origin}/device",
            **values,
        }
        request = TokenRequest(
            f"{origin}/token",
            client_id="abc",
            auth_method="none",
            grant_type=grant,
            scope=given.pop("SCOPE", ""),
            login=tuple(sorted(given.items())),
        )
        yield Environment("qa", "envs/qa.env", (parse_origin("https://api.example.com"),), request)


class Person:
    """Opens what a login shows, and reads what it tells."""

    def __init__(self, *answers: Callable[[dict[str, str]], dict[str, str] | list[tuple[str, str]]]) -> None:
        self.told: list[str] = []
        self.asked: dict[str, str] = {}
        self.pages: list[requests.Response] = []
        self._answers = answers

    async def browse(self, url: str) -> None:
        self.url = url
        self.asked = dict(parse_qsl(urlsplit(url).query))
        await asyncio.to_thread(self._answer)  # for whose end asyncio.run waits

    def _answer(self) -> None:
        for answer in self._answers:
            target = f"{self.asked['redirect_uri']}?{urlencode(answer(self.asked))}"
            self.pages.append(requests.get(target, timeout=30))

    def log_in(self, where: Environment, store: TokenStore, **terminal: Any) -> AccessToken:
        return asyncio.run(log_in(where, Provider(store), Terminal(self.told.append, self.browse, **terminal)))


def good(asked: dict[str, str]) -> dict[str, str]:
    return {"code": "canary-code", "state": asked["state"]}


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    return open_file(str(tmp_path / "tokens.json"))


def stored(store: TokenStore, where: Environment) -> AccessToken | None:
    return asyncio.run(store.read(identify(where.token_request)))


# --- In a browser ---


def test_code(
    store: TokenStore,
) -> None:
    """The code is exchanged with the verifier of its challenge, and the refresh token is stored."""
    server, person = Server(TOKEN), Person(good)
    with environment(server, SCOPE="read") as where:
        token = person.log_in(where, store)
        assert stored(store, where) == token
    assert (token.value, token.refresh_token) == ("abc", "first")
    asked, (exchanged,) = person.asked, server.asked
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/callback", asked["redirect_uri"])
    assert (asked["tenant"], asked["response_type"], asked["client_id"], asked["scope"]) == (
        *("acme", "code", "abc", "read"),
    )
    assert asked["code_challenge_method"] == "S256"
    assert "prompt" not in asked
    assert (exchanged["grant_type"], exchanged["code"]) == ("authorization_code", "canary-code")
    assert exchanged["redirect_uri"] == asked["redirect_uri"]
    digest = hashlib.sha256(exchanged["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == asked["code_challenge"]
    assert len(exchanged["code_verifier"]) >= 43
    (page,) = person.pages
    assert (page.status_code, page.headers["Cache-Control"]) == (200, "no-store")
    assert "canary" not in page.text + "".join(person.told)


def test_lock(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login waits for the lock as long as the file lets a token request take."""
    lock, waits = store.lock, list[float]()

    def watched(identity: str, wait: float) -> AbstractAsyncContextManager[bool]:
        waits.append(wait)
        return lock(identity, wait)

    monkeypatch.setattr(store, "lock", watched)
    with environment(Server(TOKEN)) as where:
        Person(good).log_in(replace(where, transport=Transport(timeout=60)), store)
    assert waits == [90]


def test_state(store: TokenStore) -> None:
    """No two logins have the same state or challenge."""
    people = [Person(good), Person(good)]
    with environment(Server(TOKEN)) as where:
        for person in people:
            person.log_in(where, store)
    assert len({person.asked["state"] for person in people}) == 2
    assert len({person.asked["code_challenge"] for person in people}) == 2


@pytest.mark.parametrize(
    "foreign",
    [
        lambda asked: {"code": "canary-of-another", "state": "another"},
        lambda asked: {"code": "canary-of-another"},
        lambda asked: {"error": "access_denied", "state": "another"},
        lambda asked: {"code": "canary-of-another", "state": f"{asked['state']}ä"},
        lambda asked: [("code", "canary-of-another"), ("state", asked["state"]), ("state", "another")],
    ],
)
def test_other_state(store: TokenStore, foreign: Any) -> None:
    """An answer with another state is refused, and the login goes on."""
    server, person = Server(TOKEN), Person(foreign, good)
    with environment(server) as where:
        person.log_in(where, store)
    assert [page.status_code for page in person.pages] == [400, 200]
    assert [one["code"] for one in server.asked] == ["canary-code"]
    assert "qa: refused an answer with another state: it belongs to another login" in person.told


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"error": "access_denied", "error_description": "canary"}, "access_denied"),
        ({"error": "canary"}, "login_refused"),
        ({}, "login_refused"),
        ({"code": ""}, "login_refused"),
    ],
)
def test_refused(store: TokenStore, answer: dict[str, str], code: str) -> None:
    """A refused login is told without the server's words."""
    server, person = Server(TOKEN), Person(lambda asked: {**answer, "state": asked["state"]})
    with environment(server) as where, pytest.raises(NoToken) as error:
        person.log_in(where, store)
    assert error.value.code == code
    assert server.asked == []
    assert code in person.pages[0].text
    assert "canary" not in f"{error.value}{person.pages[0].text}{person.told}"


def publishing(server: Server, **more: Any) -> Any:
    """The same server, which publishes where its endpoints are, and more of itself."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            return server(environ, start_response)
        origin = f"http://{environ['HTTP_HOST']}"
        start_response("200 OK", [("Content-Type", "application/json")])
        endpoints = {"token_endpoint": f"{origin}/token", "authorization_endpoint": f"{origin}/authorize"}
        return [json.dumps({"issuer": origin, **endpoints, **more}).encode()]

    return app


@pytest.mark.parametrize("own", [True, False])
def test_other_issuer(store: TokenStore, own: bool) -> None:
    """An answer that names another issuer is refused (RFC 9207)."""
    server = Server(TOKEN)
    with serve(publishing(server)) as origin, environment(server, AUTHORIZATION_ENDPOINT="") as told:
        where = replace(told, token_request=replace(told.token_request, endpoint="", issuer=origin))
        person = Person(lambda asked: {**good(asked), "iss": origin if own else "https://evil.example.com"})
        if own:
            person.log_in(where, store)
            stored = asyncio.run(store.read(identify(where.token_request)))
            assert stored is not None
            assert stored.endpoints == (f"{origin}/token",), "a proxy knows it before it uses the token"
        else:
            with pytest.raises(NoToken, match="issuer_mismatch: another authorization server than ISSUER answered"):
                person.log_in(where, store)
    assert len(server.asked) == own


ISS = "authorization_response_iss_parameter_supported"


@pytest.mark.parametrize(
    ("published", "more", "refused"),
    [
        ({ISS: True}, [], "without the iss that its metadata promises"),
        ({ISS: True}, [("iss", "{issuer}")], ""),
        ({ISS: False}, [], ""),
        ({}, [], ""),
        ({}, [("iss", "{issuer}")], ""),
        ({}, [("iss", "")], "with an empty iss"),
        ({}, [("iss", "{issuer}"), ("iss", "{issuer}")], "with a parameter that is there twice"),
        ({}, [("iss", "{issuer}"), ("iss", "https://evil.example")], "with a parameter that is there twice"),
        ({}, [("iss", ""), ("iss", "{issuer}")], "with a parameter that is there twice"),
        ({}, [("code", "canary-of-another")], "with a parameter that is there twice"),
        ({}, [("error", "access_denied"), ("error", "access_denied")], "with a parameter that is there twice"),
        ({}, [("x", ""), ("x", "")], "with a parameter that is there twice"),
        (None, [("iss", "")], "with an empty iss"),
        (None, [("iss", "https://a.example"), ("iss", "https://a.example")], "with a parameter that is there twice"),
        (None, [("iss", "https://a.example")], ""),
    ],
)
def test_other_server(
    store: TokenStore, published: dict[str, Any] | None, more: list[tuple[str, str]], refused: str
) -> None:
    """An answer is refused where it may be of another server (RFC 9207 section 2.4, RFC 6749 section 3.1)."""
    server = Server(TOKEN)
    endpoint = "" if published is not None else "https://login.example.com/authorize"
    with (
        serve(publishing(server, **(published or {}))) as origin,
        environment(server, AUTHORIZATION_ENDPOINT=endpoint) as told,
    ):
        where = told
        if published is not None:
            where = replace(told, token_request=replace(told.token_request, endpoint="", issuer=origin))
        extra = [(name, value.format(issuer=origin)) for name, value in more]
        person = Person(lambda asked: [*good(asked).items(), *extra])
        if refused:
            with pytest.raises(NoToken, match=refused) as error:
                person.log_in(where, store)
            assert error.value.code == "invalid_authorization_response"
            assert "canary" not in f"{error.value}{person.pages[0].text}{person.told}"
        else:
            person.log_in(where, store)
    assert len(server.asked) == (not refused)


def test_no_answer(store: TokenStore) -> None:
    """What is no answer to the login finds nothing: a browser asks for an icon, too."""
    pages: list[bytes] = []

    def ask(redirect_uri: str, answer: str) -> None:
        parts = urlsplit(redirect_uri)
        for line in (
            "GET /favicon.ico HTTP/1.1",
            f"POST /callback?{answer} HTTP/1.1",
            f"GET /callbacks?{answer} HTTP/1.1",
            f"GET http://[/callback?{answer} HTTP/1.1",
            "whatever",
            f"GET /callback?{answer}&state=another HTTP/1.1",
            f"GET /{'x' * 100_000} HTTP/1.1",
            f"GET /callback?{answer} HTTP/1.1",
        ):
            with socket.create_connection((parts.hostname, parts.port), timeout=30) as browser, suppress(OSError):
                browser.sendall(f"{line}\r\n\r\n".encode())
                pages.append(browser.recv(12)[9:])

    async def browse(url: str) -> None:
        asked = dict(parse_qsl(urlsplit(url).query))
        await asyncio.to_thread(ask, asked["redirect_uri"], urlencode(good(asked)))

    server = Server(TOKEN)
    with environment(server) as where:
        asyncio.run(log_in(where, Provider(store), Terminal(lambda _: None, browse)))
    assert [page for page in pages if page] == [b"404"] * 5 + [b"400", b"200"]
    assert len(server.asked) == 1


def test_redirect_uri(store: TokenStore) -> None:
    """The redirect URI of the file is listened at and sent."""
    server, person = Server(TOKEN), Person(good)
    fixed = f"http://127.0.0.1:{free_port()}/signed/in"
    with environment(server, REDIRECT_URI=fixed) as where:
        person.log_in(where, store)
    assert person.asked["redirect_uri"] == server.asked[0]["redirect_uri"] == fixed


def test_port_taken(store: TokenStore) -> None:
    """A port that is taken is told."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            environment(Server(TOKEN), REDIRECT_URI=f"http://127.0.0.1:{port}/") as where,
            pytest.raises(
                NoToken, match=rf"redirect_uri: cannot listen on 127\.0\.0\.1:{port} \(Address already in use\)"
            ),
        ):
            Person(good).log_in(where, store)


@pytest.mark.parametrize(
    ("endpoint", "prompt"),
    [("https://login.example.com/authorize", "consent"), ("https://login.example.com/authorize?prompt=login", "login")],
)
def test_consent(store: TokenStore, endpoint: str, prompt: str) -> None:
    """offline_access asks for consent unless the file says otherwise."""
    person = Person(good)
    with environment(Server(TOKEN), SCOPE="openid offline_access", AUTHORIZATION_ENDPOINT=endpoint) as where:
        person.log_in(where, store)
    assert person.asked["prompt"] == prompt


def test_audience(store: TokenStore) -> None:
    """Audience and resource are asked for in the browser."""
    person = Person(good)
    with environment(Server(TOKEN)) as where:
        request = replace(where.token_request, audience=("https://api.example.com",), resource=("urn:a", "urn:b"))
        person.log_in(replace(where, token_request=request), store)
    query = parse_qs(urlsplit(person.url).query)
    assert (query["audience"], query["resource"]) == (["https://api.example.com"], ["urn:a", "urn:b"])


def test_deadline(store: TokenStore) -> None:
    """The wait ends with what to do, after words of progress."""
    person = Person()
    with environment(Server(TOKEN)) as where, pytest.raises(NoToken, match="login_required: nobody has logged in with"):
        person.log_in(where, store, deadline=0.2, progress=0.05)
    assert person.told[1] == "qa: waiting for the login, 0 s left"


# --- With a code ---


@pytest.mark.parametrize(
    ("errors", "pauses", "outcome"),
    [
        (["authorization_pending"], [1.0, 1.0], ""),
        (["slow_down", "authorization_pending"], [1.0, 6.0, 6.0], ""),
        (["temporarily_unavailable", "temporarily_unavailable", "slow_down"], [1.0, 2.0, 4.0, 9.0], ""),
        (["expired_token"], [1.0], "login_required: nobody has entered the code in time"),
        (["authorization_pending", "access_denied"], [1.0, 1.0], "access_denied"),
    ],
)
def test_device_code(
    store: TokenStore, monkeypatch: pytest.MonkeyPatch, errors: list[str], pauses: list[float], outcome: str
) -> None:
    """A device code is asked for until the server decides."""
    paused: list[float] = []
    sleep = asyncio.sleep

    async def at_once(seconds: float) -> None:
        paused.append(seconds)
        await sleep(0)

    monkeypatch.setattr("credential_injector.tokens.login.asyncio.sleep", at_once)
    server, person = Server(DEVICE, *({"error": error} for error in errors), TOKEN), Person()
    with environment(server, "device_code", SCOPE="read") as where:
        if outcome:
            with pytest.raises(NoToken, match=outcome):
                person.log_in(where, store)
            assert stored(store, where) is None
        else:
            person.log_in(where, store)
            assert getattr(stored(store, where), "refresh_token", None) == "first"
    assert (server.asked[0]["client_id"], server.asked[0]["scope"]) == ("abc", "read")
    urn = "urn:ietf:params:oauth:grant-type:device_code"
    assert {(one["grant_type"], one["device_code"]) for one in server.asked[1:]} == {(urn, "canary-device")}
    assert paused == pauses
    assert "canary" not in "".join(person.told)
    assert "https://login.example.com/device" in person.told[0]
    assert "ABCD-EFGH" in person.told[0]


@pytest.mark.parametrize(("interval", "pause"), [(None, 5.0), ("7", 5.0), (0, 1.0), (10**400, 60.0), (math.nan, 1.0)])
def test_interval(store: TokenStore, monkeypatch: pytest.MonkeyPatch, interval: object, pause: float) -> None:
    """An odd interval is made a reasonable one."""
    paused: list[float] = []

    async def at_once(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr("credential_injector.tokens.login.asyncio.sleep", at_once)
    with environment(Server({**DEVICE, "interval": interval}, TOKEN), "device_code") as where:
        Person().log_in(where, store)
    assert paused == [pause]


@pytest.mark.parametrize(
    "answer",
    [
        {"device_code": ""},
        {"device_code": 7},
        {"user_code": "\x1b[2Jcanary"},
        {"user_code": "canary" * 20},
        {"verification_uri": "http://login.example.com/canary"},
        {"verification_uri": "canary"},
        {"verification_uri_complete": "javascript:canary"},
        {"verification_uri": None},
    ],
)
def test_hostile_answer(store: TokenStore, answer: dict[str, Any]) -> None:
    """An answer that a person should not be shown is refused."""
    person = Person()
    with (
        environment(Server({**DEVICE, **answer}), "device_code") as where,
        pytest.raises(NoToken, match="login_endpoint") as error,
    ):
        person.log_in(where, store)
    assert "canary" not in f"{error.value}{person.told}"

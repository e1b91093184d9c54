"""GRANT_TYPE=login against real servers: Django's sessions, and JSON."""

import secrets
import threading
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
import requests
from flask import Flask, Response, jsonify, redirect, request

from credential_injector.demo.servers import serve
from tests.e2e.conftest import Stage
from tests.e2e.django_site import PASSWORD, USER, Site

CSRF = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="session")
def django_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("django"))


@pytest.fixture
def django(stage: Stage, django_site: Site) -> str:
    django_site.end_sessions()
    django_site.received.clear()
    django_site.logins.clear()
    return stage.enter(serve(django_site.app))


class JsonLogin:
    """A server that takes a name and a password as JSON, and an API that wants its tokens."""

    def __init__(self) -> None:
        self.logins: list[Any] = []
        self.tokens: list[str] = []
        self.lifetime = 300
        self.app = Flask("login")

        @self.app.post("/login")
        def login() -> Any:
            self.logins.append(request.get_json())
            if request.get_json() != {"user": USER, "password": PASSWORD, "tenant": "acme"}:
                return jsonify(error="wrong"), 401
            self.tokens.append(secrets.token_urlsafe(24))
            answer = jsonify(data={"auth": [{"token": self.tokens[-1]}], "expires_in": self.lifetime})
            answer.headers["X-Auth-Token"] = self.tokens[-1]
            return answer

        @self.app.get("/orders")
        def orders() -> Any:
            token = request.headers.get("X-Auth-Token") or request.args.get("key", "")
            return ("done", 200) if token in self.tokens[-1:] else ("", 401)


@pytest.fixture
def json_login() -> JsonLogin:
    return JsonLogin()


def lines(origin: str, *more: str, password: str = PASSWORD, body: str | None = None) -> tuple[str, ...]:
    """An environment that logs in with JSON."""
    body = body or '{"user": "${USERNAME}", "password": "${PASSWORD}", "tenant": "acme"}'
    return (
        "GRANT_TYPE=login",
        f"LOGIN_URL={origin}/login",
        f"LOGIN_BODY='{body}'",
        f"USERNAME={USER}",
        f"PASSWORD='{password}'",
        *more,
    )


NO_OAUTH = "TOKEN_ENDPOINT,CLIENT_ID,CLIENT_SECRET,SCOPE"


def get(proxy: str, url: str, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request("GET", url, proxies={"http": proxy}, timeout=60, **options)


def django_lines(origin: str, password: str = PASSWORD) -> tuple[str, ...]:
    """As docs/providers.md has it."""
    return (
        "GRANT_TYPE=login",
        f"LOGIN_URL={origin}/accounts/login/",
        "LOGIN_BODY='username=${USERNAME}&password=${PASSWORD}'",
        f"LOGIN_HEADER_Cookie=csrftoken={CSRF}",
        f"LOGIN_HEADER_X-CSRFToken={CSRF}",
        f"USERNAME={USER}",
        f"PASSWORD='{password}'",
        "TOKEN_AT=cookie:sessionid",
        "COOKIE=sessionid",
    )


def test_django(stage: Stage, django: str, django_site: Site) -> None:
    """One login serves all requests; other cookies stay; a session that has ended is replaced unseen."""
    stage.env(django, *django_lines(django), without=NO_OAUTH)
    proxy = stage.mitmdump()
    for _ in range(3):
        answer = get(
            proxy.url, f"{django}/orders", headers={"Cookie": "theme=dark; sessionid=mine"}, allow_redirects=False
        )
        assert answer.json() == {"user": USER, "cookies": ["sessionid", "theme"]}
    assert django_site.logins == ["POST"]
    django_site.end_sessions()
    answer = get(proxy.url, f"{django}/orders", allow_redirects=False)
    assert (answer.status_code, answer.json()["user"]) == (200, USER)
    assert django_site.logins == ["POST", "POST"]


def test_redirected_write(stage: Stage, django: str, django_site: Site) -> None:
    """A write that is redirected to the login page is not sent again: it may have been done."""
    stage.env(django, *django_lines(django), "HEADER_X-CSRFToken=" + CSRF, without=NO_OAUTH)
    proxy = stage.mitmdump()
    assert get(proxy.url, f"{django}/orders", allow_redirects=False).status_code == 200
    django_site.end_sessions()
    with requests.Session() as session:
        session.trust_env = False
        sent = {"Cookie": f"csrftoken={CSRF}"}
        proxies = {"http": proxy.url}
        answer = session.post(f"{django}/orders", headers=sent, proxies=proxies, timeout=60, allow_redirects=False)
    assert answer.status_code == 302
    assert django_site.logins == ["POST"]


def test_django_refuses(stage: Stage, django: str, django_site: Site) -> None:
    """A wrong password is told, and not tried again before long."""
    stage.env(django, *django_lines(django, "canary-wrong"), without=NO_OAUTH)
    proxy = stage.mitmdump()
    for _ in range(3):
        answer = get(proxy.url, f"{django}/orders")
        assert answer.status_code == 502
        assert "answered 200 without TOKEN_AT=cookie:sessionid" in answer.text
        assert "check USERNAME, PASSWORD, LOGIN_BODY and TOKEN_AT in envs/qa.env" in answer.text
    assert django_site.logins == ["POST"]
    assert "canary" not in "\n".join(proxy.log)


@pytest.mark.parametrize(
    "more",
    [
        ("TOKEN_AT=/data/auth/0/token", "EXPIRES_IN_AT=/data/expires_in", "HEADER=X-Auth-Token", "PREFIX="),
        ("TOKEN_AT=header:X-Auth-Token", "LIFETIME=60", "HEADER=X-Auth-Token", "PREFIX="),
        ("TOKEN_AT=header:X-Auth-Token", "QUERY=key"),
    ],
)
@pytest.mark.parametrize("mask", ["false", "true"])
def test_json(stage: Stage, json_login: JsonLogin, more: tuple[str, ...], mask: str) -> None:
    """Many requests, one login; a token that is refused is replaced."""
    origin = stage.enter(serve(json_login.app))
    stage.env(origin, *lines(origin, *more), without=NO_OAUTH)
    with stage.mitmproxy("mitmdump", "-w", str(stage.folder / "capture"), inject_mask=mask) as proxy:
        answers: list[int] = []
        clients = [
            threading.Thread(target=lambda: answers.append(get(proxy.url, f"{origin}/orders").status_code))
            for _ in range(8)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert answers == [200] * 8
        assert len(json_login.logins) == 1
        json_login.tokens.append("another")
        assert get(proxy.url, f"{origin}/orders").status_code == 200
        assert len(json_login.logins) == 2
    content = (stage.folder / "capture").read_bytes()
    assert PASSWORD.encode() not in content
    assert any(token.encode() in content for token in json_login.tokens) == (mask == "false")


class FormLogin:
    """A form's login as Spring Security does it: who is refused is sent back to it, with a session of nobody."""

    def __init__(self, login_page: str = "/login") -> None:
        self.logins: list[str] = []
        self.sessions: list[str] = []
        self.login_page = login_page
        self.login, self.app = Flask("form"), Flask("api")

        @self.login.post("/")
        @self.app.post("/login")
        def login() -> Any:
            self.logins.append(request.form["username"])
            session = secrets.token_urlsafe(24)
            known = (request.form["username"], request.form["password"]) == (USER, PASSWORD)
            self.sessions += [session] * known
            answer = redirect("/" if known else f"{self.login_page}?error")
            answer.set_cookie("JSESSIONID", session, httponly=True)
            return answer

        @self.app.get("/orders")
        def orders() -> Any:
            return "done" if request.cookies.get("JSESSIONID") in self.sessions[-1:] else redirect(self.login_page)

        @self.app.get("/old")
        def old() -> Any:
            return redirect("/")


def form_lines(login: str, password: str = PASSWORD) -> tuple[str, ...]:
    return (
        "GRANT_TYPE=login",
        f"LOGIN_URL={login}",
        "LOGIN_BODY='username=${USERNAME}&password=${PASSWORD}'",
        f"USERNAME={USER}",
        f"PASSWORD='{password}'",
        "TOKEN_AT=cookie:JSESSIONID",
        "COOKIE=JSESSIONID",
    )


def test_sent_back(stage: Stage) -> None:
    """A login that is answered with a redirect to itself is refused, though it brings a session's cookie."""
    form = FormLogin()
    origin = stage.enter(serve(form.app))
    stage.env(origin, *form_lines(f"{origin}/login", "canary-wrong"), without=NO_OAUTH)
    proxy = stage.mitmdump()
    for _ in range(2):
        answer = get(proxy.url, f"{origin}/orders", allow_redirects=False)
        assert answer.status_code == 502
        assert "answered 302, a redirect back to LOGIN_URL" in answer.text
        assert "check USERNAME, PASSWORD, LOGIN_BODY and TOKEN_AT in envs/qa.env" in answer.text
    assert form.logins == [USER]


def test_other_redirects(stage: Stage) -> None:
    """Only a redirect to LOGIN_URL is an ended session: one to the same path of the API is the API's answer."""
    form = FormLogin()
    login = form.login_page = stage.enter(serve(form.login)) + "/"
    origin = stage.enter(serve(form.app))
    stage.env(origin, *form_lines(login), without=NO_OAUTH)
    proxy = stage.mitmdump()
    assert get(proxy.url, f"{origin}/orders").text == "done"
    for _ in range(2):
        assert get(proxy.url, f"{origin}/old", allow_redirects=False).headers["Location"] == "/"
    assert len(form.logins) == 1
    form.sessions.append("another")
    assert get(proxy.url, f"{origin}/orders", allow_redirects=False).text == "done"
    assert len(form.logins) == 2


def test_soap(stage: Stage) -> None:
    """A login with XML: what the server parses is the name and the password."""
    read: list[Any] = []
    app = Flask("soap")

    @app.post("/login")
    def login() -> Any:
        said = ElementTree.fromstring(request.get_data())
        read.append((request.content_type, said.get("user"), said.findtext("one"), said.findtext("two")))
        answer = Response("<ok/>", content_type="text/xml")
        answer.set_cookie("sid", "abc")
        return answer

    @app.get("/orders")
    def orders() -> Any:
        return request.cookies.get("sid", "")

    origin, odd = stage.enter(serve(app)), 'a&b<c>é"]]>%41+'
    body = '<l user="${USERNAME}"><one>${PASSWORD}</one><two><![CDATA[${PASSWORD}]]></two></l>'
    kind = "LOGIN_HEADER_Content-Type=text/xml"
    more = ("TOKEN_AT=cookie:sid", "COOKIE=sid", kind)
    stage.env(origin, *lines(origin, *more, password=odd, body=body), without=NO_OAUTH)
    assert get(stage.mitmdump().url, f"{origin}/orders").text == "abc"
    assert read == [("text/xml", USER, odd, odd)]


def test_login_page_gets_no_token(stage: Stage, json_login: JsonLogin) -> None:
    """A client that logs in itself keeps what it sends."""
    origin = stage.enter(serve(json_login.app))
    stage.env(origin, *lines(origin, "TOKEN_AT=header:X-Auth-Token", "QUERY=key"), without=NO_OAUTH)
    proxy = stage.mitmdump()
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(f"{origin}/login", json={"user": "x"}, proxies={"http": proxy.url}, timeout=60)
    assert answer.status_code == 401
    assert json_login.tokens == []
    assert json_login.logins == [{"user": "x"}]


@pytest.mark.parametrize("store", ["memory", "tokens.json"])
def test_refreshed_ahead(stage: Stage, json_login: JsonLogin, store: str) -> None:
    """A login is renewed beside the requests before it ends."""
    json_login.lifetime = 3
    origin = stage.enter(serve(json_login.app))
    more = ("TOKEN_AT=header:X-Auth-Token", "EXPIRES_IN_AT=/data/expires_in", "QUERY=key")
    stage.env(origin, *lines(origin, *more), without=NO_OAUTH)
    proxy = stage.mitmdump("--set", f"inject_tokens={store}")
    while len(json_login.logins) < 3:
        assert get(proxy.url, f"{origin}/orders").status_code == 200


def answers(*bodies: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
    yield from bodies


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, b"x" * (2 << 20), "answered more than 1 MiB"),
        (200, b"[" * 1000 + b"]" * 1000, "without TOKEN_AT=/token"),
        (200, b'{"token": "a\\u0000canary"}', "cannot stand in a header"),
        (200, b"<html>canary", "without TOKEN_AT=/token, as many do where a login is refused"),
        (302, b"", "a redirect, which is never followed"),
        (500, b"canary", "answered 500"),
    ],
)
def test_hostile(stage: Stage, status: int, body: bytes, told: str) -> None:
    """Whatever a server answers, the client gets a line that says what to do."""
    app = Flask("hostile")
    app.add_url_rule("/login", view_func=lambda: (body, status, {"Location": "/x"}), methods=["POST"])
    origin = stage.enter(serve(app))
    stage.env(origin, *lines(origin, "TOKEN_AT=/token"), without=NO_OAUTH)
    answer = get(stage.mitmdump().url, f"{origin}/orders")
    assert answer.status_code == 502
    assert told in answer.text
    assert "canary" not in answer.text
    assert "envs/qa.env" in answer.text

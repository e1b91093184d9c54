"""A production environment is read-only, and CONFIRM asks a person."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from credential_injector.cli.main import main
from credential_injector.demo.processes import Mitmproxy
from tests.e2e.conftest import Chromium, Reply, Stage
from tests.e2e.mitmweb_api import WebApi
from tests.e2e.test_afterwards import wait_for_flow
from tests.e2e.test_page_in_chromium import HEADLINES
from tests.ports import free_port

WRITES = ("POST", "PUT", "PATCH", "DELETE", "post", "PoSt", "MKCOL", "PROPPATCH", "LOCK", "QUERY", "PURGE")
OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-method-OVERRIDE")


def written(stage: Stage) -> list[str]:
    """What arrived at the API that writes, or asks to."""
    safe = ("GET", "HEAD", "OPTIONS")
    return [
        line
        for line, headers in stage.api.received
        if line.split(" ")[0] not in safe
        or "_method" in line
        or any(name.lower() in {one.lower() for one in OVERRIDES} for name, _ in headers)
    ]


def raw(proxy: Mitmproxy, request: str) -> bytes:
    """The answer's first line to a request that is sent as it is."""
    port = int(proxy.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(request.encode("latin-1"))
        return sock.recv(65536)


def test_no_write_leaves(stage: Stage) -> None:
    """No write leaves in 50 tries, and what reads goes on."""
    stage.env(stage.http, "PRODUCTION=true")
    host = stage.http.removeprefix("http://")
    tries = 0
    proxy = stage.mitmdump()
    with requests.Session() as session:
        session.trust_env = False
        session.proxies = {"http": proxy.url, "https": proxy.url}

        def blocked(method: str, path: str = "/orders", **options: Any) -> None:
            nonlocal tries
            tries += 1
            answer = session.request(method, stage.http + path, timeout=30, **options)
            assert answer.status_code == 502, (method, path, options)
            assert "PRODUCTION=true allows what METHODS names only" in answer.text

        for method in WRITES:
            blocked(method, data="x")
        for header in OVERRIDES:
            for method in ("GET", "HEAD", "OPTIONS"):
                if method != "HEAD":
                    blocked(method, headers={header: "DELETE"})
        for value in ("delete", "Delete", "PUT", "post", "MERGE", "X", "trace", "CONNECT", "patch", "Copy", "MOVE"):
            blocked("GET", headers={"X-HTTP-Method-Override": value})
        for query in (
            "_method=DELETE",
            "a=1&_method=put",
            "_METHOD=Patch",
            "%5Fmethod=DELETE",
            "_method=GET&_method=PUT",
        ):
            blocked("GET", f"/orders?{query}")
        for header in ("X_HTTP_Method_Override", "x-http_method"):  # CGI and WSGI read "-" as "_"
            blocked("GET", headers={header: "DELETE"})
        for query in (
            "a=1;_method=DELETE",  # Rack split there
            ".method=DELETE",  # PHP reads all of these as "_method"
            "+_method=DELETE",
            "%5Bmethod=DELETE",
            "_method%00x=DELETE",
            "a=1#&_method=DELETE",  # some servers know no fragment
            "X-HTTP-Method-Override=DELETE",
        ):
            assert b" 502 " in raw(proxy, f"GET {stage.http}/orders?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n")
            tries += 1
        for path in ("/orders/../search", "//orders", "/%2e%2e/orders", "/orders;x", "/search", "/orders?a=1#b"):
            blocked("POST", path, data="x")
        blocked("POST", data=iter([b"a", b"b"]))  # chunked
        blocked("POST", data="_method=DELETE", headers={"Content-Type": "application/x-www-form-urlencoded"})
        for line in (
            f"POST {stage.http}/orders HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n",
            f"DELETE {stage.http}/orders HTTP/1.0\r\nHost: {host}\r\n\r\n",
            f"GET {stage.http}/orders HTTP/1.1\r\nHost: {host}\r\nX-HTTP-Method: GET\r\nX-HTTP-Method: PUT\r\n\r\n",
            f"GET {stage.http}/orders HTTP/1.1\r\nHost: {host}\r\nx-method-override:DELETE\r\n\r\n",
            # Without a token they would still write, with a credential of the client's own or without any:
            f"POST {stage.http}/orders HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n",
            f"POST {stage.http}/orders HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: cross-site\r\n"
            "Content-Length: 0\r\n\r\n",
            f"OPTIONS {stage.http}/orders HTTP/1.1\r\nHost: {host}\r\nAccess-Control-Request-Method: GET\r\n"
            "X-HTTP-Method-Override: DELETE\r\n\r\n",
        ):
            tries += 1
            assert b" 502 " in raw(proxy, line)
        for line in (  # mitmproxy refuses these itself
            f"P\x00ST {stage.http}/orders HTTP/1.1\r\nHost: {host}\r\n\r\n",
            f"POST\t{stage.http}/orders HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n",
            f" DELETE {stage.http}/orders HTTP/1.1\r\nHost: {host}\r\n\r\n",
        ):
            tries += 1
            raw(proxy, line)
        preflight = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
        assert session.options(f"{stage.http}/orders", headers=preflight, timeout=30).status_code != 502
        assert session.get(f"{stage.http}/orders", timeout=30).status_code == 200
        assert session.head(f"{stage.http}/orders", timeout=30).status_code == 200
    assert tries >= 60
    assert written(stage) == []


def test_http2(stage: Stage, curl: Callable[..., Reply]) -> None:
    """The same over HTTP/2."""
    stage.env(stage.https, "PRODUCTION=true")
    proxy = stage.mitmdump()
    options = ("--proxy", proxy.url, "--cacert", str(stage.mitmproxy_ca), "--http2")
    for words in (["-X", "DELETE"], ["-d", "a=1"], ["-H", "X-HTTP-Method-Override: PUT"], ["-T", "/dev/null"]):
        assert curl(*options, *words, f"{stage.https}/orders").status == 502
    assert curl(*options, f"{stage.https}/orders").status == 200
    assert written(stage) == []


def test_replayed(stage: Stage) -> None:
    """A recorded write that is replayed does not leave, either."""
    stage.env(stage.http, "PRODUCTION=true")
    flow = tflow.tflow()
    flow.request.host, flow.request.port = "127.0.0.1", int(stage.http.rpartition(":")[2])
    flow.request.scheme, flow.request.method, flow.request.path = "http", "DELETE", "/orders/7"
    with (stage.folder / "capture").open("wb") as file:
        FlowWriter(file).add(flow)  # type: ignore[no-untyped-call]
    stage.mitmdump("-C", str(stage.folder / "capture")).wait_for("DELETE is not in METHODS")
    assert written(stage) == []


PART = '--x\r\nContent-Disposition: form-data; name="{}"\r\nX-A: b\r\n\r\n{}\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/x-www-form-urlencoded", "a=1&_method=DELETE", 502),
        ("application/x-www-form-urlencoded; charset=utf-8", "_METHOD=put", 502),
        ("application/x-www-form-urlencoded", "a=_method", 200),
        ("application/x-www-form-urlencoded", "_method=post", 200),
        ("text/plain", "_method=DELETE", 200),
        ("Application/X-WWW-Form-URLencoded", "_method=DELETE", 502),
        ("", "_method=DELETE", 502),  # Rack reads it as a form
        ("application/x-www-form-urlencoded", "a=1;_method=DELETE", 502),
        ("multipart/form-data; boundary=x", PART.format("_method", "delete"), 502),
        ("multipart/form-data; boundary=x", PART.format("note", "delete"), 200),
        ("application/json", '{"_method": "DELETE"}', 502),  # Laravel
        ("application/json", '{"\\u005fmethod": "DELETE"}', 502),
        ("application/json", '{"a": {"_method": "DELETE"}}', 200),
        ("application/json", "{_method", 200),
    ],
)
def test_form(stage: Stage, kind: str, body: str, status: int) -> None:
    """A body may name another method, which frameworks obey."""
    stage.env(stage.http, "METHODS=GET,POST")
    proxy = stage.mitmdump()
    answer = post(proxy, f"{stage.http}/orders", body, {"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert ("its body asks for it" in answer.text) == (status == 502)
    assert len(stage.api.received) == (status == 200)


def post(proxy: Mitmproxy, url: str, body: Any = "x", headers: dict[str, str] | None = None) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(url, body, headers=headers, proxies={"http": proxy.url}, timeout=60)


@contextmanager
def asked(
    stage: Stage,
    url: str,
    first: Callable[[], None] | None = None,
    body: str = "x",
    headers: dict[str, str] | None = None,
) -> Iterator[tuple[WebApi, dict[str, Any], list[requests.Response]]]:
    """mitmweb, which holds a POST; the flow; and what the client gets, at the end."""
    answers: list[requests.Response] = []
    with stage.mitmproxy("mitmweb", web_port=free_port(), web_open_browser="false") as proxy:
        web = WebApi(proxy)
        if first is not None:
            with requests.Session() as session:
                session.trust_env = False
                assert session.get(url, proxies={"http": proxy.url}, timeout=60).status_code == 200
            first()
            web.ask("POST", "/clear")

        def send() -> None:
            with suppress(requests.ConnectionError):
                answers.append(post(proxy, url, body, headers))

        client = threading.Thread(target=send, daemon=True)
        client.start()
        yield web, wait_for_flow(web, lambda flow: bool(flow["intercepted"])), answers
        client.join(30)


def test_resumed(stage: Stage) -> None:
    """A person sees the body and no token, agrees once, and the request arrives once with a token."""
    stage.env(stage.http, "CONFIRM=POST")
    with asked(stage, f"{stage.http}/orders") as (web, flow, answers):
        assert flow["comment"].startswith("qa: confirm?\n- why: held, as CONFIRM=POST of envs/qa.env asks a person")
        assert "Authorization" not in dict(flow["request"]["headers"])
        assert flow["request"]["contentLength"] == 1
        assert stage.api.received == []
        assert web.ask("POST", f"/flows/{flow['id']}/resume").status_code == 200
    assert [answer.status_code for answer in answers] == [200]
    assert len(stage.api.received) == stage.token_requests == 1


def test_killed(stage: Stage) -> None:
    """A request that a person kills never arrives."""
    stage.env(stage.http, "CONFIRM=POST")
    with asked(stage, f"{stage.http}/orders") as (web, flow, answers):
        assert web.ask("POST", f"/flows/{flow['id']}/kill").status_code == 200
    assert answers == []  # its connection is closed
    assert stage.api.received == []
    assert stage.token_requests == 0


@pytest.mark.parametrize(
    ("lines", "edit", "arrives", "comment"),
    [
        (("METHODS=POST /orders",), {"path": "/admin"}, [], "qa: bad method"),
        (("METHODS=GET,POST",), {"method": "DELETE"}, [], "qa: bad method"),
        (("METHODS=POST",), {"path": "/orders/8"}, ["POST /orders/8 HTTP/1.1"], "qa: +Bearer"),
    ],
)
def test_edited(stage: Stage, lines: tuple[str, ...], edit: dict[str, str], arrives: list[str], comment: str) -> None:
    """What a person makes of the request meanwhile is judged anew."""
    stage.env(stage.http, "CONFIRM=POST", *lines)
    with asked(stage, f"{stage.http}/orders") as (web, flow, answers):
        assert web.ask("PUT", f"/flows/{flow['id']}", {"request": edit}).status_code == 200
        assert web.ask("POST", f"/flows/{flow['id']}/resume").status_code == 200
        answered = wait_for_flow(web, lambda flow: flow.get("response") is not None)
        assert answered["comment"].startswith(comment)
    assert [answer.status_code for answer in answers] == [200 if arrives else 502]
    assert [line for line, _ in stage.api.received] == arrives


def test_replay(stage: Stage) -> None:
    """A person is asked about a replay, too."""
    stage.env(stage.http, "CONFIRM=POST")
    with asked(stage, f"{stage.http}/orders") as (web, flow, answers):
        assert web.ask("POST", f"/flows/{flow['id']}/resume").status_code == 200
        wait_for_flow(web, lambda flow: flow["client_conn"]["timestamp_end"] is not None)
        assert web.ask("POST", f"/flows/{flow['id']}/replay").status_code == 200
        wait_for_flow(web, lambda flow: bool(flow["intercepted"]))
        assert len(stage.api.received) == 1
    assert [answer.status_code for answer in answers] == [200]


def test_healed(stage: Stage) -> None:
    """A 401 after a person has agreed is healed without another question."""
    stage.env(stage.http, "CONFIRM=POST")
    tokens = stage.authorization_server.tokens

    def revoke() -> None:
        for token in tokens.values():
            token.revoked = True

    with asked(stage, f"{stage.http}/orders", first=revoke) as (web, flow, answers):
        assert web.ask("POST", f"/flows/{flow['id']}/resume").status_code == 200
    assert [answer.status_code for answer in answers] == [200]
    posts = [line for line, _ in stage.api.received if line.startswith("POST")]
    assert (len(posts), len(tokens)) == (2, 2)


def test_cannot_ask(stage: Stage) -> None:
    """mitmdump has nobody to ask, and says what to start instead."""
    stage.env(stage.http, "CONFIRM=POST")
    answer = post(stage.mitmdump(), f"{stage.http}/orders")
    assert answer.status_code == 502
    assert answer.text.startswith("qa: request blocked: CONFIRM=POST of envs/qa.env has nobody to ask; start mitmweb")
    assert stage.api.received == []


@pytest.mark.parametrize("line", ["CONFIRM=POST", "PRODUCTION=true"])
def test_streams(stage: Stage, line: str) -> None:
    """Nothing of a body that would stream leaves, not even without a token: its connection is closed."""
    stage.env(stage.http, line)
    proxy = stage.mitmdump(stream_large_bodies="1")
    for body in (iter([b"a"] * 10), "x" * 10):
        with suppress(requests.ConnectionError):
            assert post(proxy, f"{stage.http}/orders", body).status_code == 502
    proxy.wait_for("request blocked: ")
    assert stage.api.received == []


@pytest.mark.parametrize(
    ("path", "asks"),
    [
        ("/orders/7", True),
        ("//orders", True),
        ("/%6frders", True),
        ("/ORDERS", True),
        ("/a/../orders", True),
        ("/a%2f..%2forders", True),
        ("/orders;x", True),
        ("/search", False),
    ],
)
def test_confirmed_path(stage: Stage, path: str, asks: bool) -> None:
    """A person is asked where a server may read the path as one that CONFIRM names."""
    stage.env(stage.http, "CONFIRM=POST /orders")
    host = stage.http.removeprefix("http://")
    answer = raw(stage.mitmdump(), f"POST {stage.http}{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")
    assert (b" 502 " in answer) == asks
    assert bool(stage.api.received) != asks


@pytest.mark.parametrize("hook", ["requestheaders", "request"])
@pytest.mark.parametrize("lines", [("PRODUCTION=true",), ("CONFIRM=DELETE",), ("CONFIRM=DELETE", "OVERWRITE=never")])
def test_another_script(stage: Stage, hook: str, lines: tuple[str, ...]) -> None:
    """What another script makes a write of does not leave."""
    stage.env(stage.http, *lines)
    script = stage.folder / "other.py"
    script.write_text(f"def {hook}(flow):\n    flow.request.method = 'DELETE'\n")
    proxy = stage.mitmdump("-s", str(script))
    own = {"Authorization": "Basic canary"} if "OVERWRITE=never" in lines else {}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"{stage.http}/orders", headers=own, proxies={"http": proxy.url}, timeout=60)
    assert answer.status_code == 502, answer.text
    assert stage.api.received == []


def test_form_confirmed(stage: Stage) -> None:
    """A person is asked about what a form makes of the request, too, and it has no token while it waits."""
    stage.env(stage.http, "CONFIRM=DELETE")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with asked(stage, f"{stage.http}/orders", body="_method=DELETE", headers=form) as (web, flow, answers):
        assert "Authorization" not in dict(flow["request"]["headers"])
        assert web.ask("POST", f"/flows/{flow['id']}/resume").status_code == 200
    assert [answer.status_code for answer in answers] == [200]
    assert [line for line, _ in stage.api.received] == ["POST /orders HTTP/1.1"]


def test_kept_confirmed(stage: Stage) -> None:
    """A person is asked about a request that keeps its own credential, too."""
    stage.env(stage.http, "CONFIRM=POST", "OVERWRITE=never")
    own = {"Authorization": "Basic canary"}
    with asked(stage, f"{stage.http}/open", headers=own) as (web, flow, answers):
        assert stage.api.received == []
        assert web.ask("POST", f"/flows/{flow['id']}/resume").status_code == 200
        kept = wait_for_flow(web, lambda flow: flow.get("response") is not None)
        assert kept["comment"].startswith("qa: kept Basic")
    assert len(answers) == len(stage.api.received) == 1
    assert stage.token_requests == 0


def test_edited_in_production(stage: Stage) -> None:
    """A person who makes a write of an intercepted request does not send it, either."""
    stage.env(stage.http, "PRODUCTION=true")
    answers = []
    with stage.mitmproxy("mitmweb", web_port=free_port(), web_open_browser="false", intercept="~q") as proxy:
        web = WebApi(proxy)

        def send() -> None:
            with requests.Session() as session:
                session.trust_env = False
                answers.append(session.get(f"{stage.http}/orders", proxies={"http": proxy.url}, timeout=60))

        client = threading.Thread(target=send, daemon=True)
        client.start()
        flow = wait_for_flow(web, lambda flow: bool(flow["intercepted"]))
        assert web.ask("PUT", f"/flows/{flow['id']}", {"request": {"method": "DELETE"}}).status_code == 200
        assert web.ask("POST", f"/flows/{flow['id']}/resume").status_code == 200
        client.join(30)
    assert [answer.status_code for answer in answers] == [502]
    assert stage.api.received == []


def test_marked(stage: Stage) -> None:
    """Each flow says that it goes to production."""
    stage.env(stage.http, "PRODUCTION=true")
    with (
        stage.mitmproxy("mitmdump", "-w", str(stage.folder / "capture"), inject_mask="true") as proxy,
        requests.Session() as session,
    ):
        session.trust_env = False
        assert session.get(f"{stage.http}/orders", proxies={"http": proxy.url}, timeout=60).status_code == 200
    content = (stage.folder / "capture").read_bytes()
    assert "\u2757qa: +Bearer".encode() in content
    assert b"production;4:true!" in content
    assert any("production: only GET,HEAD,OPTIONS" in line for line in proxy.log)


def test_in_chromium(stage: Stage, chromium: Chromium) -> None:
    """A person sees in the list what waits, presses Resume, and the request arrives once with a token."""
    stage.env(stage.http, "PRODUCTION=true", "METHODS=GET,POST", "CONFIRM=POST", name="prod")
    browser = chromium()
    wait = WebDriverWait(browser, 20)
    answers = []
    with stage.mitmproxy("mitmweb", web_port=free_port(), web_open_browser="false") as proxy:
        browser.get(proxy.web_url)

        def send() -> None:
            with suppress(requests.ConnectionError):
                answers.append(post(proxy, f"{stage.http}/orders").status_code)

        clients = [threading.Thread(target=send, daemon=True) for _ in range(2)]

        def headlines() -> set[str]:
            return set(browser.execute_script(HEADLINES))

        def press(button: str) -> None:
            browser.find_elements(By.CSS_SELECTOR, ".flow-table tbody tr.has-request")[-1].click()
            wait.until(lambda _: browser.find_elements(By.LINK_TEXT, "Flow"))
            browser.find_element(By.LINK_TEXT, "Flow").click()
            found = wait.until(lambda _: browser.find_element(By.XPATH, f"//button[contains(., '{button}')]"))
            wait.until(lambda _: found.is_enabled())
            found.click()

        clients[0].start()
        wait.until(lambda _: headlines() == {"\u2757prod: confirm?"})
        assert stage.api.received == []
        press("Resume")
        clients[0].join(30)
        wait.until(lambda _: headlines() == {"\u2757prod: +Bearer"})
        assert answers == [200]
        assert ["Authorization" in dict(headers) for _, headers in stage.api.received] == [True]
        clients[1].start()
        wait.until(lambda _: headlines() == {"\u2757prod: +Bearer", "\u2757prod: confirm?"})
        press("Abort")
        clients[1].join(30)
        assert len(stage.api.received) == 1
        browser.get(proxy.web_url.partition("?")[0].rstrip("/") + "/inject")
        assert "production" in browser.find_element(By.CSS_SELECTOR, "#environment-prod h2").text


def test_signs(stage: Stage) -> None:
    """The command line says it, too."""
    stage.env(stage.http, "PRODUCTION=true", "METHODS=GET,POST", "CONFIRM=POST", name="prod")
    envs = ("--envs", str(stage.folder / "envs"))
    told = CliRunner().invoke(main, ["check", *envs]).stdout
    assert "prod: note: production: only GET,POST leave" in told
    told = CliRunner().invoke(main, ["explain", f"{stage.http}/orders", "--method", "POST", *envs]).stdout
    assert "note: a person has to agree first, in mitmweb (CONFIRM=POST)" in told
    told = CliRunner().invoke(main, ["explain", f"{stage.http}/orders", *envs]).stdout
    assert "CONFIRM" not in told

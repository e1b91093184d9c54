"""Two files of one origin: AS says whose token a request gets."""

from collections.abc import Callable
from typing import Any

import pytest
import requests
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

from credential_injector.demo.processes import Mitmproxy
from credential_injector.demo.servers import Client
from tests.e2e.conftest import Reply, Stage
from tests.e2e.test_production import raw
from tests.ports import free_port

ACCOUNTS = ("admin", "user")


def environments(stage: Stage, *defaults: str, host: str = "", lines: tuple[str, ...] = ()) -> None:
    """A file for each account, with a client of its own."""
    for name in ACCOUNTS:
        stage.authorization_server.clients[name] = Client(name, f"canary-secret-{name}")
        more = ["DEFAULT=true"] * (name in defaults)
        own = (f"CLIENT_ID={name}", f"CLIENT_SECRET=canary-secret-{name}", f"AS={name}", *more, *lines)
        stage.env(host or stage.http, *own, name=name)


def get(proxy: str, url: str, headers: dict[str, str] | None = None, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(
            options.pop("method", "GET"), url, headers=headers, proxies={"http": proxy}, timeout=60, **options
        )


def account(answer: requests.Response) -> str:
    """Whose token the API got."""
    assert answer.status_code == 200, answer.text
    return str(answer.json()["client_id"])


def never_arrived(stage: Stage) -> bool:
    """No API has seen the header."""
    return not any(name.lower() == "x-inject-as" for _, headers in stage.api.received for name, _ in headers)


@pytest.mark.parametrize("header", ["X-Inject-As", "x-inject-as", "X-INJECT-AS"])
def test_header(stage: Stage, header: str) -> None:
    """The header names the account, and does not reach the API."""
    environments(stage)
    proxy = stage.mitmdump()
    for name in (*ACCOUNTS, *ACCOUNTS):
        assert account(get(proxy.url, f"{stage.http}/orders", {header: name})) == name
    assert stage.token_requests == 2
    assert never_arrived(stage)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, "nothing says which one asks; send the header X-Inject-As with admin or user, or write DEFAULT=true into"),
        ({"X-Inject-As": "nobody"}, "the header X-Inject-As names none of them; it may say admin or user"),
        ({"X-Inject-As": "Admin"}, "names none of them"),
        ({"X-Inject-As": "admin, user"}, "names none of them"),
        ({"X-Inject-As": ""}, "names none of them"),
    ],
)
@pytest.mark.parametrize("default", [False, True])
def test_nobody(stage: Stage, headers: dict[str, str], told: str, default: bool) -> None:
    """A wrong name is blocked, also where there is a default; no name only where there is none."""
    environments(stage, *(["user"] if default else []))
    proxy = stage.mitmdump()
    answer = get(proxy.url, f"{stage.http}/orders", headers)
    if default and not headers:
        assert account(answer) == "user"
        return
    assert answer.status_code == 502
    assert told in answer.text
    assert "nobody" not in answer.text
    assert stage.api.received == []


def test_twice(stage: Stage) -> None:
    """Two names are none."""
    environments(stage, "user")
    proxy = stage.mitmdump()
    request = (
        f"GET {stage.http}/orders HTTP/1.1\r\nHost: {stage.http[7:]}\r\nX-Inject-As: admin\r\nX-Inject-As: user\r\n\r\n"
    )
    answer = raw(proxy, request)
    assert b" 502 " in answer
    assert b"is there twice" in answer


def test_proxyauth(stage: Stage) -> None:
    """The proxy's user names the account; the header counts more."""
    environments(stage)
    proxy = stage.mitmdump("--proxyauth", "admin:secret")
    url = proxy.url.replace("http://", "http://admin:secret@")
    assert account(get(url, f"{stage.http}/orders")) == "admin"
    assert account(get(url, f"{stage.http}/orders", {"X-Inject-As": "user"})) == "user"


def test_port(stage: Stage) -> None:
    """The port by which the client comes names the account."""
    ports = {name: free_port() for name in ACCOUNTS}
    for name in ACCOUNTS:
        stage.authorization_server.clients[name] = Client(name, f"canary-secret-{name}")
        own = (f"CLIENT_ID={name}", f"CLIENT_SECRET=canary-secret-{name}", f"AS=regular@{ports[name]}")
        stage.env(stage.http, *own, name=name)
    modes = [word for port in ports.values() for word in ("--mode", f"regular@{port}")]
    stage.mitmdump(*modes)
    for name, port in ports.items():
        assert account(get(f"http://127.0.0.1:{port}", f"{stage.http}/orders")) == name


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_tls(stage: Stage, curl: Callable[..., Reply], version: str) -> None:
    """The same through TLS, also with a body that streams."""
    environments(stage, host=stage.https)
    proxy = stage.mitmdump("--set", "stream_large_bodies=1")
    (stage.folder / "body").write_bytes(b"x" * 100_000)
    for words in ([], ["--data-binary", f"@{stage.folder / 'body'}"]):
        options = ("--proxy", proxy.url, "--cacert", str(stage.mitmproxy_ca), version, "-H", "X-Inject-As: admin")
        reply = curl(*options, *words, f"{stage.https}/orders")
        assert (reply.status, '"client_id":"admin"' in reply.body) == (200, True)
    assert never_arrived(stage)


@pytest.mark.parametrize(
    "lines", [("OVERWRITE=never",), ("OVERWRITE=only",), ("WITHOUT_TOKEN=pass", "TOKEN_ENDPOINT=http://127.0.0.1:9/")]
)
def test_without_token(stage: Stage, lines: tuple[str, ...]) -> None:
    """The header does not reach the API where no token does, either."""
    environments(stage, lines=lines)
    proxy = stage.mitmdump()
    headers = {"X-Inject-As": "admin"} | ({"Authorization": "Bearer mine"} if lines == ("OVERWRITE=never",) else {})
    assert get(proxy.url, f"{stage.http}/orders", headers).status_code == 401
    assert len(stage.api.received) == 1
    assert never_arrived(stage)


def test_healed(stage: Stage) -> None:
    """A refused token is replaced by another one of the same account."""
    environments(stage)
    proxy = stage.mitmdump()
    assert account(get(proxy.url, f"{stage.http}/orders", {"X-Inject-As": "admin"})) == "admin"
    for token in stage.authorization_server.tokens.values():
        token.revoked = True
    assert account(get(proxy.url, f"{stage.http}/orders", {"X-Inject-As": "admin"})) == "admin"
    assert [one["client_id"] for one in stage.authorization_server.token_requests] == [["admin"]] * 2
    assert never_arrived(stage)


@pytest.mark.parametrize(
    ("recorded", "arrives"),
    [("admin", 1), ("user", 1), (None, 0), ("nobody", 0), (["admin"], 0), (7, 0)],
)
def test_replay(stage: Stage, recorded: Any, arrives: int) -> None:
    """A replayed request gets the account's token that it had; what a capture makes up chooses nobody."""
    environments(stage)
    flow = tflow.tflow()
    flow.request.host, flow.request.port = "127.0.0.1", int(stage.http.rpartition(":")[2])
    flow.request.scheme, flow.request.method, flow.request.path = "http", "GET", "/orders"
    flow.request.headers["Host"] = stage.http[7:]
    if recorded is not None:
        flow.metadata["inject"] = {"action": "injected", "environment": "admin", "as": recorded}
    with (stage.folder / "capture").open("wb") as file:
        FlowWriter(file).add(flow)  # type: ignore[no-untyped-call]
    proxy: Mitmproxy = stage.mitmdump("-C", str(stage.folder / "capture"))
    proxy.wait_for("first request with a token" if arrives else "request blocked")
    assert len(stage.api.received) <= arrives
    if arrives:
        assert [one["client_id"] for one in stage.authorization_server.token_requests] == [[recorded]]

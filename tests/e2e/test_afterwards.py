"""What changes a request after it got its token: other parts of mitmproxy, a script, a person."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from mitmproxy import http as mitm_http
from mitmproxy import io as mitm_io

from credential_injector.demo.processes import Mitmproxy, mitmproxy
from credential_injector.demo.servers import ProtectedApi, serve
from credential_injector.launch.programs import SCRIPT
from tests.certificates import Authority
from tests.e2e import tell
from tests.e2e.arena import dial, http1, tls, tunnel
from tests.e2e.conftest import Stage
from tests.e2e.mitmweb_api import WebApi
from tests.e2e.recorder import Recorder
from tests.e2e.test_start import start_and_fail
from tests.ports import free_port


@pytest.fixture
def evil(stage: Stage) -> tuple[ProtectedApi, str]:
    """Another server, which must never see a credential."""
    api = ProtectedApi(stage.authorization_server)
    return api, stage.enter(serve(api.app))


def credentials(api: ProtectedApi) -> list[str]:
    """The credentials in the requests that a server received."""
    return [value for _, headers in api.received for name, value in headers if name == "Authorization"]


def get(proxy: Mitmproxy, url: str, **headers: str) -> requests.Response:
    return requests.get(url, proxies={"http": proxy.url}, headers=headers, timeout=30)


def recorded(file: Path) -> list[dict[str, Any]]:
    """What the flows of a saved file carry."""
    with file.open("rb") as content:
        flows = [flow for flow in mitm_io.FlowReader(content).stream() if isinstance(flow, mitm_http.HTTPFlow)]
    return [{**flow.metadata.get("inject", {}), "marked": flow.marked} for flow in flows]


def test_map_remote_elsewhere(stage: Stage, evil: tuple[ProtectedApi, str]) -> None:
    """map_remote takes the request elsewhere without its token."""
    stage.env(stage.http, "HEADER_X-Tenant=canary-tenant")
    saved = stage.folder / "saved.mitm"
    proxy = stage.mitmdump("--map-remote", f"|{stage.http}/steal|{evil[1]}/open", "-w", str(saved))
    assert get(proxy, f"{stage.http}/steal").url == f"{stage.http}/steal"
    assert get(proxy, f"{stage.http}/orders").status_code == 200
    proxy.wait_for("token withdrawn: map_remote or another script or a person has sent the request elsewhere")
    proxy.end()
    assert len(evil[0].received) == 1
    assert credentials(evil[0]) == []
    assert "canary-tenant" not in str(evil[0].received)
    withdrawn, injected = recorded(saved)
    assert (withdrawn["action"], withdrawn["marked"]) == ("skipped", ":warning:")
    assert injected["action"] == "injected"


def test_map_remote_within(stage: Stage) -> None:
    """A request that map_remote moves within the environment keeps its token."""
    stage.env(stage.http)
    proxy = stage.mitmdump("--map-remote", "|/old|/orders")
    assert get(proxy, f"{stage.http}/old").json()["path"] == "/orders"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            ["--modify-headers", "/~q/Authorization/Basic bWluZQ=="],
            "modify_headers or another script or a person has rep",
        ),
        (
            ["--modify-headers", "/~q/Host/evil.qa.test"],
            "modify_headers or another script or a person has sent the req",
        ),
    ],
)
def test_modify_headers(stage: Stage, change: list[str], told: str) -> None:
    """A header that modify_headers sets is told from a token."""
    stage.env(stage.http)
    saved = stage.folder / "saved.mitm"
    proxy = stage.mitmdump(*change, "-w", str(saved))
    assert get(proxy, f"{stage.http}/orders").status_code == 401
    proxy.end()
    (flow,) = recorded(saved)
    assert flow["action"] == "skipped"
    assert flow["reason"].startswith(told)
    assert not any(value.startswith("Bearer") for value in credentials(stage.api))


def test_upstream_auth(stage: Stage) -> None:
    """Where upstream_auth replaces the token in reverse mode, the flow names it."""
    stage.env(stage.http)
    proxy = stage.mitmdump("--mode", f"reverse:{stage.http}", upstream_auth="me:mine")
    assert requests.get(f"{proxy.url}/orders", timeout=30).status_code == 401
    proxy.wait_for("token withdrawn: upstream_auth or another script or a person has replaced its Authorization")


def test_stickyauth_at_start(stage: Stage) -> None:
    """At the start stickyauth is refused by name."""
    stage.env(stage.http)
    status, log = start_and_fail(stage, stickyauth="~all")
    assert status == 1
    assert any(line.startswith("stickyauth: copies credentials to other requests") for line in log)


@contextmanager
def mitmweb(stage: Stage, *options: str, **settings: Any) -> Iterator[tuple[Mitmproxy, WebApi]]:
    with stage.mitmproxy("mitmweb", *options, web_port=free_port(), web_open_browser="false", **settings) as proxy:
        yield proxy, WebApi(proxy)


def test_stickyauth_later(stage: Stage) -> None:
    """At run time stickyauth is refused, and stays unset."""
    stage.env(stage.http)
    with mitmweb(stage) as (_, web):
        refused = web.ask("PUT", "/options", {"stickyauth": "~all"})
        assert refused.status_code == 400
        assert "stickyauth: copies credentials" in refused.text
        assert web.ask("GET", "/options").json()["stickyauth"]["value"] is None


def wait_for_flow(web: WebApi, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The one flow, once it is as `until` says. mitmweb tells each change to its page only through a WebSocket."""
    for _ in range(3000):
        flows = web.flows()
        if flows and until(flows[0]):
            return flows[0]
    raise AssertionError(json.dumps(web.flows()))


@pytest.mark.parametrize("mask", ["false", "true"])
@pytest.mark.parametrize("edit", ["host", "nothing"])
def test_edited_request(stage: Stage, evil: tuple[ProtectedApi, str], edit: str, mask: str) -> None:
    """A request that a person edits in mitmweb takes no token elsewhere."""
    stage.env(stage.http)
    answers: list[requests.Response] = []
    with mitmweb(stage, intercept="~q", inject_mask=mask) as (proxy, web):
        client = threading.Thread(target=lambda: answers.append(get(proxy, f"{stage.http}/orders")), daemon=True)
        client.start()
        flow = wait_for_flow(web, lambda flow: bool(flow["intercepted"]))
        assert flow["comment"].startswith("qa: +Bearer")
        shown = dict(flow["request"]["headers"])["Authorization"]
        assert shown.startswith("Bearer <qa sha256:" if mask == "true" else "Bearer ")
        assert any(token in shown for token in stage.authorization_server.tokens) == (mask == "false")
        if edit == "host":
            port = int(evil[1].rpartition(":")[2])
            assert web.ask("PUT", f"/flows/{flow['id']}", {"request": {"port": port}}).status_code == 200
        assert web.ask("POST", f"/flows/{flow['id']}/resume").status_code == 200
        client.join()
        comment = web.flows()[0]["comment"]
    (answer,) = answers
    assert answer.status_code == (401 if edit == "host" else 200)
    assert comment.startswith("qa: withdrawn\n- why: token withdrawn" if edit == "host" else "qa: +Bearer")
    assert credentials(evil[0]) == []
    assert len(evil[0].received) == (edit == "host")


@pytest.mark.parametrize("mask", ["false", "true"])
def test_edited_replay(stage: Stage, evil: tuple[ProtectedApi, str], mask: str) -> None:
    """A flow that a person edits and replays takes no earlier token elsewhere."""
    stage.env(stage.http, "HEADER_X-Tenant=canary-tenant")
    with mitmweb(stage, inject_mask=mask) as (proxy, web):
        assert get(proxy, f"{stage.http}/orders").status_code == 200
        (flow,) = web.flows()
        assert web.ask("POST", f"/flows/{flow['id']}/replay").status_code == 200
        wait_for_flow(web, lambda flow: len(stage.api.received) == 2 and "response" in flow)
        port = int(evil[1].rpartition(":")[2])
        assert web.ask("PUT", f"/flows/{flow['id']}", {"request": {"port": port}}).status_code == 200

        def replayed(_: dict[str, Any]) -> bool:
            web.ask("POST", f"/flows/{flow['id']}/replay")  # mitmproxy may need a moment to end the last one
            return len(evil[0].received) > 0

        wait_for_flow(web, replayed)
    assert [value.split(" ")[0] for value in credentials(stage.api)] == ["Bearer", "Bearer"]
    assert stage.api.statuses == {200: 2}
    assert credentials(evil[0]) == []
    assert "canary-tenant" not in str(evil[0].received)


# --- The script is loaded anew, as whoever edits it sees it ---


@pytest.fixture
def script(stage: Stage) -> Path:
    """A script that can be changed, and loads ours."""
    file = stage.folder / "reloaded.py"
    file.write_text(f"import runpy\naddons = runpy.run_path({str(SCRIPT)!r})['addons']\n")
    return file


def load_anew(script: Path, proxy: Mitmproxy) -> None:
    later = script.stat().st_mtime + 5
    os.utime(script, (later, later))
    proxy.wait_for("qa: .* with tokens from", times=2)


def test_edited_while_waiting(stage: Stage, evil: tuple[ProtectedApi, str], script: Path) -> None:
    """A request that is edited while it waits for its token takes none elsewhere."""
    slow, asked, go_on = Flask("slow"), threading.Event(), threading.Event()

    @slow.route("/token", methods=["POST"])
    def token() -> dict[str, Any]:
        asked.set()
        assert go_on.wait(30)
        return {"access_token": "late-canary", "token_type": "Bearer", "expires_in": 300}

    stage.env(stage.http, f"TOKEN_ENDPOINT={stage.enter(serve(slow))}/token")
    proxy = stage.mitmdump("--map-remote", f"|{stage.http}/steal|{evil[1]}/open", script=script)
    client = threading.Thread(target=get, args=(proxy, f"{stage.http}/steal"), daemon=True)
    client.start()
    assert asked.wait(30)
    load_anew(script, proxy)
    go_on.set()
    client.join()
    assert credentials(evil[0]) == []


@pytest.mark.parametrize("mask", ["false", "true"])
def test_edited_while_held_back(stage: Stage, evil: tuple[ProtectedApi, str], script: Path, mask: str) -> None:
    """A request that is edited while a person holds it back takes no token elsewhere."""
    stage.env(stage.http)
    with mitmweb(stage, script=script, intercept="~q", inject_mask=mask) as (proxy, web):
        client = threading.Thread(target=get, args=(proxy, f"{stage.http}/orders"), daemon=True)
        client.start()
        flow = wait_for_flow(web, lambda flow: bool(flow["intercepted"]))
        load_anew(script, proxy)
        port = int(evil[1].rpartition(":")[2])
        assert web.ask("PUT", f"/flows/{flow['id']}", {"request": {"port": port}}).status_code == 200
        assert web.ask("POST", f"/flows/{flow['id']}/resume").status_code == 200
        client.join()
    assert len(evil[0].received) == 1
    assert credentials(evil[0]) == []


def test_edited_while_body_comes(stage: Stage, evil: tuple[ProtectedApi, str], script: Path) -> None:
    """A request that is edited while its body is coming takes no token elsewhere."""
    stage.env(stage.http)
    proxy = stage.mitmdump("--map-remote", f"|{stage.http}/steal|{evil[1]}/open", script=script)
    host, port = proxy.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        target = stage.http.removeprefix("http://")
        client.sendall(f"POST {stage.http}/steal HTTP/1.1\r\nHost: {target}\r\nContent-Length: 1\r\n\r\n".encode())
        proxy.wait_for("qa: token fetched")
        load_anew(script, proxy)
        client.sendall(b"x")
        client.recv(1)
    assert len(evil[0].received) == 1
    assert credentials(evil[0]) == []


def test_unverified_before(stage: Stage, script: Path, authority: Authority) -> None:
    """A server that was connected unverified before gets no token."""
    server = Recorder(authority.file(stage.folder, "another", "another.test"))
    name, port = "api.qa.test", stage.enter(server.listening(tell.GOOD))
    stage.env(f"https://{name}:{port}")
    words = ["-s", tell.__file__, *stage.options({"connection_strategy": "lazy"})]
    proxy = stage.enter(mitmproxy("mitmdump", *words, folder=stage.folder, script=script, inside=stage.inside))
    ask = f"OPTIONS / HTTP/1.1\r\nHost: {name}:{port}\r\nAccess-Control-Request-Method: PUT\r\nX-Insecure: "
    listens = int(proxy.url.rpartition(":")[2])
    with closing(dial(listens, lambda made: tunnel(made, name, port))) as made, tls(made, name, "http/1.1") as inside:
        inside.sendall(f"{ask}true\r\n\r\n".encode())
        assert inside.recv(65536)
        load_anew(script, proxy)
        inside.sendall(f"{ask}false\r\n\r\n".encode())
        assert inside.recv(65536)
        http1(inside, f"GET / HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode())
    assert b"OPTIONS" in server.received
    assert b"Bearer" not in server.received

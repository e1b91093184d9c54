"""What is kept of a credential with inject_mask, and what `credential-injector redact` leaves of one."""

import gzip
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from flask import Flask, request
from mitmproxy import http as mitm_http
from mitmproxy import io as mitm_io
from mitmproxy.flow import Error, Flow
from mitmproxy.test import tflow
from mitmproxy.websocket import WebSocketData, WebSocketMessage
from wsproto.frame_protocol import Opcode

from credential_injector.cli.main import main
from credential_injector.demo.servers import serve
from credential_injector.oauth.fingerprints import fingerprint
from tests.e2e.conftest import Stage
from tests.e2e.mitmweb_api import WebApi
from tests.ports import free_port

PASSWORD = "canary-proxy-password"


@pytest.fixture
def echo(stage: Stage) -> str:
    """An API that puts the credential into its answer's headers."""
    app = Flask("echo")

    @app.route("/<path:_>", methods=["GET", "POST"])
    def answer(_: str) -> tuple[str, dict[str, str]]:
        token = request.headers.get("Authorization", "")
        request.get_data()
        return "done", {"X-Echo": token, "Location": f"/next?token={token.removeprefix('Bearer ')}"}

    return stage.enter(serve(app))


def secrets(stage: Stage) -> list[bytes]:
    """Every token that was issued, and the passwords."""
    assert stage.authorization_server.tokens
    return [token.encode() for token in stage.authorization_server.tokens] + [PASSWORD.encode()]


def saved_flows(file: Path) -> list[mitm_http.HTTPFlow]:
    with file.open("rb") as content:
        return [flow for flow in mitm_io.FlowReader(content).stream() if isinstance(flow, mitm_http.HTTPFlow)]


def test_mask(stage: Stage, echo: str) -> None:
    """Files, mitmweb and its event log hold the mask, and the API gets the token."""
    stage.env(f"{stage.http},{echo}")
    settings: dict[str, Any] = {"web_port": free_port(), "web_open_browser": "false", "stream_large_bodies": "1k"}
    words = ["-w", str(stage.folder / "all.mitm"), "--proxyauth", f"me:{PASSWORD}"]
    with stage.mitmproxy("mitmweb", *words, inject_mask="true", hardump="all.har", **settings) as proxy:
        address = proxy.url.removeprefix("http://")
        with requests.Session() as session:
            session.proxies = {"http": f"http://me:{PASSWORD}@{address}"}
            assert session.get(f"{stage.http}/orders", timeout=30).status_code == 200
            assert session.post(f"{stage.http}/orders", data=b"x" * 9000, timeout=30).status_code == 200  # streams
            echoed = session.get(f"{echo}/echo", timeout=30)
            assert session.get(f"http://127.0.0.1:{free_port()}/elsewhere", timeout=30).status_code == 502
            refused = requests.get(
                f"{stage.http}/orders", proxies={"http": f"http://me:{PASSWORD}x@{address}"}, timeout=30
            )
            assert refused.status_code == 407
            # This client goes away before its answer is there.
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as leaving:
                leaving.sendall(f"GET {stage.http}/slow HTTP/1.1\r\nProxy-Authorization: Basic ".encode())
                leaving.sendall(requests.auth._basic_auth_str("me", PASSWORD).split(" ")[1].encode())
                leaving.sendall(f"\r\nHost: {stage.http.removeprefix('http://')}\r\n\r\n".encode())
                proxy.wait_for(r"server connect", times=4)
                port = leaving.getsockname()[1]
            proxy.wait_for(rf":{port}\]? client disconnect")
        web = WebApi(proxy)
        pages = [web.ask("GET", path).content for path in ("/flows", "/events", "/options")]
        shown = pages[0].decode()
        stage.api.go_on.set()
    mask = r"<qa sha256:"
    assert f"Bearer {mask}" in shown
    assert echoed.headers["X-Echo"].startswith(f"Bearer {mask}")
    assert echoed.headers["Location"].startswith(f"/next?token={mask}")
    assert stage.api.statuses[200] >= 2
    files = {file.name: file.read_bytes() for file in stage.folder.iterdir() if file.is_file()}
    assert {"all.har", "all.mitm"} <= files.keys()
    assert all(f"Bearer {mask}".encode() in files[name] for name in ("all.har", "all.mitm"))
    log = "\n".join(proxy.log).encode()
    for secret in secrets(stage):
        assert [name for name, content in files.items() if secret in content] == []
        assert all(secret not in page for page in [pages[0], pages[1], log])


def test_replay(stage: Stage) -> None:
    """A masked flow that is replayed gets a fresh token."""
    stage.env(stage.http)
    saved = stage.folder / "saved.mitm"
    proxy = stage.mitmdump("-w", str(saved), inject_mask="true")
    assert requests.get(f"{stage.http}/orders", proxies={"http": proxy.url}, timeout=30).status_code == 200
    proxy.end()
    again = stage.mitmdump("-C", str(saved), inject_mask="true")
    again.wait_for(r"<< 200 OK")
    first, second = (dict(headers)["Authorization"] for _, headers in stage.api.received)
    assert first != second
    assert stage.api.statuses == {200: 2}


def test_at_the_end(stage: Stage) -> None:
    """A request that is on its way when mitmproxy ends is saved with its mask."""
    stage.env(stage.http)
    saved = stage.folder / "saved.mitm"
    proxy = stage.mitmdump("-w", str(saved), inject_mask="true")
    host, port = proxy.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as waiting:
        waiting.sendall(
            f"GET {stage.http}/slow HTTP/1.1\r\nHost: {stage.http.removeprefix('http://')}\r\n\r\n".encode()
        )
        proxy.wait_for("server connect")
        proxy.end()
    stage.api.go_on.set()
    (flow,) = saved_flows(saved)
    assert flow.request.headers["Authorization"].startswith("Bearer <qa sha256:")


@pytest.mark.parametrize("mask", ["true", "false"])
def test_sent_again(stage: Stage, mask: str) -> None:
    """A token that the API refused is masked in the flow that was sent again."""
    stage.env(stage.http)
    saved = stage.folder / "saved.mitm"
    proxy = stage.mitmdump("-w", str(saved), inject_mask=mask)
    get = {"proxies": {"http": proxy.url}, "timeout": 30}
    assert requests.get(f"{stage.http}/orders", **get).status_code == 200  # type: ignore[arg-type]
    for token in stage.authorization_server.tokens.values():
        token.revoked = True
    assert requests.get(f"{stage.http}/orders", **get).status_code == 200  # type: ignore[arg-type]
    proxy.end()
    assert [flow.metadata["inject"]["retried"] for flow in saved_flows(saved)].count(True) == 1
    kept = [token in saved.read_bytes().decode(errors="replace") for token in stage.authorization_server.tokens]
    assert len(kept) == 2
    assert any(kept) == (mask == "false")


def test_annotated(stage: Stage) -> None:
    """A flow that a person annotates on its way keeps only the mask."""
    stage.env(stage.http)
    settings: dict[str, Any] = {"web_port": free_port(), "web_open_browser": "false", "inject_mask": "true"}
    with stage.mitmproxy("mitmweb", **settings) as proxy:
        web = WebApi(proxy)
        slow = threading.Thread(
            target=requests.get, args=(f"{stage.http}/slow",), kwargs={"proxies": {"http": proxy.url}}, daemon=True
        )
        slow.start()
        proxy.wait_for("server connect")
        (flow,) = web.flows()
        assert web.ask("PUT", f"/flows/{flow['id']}", {"comment": "look here"}).status_code == 200
        stage.api.go_on.set()
        slow.join()
        saved = web.ask("GET", "/flows/dump").content
        assert web.ask("POST", f"/flows/{flow['id']}/revert").status_code == 200
        reverted = web.ask("GET", "/flows").content
    for content in (saved, reverted):
        assert b"Bearer <qa sha256:" in content
        assert all(secret not in content for secret in secrets(stage))


def test_complaint(stage: Stage) -> None:
    """mitmproxy's complaint about an answer holds the mask."""
    saved = stage.folder / "saved.mitm"
    with socket.create_server(("127.0.0.1", 0)) as server:
        origin = f"http://127.0.0.1:{server.getsockname()[1]}"
        stage.env(origin)

        def repeat() -> None:
            connection, _ = server.accept()
            with connection:
                received = connection.recv(65536).decode()
                token = next(line for line in received.split("\r\n") if line.startswith("Authorization: "))[15:]
                connection.sendall(f"HTTP/1.1 200 OK\r\n{token}\r\n\r\n".encode())

        answer = threading.Thread(target=repeat, daemon=True)
        answer.start()
        proxy = stage.mitmdump("-w", str(saved), inject_mask="true", flow_detail=0)
        assert requests.get(f"{origin}/", proxies={"http": proxy.url}, timeout=30).status_code == 502
        answer.join()
        proxy.end()
    (flow,) = saved_flows(saved)
    assert flow.error is not None
    assert "Bearer <qa sha256:" in flow.error.msg
    assert all(secret not in saved.read_bytes() for secret in secrets(stage))


def test_refused_proxyauth(stage: Stage) -> None:
    """A password that proxyauth refused as a server is not kept either."""
    stage.env(stage.http)
    saved = stage.folder / "saved.mitm"
    words = ["--mode", f"reverse:{stage.http}", "--proxyauth", f"me:{PASSWORD}", "-w", str(saved)]
    proxy = stage.mitmdump(*words, inject_mask="true")
    assert requests.get(f"{proxy.url}/orders", auth=("me", f"{PASSWORD}x"), timeout=30).status_code == 401
    proxy.end()
    (flow,) = saved_flows(saved)
    assert flow.request.headers["Authorization"] == "<masked>"


# --- A capture that exists ---


def test_redact(stage: Stage, echo: str) -> None:
    """redact leaves no credential in a capture."""
    stage.env(f"{stage.http},{echo}")
    saved, clean = stage.folder / "saved.mitm", stage.folder / "clean.mitm"
    proxy = stage.mitmdump("-w", str(saved), "--proxyauth", f"me:{PASSWORD}")
    with requests.Session() as session:
        session.proxies = {"http": f"http://me:{PASSWORD}@{proxy.url.removeprefix('http://')}"}
        session.get(f"{echo}/echo", timeout=30)
        (token,) = stage.authorization_server.tokens
        # The same token in a URL, in a body, and in a body that is compressed.
        session.post(f"{echo}/later?token={token}", data=token, timeout=30)
        body = gzip.compress(json.dumps({"token": token}).encode())
        session.post(f"{echo}/packed", data=body, headers={"Content-Encoding": "gzip"}, timeout=30)
        session.get(f"http://localhost:{stage.http.rpartition(':')[2]}/open", timeout=30)
    proxy.end()
    before = saved.read_bytes()
    assert token.encode() in before
    done = CliRunner().invoke(main, ["redact", str(saved), str(clean)])
    assert (done.exit_code, done.output) == (0, f"{clean}: 4 flows, 4 of them held a credential\n")
    assert saved.read_bytes() == before
    assert clean.stat().st_mode & 0o777 == 0o600
    for secret in secrets(stage):
        assert secret not in clean.read_bytes()
    first, later, packed, other = saved_flows(clean)
    assert first.request.headers["Authorization"].startswith("Bearer <qa sha256:")
    assert later.request.path.startswith("/later?token=<qa sha256:")
    assert packed.request.json()["token"].startswith("<qa sha256:")
    assert other.metadata["proxyauth"][0] == "me"


TOKEN = "canary-token"


def injected() -> mitm_http.HTTPFlow:
    """A flow as it is saved without inject_mask."""
    flow = tflow.tflow(resp=True)
    flow.request.headers["Authorization"] = f"Bearer {TOKEN}"
    source = {"action": "injected", "environment": "qa", "source": "cached", "replaced": None}
    flow.metadata["inject"] = {**source, "token": fingerprint(TOKEN)}
    return flow


def write_capture(file: Path, *flows: Flow) -> None:
    with file.open("wb") as content:
        writer = mitm_io.FlowWriter(content)  # type: ignore[no-untyped-call]
        for flow in flows:
            writer.add(flow)


def edited(flow: mitm_http.HTTPFlow) -> None:
    flow.backup()  # type: ignore[no-untyped-call]
    flow.request.headers["Authorization"] = "mine"


def repeated_in_a_websocket(flow: mitm_http.HTTPFlow) -> None:
    flow.websocket = WebSocketData(messages=[WebSocketMessage(Opcode.TEXT, False, TOKEN.encode())])


def repeated_in_trailers(flow: mitm_http.HTTPFlow) -> None:
    flow.request.trailers = mitm_http.Headers(x=TOKEN)
    assert flow.response is not None
    flow.response.trailers = mitm_http.Headers(x=TOKEN)


def repeated_in_texts(flow: mitm_http.HTTPFlow) -> None:
    assert flow.response is not None
    flow.response.reason = flow.comment = flow.request.authority = f"not {TOKEN}"
    flow.error = Error(f"Unknown transfer encoding: {TOKEN}")


@pytest.mark.parametrize("change", [edited, repeated_in_a_websocket, repeated_in_trailers, repeated_in_texts])
def test_redact_places(tmp_path: Path, change: Callable[[mitm_http.HTTPFlow], None]) -> None:
    """redact finds a credential wherever it stands."""
    flow = injected()
    change(flow)
    write_capture(tmp_path / "in.mitm", flow)
    done = CliRunner().invoke(main, ["redact", str(tmp_path / "in.mitm"), str(tmp_path / "out.mitm")])
    assert done.output.endswith(": 1 flow, 1 of them held a credential\n")
    assert TOKEN.encode() not in (tmp_path / "out.mitm").read_bytes()
    assert b"<qa sha256:" in (tmp_path / "out.mitm").read_bytes()


@pytest.mark.parametrize("odd", [None, "", 5, [], {"user": "me"}])
def test_redact_password(tmp_path: Path, odd: Any) -> None:
    """redact forgets a password in any shape."""
    flow = injected()
    flow.metadata["proxyauth"] = odd
    write_capture(tmp_path / "in.mitm", flow)
    done = CliRunner().invoke(main, ["redact", str(tmp_path / "in.mitm"), str(tmp_path / "out.mitm")])
    assert done.exit_code == 0
    assert saved_flows(tmp_path / "out.mitm")[0].metadata["proxyauth"] == "<masked>"


def test_redact_same_name(tmp_path: Path) -> None:
    """redact destroys no file that is called as its own."""
    source = tmp_path / "out.mitm.new"
    write_capture(source, injected())
    before = source.read_bytes()
    done = CliRunner().invoke(main, ["redact", str(source), str(tmp_path / "out.mitm")])
    assert done.exit_code == 1
    assert "out.mitm: cannot be written (File exists)" in done.output
    assert source.read_bytes() == before
    assert list(tmp_path.iterdir()) == [source]


def test_redact_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """redact leaves out what is added to the capture meanwhile."""
    write_capture(tmp_path / "in.mitm", injected())

    def opened(*given: Any) -> int:
        write_capture(tmp_path / "in.mitm", injected(), tflow.tflow())
        return open_file(*given)

    open_file = os.open
    monkeypatch.setattr(os, "open", opened)
    done = CliRunner().invoke(main, ["redact", str(tmp_path / "in.mitm"), str(tmp_path / "out.mitm")])
    assert done.output.endswith(": 1 flow, 1 of them held a credential\n")


def test_redact_others(tmp_path: Path) -> None:
    """redact leaves what clients sent, and other protocols, as they are."""
    mine = tflow.tflow(resp=True)
    mine.request.headers["Authorization"] = "Bearer mine"
    write_capture(tmp_path / "in.mitm", mine, tflow.ttcpflow())
    done = CliRunner().invoke(main, ["redact", str(tmp_path / "in.mitm"), str(tmp_path / "out.mitm")])
    assert done.output.endswith(": 2 flows, 0 of them held a credential\n")
    assert (tmp_path / "out.mitm").read_bytes() == (tmp_path / "in.mitm").read_bytes()


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        (
            b"no capture",
            "out.mitm",
            "in.mitm: is damaged or not a capture; expected a file that mitmproxy wrote; nothing was written",
        ),
        (
            b'{"log": {"entries": []}}',
            "out.mitm",
            "in.mitm: is damaged or not a capture; expected a file that mitmproxy wrote; nothing was written",
        ),
        (
            b"13:4:type;4:http;}",
            "out.mitm",
            "in.mitm: is damaged or not a capture; expected a file that mitmproxy wrote; nothing was written",
        ),
        (
            b"12:damaged",
            "out.mitm",
            "in.mitm: is damaged or not a capture; expected a file that mitmproxy wrote; nothing was written",
        ),
        (b"", "in.mitm", "in.mitm: exists already; name a file that does not"),
        (b"", "nowhere/out.mitm", "out.mitm: cannot be written (No such file or directory)"),
    ],
)
def test_redact_mistake(tmp_path: Path, source: bytes, target: str, told: str) -> None:
    """redact says in one line what is wrong, and writes nothing."""
    (tmp_path / "in.mitm").write_bytes(source)
    done = CliRunner().invoke(main, ["redact", str(tmp_path / "in.mitm"), str(tmp_path / target)])
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert done.output.endswith(f"{told}\n")
    assert [file.name for file in tmp_path.iterdir()] == ["in.mitm"]
    assert (tmp_path / "in.mitm").read_bytes() == source


# --- What goes with the credential, and credentials that are short ---


def test_further_headers(stage: Stage, echo: str) -> None:
    """Headers beside the token are masked, taken back and redacted like it."""
    stage.env(f"{stage.http},{echo}", "HEADER_X-Tenant=canary-tenant", "HEADER_X-Key=7")
    saved, masked, clean = (stage.folder / f"{name}.mitm" for name in ("saved", "masked", "clean"))
    for file, mask in ((saved, "false"), (masked, "true")):
        proxy = stage.mitmdump("-w", str(file), inject_mask=mask)
        assert requests.get(f"{stage.http}/orders", proxies={"http": proxy.url}, timeout=30).status_code == 200
        proxy.end()
    assert CliRunner().invoke(main, ["redact", str(saved), str(clean)]).exit_code == 0
    for file in (masked, clean):
        assert b"canary-tenant" not in file.read_bytes()
        (flow,) = saved_flows(file)
        assert flow.request.headers["X-Tenant"] == "<qa secret X-Tenant>"
        assert flow.request.headers["X-Key"] == "<qa secret X-Key>"
        assert flow.request.headers["User-Agent"].startswith("python-requests/")
    received = [dict(headers) for _, headers in stage.api.received]
    assert [(headers["X-Tenant"], headers["X-Key"]) for headers in received] == [("canary-tenant", "7")] * 2


def test_short_credential(stage: Stage, echo: str) -> None:
    """A short credential is masked where it was sent, and nowhere else."""
    stage.env(echo, "GRANT_TYPE=static", "VALUE=5", without="SCOPE")
    env = stage.folder / "envs" / "qa.env"
    lines = [line for line in env.read_text().splitlines() if line.split("=")[0] in ("HOST", "GRANT_TYPE", "VALUE")]
    env.write_text("\n".join(lines) + "\n")
    saved = stage.folder / "saved.mitm"
    proxy = stage.mitmdump("-w", str(saved), inject_mask="true")
    answer = requests.get(f"{echo}/15", headers={"X-Mine": "15"}, proxies={"http": proxy.url}, timeout=30)
    assert answer.headers["Location"] == "/next?token=5"
    proxy.end()
    (flow,) = saved_flows(saved)
    assert flow.request.headers["Authorization"] == "Bearer <qa secret>"
    assert (flow.request.headers["X-Mine"], flow.request.path) == ("15", "/15")

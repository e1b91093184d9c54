"""A credential goes out on a connection that was verified for its destination, however the connection came about."""

import os
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import h2.connection
import pytest
from flask import Flask
from h2.events import StreamEnded, StreamReset
from mitmproxy import http as mitm_http
from mitmproxy.connection import Server
from mitmproxy.io import FlowWriter
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from credential_injector.demo.processes import Mitmproxy, mitmproxy, without_add_on
from credential_injector.demo.servers import serve
from credential_injector.launch.programs import SCRIPT
from credential_injector.proxy import web_guard
from tests.certificates import Authority, self_signed
from tests.e2e import tell
from tests.e2e.arena import EVIL, HTTPS, dial, http1, tls, tunnel
from tests.e2e.conftest import Curl, Stage
from tests.e2e.mitmweb_api import WebApi
from tests.e2e.recorder import Recorder
from tests.e2e.test_life_cycle import eventually
from tests.e2e.test_main_job import saved
from tests.ports import free_port


@pytest.fixture
def good(stage: Stage, authority: Authority) -> Recorder:
    """The server that the environment names. /401 refuses whoever asks."""
    return Recorder(authority.file(stage.folder, "good", "*.qa.test", "*.wild.test", tell.GOOD))


@pytest.fixture
def evil(stage: Stage, authority: Authority) -> Recorder:
    """A server with certificates of its own, which must never see a credential."""
    return Recorder(authority.file(stage.folder, "evil", EVIL, tell.EVIL))


@pytest.fixture
def port(stage: Stage, good: Recorder, evil: Recorder) -> int:
    """Of both."""
    port: int = stage.enter(good.listening(tell.GOOD))
    stage.enter(evil.listening(tell.EVIL, port))
    return port


def told(stage: Stage, *words: str, script: Path = SCRIPT, program: str = "mitmdump", **settings: Any) -> Mitmproxy:
    """A proxy that resolves the names of the attack suite."""
    options = ["-s", tell.__file__, *stage.options(settings), *words]
    return stage.enter(mitmproxy(program, *options, folder=stage.folder, script=script, inside=stage.inside))


@contextmanager
def inside(proxy: Mitmproxy, name: str, port: int, protocol: str = "http/1.1") -> Iterator[ssl.SSLSocket]:
    """TLS as this name in a tunnel to it."""
    listens = int(proxy.url.rpartition(":")[2])
    with (
        closing(dial(listens, lambda made: tunnel(made, name, port))) as connection,
        tls(connection, name, protocol) as made,
    ):
        yield made


def ask(connection: socket.socket, line: str, *headers: str) -> bytes:
    """The first bytes of the answer to a request, after which the connection stays."""
    connection.sendall("\r\n".join([f"{line} HTTP/1.1", *headers, "", ""]).encode())
    return connection.recv(65536)


# --- The other end of a relay, and what a capture says ----------------------------------------------------------------


class Relay(socketserver.ThreadingTCPServer):
    """Passes so many connections on to one address, and all others to another."""

    allow_reuse_address = daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, to: tuple[str, int], times: int, then: tuple[str, int]) -> None:
        self._left, self._to, self._then = times, to, then
        self._open: list[socket.socket] = []
        super().__init__((host, port), socketserver.BaseRequestHandler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self._left -= 1
        with socket.create_connection(self._to if self._left >= 0 else self._then) as other:
            self._open.append(other)
            ends = {request: other, other: request}
            while True:
                for ready in select.select(list(ends), [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    ends[ready].sendall(data)

    def cut(self) -> None:
        """End the connections of the moment."""
        for other in self._open:
            with suppress(OSError):
                other.shutdown(socket.SHUT_RDWR)


@contextmanager
def relayed(*way: Any) -> Iterator[Relay]:
    """A Relay until the block ends."""
    with Relay(*way) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def test_relay(stage: Stage, good: Recorder, evil: Recorder) -> None:
    """An address relays the refused request to the API, and would get another token with the request sent again."""
    with good.listening(tell.GOOD) as good_port, evil.listening(tell.GOOD) as evil_port:
        address = (tell.EVIL, good_port)
        stage.env(f"https://{HTTPS}:{good_port}")
        second = mitmproxy(
            "mitmdump", "--ignore-hosts", ".*", folder=stage.folder, script=Path(tell.__file__), inside=stage.inside
        )
        proxy = told(stage, "--mode", f"upstream:{stage.enter(second).url}")
        with relayed(*address, (tell.GOOD, good_port), 2, (tell.GOOD, evil_port)):
            for path in ("/", "/401"):  # a token that was new is not replaced
                listens = int(proxy.url.rpartition(":")[2])
                request = f"GET {path} HTTP/1.1\r\nHost: {HTTPS}:{good_port}\r\nConnection: close\r\n\r\n".encode()
                with (
                    closing(dial(listens, lambda made: tunnel(made, *address))) as connection,
                    tls(connection, HTTPS, "http/1.1") as made,
                ):
                    (answer,) = http1(made, request)
    assert answer.status == 401
    assert good.received.count(b"Bearer ") == 2
    assert b"Bearer " not in evil.received


@pytest.mark.parametrize("mode", ["upstream", "reverse", "regular"])
def test_a_crafted_capture(stage: Stage, good: Recorder, evil: Recorder, port: int, mode: str) -> None:
    """A replay is verified against its Host header or its address, as mitmproxy chooses."""
    stage.env(f"https://{HTTPS}:{port}")
    stage.env(f"https://{tell.HIJACKED}:{port}", name="hijacked")
    name, host = (tell.EVIL, HTTPS) if mode != "reverse" else (tell.HIJACKED, EVIL)
    flow = tflow.tflow(req=mitm_http.Request.make("GET", f"https://{name}:{port}/"))
    flow.request.headers["Host"] = f"{host}:{port}"
    modes = {"reverse": f"reverse:https://{name}:{port}", "upstream": "upstream:http://127.0.0.1:1"}
    flow.client_conn.proxy_mode = ProxyMode.parse(modes.get(mode, mode))
    flow.server_conn.sni = None
    flow.client_conn.sni = HTTPS if mode != "reverse" else tell.HIJACKED
    capture = stage.folder / "capture.mitm"
    with capture.open("wb") as file:
        FlowWriter(file).add(flow)  # type: ignore[no-untyped-call]
    words = []
    if mode == "upstream":
        second = mitmproxy(
            "mitmdump", "--ignore-hosts", ".*", folder=stage.folder, script=Path(tell.__file__), inside=stage.inside
        )
        words = ["--mode", f"upstream:{stage.enter(second).url}"]
    replayed = stage.folder / "replayed"
    told(stage, *words, "-C", str(capture), "-w", str(replayed))
    eventually(lambda: replayed.exists() and replayed.stat().st_size > 0)
    assert b"Bearer " not in evil.received


def test_a_capture_that_names_a_proxy(stage: Stage, evil: Recorder, port: int) -> None:
    """mitmproxy goes by the proxy of the capture, which would get the token in clear."""
    stage.env(f"http://plain.qa.test:{port}")
    flow = tflow.tflow(req=mitm_http.Request.make("GET", f"http://plain.qa.test:{port}/"))
    flow.server_conn = Server(address=("plain.qa.test", port), via=("http", (tell.EVIL, port)))
    flow.server_conn.via = ("http", ("evil.test", port))
    capture, replayed = stage.folder / "capture.mitm", stage.folder / "replayed"
    with capture.open("wb") as file:
        FlowWriter(file).add(flow)  # type: ignore[no-untyped-call]
    told(stage, "-C", str(capture), "-w", str(replayed))
    eventually(lambda: replayed.exists() and replayed.stat().st_size > 0)
    assert b"Bearer " not in evil.received


# --- An upstream proxy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("insecure", ["false", "true"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_of_another_machine(
    stage: Stage, evil: Recorder, port: int, curl: Curl, host: str, insecure: str
) -> None:
    """Behind an upstream proxy on another machine, 127.0.0.1 is that machine's."""
    stage.env(f"http://{host}:{port}")
    proxy = told(stage, "--mode", f"upstream:http://{EVIL}:{port}", ssl_insecure=insecure)
    reply = curl("--noproxy", "", "--proxy", proxy.url, f"http://{host}:{port}/")
    assert reply.status == 502
    assert f"the upstream proxy {EVIL} would send it to its own {host}" in reply.body
    assert evil.received == b""


def test_loopback_behind_own_proxy(stage: Stage, good: Recorder, port: int, curl: Curl) -> None:
    """Loopback behind an upstream proxy of this machine is this machine."""
    stage.env(f"http://127.0.0.1:{port}")
    second = mitmproxy("mitmdump", folder=stage.folder, script=Path(tell.__file__), inside=stage.inside)
    proxy = told(stage, "--mode", f"upstream:{stage.enter(second).url}")
    assert curl("--noproxy", "", "--proxy", proxy.url, f"http://127.0.0.1:{port}/").status == 200
    assert good.received.count(b"Bearer ") == 1


@pytest.mark.parametrize("way", ["tunnel", "plain"])
def test_mitmweb_by_own_proxy(stage: Stage, curl: Curl, way: str) -> None:
    """mitmweb without a login takes whoever comes from this machine for its user (CVE-2025-23217)."""
    stage.env(stage.http)
    second = mitmproxy(
        "mitmdump", "--ignore-hosts", ".*", folder=stage.folder, script=Path(tell.__file__), inside=stage.inside
    )
    upstream, web_port = stage.enter(second).url, free_port()
    words = ["--mode", f"upstream:{upstream}"]
    with stage.mitmproxy("mitmweb", *words, web_port=web_port, web_open_browser="false") as proxy:
        web = WebApi(proxy)
        through = ["--noproxy", "", "--proxy", proxy.url, *(["--proxytunnel"] if way == "tunnel" else [])]
        reply = curl(*through, f"http://127.0.0.1:{web_port}/flows", check=False)
        assert web.ask("GET", "/flows").status_code == 200
    refused = {0, 502} if web_guard.is_needed() else {0, 403, 502}
    assert reply.status in refused
    assert '"request"' not in reply.body


# --- ssl_insecure is set while a request is on its way ----------------------------------------------------------------


class Wait:
    """A token endpoint that answers when it is told to."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()
        self.tokens = 0
        self.app = Flask("slow")

        @self.app.route("/token", methods=["POST"])
        def token() -> dict[str, Any]:
            self.asked.set()
            assert self.go_on.wait(30)
            self.tokens += 1
            return {"access_token": f"late-canary-{self.tokens}", "token_type": "Bearer", "expires_in": 300}


@pytest.mark.parametrize("strategy", ["eager", "lazy"])
@pytest.mark.parametrize("during", ["the wait for the token", "an intercept", "an upload", "a streamed upload"])
def test_insecure_meanwhile(stage: Stage, good: Recorder, during: str, strategy: str) -> None:
    """The server that is then dialled again without being verified gets no token."""
    certificate = stage.folder / "self-signed.pem"
    certificate.write_text("".join(self_signed(HTTPS)))
    evil = Recorder(certificate)
    good_port, evil_port = stage.enter(good.listening(tell.GOOD)), stage.enter(evil.listening(tell.GOOD))
    address = (tell.GOOD, free_port())
    relay = stage.enter(relayed(*address, (tell.GOOD, good_port), 1, (tell.GOOD, evil_port)))
    slow = Wait()
    if during != "the wait for the token":
        slow.go_on.set()
    stage.env(f"https://{HTTPS}:{address[1]}", f"TOKEN_ENDPOINT={stage.enter(serve(slow.app))}/token")
    settings: dict[str, Any] = {"connection_strategy": strategy, "web_port": free_port(), "web_open_browser": "false"}
    if during == "an intercept":
        settings["intercept"] = "~m POST & ~q"
    if during == "a streamed upload":
        settings["stream_large_bodies"] = "1"
    proxy = told(stage, program="mitmweb", **settings)
    web = WebApi(proxy)
    upload = b"x" * 5 if "upload" in during else b""
    with inside(proxy, HTTPS, address[1]) as made:
        host = f"Host: {HTTPS}:{address[1]}"
        # A preflight, which gets no token, so that the server has been connected and verified.
        assert ask(made, "OPTIONS /", host, "Access-Control-Request-Method: PUT").startswith(b"HTTP/1.1 200")
        request = f"POST / HTTP/1.1\r\n{host}\r\nConnection: close\r\nContent-Length: {len(upload)}\r\n\r\n"
        made.sendall(request.encode())
        assert slow.asked.wait(30)
        intercepted = during == "an intercept"
        flow = (
            {}
            if not slow.go_on.is_set()
            else wait_for(web, lambda flow: flow["request"]["method"] == "POST" and flow["intercepted"] == intercepted)
        )
        relay.cut()
        proxy.wait_for("server disconnect")
        assert web.ask("PUT", "/options", {"ssl_insecure": True}).status_code == 200
        slow.go_on.set()
        if intercepted:
            web.ask("POST", f"/flows/{flow['id']}/resume")
        made.sendall(upload)
        made.settimeout(10)
        with suppress(OSError):
            while made.recv(65536):
                pass
    assert b"OPTIONS" in good.received
    assert b"late-canary" not in evil.received


class Streams:
    """HTTP/2 on a connection, with several streams at once."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        self._client = h2.connection.H2Connection()
        self._client.initiate_connection()

    def send(self, stream: int, *headers: tuple[str, str], ends: bool = True) -> None:
        self._client.send_headers(stream, headers, end_stream=ends)
        self._connection.sendall(self._client.data_to_send())

    def end(self, stream: int, body: bytes) -> None:
        self._client.send_data(stream, body, end_stream=True)
        self._connection.sendall(self._client.data_to_send())

    def ended(self, stream: int) -> bool:
        """Read until this stream has ended; False where the connection has."""
        with suppress(OSError):
            while data := self._connection.recv(65536):
                for event in self._client.receive_data(data):
                    if isinstance(event, StreamEnded | StreamReset) and event.stream_id == stream:
                        return True
                self._connection.sendall(self._client.data_to_send())
        return False


def headers(method: str, host: str) -> tuple[tuple[str, str], ...]:
    return (":method", method), (":scheme", "https"), (":authority", host), (":path", "/")


def test_meanwhile(stage: Stage, evil: Recorder, port: int) -> None:
    """An upload that has its token does not go out on a connection that another request made, which nobody verified."""
    host = f"{tell.HIJACKED}:{port}"
    stage.env(f"https://{host}")
    proxy = told(stage, connection_strategy="lazy")
    with inside(proxy, tell.HIJACKED, port, "h2") as made:
        client = Streams(made)
        client.send(1, *headers("POST", host), ("content-length", "5"), ends=False)
        proxy.wait_for("qa: token fetched")
        # Its own request is matched after the one before it, which has its token by then.
        preflight = ("access-control-request-method", "PUT"), ("x-insecure", "true")
        client.send(3, *headers("OPTIONS", host), *preflight)
        assert client.ended(3)
        client.end(1, b"xxxxx")
        assert client.ended(1)
    proxy.wait_for("token withdrawn: its client has connected to the server in another way")
    assert b"OPTIONS" in evil.received
    assert b"Bearer " not in evil.received


def wait_for(web: WebApi, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The flow that is like that."""
    while True:
        found = [flow for flow in web.flows() if until(flow)]
        if found:
            return found[0]


# --- A connection that is older than the add-on -----------------------------------------------------------------------

HOLD = """
import asyncio, pathlib

class Hold:
    async def running(self):
        while not pathlib.Path("go-on").exists():
            await asyncio.sleep(0.01)

addons = [Hold()]
"""


def test_a_connection_before_everything_runs(stage: Stage, good: Recorder, port: int) -> None:
    """mitmproxy serves clients before it tells its add-ons that it is running."""
    stage.env(f"https://{HTTPS}:{port}")
    hold = stage.folder / "hold.py"
    hold.write_text(HOLD)
    listens = free_port()
    options = ["-s", tell.__file__, *stage.options({}), "-s", str(SCRIPT), "--listen-port", str(listens)]

    after = stage.folder / "after.py"
    after.write_text("import logging\ndef running(): logging.info('everything runs')\n")
    words = ["-s", str(hold), *options, "-s", str(after)]
    with (
        without_add_on("mitmdump", *words, folder=stage.folder, inside=stage.inside) as proxy,
        inside(proxy, HTTPS, port) as made,
    ):
        host = f"Host: {HTTPS}:{port}"
        assert ask(made, "GET /early", host).startswith(b"HTTP/1.1 200")
        (stage.folder / "go-on").touch()
        proxy.wait_for("everything runs")
        assert ask(made, "GET /later", host).startswith(b"HTTP/1.1 200")
    assert good.received.count(b"Bearer ") == 2


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_a_connection_outlives_a_reload(stage: Stage, good: Recorder, port: int, protocol: str) -> None:
    """How it was verified is known, so its client need not connect again."""
    stage.env(f"https://{HTTPS}:{port}")
    script = stage.folder / "reloaded.py"
    script.write_text(f"import runpy\naddons = runpy.run_path({str(SCRIPT)!r})['addons']\n")
    proxy = told(stage, script=script)
    with inside(proxy, HTTPS, port) as made:
        assert ask(made, "GET /1", f"Host: {HTTPS}:{port}").startswith(b"HTTP/1.1 200")
        later = script.stat().st_mtime + 5
        os.utime(script, (later, later))
        proxy.wait_for("qa: .* with tokens from", times=2)
        assert ask(made, "GET /2", f"Host: {HTTPS}:{port}").startswith(b"HTTP/1.1 200")
    assert good.received.count(b"Bearer ") == 2


def test_connected_without_add_on(stage: Stage, good: Recorder, port: int) -> None:
    """The script was broken for a while, and nobody knows how servers were verified meanwhile."""
    stage.env(f"https://{HTTPS}:{port}")
    script = stage.folder / "reloaded.py"
    script.write_text(f"import runpy\naddons = runpy.run_path({str(SCRIPT)!r})['addons']\n")
    proxy = told(stage, script=script)
    with inside(proxy, HTTPS, port) as made:
        assert ask(made, "GET /1", f"Host: {HTTPS}:{port}").startswith(b"HTTP/1.1 200")
        whole = script.read_text()
        for text, said in (("1 / 0\n", "ZeroDivisionError"), (whole, "qa: .* with tokens from")):
            script.write_text(text)
            later = script.stat().st_mtime + 5
            os.utime(script, (later, later))
            proxy.wait_for(said, times=1 if text != whole else 2)
        answer = ask(made, "GET /2", f"Host: {HTTPS}:{port}")
        assert answer.startswith(b"HTTP/1.1 502")
        assert b"connect again" in answer
        assert b"\r\nConnection: close\r\n" in answer
        while made.recv(65536):
            pass
    with inside(proxy, HTTPS, port) as made:
        assert ask(made, "GET /3", f"Host: {HTTPS}:{port}").startswith(b"HTTP/1.1 200")
    assert good.received.count(b"Bearer ") == 2


def test_http2_disconnected(stage: Stage, good: Recorder, port: int) -> None:
    """A client of HTTP/2 that must connect again is disconnected: no answer tells it to."""
    stage.env(f"https://{HTTPS}:{port}")
    script = stage.folder / "reloaded.py"
    script.write_text(f"import runpy\naddons = runpy.run_path({str(SCRIPT)!r})['addons']\n")
    proxy = told(stage, script=script)
    with inside(proxy, HTTPS, port, "h2") as made:
        client, whole = Streams(made), script.read_text()
        client.send(1, *headers("GET", f"{HTTPS}:{port}"))
        assert client.ended(1)
        for text, said in (("1 / 0\n", "ZeroDivisionError"), (whole, "qa: .* with tokens from")):
            script.write_text(text)
            later = script.stat().st_mtime + 5
            os.utime(script, (later, later))
            proxy.wait_for(said, times=1 if text != whole else 2)
        client.send(3, *headers("GET", f"{HTTPS}:{port}"))
        assert client.ended(3)
        assert not client.ended(5)  # a stream that there is not
    assert good.received.count(b"authorization: Bearer ") == 1


# --- A request that never left ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["eager", "lazy"])
@pytest.mark.parametrize("protocol", ["--http1.1", "--http2"])
def test_a_server_that_cannot_be_verified(stage: Stage, curl: Curl, strategy: str, protocol: str) -> None:
    """The flow says that the token never left, and what to do."""
    certificate = stage.folder / "self-signed.pem"
    certificate.write_text("".join(self_signed(HTTPS)))
    server = Recorder(certificate)
    port = stage.enter(server.listening(tell.GOOD))
    stage.env(f"https://{HTTPS}:{port}")
    flows = stage.folder / "flows"
    options = ["-s", tell.__file__, *stage.options({"connection_strategy": strategy}), "-w", str(flows)]
    with mitmproxy("mitmdump", *options, folder=stage.folder, inside=stage.inside) as proxy:
        through = ["--proxy", proxy.url, "--cacert", str(stage.mitmproxy_ca), protocol]
        assert curl(*through, f"https://{HTTPS}:{port}/").status == 502
    assert proxy.log[-1].endswith("qa: 0 requests with a token, 1 token request, 0 sent again, 1 blocked")
    assert not any("first request with a token" in line for line in proxy.log)
    (flow,) = saved(flows)
    assert (flow.marked, flow.metadata["inject"]["action"]) == (":no_entry:", "blocked")
    assert "does not trust the API's certificate (self-signed certificate), so the token never left" in flow.comment
    assert "--set ssl_verify_upstream_trusted_ca=ca.pem" in flow.comment
    assert "Authorization" not in flow.request.headers
    assert b"Bearer " not in server.received


@pytest.mark.parametrize("strategy", ["eager", "lazy"])
def test_a_server_that_cannot_be_connected(stage: Stage, curl: Curl, strategy: str) -> None:
    """The flow says that the token never left."""
    url = f"http://127.0.0.1:{free_port()}"
    stage.env(url)
    flows = stage.folder / "flows"
    with stage.mitmproxy("mitmdump", "-w", str(flows), connection_strategy=strategy) as proxy:
        assert curl("--noproxy", "", "--proxy", proxy.url, url).status == 502
    (flow,) = saved(flows)
    assert (flow.marked, flow.metadata["inject"]["action"]) == (":no_entry:", "blocked")
    assert "cannot connect to the API, so the token never left; check HOST in envs/qa.env" in flow.comment


DOWN = "mitmproxy cannot connect through the upstream proxy {}, so the token never left; check that it runs"
REFUSES = "the upstream proxy {} refuses to connect mitmproxy to the API (403 Forbidden), so the token never left"


@pytest.mark.parametrize(
    ("scheme", "answer", "said"), [("http", None, DOWN), ("https", None, DOWN), ("https", "403 Forbidden", REFUSES)]
)
def test_an_upstream_proxy_that_fails(stage: Stage, curl: Curl, scheme: str, answer: str | None, said: str) -> None:
    """The flow blames the upstream proxy, which is down or refuses, and not HOST."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        if answer is None:
            server.close()
        else:
            threading.Thread(target=_refuse, args=(server, answer), daemon=True).start()
        stage.env(f"{scheme}://api.qa.test")
        flows = stage.folder / "flows"
        with stage.mitmproxy("mitmdump", "--mode", f"upstream:http://{address}", "-w", str(flows)) as proxy:
            through = ["--noproxy", "", "--proxy", proxy.url, "--cacert", str(stage.mitmproxy_ca)]
            assert curl(*through, f"{scheme}://api.qa.test/").status == 502
    flow = saved(flows)[-1]
    assert (flow.marked, flow.metadata["inject"]["action"]) == (":no_entry:", "blocked")
    assert said.format(address) in flow.comment


def _refuse(server: socket.socket, answer: str) -> None:
    """Answer whoever connects so."""
    with suppress(OSError):
        while True:
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())


def test_an_answer_that_is_not_the_servers(stage: Stage, curl: Curl) -> None:
    """A mock's 401 does not make the request really go to the API."""
    stage.env(stage.http)
    mock = stage.folder / "mock.py"
    mock.write_text(
        "from mitmproxy import http\n"
        "def request(flow):\n"
        "    if flow.request.path == '/mocked': flow.response = http.Response.make(401)\n"
    )
    flows = stage.folder / "flows"
    with mitmproxy(
        "mitmdump", *stage.options({}), "-w", str(flows), "-s", str(mock), folder=stage.folder, inside=stage.inside
    ) as proxy:
        through = ["--noproxy", "", "--proxy", proxy.url]
        assert curl(*through, f"{stage.http}/orders").status == 200
        assert curl(*through, "--data", "a=b", f"{stage.http}/mocked").status == 401
    assert [line for line, _ in stage.api.received] == ["GET /orders HTTP/1.1"]
    *_, mocked = saved(flows)
    assert mocked.metadata["inject"]["reason"] == "mitmproxy or a script answered it, so it never left"
    assert "Authorization" not in mocked.request.headers


def test_server_replay(stage: Stage, curl: Curl) -> None:
    """A recorded 401 that server replay gives sends no second request: the POST stays here."""
    stage.env(stage.http)
    capture = stage.folder / "capture.mitm"
    with stage.mitmproxy("mitmdump", "-w", str(capture), inject_retry="false") as proxy:
        assert curl("--noproxy", "", "--proxy", proxy.url, f"{stage.http}/orders").status == 200
        assert curl("--noproxy", "", "--proxy", proxy.url, "--data", "a=b", f"{stage.http}/always/401").status == 401
    received = len(stage.api.received)
    proxy = stage.mitmdump("-S", str(capture))
    assert curl("--noproxy", "", "--proxy", proxy.url, f"{stage.http}/orders").status == 200
    assert curl("--noproxy", "", "--proxy", proxy.url, "--data", "a=b", f"{stage.http}/always/401").status == 401
    assert len(stage.api.received) == received


def test_a_401_that_a_script_gives(stage: Stage, curl: Curl) -> None:
    """The server has done what the POST asks for, and must not do it twice."""
    stage.env(stage.http)
    mock = stage.folder / "mock.py"
    mock.write_text(
        "from mitmproxy import http\n"
        "def response(flow):\n"
        "    if flow.request.method == 'POST': flow.response = http.Response.make(401)\n"
    )
    words = ["-s", str(mock), "-s", str(SCRIPT), "--listen-port", "0", *stage.options({})]
    proxy = stage.enter(without_add_on("mitmdump", *words, folder=stage.folder, inside=stage.inside))
    through = ["--noproxy", "", "--proxy", proxy.url]
    assert curl(*through, f"{stage.http}/orders").status == 200
    assert curl(*through, "--data", "a=b", f"{stage.http}/orders").status == 401
    assert [line for line, _ in stage.api.received] == ["GET /orders HTTP/1.1", "POST /orders HTTP/1.1"]


def test_client_leaves(stage: Stage, good: Recorder, port: int) -> None:
    """A client leaves, and its POST is not sent again: nobody would hear of the answer, and it may try again itself."""
    slow = Wait()
    slow.go_on.set()
    stage.env(f"http://plain.qa.test:{port}", f"TOKEN_ENDPOINT={stage.enter(serve(slow.app))}/token")
    proxy = told(stage)
    host = f"Host: plain.qa.test:{port}"
    with closing(dial(int(proxy.url.rpartition(":")[2]))) as made:
        assert ask(made, f"GET http://plain.qa.test:{port}/", host).startswith(b"HTTP/1.1 200")
        slow.asked.clear()
        slow.go_on.clear()
        made.sendall(f"POST http://plain.qa.test:{port}/401 HTTP/1.1\r\n{host}\r\nContent-Length: 0\r\n\r\n".encode())
        assert slow.asked.wait(30)
    proxy.wait_for("client disconnect")
    slow.go_on.set()
    proxy.wait_for("qa: the API answered 401, which stays: the client has gone")
    assert good.received.count(b"POST ") == 1

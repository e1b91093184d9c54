"""Clients and protocols through Envoy: each gets its token, and what may be endless or large passes as it comes."""

import asyncio
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from websockets.asyncio.client import connect

from tests.conftest import missing, node_package, tool
from tests.e2e import grpc_service, trickle
from tests.e2e.conftest import Curl, Reply, Stage, on_stage
from tests.e2e.envoy import Envoy, envoy
from tests.e2e.envoy_origin import exchange
from tests.e2e.matrix.clients import CLIENTS, NODE, NODE_24, PROGRAMS
from tests.e2e.matrix.stage import server
from tests.e2e.recorder import Recorder
from tests.e2e.test_life_cycle import eventually
from tests.e2e.test_streams import follow
from tests.e2e.test_websocket import DEADLINE, echoing
from tests.e2e.trickle import MEGABYTE, Trickle
from tests.ports import free_port
from tests.reporting import MEASURED

Code = grpc.StatusCode
PATIENCE = 20  # seconds
MOST_GROWTH = 40 * MEGABYTE


@dataclass
class Scene:
    """One Envoy for all tests of this file, and the servers behind it."""

    stage: Stage
    proxy: Envoy
    trickle: Trickle
    recorder: Recorder
    """Speaks HTTP/2."""
    service: grpc_service.Service
    origins: dict[str, str]

    @property
    def environ(self) -> dict[str, str]:
        """The variables of a client that trusts mitmproxy's CA alone."""
        ca, proxy = str(self.stage.mitmproxy_ca), self.proxy.proxy
        trust = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE"), ca)
        return {**os.environ, **trust, "https_proxy": proxy, "http_proxy": proxy, "NODE_USE_ENV_PROXY": "1"}

    def curl(self, run: Curl, *words: str, **more: bool) -> Reply:
        """Through the proxy."""
        trust = ("--cacert", str(self.stage.mitmproxy_ca))
        return run("--proxy", self.proxy.proxy, "--noproxy", "", "--suppress-connect-headers", *trust, *words, **more)

    def call(self, origin: str, method: str = "Unary") -> Any:
        """One call of gRPC through the proxy, by a channel of its own."""
        trust = grpc.ssl_channel_credentials(self.stage.mitmproxy_ca.read_bytes())
        with grpc.secure_channel(self.origins[origin].removeprefix("https://"), trust) as channel:
            return channel.unary_unary(grpc_service.NAME + method)(b"you", timeout=PATIENCE)


@pytest.fixture(scope="session")
def inside() -> Sequence[str]:
    """No mitmproxy runs here."""
    return ()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, confdir: Path, certificates: tuple[Path, Path]) -> Iterator[Scene]:
    folder, certificate = tmp_path_factory.mktemp("scene"), certificates[1]
    with ExitStack() as stack, on_stage(folder, confdir, certificates, ()) as stage:
        enter = stack.enter_context
        slow = Trickle(stage.api.app, stage.authorization_server)
        recorder = Recorder(certificate)
        service = grpc_service.Service(stage.authorization_server)
        calls = enter(grpc_service.serve(service, certificate))
        port = stage.http.rpartition(":")[2]
        front = enter(server(tool("node", package="nodejs"), NODE / "front.mjs", certificate, port))
        origins = {
            "http": f"http://api.qa.test:{port}",
            "https": f"https://api.qa.test:{stage.https_port}",
            "http2": f"https://api.qa.test:{enter(trickle.http2(certificate, slow))}",
            "recorder": f"https://api.qa.test:{enter(recorder.listening('127.0.0.1'))}",
            "grpc": f"https://api.qa.test:{calls}",
            "front": f"https://api.qa.test:{front}",
            # Each an environment of its own:
            "dead": f"https://b.qa.test:{calls}",
            "guarded": f"https://other.qa.test:{calls}",
            "gone": f"https://a.qa.test:{free_port()}",
            "wild": f"https://*.qa.test:{stage.https_port}",
            "below": f"https://b.qa.test:{stage.https_port}/v1",
        }
        own = ("dead", "guarded", "gone", "wild", "below")
        stage.env(", ".join(origin for name, origin in origins.items() if name not in own))
        stage.env(f"{origins['recorder']}/recorder", name="recorder")
        stage.env(origins["dead"], f"TOKEN_ENDPOINT=http://127.0.0.1:{free_port()}/token", name="dead")
        stage.env(origins["guarded"], "METHODS=GET", name="guarded")
        for name in ("gone", "wild", "below"):
            stage.env(origins[name], name=name)
        reverse = {"qa": "127.0.0.1", "below": "[::1]", "recorder": "127.0.0.1"}
        words = [word for name, host in reverse.items() for word in ("--reverse", f"{name}={host}:{free_port()}")]
        proxy = enter(envoy(stage, *words))
        yield Scene(stage, proxy, slow, recorder, service, origins)
        for _ in range(100):  # whatever still waits may end
            slow.go.release()


# --- Clients ----------------------------------------------------------------------------------------------------------

HTTPX = """
import os, ssl, sys, httpx
trust = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
with httpx.Client(http2=True, proxy=os.environ["https_proxy"], verify=trust, trust_env=False) as client:
    answer = client.get(sys.argv[1])
    print(answer.status_code, answer.http_version)
"""
REQUESTS = "import requests, sys; print(requests.get(sys.argv[1], timeout=20).status_code)"


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Go's client of the matrix, built."""
    if shutil.which(str(CLIENTS / "go")) is None:
        missing("Go is not installed (.ci/run installs it)")
    built = tmp_path_factory.mktemp("go") / "client"
    environ = {**os.environ, "GOCACHE": str(CLIENTS.parent / "go-cache"), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    subprocess.run([CLIENTS / "go", "build", "-o", built, PROGRAMS / "client.go"], check=True, env=environ)
    return built


def words_of(client: str, request: pytest.FixtureRequest) -> list[str]:
    """The command of a client, without the URL."""
    kind, _, library = client.partition(" ")
    match kind:
        case "curl":
            return [
                tool("curl", package="curl"),
                "--silent",
                "--show-error",
                "-o",
                os.devnull,
                "-w",
                "%{http_code}",
                library,
            ]
        case "requests":
            return [sys.executable, "-c", REQUESTS]
        case "httpx":
            if not (CLIENTS / "httpx").exists():
                missing("httpx is not installed (.ci/run installs it)")
            return [str(CLIENTS / "python"), "-c", HTTPX]
        case "go":
            return [str(request.getfixturevalue("go_client"))]
    if not NODE_24.exists():
        missing("Node 24 is not installed (npm ci in tests/e2e/node)")
    return [str(NODE_24), str(NODE / "client.mjs"), library]


@pytest.mark.parametrize("origin", ["https", "front", "http"])
@pytest.mark.parametrize(
    "client", ["curl --http1.1", "curl --http2", "requests", "httpx", "node fetch", "node http", "node axios", "go"]
)
def test_client(scene: Scene, request: pytest.FixtureRequest, client: str, origin: str) -> None:
    """A client gets its token, whichever versions of HTTP it and the server speak."""
    words = [*words_of(client, request), f"{scene.origins[origin]}/orders"]
    done = subprocess.run(words, env=scene.environ, capture_output=True, text=True, timeout=60, check=False)
    http2 = " HTTP/2" if origin != "http" else " HTTP/1.1"
    expected = "200" + (http2 if client == "httpx" else "")
    assert (done.stdout.strip(), done.returncode) == (expected, 0), done.stderr


def test_http2_upstream(scene: Scene, curl: Curl) -> None:
    """A server of HTTP/2 sees the client's headers and the credential, and nothing else."""
    for version in ("--http2", "--http1.1"):
        before = len(scene.recorder.received)
        url = f"{scene.origins['recorder']}/{version}"
        assert scene.curl(curl, version, "-H", "X-Mine: 1", "-A", "me", "-H", "Accept: a/b", url).status == 200
        seen = scene.recorder.received[before:].decode("latin-1")
        fields = re.findall(r"((?::(?:authority|method|path|scheme)|[a-z][a-z-]+): [^\r\n]*)\r\n", seen)
        host = scene.origins["recorder"].removeprefix("https://")
        expected = [f":authority: {host}", ":method: GET", f":path: /{version}", ":scheme: https"]
        expected += ["accept: a/b", "user-agent: me", "x-mine: 1"]
        assert sorted(line for line in fields if not line.startswith("authorization: Bearer ")) == sorted(expected)
        assert len(fields) == len(expected) + 1


# --- Reverse proxies, wildcards ---------------------------------------------------------------------------------------


def test_reverse(scene: Scene, curl: Curl) -> None:
    """A base URL leads to the first of HOST's origins; its path is the client's, and its Host the API's."""
    assert curl(f"{scene.proxy.reverse('qa')}/orders").status == 200
    assert dict(scene.stage.api.received[-1][1])["Host"] == scene.origins["http"].removeprefix("http://")
    assert curl("-g", f"{scene.proxy.reverse('below')}/v1/orders").status == 200
    assert scene.stage.api.received[-1][0] == "GET /v1/orders HTTP/1.1"
    assert curl("-g", f"{scene.proxy.reverse('below')}/v2/orders").status == 401
    before = len(scene.recorder.received)
    assert curl(f"{scene.proxy.reverse('recorder')}/recorder").status == 200
    assert b":scheme: https\r\n" in scene.recorder.received[before:]


def test_reverse_other_host(scene: Scene, curl: Curl) -> None:
    """A name that somebody else's DNS leads here is refused."""
    reply = curl("-H", "Host: evil.test", f"{scene.proxy.reverse('qa')}/orders")
    assert (reply.status, reply.body[:43]) == (502, "qa: request blocked: its Host is not one of")


def test_wildcard(scene: Scene, curl: Curl) -> None:
    """A name below a wildcard is served, and clients do not trust a deeper one."""
    port = scene.stage.https_port
    assert scene.curl(curl, f"https://a.qa.test:{port}/orders").status == 200
    assert scene.curl(curl, f"https://a.b.qa.test:{port}/orders", check=False).status == 0
    reply = scene.curl(curl, "--insecure", f"https://a.b.qa.test:{port}/orders")
    assert (reply.status, reply.body[:44]) == (502, "wild: request blocked: Envoy cannot connect ")


# --- WebSocket --------------------------------------------------------------------------------------------------------


async def test_websocket(stage: Stage) -> None:
    """Frames and the close code pass, also where the server would rather speak HTTP/2."""
    stage.tls.set_alpn_protocols(["h2", "http/1.1"])
    async with echoing(stage, None) as ws, echoing(stage, stage.tls) as wss:
        plain = ws.replace("127.0.0.1", "localhost")
        stage.env(f"{wss.replace('ws', 'http', 1)}, {plain.replace('ws', 'http', 1)}")
        with ExitStack() as stack:
            options = ["--reverse", f"qa=127.0.0.1:{free_port()}"]
            proxy = await asyncio.to_thread(stack.enter_context, envoy(stage, *options))
            trust = ssl.create_default_context(cafile=str(stage.mitmproxy_ca))
            await echoes(plain, proxy=proxy.proxy)
            await echoes(wss, proxy=proxy.proxy, ssl=trust)
            await echoes(proxy.reverse("qa").replace("http", "ws", 1), proxy=None)
            await asyncio.to_thread(proxy.end)


async def echoes(url: str, **how: Any) -> None:
    """Send messages there and get them back."""
    messages: Sequence[str | bytes] = ["héllo", bytes(range(256)), "x" * 300_000, ""]
    async with connect(url, ping_interval=None, open_timeout=DEADLINE, **how) as connection:
        for message in messages:
            await connection.send(message)
            assert await asyncio.wait_for(connection.recv(), DEADLINE) == message
        await asyncio.wait_for(await connection.ping(), DEADLINE)
        await connection.close(4001, "done")
    assert (connection.close_code, connection.close_reason) == (4001, "done")


# --- gRPC -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def through(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls go through the proxy."""
    monkeypatch.setenv("grpc_proxy", scene.proxy.proxy)


@pytest.mark.usefixtures("through")
def test_calls(scene: Scene) -> None:
    """Calls of each kind get the token."""
    trust = grpc.ssl_channel_credentials(scene.stage.mitmproxy_ca.read_bytes())
    one = [b"1", b"2"]
    with grpc.secure_channel(scene.origins["grpc"].removeprefix("https://"), trust) as channel:
        name = grpc_service.NAME
        assert channel.unary_unary(f"{name}Unary")(b"you", timeout=PATIENCE) == b"hello you"
        assert list(channel.unary_stream(f"{name}Down")(b"you", timeout=PATIENCE)) == [b"0", b"1", b"2"]
        assert channel.stream_unary(f"{name}Up")(iter(one), timeout=PATIENCE) == b"12"
        both = channel.stream_stream(f"{name}Both")(iter(one), timeout=PATIENCE)
        assert list(both) == [b"echo 1", b"echo 2"]


@pytest.mark.usefixtures("through")
@pytest.mark.parametrize(
    ("origin", "code", "said"),
    [
        ("dead", Code.UNAUTHENTICATED, "dead: request blocked: no token (unreachable): "),
        ("guarded", Code.PERMISSION_DENIED, "guarded: request blocked: its method is not in METHODS=GET of envs/gu"),
        ("gone", Code.UNAVAILABLE, "gone: request blocked: Envoy cannot connect to the API, so the credential never"),
    ],
)
def test_blocked_call(scene: Scene, origin: str, code: grpc.StatusCode, said: str) -> None:
    """A call that is blocked gets a status that fits, and the reason as its message."""
    with pytest.raises(grpc.RpcError) as raised:
        scene.call(origin)
    assert (raised.value.code(), raised.value.details()[: len(said)]) == (code, said)
    assert not raised.value.details().endswith("\n")


def test_call_of_node(scene: Scene) -> None:
    """@grpc/grpc-js gets its token, too."""
    node_package("@grpc/grpc-js")
    target, ca = scene.origins["grpc"].removeprefix("https://"), str(scene.stage.mitmproxy_ca)
    method = f"{grpc_service.NAME}Unary"
    words = [tool("node", package="nodejs"), str(NODE / "grpc_client.mjs"), target, method, ca, "you"]
    done = subprocess.run(words, env=scene.environ, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == {"answer": "hello you"}


@pytest.mark.usefixtures("through")
def test_refused_call(scene: Scene) -> None:
    """A 16 UNAUTHENTICATED inside of a 200 has the token replaced."""
    before = scene.stage.token_requests
    for token in scene.stage.authorization_server.tokens.values():
        token.revoked = True

    with pytest.raises(grpc.RpcError) as raised:
        scene.call("grpc")
    assert (raised.value.code(), raised.value.details()) == (Code.UNAUTHENTICATED, scene.service.says)

    def answered() -> bool:
        with suppress(grpc.RpcError):
            return bool(scene.call("grpc") == b"hello you")
        return False

    eventually(answered)
    # The identity is the same in all environments, but in dead.
    assert scene.stage.token_requests == before + 1


# --- Streams, large bodies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["http", "https", "http2"])
def test_events(scene: Scene, way: str) -> None:
    """A client has each event before the server sends the next one."""
    scene.trickle.sent.clear()
    words = [tool("curl", package="curl"), "--silent", "--no-buffer", "--max-time", "60"]
    words += ["--http2" if way == "http2" else "--http1.1", f"{scene.origins[way]}/trickle?type=text/event-stream"]
    with subprocess.Popen(words, env=scene.environ, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        try:
            follow(scene.trickle, client.stdout)
        finally:
            client.kill()


def test_many(scene: Scene) -> None:
    """1,100 connections to one API are open at once, and the last one is served."""
    place = scene.origins["http"].removeprefix("http://")
    with ExitStack() as stack:
        for _ in range(1100):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", scene.proxy.port), PATIENCE))
            connection.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        got = exchange(connection, f"GET /orders HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n".encode())
        assert got.startswith(b"HTTP/1.1 200 ")


def memory(pid: int, key: str) -> int:
    """A figure of a process's memory, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024


@pytest.mark.parametrize(("origin", "megabytes"), [("http", 1024), ("https", 128)])
def test_large(scene: Scene, request: pytest.FixtureRequest, origin: str, megabytes: int) -> None:
    """1 GB in either direction costs hardly any memory, of Envoy's or the command's."""
    pids = {"Envoy": scene.proxy.envoy_pid, "the command": scene.proxy.process.pid}
    before = {name: memory(pid, "VmRSS") for name, pid in pids.items()}
    begin, size, url = time.monotonic(), megabytes * MEGABYTE, scene.origins[origin]
    with requests.Session() as session:
        session.proxies = dict.fromkeys(("http", "https"), scene.proxy.proxy)
        session.verify = str(scene.stage.mitmproxy_ca)
        with session.get(f"{url}/flood?megabytes={megabytes}", stream=True, timeout=60) as answer:
            assert sum(map(len, answer.iter_content(MEGABYTE))) == size
        pieces = (bytes(MEGABYTE) for _ in range(megabytes))
        assert session.post(f"{url}/drain", data=pieces, timeout=60).text == f"{size}\n"
    growth = {name: memory(pid, "VmHWM") - before[name] for name, pid in pids.items()}
    told = ", ".join(f"{name} {grown / MEGABYTE:.0f} MB more" for name, grown in growth.items())
    took = time.monotonic() - begin
    request.node.user_properties.append((MEASURED, f"{megabytes} MB down and up, {origin}: {told}, {took:.0f} s"))
    assert max(growth.values()) < MOST_GROWTH


# --- What Envoy does not take -----------------------------------------------------------------------------------------


def test_rejected_later(scene: Scene, curl: Curl) -> None:
    """A configuration that Envoy does not take is an error line, and what it has goes on."""
    listeners, since = scene.proxy.folder / "listeners.json", len(scene.proxy.log)
    changed = json.loads(listeners.read_text())
    changed["resources"][0]["address"]["socket_address"]["address"] = "no address"
    beside = listeners.with_name("beside")
    beside.write_text(json.dumps(changed))
    beside.replace(listeners)
    said = r"Envoy: error: it does not take the new configuration, and keeps what it has: .* malformed IP address"
    scene.proxy.wait_for(said, since=since)
    assert scene.curl(curl, f"{scene.origins['http']}/orders").status == 200

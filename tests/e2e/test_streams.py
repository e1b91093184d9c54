"""What may be endless passes as it comes, what is large costs no memory, and a refused token is still replaced."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import flask
import pytest
import requests

from credential_injector.demo.processes import Mitmproxy
from tests.conftest import tool
from tests.e2e.conftest import Stage
from tests.e2e.mitmweb_api import WebApi
from tests.e2e.test_life_cycle import eventually
from tests.e2e.test_main_job import saved
from tests.e2e.test_retry import revoke
from tests.e2e.trickle import MEGABYTE, Trickle, http2
from tests.ports import free_port
from tests.reporting import MEASURED

MEGABYTES = 1024  # of a large body
MOST_GROWTH = 30 * MEGABYTE


@pytest.fixture
def trickle(stage: Stage) -> Iterator[Trickle]:
    trickle = Trickle(stage.api.app, stage.authorization_server)
    yield trickle
    for _ in range(100):  # whatever still waits may end
        trickle.go.release()


@contextmanager
def opened(proxy: Mitmproxy, *words: str) -> Iterator[IO[bytes]]:
    """What curl gets, as it gets it."""
    command = [tool("curl", package="curl"), "--silent", "--no-buffer", "--max-time", "60", "--noproxy", ""]
    with subprocess.Popen([*command, "--proxy", proxy.url, *words], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        try:
            yield client.stdout
        finally:
            client.kill()


def follow(trickle: Trickle, answer: IO[bytes], lines: int = 2) -> list[float]:
    """Let the API send each line only when the client has the one before. How long each was on its way, in seconds."""
    delays = []
    for number in range(lines):
        if number:
            trickle.go.release()
        assert answer.readline() == b"data: %d\n" % number
        delays.append(time.monotonic() - trickle.sent[number])
    assert answer.read() == b""
    return delays


@pytest.mark.parametrize("way", ["http", "https", "http2"])
def test_events(
    stage: Stage, trickle: Trickle, certificates: tuple[Path, Path], request: pytest.FixtureRequest, way: str
) -> None:
    """A client has each event before the server sends the next one."""
    port = stage.enter(http2(certificates[1], trickle)) if way == "http2" else stage.https_port
    url = stage.http if way == "http" else f"https://api.qa.test:{port}"
    stage.env(url)
    proxy = stage.mitmdump("-w", str(stage.folder / "flows"))
    trust = ["--cacert", str(stage.mitmproxy_ca), "--http2" if way == "http2" else "--http1.1"]
    with opened(proxy, *trust, f"{url}/trickle?type=text/event-stream") as answer:
        delays = follow(trickle, answer)
    proxy.end()
    flow = saved(stage.folder / "flows")[-1]
    assert flow.response is not None
    assert flow.response.raw_content == b"data: 0\ndata: 1\n"
    assert flow.response.http_version == ("HTTP/2.0" if way == "http2" else "HTTP/1.1")
    assert "streamed" not in flow.metadata["inject"]
    assert [key.lower() for key in flow.response.trailers or ()] == (["x-checksum"] if way == "http2" else [])
    measured = ", ".join(f"{1000 * delay:.1f} ms" for delay in delays)
    request.node.user_properties.append((MEASURED, f"events by {way}: {measured} after the server sent them"))


@pytest.mark.parametrize(
    "kind", ["application/x-ndjson", "application/json", "multipart/x-mixed-replace; boundary=b", "text/plain"]
)
def test_kinds(stage: Stage, trickle: Trickle, kind: str) -> None:
    """So does whatever else comes piece by piece, also without saying so, as the watch of Kubernetes."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    with opened(proxy, f"{stage.http}/trickle?type={kind.replace(' ', '%20')}") as answer:
        follow(trickle, answer)


def test_without_token(stage: Stage, trickle: Trickle) -> None:
    """Requests that no file names are mitmproxy's business: it keeps their answers."""
    stage.env("https://other.test")
    proxy = stage.mitmdump()
    stage.api.app.add_url_rule(
        "/free", view_func=lambda: flask.Response(trickle.lines(2), mimetype="text/event-stream")
    )
    with opened(proxy, f"{stage.http}/free") as answer:
        eventually(lambda: len(trickle.sent) == 1)
        trickle.go.release()
        assert answer.read() == b"data: 0\ndata: 1\n"


# --- Large bodies -----------------------------------------------------------------------------------------------------


def memory(proxy: Mitmproxy) -> dict[str, int]:
    """The bytes that a process has in memory now (VmRSS), and that it had at most (VmHWM)."""
    lines = Path(f"/proc/{proxy.process.pid}/status").read_text().splitlines()
    return {
        key: int(value.split()[0]) * 1024 for key, _, value in (line.partition(":") for line in lines) if "kB" in value
    }


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("direction", "length"),
    [("down", "known"), ("down", "unknown"), ("up", "known"), ("up", "unknown"), ("down after a 401", "known")],
)
def test_large(stage: Stage, trickle: Trickle, request: pytest.FixtureRequest, direction: str, length: str) -> None:
    """1 GB costs hardly any memory, in either direction, and the flow says what is not recorded."""
    stage.env(stage.http)
    flows = stage.folder / "flows"
    proxy = replace(stage, inside=()).mitmdump("-w", str(flows))
    size, through = MEGABYTES * MEGABYTE, {"http": proxy.url}
    requests.post(f"{stage.http}/drain", data=bytes(MEGABYTE), proxies=through, timeout=60)
    before = memory(proxy)["VmRSS"]
    if direction == "down after a 401":
        revoke(stage)
    begin = time.monotonic()
    if direction != "up":
        url = f"{stage.http}/flood?megabytes={MEGABYTES}{'&length' * (length == 'known')}"
        with requests.Session() as session:
            session.proxies = through
            with session.get(url, stream=True, timeout=60) as answer:
                assert sum(len(piece) for piece in answer.iter_content(MEGABYTE)) == size
            session.get(f"{stage.http}/orders", timeout=60)  # mitmproxy is done with the one before
    else:
        pieces = (bytes(MEGABYTE) for _ in range(MEGABYTES))
        headers = {"Content-Length": str(size)} if length == "known" else {}
        prepared = requests.Request("POST", f"{stage.http}/drain", data=pieces, headers=headers).prepare()
        if length == "known":
            prepared.headers.pop("Transfer-Encoding", None)
            prepared.headers["Content-Length"] = str(size)
        with requests.Session() as session:
            assert session.send(prepared, proxies=through, timeout=60).text == f"{size}\n"
    took, growth = time.monotonic() - begin, memory(proxy)["VmHWM"] - before
    request.node.user_properties.append(
        (MEASURED, f"{MEGABYTES} MB {direction}, length {length}: {growth / MEGABYTE:.0f} MB more memory, {took:.0f} s")
    )
    assert growth < MOST_GROWTH
    proxy.end()
    part = "response" if direction != "up" else "request"
    (flow,) = [flow for flow in saved(flows) if flow.metadata["inject"].get("streamed") == {part: size}]
    assert f"- {part} body: {size:,} bytes streamed, not recorded\n" in flow.comment
    assert flow.comment.startswith("qa: +Bearer\n")
    assert flows.stat().st_size < 2 * MEGABYTE


# --- Refused tokens ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["known", "unknown"])
@pytest.mark.parametrize("megabytes", [1, 7, 9])
def test_revoked_upload(stage: Stage, trickle: Trickle, length: str, megabytes: int) -> None:
    """An upload is sent again where all of it was kept."""
    stage.env(stage.http)
    proxy = stage.mitmdump("-w", str(stage.folder / "flows"))
    url, through = f"{stage.http}/drain", {"http": proxy.url}
    assert requests.post(url, data=b"x", proxies=through, timeout=60).status_code == 200
    revoke(stage)
    size = megabytes * MEGABYTE
    pieces: Any = bytes(size) if length == "known" else (bytes(MEGABYTE) for _ in range(megabytes))
    answer = requests.post(url, data=pieces, proxies=through, timeout=60)
    proxy.end()
    flow = saved(stage.folder / "flows")[-1]
    if megabytes > 8:
        assert answer.status_code == 401
        assert "which stays: the request's body was streamed and is gone; the next request" in flow.comment
    else:
        assert (answer.text, trickle.drained) == (f"{size}\n", [1, size])
        assert flow.comment.startswith("qa: 401→200\n")
        assert flow.request.raw_content == bytes(size)


def test_revoked_before_a_large_answer(stage: Stage, trickle: Trickle) -> None:
    """The 401 is kept back although the answer would stream, and the client gets the second one."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    through = {"http": proxy.url}
    assert requests.get(f"{stage.http}/orders", proxies=through, timeout=60).status_code == 200
    revoke(stage)
    answer = requests.get(f"{stage.http}/flood?megabytes=5", proxies=through, timeout=60)
    assert (answer.status_code, len(answer.content)) == (200, 5 * MEGABYTE)


@pytest.mark.parametrize("way", ["http", "https", "http2"])
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
def test_revoked_before_events(
    stage: Stage, trickle: Trickle, certificates: tuple[Path, Path], way: str, kind: str
) -> None:
    """The client gets the second answer as it comes, and never sees the 401."""
    port = stage.enter(http2(certificates[1], trickle)) if way == "http2" else stage.https_port
    url = stage.http if way == "http" else f"https://api.qa.test:{port}"
    stage.env(url)
    proxy = stage.mitmdump("-w", str(stage.folder / "flows"))
    trust = ["--cacert", str(stage.mitmproxy_ca), "--http2" if way == "http2" else "--http1.1"]
    for _ in range(2):
        trickle.sent.clear()
        with opened(proxy, *trust, f"{url}/trickle?type={kind}") as answer:
            follow(trickle, answer)
        revoke(stage)
    proxy.end()
    _, healed, again = saved(stage.folder / "flows")
    assert healed.comment.startswith("qa: 401→200\n- response body: streamed, recorded with the request that was sent")
    assert healed.metadata["inject"]["streamed"] == {"response": None}
    assert again.is_replay == "request"
    assert again.response is not None
    assert again.response.raw_content == b"data: 0\ndata: 1\n"


# --- Ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["good", "revoked"])
def test_server_breaks_off(stage: Stage, trickle: Trickle, token: str) -> None:
    """A client learns that an answer is not complete."""

    @stage.api.app.get("/broken")
    def broken() -> Any:
        if not trickle.accepts(flask.request.headers["Authorization"]):
            return "", 401

        def pieces() -> Iterator[bytes]:
            yield b"data: 0\n"
            raise OSError

        return flask.Response(pieces(), content_type="text/event-stream")

    stage.env(stage.http)
    proxy = stage.mitmdump("-w", str(stage.folder / "flows"))
    assert requests.get(f"{stage.http}/orders", proxies={"http": proxy.url}, timeout=30).status_code == 200
    if token == "revoked":
        revoke(stage)
    with requests.get(f"{stage.http}/broken", proxies={"http": proxy.url}, timeout=30, stream=True) as answer:
        assert answer.status_code == 200
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(answer.iter_lines())
    proxy.end()
    assert saved(stage.folder / "flows")[-1].error is not None


@pytest.mark.parametrize("token", ["good", "revoked"])
def test_client_leaves(stage: Stage, trickle: Trickle, token: str) -> None:
    """A client that leaves in the middle is not waited for, and the flow shows what it got."""
    stage.env(stage.http)
    proxy = stage.mitmdump("-w", str(stage.folder / "flows"))
    if token == "revoked":
        assert requests.get(f"{stage.http}/orders", proxies={"http": proxy.url}, timeout=30).status_code == 200
        revoke(stage)
    with opened(proxy, f"{stage.http}/trickle?lines=100000") as answer:
        assert answer.readline() == b"data: 0\n"
    for _ in range(1000):  # the API notices when it writes
        trickle.go.release()
        if trickle.left.wait(0.01):
            break
    assert trickle.left.is_set()
    proxy.end()
    flow = saved(stage.folder / "flows")[-1]
    assert flow.error is not None
    assert flow.response is not None
    assert (flow.response.raw_content or b"").startswith(b"data: 0\n")


@pytest.mark.parametrize(
    ("status", "method", "headers"),
    [
        (200, "HEAD", {}),
        (204, "GET", {}),
        (304, "GET", {"If-None-Match": '"1"'}),
        (206, "GET", {"Range": "bytes=0-3"}),
        (200, "GET", {}),
    ],
)
def test_no_stream(stage: Stage, status: int, method: str, headers: dict[str, str]) -> None:
    """What has no body, or a short one, is as ever, whatever its type."""
    kind = "text/event-stream"

    @stage.api.app.route("/short", methods=["GET", "HEAD"])
    def short() -> Any:
        body = "some" if status == 206 else "" if status in (204, 304) else "something"
        answer = flask.Response(body, status, content_type=kind)
        if status == 206:
            answer.headers["Content-Range"] = "bytes 0-3/9"
        return answer

    stage.env(stage.http)
    proxy = stage.mitmdump()
    with requests.Session() as session:
        session.proxies = {"http": proxy.url}
        for _ in range(2):  # the connection is still good
            answer = session.request(method, f"{stage.http}/short", headers=headers, timeout=30)
            assert answer.status_code == status
    assert answer.headers.get("Content-Type") == (kind if status != 304 else None)  # Flask drops it
    assert answer.text == ("" if method == "HEAD" else {206: "some", 200: "something"}.get(status, ""))
    assert answer.headers.get("Content-Range") == ("bytes 0-3/9" if status == 206 else None)


# --- What others want of a body ---------------------------------------------------------------------------------------


def test_stream_large_bodies(stage: Stage, trickle: Trickle) -> None:
    """Events pass with that option, too; what it streams is not recorded, and the flow says so."""
    stage.env(stage.http)
    proxy = stage.mitmdump("-w", str(stage.folder / "flows"), stream_large_bodies="500k")
    with opened(proxy, f"{stage.http}/trickle") as answer:
        follow(trickle, answer)
    requests.get(f"{stage.http}/flood?length", proxies={"http": proxy.url}, timeout=30)
    proxy.end()
    events, large = saved(stage.folder / "flows")
    assert events.response is not None
    assert events.response.raw_content == b"data: 0\ndata: 1\n"
    assert large.metadata["inject"]["streamed"] == {"response": MEGABYTE}


@pytest.mark.parametrize("by", ["modify_body", "a script"])
def test_changed(stage: Stage, trickle: Trickle, by: str) -> None:
    """Where somebody may change answers, only what says that it may be endless streams."""
    script = stage.folder / "change.py"
    script.write_text("def response(flow): flow.response.text = flow.response.text.replace('data', 'fact')")
    stage.env(stage.http)
    proxy = stage.mitmdump(*(["-s", str(script)] if by == "a script" else ["--modify-body", ":~s:data:fact"]))
    with opened(proxy, f"{stage.http}/trickle") as answer:
        follow(trickle, answer)
    trickle.go.release()
    plain = requests.get(f"{stage.http}/trickle?type=text/plain", proxies={"http": proxy.url}, timeout=30)
    assert plain.text == "fact: 0\nfact: 1\n"


@pytest.mark.parametrize("by", ["map_remote", "a script"])
def test_sent_elsewhere(stage: Stage, trickle: Trickle, by: str) -> None:
    """Where somebody may send requests elsewhere, an upload waits for it, and its token does not go along."""
    script = stage.folder / "elsewhere.py"
    script.write_text("def request(flow): flow.request.path = '/open'; flow.request.host = 'localhost'")
    stage.env(stage.http)
    elsewhere = stage.http.replace("127.0.0.1", "localhost")
    words = ["-s", str(script)] if by == "a script" else ["--map-remote", f"|{stage.http}/drain|{elsewhere}/open"]
    proxy = stage.mitmdump(*words)
    pieces = (b"x" for _ in range(3))
    answer = requests.post(f"{stage.http}/drain", data=pieces, proxies={"http": proxy.url}, timeout=30)
    assert answer.json() == {"authorization": None}


def test_masked(stage: Stage, trickle: Trickle) -> None:
    """A stream that mitmproxy's end cuts is saved with a mask, and with what has passed."""
    stage.env(stage.http)
    proxy = stage.mitmdump("-w", str(stage.folder / "saved.mitm"), inject_mask="true")
    with opened(proxy, f"{stage.http}/trickle") as answer:
        assert answer.readline() == b"data: 0\n"
        proxy.end()
    (flow,) = saved(stage.folder / "saved.mitm")
    (token,) = stage.authorization_server.tokens
    assert token.encode() not in (stage.folder / "saved.mitm").read_bytes()
    assert flow.request.headers["Authorization"].startswith("Bearer <qa sha256:")
    assert flow.response is not None
    assert flow.response.raw_content == b"data: 0\n"


# --- Time -------------------------------------------------------------------------------------------------------------


def test_outlived(stage: Stage, trickle: Trickle) -> None:
    """A stream whose token expires meanwhile says so as soon as it does."""
    stage.authorization_server.lifetime = 3
    stage.env(stage.http)
    web_port = free_port()
    proxy = stage.enter(stage.mitmproxy("mitmweb", web_port=web_port, web_open_browser="false"))
    web = WebApi(proxy)
    with opened(proxy, f"{stage.http}/trickle?lines=3") as answer:
        assert answer.readline() == b"data: 0\n"
        assert "expired since" not in web.flows()[-1]["comment"]
        eventually(lambda: "the token has expired since, and the answer went on" in web.flows()[-1]["comment"])
        trickle.go.release()
        assert answer.readline() == b"data: 1\n"


LIMIT = """\
import mitmproxy.proxy.server as server
from mitmproxy import ctx
if hasattr(server, "TCP_TIMEOUT"):
    server.TCP_TIMEOUT = 1
else:
    ctx.options.tcp_timeout = 1
"""


def test_silence(stage: Stage, trickle: Trickle) -> None:
    """mitmproxy, which ends whatever is silent for too long, waits for an answer to a request with a token."""
    stage.env(stage.http)
    limit = stage.folder / "limit.py"
    limit.write_text(LIMIT)
    proxy = stage.mitmdump("-s", str(limit))
    host, _, port = proxy.url.removeprefix("http://").rpartition(":")
    with opened(proxy, f"{stage.http}/trickle") as answer:
        assert answer.readline() == b"data: 0\n"
        for times in (1, 2):  # somebody who says nothing
            with socket.create_connection((host, int(port))) as other:
                assert other.recv(1) == b""
            proxy.wait_for("Closing connection due to inactivity", times=times)
        trickle.go.release()
        assert answer.readline() == b"data: 1\n"


@pytest.mark.parametrize("pause", [0, 0.5], ids=["large", "slow"])
@pytest.mark.parametrize("way", ["http", "https"])
@pytest.mark.parametrize("stays", [False, True])
def test_endless_refusal(stage: Stage, trickle: Trickle, way: str, pause: float, stays: bool) -> None:
    """A 401 whose body never ends is replaced, or the client gets its beginning. Its server is left."""
    left = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while not trickle.left.wait(pause):
                yield bytes(64 if pause else MEGABYTE)
        finally:
            left.set()

    @stage.api.app.get("/endless")
    def refusing() -> flask.Response:
        if not stays and trickle.accepts(flask.request.headers.get("Authorization", "")):
            return flask.Response("orders")
        return flask.Response(endless(), 401, content_type="text/event-stream")

    url = stage.http if way == "http" else f"https://api.qa.test:{stage.https_port}"
    stage.env(url)
    proxy = stage.mitmdump("--set", "flow_detail=0")
    with opened(proxy, f"{stage.http if way == 'http' else url}/orders", "--cacert", str(stage.mitmproxy_ca)) as answer:
        answer.read()
    revoke(stage)
    written = ["--cacert", str(stage.mitmproxy_ca), "-o", "/dev/null", "-w", "%{http_code} %{errormsg}"]
    with opened(proxy, *written, f"{url}/endless") as answer:
        assert answer.read().decode().strip() == ("401" if stays else "200")
    assert left.wait(20)
    proxy.wait_for("qa: the API's refusal does not end")

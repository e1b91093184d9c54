"""Many requests through one process leave nothing behind: no memory, no thread.

REQUESTS=100000 makes it as long as one likes; the figures are printed (pytest -s).
"""

import http.client
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.test_life_cycle import eventually

REQUESTS = int(os.environ.get("REQUESTS", "2400"))
CLIENTS = 8
ROOM = 8 << 20  # bytes that an allocator may take more without anything being kept


@pytest.fixture
def inside() -> Sequence[str]:
    """mitmproxy as it is, not warm: the memory of its process is the subject here."""
    return ()


@contextmanager
def keep_alive_api() -> Iterator[str]:
    """An API that wants nothing: Flask's would close each connection."""

    class Api(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            body = (self.headers["Authorization"] or "").encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def status(pid: int) -> dict[str, int]:
    """Of a process: its resident memory in bytes, and its threads."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {"memory": int(fields["VmRSS"].split()[0]) << 10, "threads": int(fields["Threads"])}


@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_and_threads(stage: Stage) -> None:
    """Memory and threads stay as they are."""
    stage.authorization_server.lifetime = 3  # so that there are refreshes, too
    with keep_alive_api() as api:
        stage.env(api)
        proxy = stage.mitmdump("--flow-detail", "0", "--mode", f"reverse:{api}")
        port = int(proxy.url.rpartition(":")[2])

        def client(count: int) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            answered = 0
            for _ in range(count):
                connection.request("GET", "/orders")
                answer = connection.getresponse()
                answered += answer.status == 200 and answer.read().startswith(b"Bearer ")
            connection.close()
            return answered

        figures = []
        for _ in range(10):
            with ThreadPoolExecutor(CLIENTS) as pool:
                each = REQUESTS // 10 // CLIENTS
                assert sum(pool.map(client, [each] * CLIENTS)) == each * CLIENTS
            figures.append(status(proxy.process.pid))
        print(f"\n{REQUESTS} requests, {stage.token_requests} token requests;"
              f" MiB: {', '.join(format(one['memory'] / 2**20, '.1f') for one in figures)};"
              f" threads: {', '.join(str(one['threads']) for one in figures)}")  # fmt: skip
        assert figures[-1]["memory"] - figures[0]["memory"] < ROOM
        # A refresh that is under way has two threads of its own.
        eventually(lambda: status(proxy.process.pid)["threads"] <= figures[0]["threads"] + 1)

"""Servers that misbehave as no real one does on demand."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def answering(*answers: bytes | float, reads: bool = True) -> Iterator[tuple[str, list[bytes]]]:
    """A server that sends these pieces to each client: bytes, or a number of seconds of silence."""
    received: list[bytes] = []
    ended = threading.Event()

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data = b""
            while reads and (b"\r\n\r\n" not in data or not data.partition(b"\r\n\r\n")[2]):
                more = self.request.recv(65536)
                if not more:
                    return
                data += more
            received.append(data)
            try:
                for piece in answers:
                    if isinstance(piece, float):
                        if ended.wait(piece):
                            return
                    else:
                        self.request.sendall(piece)
            except OSError:
                return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 100

    with Server(("127.0.0.1", 0), Connection) as tcp:
        threading.Thread(target=tcp.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{tcp.server_address[1]}/token", received
        finally:
            ended.set()
            tcp.shutdown()


def http(status: int, body: bytes | dict[str, Any], *headers: str) -> bytes:
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(content)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + content

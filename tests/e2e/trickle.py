"""An API whose answers come piece by piece: the next one when the test says so."""

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import flask
import h2.config
import h2.connection
import h2.events

from credential_injector.demo.servers import DemoAuthorizationServer

PATIENCE = 30.0  # seconds for whatever a test waits for
MEGABYTE = 1 << 20


class Trickle:
    """`/trickle` answers a line, and each further one when the test lets it. `/flood` and `/drain` are large."""

    def __init__(self, app: flask.Flask, server: DemoAuthorizationServer) -> None:
        self.go = threading.Semaphore(0)
        """Released once for each further line."""
        self.sent: list[float] = []
        """When each line went out."""
        self.left = threading.Event()
        """Whoever was answered has gone before the end."""
        self.drained: list[int] = []
        """The bytes of each upload that was accepted."""
        self._server = server

        @app.route("/trickle", methods=["GET", "POST"])
        def trickle() -> Any:
            if not self.accepts(flask.request.headers.get("Authorization", "")):
                return "", 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            lines = flask.request.args.get("lines", 2, int)
            kind = flask.request.args.get("type", "text/event-stream")
            return flask.Response(self.lines(lines), content_type=kind, headers={"Cache-Control": "no-cache"})

        @app.get("/flood")
        def flood() -> Any:
            if not self.accepts(flask.request.headers.get("Authorization", "")):
                return "", 401
            megabytes = flask.request.args.get("megabytes", 1, int)
            known = {"Content-Length": str(megabytes * MEGABYTE)} if "length" in flask.request.args else {}
            kind = "application/octet-stream"
            return flask.Response((bytes(MEGABYTE) for _ in range(megabytes)), content_type=kind, headers=known)

        @app.post("/drain")
        def drain() -> Any:
            size = 0
            while piece := flask.request.stream.read(65536):
                size += len(piece)
            if not self.accepts(flask.request.headers.get("Authorization", "")):
                return "", 401
            self.drained.append(size)
            return f"{size}\n"

    def lines(self, count: int) -> Iterator[bytes]:
        """So many lines, the first one at once."""
        try:
            for number in range(count):
                if number and not self.go.acquire(timeout=PATIENCE):
                    return
                self.sent.append(time.monotonic())
                yield b"data: %d\n" % number
        finally:
            if len(self.sent) < count:
                self.left.set()

    def accepts(self, credential: str) -> bool:
        """Whether it is a token that is still good."""
        known = self._server.tokens.get(credential.removeprefix("Bearer "))
        return known is not None and not known.revoked


@contextmanager
def http2(certificate: Path, trickle: Trickle) -> Iterator[str]:
    """The same `/trickle` by HTTP/2 alone, for whoever has a token, with trailers. Yields its port."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.set_alpn_protocols(["h2"])

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
            )  # headers and the first line are two writes
            with suppress(OSError), tls.wrap_socket(self.request, server_side=True) as connection:
                _serve(connection, trickle)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield str(server.server_address[1])
        finally:
            server.shutdown()


def _serve(connection: ssl.SSLSocket, trickle: Trickle) -> None:
    protocol = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    lock = threading.Lock()

    def send() -> None:
        connection.sendall(protocol.data_to_send())

    def answer(stream: int) -> None:
        for line in trickle.lines(2):
            with lock, suppress(OSError):
                protocol.send_data(stream, line)
                send()
        with lock, suppress(OSError):
            protocol.send_headers(stream, [("x-checksum", "1")], end_stream=True)
            send()

    protocol.initiate_connection()
    send()
    while data := connection.recv(65536):
        with lock:
            for event in protocol.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    sent = {name.decode(): value.decode() for name, value in event.headers}
                    if not trickle.accepts(sent.get("authorization", "")):
                        protocol.send_headers(event.stream_id, [(":status", "401")], end_stream=True)
                        continue
                    headers = [(":status", "200"), ("content-type", sent[":path"].rpartition("=")[2])]
                    protocol.send_headers(event.stream_id, headers)
                    threading.Thread(target=answer, args=(event.stream_id,), daemon=True).start()
            send()

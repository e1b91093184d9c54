"""Servers that misbehave as no real one does on demand."""

import itertools
import json
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from unittest.mock import patch


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

    with _serving(Connection) as port:
        try:
            yield f"http://127.0.0.1:{port}/token", received
        finally:
            ended.set()


def http(status: int, body: bytes | dict[str, Any], *headers: str, keep: bool = False) -> bytes:
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    stays = "keep-alive" if keep else "close"
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(content)}", f"Connection: {stays}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


@contextmanager
def in_turn(*turns: bytes | float | None) -> Iterator[tuple[str, list[int]]]:
    """A server that keeps its connections, and does this with one request after the other: send bytes, send a line each
    so many seconds for ever, or close the connection.

    Yields its URL, and the number of the connection on which each request came.
    """
    todo, asked, ended = list(turns), list[int](), threading.Event()
    connections = itertools.count(1)

    class Connection(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            number = next(connections)
            while self.rfile.readline():
                length = 0
                while line := self.rfile.readline().strip():
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                self.rfile.read(length)
                asked.append(number)
                turn = todo.pop(0)
                if turn is None:
                    return
                if isinstance(turn, float):
                    with suppress(OSError):
                        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                        while not ended.wait(turn):
                            self.wfile.write(b"X-A: b\r\n")
                    return
                self.wfile.write(turn)

    with _serving(Connection) as port:
        try:
            yield f"http://127.0.0.1:{port}/token", asked
        finally:
            ended.set()


class Keeping:
    """What a server that keeps its connections has seen."""

    def __init__(self) -> None:
        self.connections = 0
        """That were made; of a client's with TLS, those whose handshake succeeded."""
        self.open = 0
        self.most_open = 0
        self.heads: list[bytes] = []
        """Of the requests."""
        self.certificates: list[tuple[int, str]] = []
        """For each request, the number of its connection and the name in the client's certificate."""
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.changed = threading.Condition()

    def wait_for(self, true: Callable[[], bool]) -> None:
        """Wait until this is true of it. Raises AssertionError where that does not come."""
        with self.changed:
            assert self.changed.wait_for(true, timeout=10)


@contextmanager
def keeping(answer: bytes, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, Keeping]]:
    """A server that answers each request so, when it may. Yields its URL."""
    seen = Keeping()

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                connection = self.request if tls is None else tls.wrap_socket(self.request, server_side=True)
                with seen.changed:
                    seen.connections += 1
                    number = seen.connections
                    seen.open += 1
                    seen.most_open = max(seen.most_open, seen.open)
                    seen.changed.notify_all()
                try:
                    self._serve(connection, number)
                finally:
                    connection.close()
                    with seen.changed:
                        seen.open -= 1
                        seen.changed.notify_all()

        def _serve(self, connection: Any, number: int) -> None:
            shown = connection.getpeercert() if tls is not None else None
            name = dict(field[0] for field in shown["subject"])["commonName"] if shown else ""
            with connection.makefile("rb") as lines:
                while head := b"".join(itertools.takewhile(lambda line: line != b"\r\n", iter(lines.readline, b""))):
                    length = re.search(rb"(?im)^content-length: *([0-9]+)", head)
                    lines.read(int(length[1]) if length else 0)
                    with seen.changed:
                        seen.heads.append(head)
                        seen.certificates.append((number, name))
                        seen.changed.notify_all()
                    seen.may_answer.wait(60)
                    connection.sendall(answer)

    with _serving(Connection) as port:
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/token", seen
        finally:
            seen.may_answer.set()


@contextmanager
def hanging_name_server(host: str) -> Iterator[list[threading.Thread]]:
    """Who looks this host's name up waits until the end. Yields the threads that did."""
    look_up, asking, ended = socket.getaddrinfo, list[threading.Thread](), threading.Event()

    def hangs(name: Any, *args: Any, **kwargs: Any) -> Any:
        if name != host:
            return look_up(name, *args, **kwargs)
        asking.append(threading.current_thread())
        ended.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with patch.object(socket, "getaddrinfo", hangs):
        try:
            yield asking
        finally:
            ended.set()


@contextmanager
def black_hole(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port where nobody answers a connection that is being made, nor refuses it. Yields its number."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind((host, port))
        listener.listen(0)
        while True:  # until its queue is full
            client = stack.enter_context(socket.socket())
            client.settimeout(0.2)
            try:
                client.connect(listener.getsockname())
            except TimeoutError:
                break
        yield int(listener.getsockname()[1])


@contextmanager
def proxy() -> Iterator[tuple[int, list[bytes]]]:
    """An HTTP proxy that leads every CONNECT to this machine. Yields its port and the heads of the requests it got."""
    received: list[bytes] = []

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            head = b""
            while b"\r\n\r\n" not in head:
                head += self.request.recv(1)
            received.append(head)
            port = int(head.split()[1].rpartition(b":")[2])
            with socket.create_connection(("127.0.0.1", port)) as server:
                self.request.sendall(b"HTTP/1.1 200 Whatever\r\n\r\n")
                back = threading.Thread(target=_pass_on, args=(server, self.request), daemon=True)
                back.start()
                _pass_on(self.request, server)
                back.join()

    with _serving(Connection) as port:
        yield port, received


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def _serving(connection: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 100

    with Server(("127.0.0.1", 0), connection) as tcp:
        threading.Thread(target=tcp.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield tcp.server_address[1]
        finally:
            tcp.shutdown()

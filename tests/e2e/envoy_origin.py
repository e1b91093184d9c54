"""A server that answers with given bytes and keeps those of each request, and a client that reads raw answers."""

import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

PATIENCE = 20.0  # seconds
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Origin:
    """Speaks HTTP/1.1, with TLS where it has a certificate."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.answers: dict[str, bytes] = {}
        """What it answers, by path. By default 200."""
        self.heads: list[bytes] = []
        """What came, up to the empty line."""
        self.bodies: list[bytes] = []
        """What came behind it, with the framing of chunks."""
        self._tls = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)

    @contextmanager
    def listening(self, host: str = "127.0.0.1") -> Iterator[int]:
        """Serve until the block ends. Yields the port."""
        origin = self

        class Connection(socketserver.StreamRequestHandler):
            timeout = PATIENCE

            def setup(self) -> None:
                if origin._tls is not None:
                    self.request = origin._tls.wrap_socket(self.request, server_side=True)
                super().setup()

            def finish(self) -> None:
                super().finish()
                self.request.close()

            def handle(self) -> None:
                while origin._serve(self.rfile, self.wfile):
                    pass

        class Server(socketserver.ThreadingTCPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                """A client that does not trust it, or that has gone."""

        with Server((host, 0), Connection) as server:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            try:
                yield server.server_address[1]
            finally:
                server.shutdown()

    def _serve(self, reads: BufferedIOBase, writes: BufferedIOBase) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = reads.readline()
            if not line:
                return False
            head += line
        if re.search(rb"(?i)\r\nexpect: *100-continue", head):
            writes.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = b""
        if length := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head):
            body = reads.read(int(length[1])) or b""
        elif re.search(rb"(?i)\r\ntransfer-encoding:", head):
            while not re.search(rb"(^|\r\n)0\r\n([^\r\n]+\r\n)*\r\n$", body):
                body += reads.readline()
        self.heads.append(head)
        self.bodies.append(body)
        path = head.split()[1].decode("latin-1").partition("?")[0]
        answer = self.answers.get(path, OK)
        writes.write(answer)
        return b"\r\n\r\n" in answer and b"onnection: close" not in answer


@contextmanager
def tunnel(proxy: int, host: str, port: int, ca: Path) -> Iterator[ssl.SSLSocket]:
    """A connection through CONNECT, opened with a certificate of this CA."""
    trust = ssl.create_default_context(cafile=str(ca))
    with socket.create_connection(("127.0.0.1", proxy), PATIENCE) as plain:
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        plain.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += plain.recv(1)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        with trust.wrap_socket(plain, server_hostname=host) as secured:
            yield secured


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """All that comes back; the request must ask for the connection's end."""
    connection.sendall(request)
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)

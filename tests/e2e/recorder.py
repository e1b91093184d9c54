"""A web server that remembers every byte that it ever received."""

import re
import socket
import socketserver
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from pathlib import Path

import h2.config
import h2.connection
import h2.events

_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class Recorder:
    """Speaks plain HTTP and TLS on one port, HTTP/1 and HTTP/2. `/to/<url>` redirects there, `/401` refuses."""

    def __init__(self, certificate: Path) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self._tls.set_alpn_protocols(["h2", "http/1.1"])
        self.received = bytearray()
        """Everything so far; of HTTP/2, the headers unpacked as well."""

    @contextmanager
    def listening(self, host: str, port: int = 0) -> Iterator[int]:
        """Serve on this address until the block ends. Yields the port."""
        recorder = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                try:
                    recorder._serve(self.request)
                except OSError:
                    return

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False
            request_queue_size = 100

        with Server((host, port), Connection) as server:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            try:
                yield server.server_address[1]
            finally:
                server.shutdown()

    def _serve(self, connection: socket.socket) -> None:
        if connection.recv(1, socket.MSG_PEEK) != b"\x16":  # a TLS handshake record
            self._http1(connection)
            return
        with self._tls.wrap_socket(connection, server_side=True) as tls:
            if tls.selected_alpn_protocol() == "h2":
                self._http2(tls)
            else:
                self._http1(tls)

    def _read(self, connection: socket.socket) -> bytes:
        data = connection.recv(65536)
        self.received += data
        return data

    def _http1(self, connection: socket.socket) -> None:
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                if not (more := self._read(connection)):
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            if length := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head):
                ends = int(length[1])
            elif re.search(rb"(?i)\r\ntransfer-encoding:", head):
                while b"0\r\n\r\n" not in data and (more := self._read(connection)):
                    data += more
                ends = data.find(b"0\r\n\r\n") + 5
            else:
                ends = 0
            while len(data) < ends and (more := self._read(connection)):
                data += more
            data = data[ends:]
            connection.sendall(_answer(head))
            if re.search(rb"(?i)\r\n(connection: *close|upgrade: *websocket)", head):
                return

    def _http2(self, connection: socket.socket) -> None:
        config = h2.config.H2Configuration(client_side=False, validate_inbound_headers=False)
        server = h2.connection.H2Connection(config)
        server.initiate_connection()
        connection.sendall(server.data_to_send())
        while data := self._read(connection):
            for event in server.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    for name, value in event.headers:
                        self.received += b"%b: %b\r\n" % (_bytes(name), _bytes(value))
                elif isinstance(event, h2.events.DataReceived):
                    server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    server.send_headers(event.stream_id, [(":status", "200")], end_stream=True)
            connection.sendall(server.data_to_send())


def _answer(head: bytes) -> bytes:
    line, _, headers = head.partition(b"\r\n")
    if key := re.search(rb"(?i)sec-websocket-key: *(\S+)", headers):
        accept = b64encode(sha1(key[1] + _ACCEPT).digest())
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
        )
    if to := re.search(rb"/to/(\S+)", line):
        return b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % to[1]
    if b" /401 " in line:
        return b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    body = head if line.startswith(b"TRACE ") else b""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()

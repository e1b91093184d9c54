"""HTTP messages as they are on the wire, for a client and a server of a test."""

import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events

Fields = list[tuple[bytes, bytes]]


@dataclass
class Message:
    """A request or a response, byte for byte."""

    start: bytes
    """HTTP/1: the first line. HTTP/2: empty, as its pseudo-header fields are fields."""
    fields: Fields
    """In their order. HTTP/1: each line, with an empty value."""
    body: bytes = b""
    """Without the framing of its chunks, as where one ends depends on what arrives together."""
    trailers: Fields = field(default_factory=list)


class Http1:
    """Reads messages of HTTP/1.1 from a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = b""

    def read(self, *, bodiless: bool = False) -> Message | None:
        """The next message. None where the connection ended before it did. 1xx responses are left out."""
        try:
            head = self._until(b"\r\n\r\n")
            start, *lines = head[:-4].split(b"\r\n")
            if start.startswith(b"HTTP/1.1 1"):
                return self.read(bodiless=bodiless)
            message = Message(start, [(line, b"") for line in lines])
            bodiless = bodiless or start.startswith((b"HTTP/1.1 204", b"HTTP/1.1 304"))
            if not bodiless:
                message.body = b"".join(self._body(head))
        except EOFError:
            return None
        return message

    def _body(self, head: bytes) -> Iterator[bytes]:
        if length := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head):
            yield self._take(int(length[1]))
        elif re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
            while size := int(self._until(b"\r\n").partition(b";")[0], 16):
                yield self._take(size)
                self._take(2)
            self._until(b"\r\n")

    def _until(self, end: bytes) -> bytes:
        while end not in self._data:
            self._more()
        return self._take(self._data.index(end) + len(end))

    def _take(self, size: int) -> bytes:
        while len(self._data) < size:
            self._more()
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def _more(self) -> None:
        more = self._connection.recv(65536)
        if not more:
            raise EOFError
        self._data += more


class Http2:
    """Sends and reads messages of HTTP/2 on a connection."""

    def __init__(self, connection: socket.socket, *, client: bool) -> None:
        self._connection = connection
        # What is not validated is sent and read as it is.
        config = h2.config.H2Configuration(
            client_side=client,
            header_encoding=False,
            validate_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._h2 = h2.connection.H2Connection(config)
        self._h2.initiate_connection()
        self._flush()

    def send(self, stream: int, message: Message) -> None:
        """Send a message whose body fits the peer's window."""
        self._h2.send_headers(stream, message.fields, end_stream=not message.body and not message.trailers)
        for start in range(0, len(message.body), 16384):
            self._h2.send_data(stream, message.body[start : start + 16384])
        if message.trailers:
            self._h2.send_headers(stream, message.trailers, end_stream=True)
        elif message.body:
            self._h2.end_stream(stream)
        self._flush()

    def read(self) -> Iterator[tuple[int, Message | None]]:
        """Each message with its stream when it has ended; None for a stream that was reset."""
        messages: dict[int, Message] = {}
        while data := self._connection.recv(65536):
            for event in self._h2.receive_data(data):
                match event:
                    case h2.events.RequestReceived() | h2.events.ResponseReceived():
                        messages[event.stream_id] = Message(b"", _fields(event.headers))
                    case h2.events.DataReceived():
                        messages[event.stream_id].body += event.data
                        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case h2.events.TrailersReceived():
                        messages[event.stream_id].trailers = _fields(event.headers)
                    case h2.events.StreamEnded():
                        self._flush()
                        yield event.stream_id, messages.pop(event.stream_id)
                    case h2.events.StreamReset():
                        yield event.stream_id, None
            self._flush()

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._connection.sendall(data)


def _fields(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    return [(bytes(name), bytes(value)) for name, value in headers]

"""What clients and servers see with the add-on and without it: the same bytes but for the credential.

Each request goes through two mitmdumps, one of which has no add-on, to a server that keeps what it receives.
"""

import random
import re
import socket
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from credential_injector.demo.processes import Mitmproxy, mitmproxy, without_add_on
from tests.certificates import Authority
from tests.e2e.arena import dial, tls, tunnel
from tests.e2e.conftest import Stage
from tests.e2e.exchanges import THRESHOLD, Exchange, chunks, drawn
from tests.e2e.recorder import Recorder
from tests.e2e.wire import Fields, Http1, Http2, Message

EXCHANGES = 250
"""For each of the four settings."""
MOST = 5
"""On one connection: of six at once from HTTP/2 to HTTP/1, mitmproxy lets the sixth wait for ever."""
DEADLINE = 30.0  # seconds that a client waits for an answer
LOOK_UP_TEST = Path(__file__).with_name("look_up_test.py")


@dataclass(frozen=True)
class Client:
    """A connection, and the exchanges on it one after the other; over HTTP/2 all at once."""

    protocol: str
    """plain, http/1.1 or h2; the latter two in a tunnel."""
    host: str
    old: bool
    """The server speaks no HTTP/2."""
    exchanges: Sequence[Exchange]

    @property
    def configured(self) -> bool:
        return self.host.endswith(".qa.test")

    def ask(self, proxy: int, port: int) -> dict[int, Message | None]:
        """What came back of each exchange. None where the connection ended before."""
        authority = f"{self.host}:{port}".encode()
        if self.protocol == "plain":
            with dial(proxy) as connection:
                return self._http1(connection, authority, b"http")
        with tls(dial(proxy, lambda new: tunnel(new, self.host, port)), self.host, self.protocol) as connection:
            if connection.selected_alpn_protocol() == "h2":
                return self._http2(connection, authority)
            return self._http1(connection, authority, None)

    def _http1(self, connection: socket.socket, authority: bytes, scheme: bytes | None) -> dict[int, Message | None]:
        connection.settimeout(DEADLINE)
        messages, answers = Http1(connection), {}
        for exchange in self.exchanges:
            connection.sendall(exchange.request(authority, scheme))
            answers[exchange.number] = messages.read(bodiless=exchange.method == b"HEAD")
        return answers

    def _http2(self, connection: socket.socket, authority: bytes) -> dict[int, Message | None]:
        connection.settimeout(DEADLINE)
        messages = Http2(connection, client=True)
        streams = {2 * index + 1: exchange for index, exchange in enumerate(self.exchanges)}
        for stream, exchange in streams.items():
            messages.send(stream, exchange.message(authority))
        answers: dict[int, Message | None] = {}
        for stream, message in messages.read():
            answers[streams[stream].number] = message
            if len(answers) == len(streams):
                break
        return answers


class Server(Recorder):
    """Keeps each request by its number, and gives its answer."""

    def __init__(self, certificate: Path, exchanges: Sequence[Exchange], *, old: bool) -> None:
        super().__init__(certificate)
        self._tls.set_alpn_protocols(["http/1.1"] if old else ["h2", "http/1.1"])
        self._exchanges = {exchange.number: exchange for exchange in exchanges}
        self.requests: dict[int, list[Message]] = defaultdict(list)

    def _answer(self, request: Message, path: bytes) -> Exchange:
        exchange = self._exchanges[int(path.split(b"/")[2])]
        self.requests[exchange.number].append(request)
        return exchange

    def _http1(self, connection: socket.socket) -> None:
        messages = Http1(connection)
        while request := messages.read():
            exchange = self._answer(request, request.start.split()[1])
            answer, bodiless = exchange.answer, exchange.method == b"HEAD"
            lines = [name + b": " + value for name, value in answer.fields[1:]]
            status = answer.fields[0][1]
            body = answer.body
            if not status.startswith((b"204", b"304")):
                lines.append(b"Transfer-Encoding: chunked" if exchange.chunked else b"Content-Length: %d" % len(body))
                body = b"" if bodiless else chunks(body) if exchange.chunked else body
            connection.sendall(b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", body]))

    def _http2(self, connection: socket.socket) -> None:
        messages = Http2(connection, client=False)
        for stream, request in messages.read():
            if request is None:
                continue
            exchange = self._answer(request, dict(request.fields)[b":path"])
            (_, status), *fields = exchange.answer.fields
            fields = [(b":status", status[:3]), *((name.lower(), value) for name, value in fields)]
            body = b"" if exchange.method == b"HEAD" else exchange.answer.body
            messages.send(stream, replace(exchange.answer, fields=fields, body=body))


def generated(seed: int) -> list[Client]:
    """So many exchanges, on as few connections as they have room on."""
    draw = random.Random(seed)
    clients: list[Client] = []
    number = 0
    while number < EXCHANGES:
        protocol = draw.choice(["plain", "http/1.1", "h2", "h2"])
        count = min(draw.randint(1, MOST), EXCHANGES - number)
        old = draw.random() < 0.3
        # mitmproxy crashes at trailers that go from HTTP/2 to HTTP/1.
        exchanges = [drawn(draw, number + index, protocol, trailers=not old) for index in range(count)]
        number += count
        names = ["plain.qa.test", "plain.test"] if protocol == "plain" else ["api.qa.test", "api.test"]
        clients.append(Client(protocol, draw.choice(names), old, exchanges))
    return clients


@dataclass
class Run:
    """What was seen of each exchange, by its number."""

    requests: dict[int, list[Message]] = field(default_factory=lambda: defaultdict(list))
    answers: dict[int, Message | None] = field(default_factory=dict)


def without_credentials(message: Message) -> tuple[list[bytes], Message]:
    """The values of its Authorization fields, and the rest."""
    values: list[bytes] = []
    rest: Fields = []
    for name, value in message.fields:
        text = name if message.start else name + b": " + value
        if credential := re.fullmatch(rb"(?is)authorization: ?(.*)", text):
            values.append(credential[1])
        else:
            rest.append((name, value))
    return values, replace(message, fields=rest)


@pytest.mark.parametrize("streamed", ["", str(THRESHOLD)])
@pytest.mark.parametrize("strategy", ["eager", "lazy"])
def test_same_bytes(stage: Stage, authority: Authority, strategy: str, streamed: str) -> None:
    """Requests to a configured host differ by one credential; others, and all answers, do not differ at all."""
    clients = generated(seed=["eager", "lazy"].index(strategy) * 2 + bool(streamed))
    exchanges = [exchange for client in clients for exchange in client.exchanges]
    certificate = authority.file(stage.folder, "differential", "api.qa.test", "api.test")
    servers = [Server(certificate, exchanges, old=old) for old in (False, True)]
    ports = [stage.enter(server.listening("127.0.0.1")) for server in servers]
    stage.env(",".join(f"https://api.qa.test:{port},http://plain.qa.test:{port}" for port in ports))
    settings = {"connection_strategy": strategy, "flow_detail": "0"}
    if streamed:
        settings["stream_large_bodies"] = streamed
    words = ["-s", str(LOOK_UP_TEST), *stage.options(settings)]
    bare = without_add_on("mitmdump", "--listen-port", "0", *words, folder=stage.folder, inside=stage.inside)
    proxies = [stage.enter(bare), stage.enter(mitmproxy("mitmdump", *words, folder=stage.folder, inside=stage.inside))]

    before, after = [run(proxy, clients, servers, ports) for proxy in proxies]
    assert differences(before.answers, after.answers) == {}
    assert [number for number in range(EXCHANGES) if before.answers.get(number) is None] == []
    assert [number for number in range(EXCHANGES) if len(after.requests[number]) != 1] == []
    for client in clients:
        for number in (exchange.number for exchange in client.exchanges):
            (bare_request,), (request,) = before.requests[number], after.requests[number]
            if client.configured:
                _, bare_request = without_credentials(bare_request)
                (credential,), request = without_credentials(request)
                assert credential.removeprefix(b"Bearer ").decode() in stage.authorization_server.tokens
            assert request == bare_request


def run(proxy: Mitmproxy, clients: Sequence[Client], servers: Sequence[Server], ports: Sequence[int]) -> Run:
    """Send everything by this proxy."""
    listens = int(proxy.url.rpartition(":")[2])
    seen = Run()
    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(lambda client: client.ask(listens, ports[client.old]), clients):
            seen.answers |= answers
    for server in servers:
        seen.requests |= server.requests
        server.requests = defaultdict(list)
    return seen


def differences(before: Mapping[int, object], after: Mapping[int, object]) -> dict[int, object]:
    numbers = before.keys() | after.keys()
    return {n: (before.get(n), after.get(n)) for n in numbers if before.get(n) != after.get(n)}

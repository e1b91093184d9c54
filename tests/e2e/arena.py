"""Where attacks are tried: a good server and an evil one, on the same port of two addresses, and every way to them."""

import json
import re
import socket
import ssl
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from credential_injector.demo.processes import Mitmproxy, mitmproxy
from tests.certificates import Authority
from tests.e2e import namespace, tell
from tests.e2e.conftest import CLIENT_SECRET, Stage
from tests.e2e.recorder import Recorder
from tests.ports import free_port

PATIENCE = 5.0  # seconds without a byte after which an exchange counts as over
HTTPS, HTTP, EVIL = "api.qa.test", "plain.qa.test", "evil.test"
SHARED = "shared.test"
"""Another tenant of the good server, as on a content delivery network."""


@dataclass(frozen=True)
class Way:
    """How clients come to a server: by mitmproxy in some mode, with some settings."""

    family: str
    settings: Mapping[str, str] = field(default_factory=dict)
    shares: str = ""
    """The way whose mitmproxy it goes by; its own, if empty."""


_LAZY = {"connection_strategy": "lazy"}
WAYS = {
    "regular": Way("regular"),
    "lazy": Way("regular", _LAZY),
    "upstream": Way("regular"),
    "socks5": Way("socks5"),
    "socks5 lazy": Way("socks5", _LAZY),
    "reverse": Way("reverse"),
    "keep host": Way("reverse", {"keep_host_header": "true"}),
    "transparent": Way("transparent", {"inject_clients": f"loopback,{namespace.CLIENT}/32"}),
    "tls": Way("tls", shares="regular"),
    "unvalidated": Way("regular", {"validate_inbound_headers": "false"}),
    "insecure": Way("regular", {"ssl_insecure": "true"}),
    "toggled": Way("regular", shares="regular"),
    "toggled lazy": Way("regular", shares="lazy"),
}
"""`transparent` is in a network of its own; where the machine allows none, the original address is made up.
In `tls` the client asks the proxy by TLS."""

_LAST = re.compile(rb"(?i)\r\nconnection: close\r\n(?:[^\r\n]+\r\n)*\r\n")
_ANSWER = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")


class Refused(Exception):
    """The proxy did not even open the connection."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got."""

    status: int
    told: dict[str, str] | None
    """What the add-on noted on the flow. None where mitmproxy itself answered."""

    @property
    def outcome(self) -> str:
        """injected, skipped, kept or blocked by the add-on, bare if it did nothing, refused if mitmproxy did."""
        return "refused" if self.told is None else self.told.get("action", "bare")


class Arena:
    """Servers, and a mitmproxy for each way to them, started when it is first needed."""

    def __init__(self, stage: Stage, stack: ExitStack, terminated: ExitStack, authority: Authority) -> None:
        self.stage = stage
        self._stack, self._terminated = stack, terminated
        issue = partial(authority.file, stage.folder)
        certificate = issue(
            "good", "*.qa.test", "*.wild.test", "a.b.wild.test", "xn--mnchen-3ya.qa.test", SHARED, tell.GOOD
        )
        self.good = Recorder(certificate)
        self.evil = Recorder(
            issue("evil", EVIL, "wild.test", "evilwild.test", "evilqa.test", "x.wild.test.evil.test", SHARED, tell.EVIL)
        )
        self.neighbour = Recorder(certificate)
        """On another port of the good server's address."""
        self.port = stack.enter_context(self.good.listening(tell.GOOD))
        stack.enter_context(self.evil.listening(tell.EVIL, self.port))
        self.other_port = stack.enter_context(self.neighbour.listening(tell.GOOD))
        self.token_port = int(stage.token_endpoint.split("/")[2].rpartition(":")[2])
        self._proxies: dict[str, tuple[Mitmproxy, int]] = {}
        self._original_address = stage.folder / "original_address"

    @property
    def strangers(self) -> tuple[Recorder, ...]:
        """Servers that must never see a credential."""
        return self.evil, self.neighbour

    def canaries_at(self, server: Recorder, since: int = 0) -> int:
        """How many secrets and tokens it has received, not counting so many bytes at the beginning."""
        return sum(server.received.count(canary.encode(), since) for canary in self.canaries)

    @property
    def canaries(self) -> list[str]:
        """The secrets and tokens that there are."""
        return [CLIENT_SECRET, *self.stage.authorization_server.tokens]

    def logs(self) -> list[bytes]:
        """What each mitmproxy said so far."""
        return ["\n".join(proxy.log).encode() for proxy, _ in self._proxies.values()]

    # --- Proxies ------------------------------------------------------------------------------------------------------

    def port_of(self, way: str) -> int:
        """Where this way's proxy listens. It runs from now on."""
        way = WAYS[way].shares or way
        if way not in self._proxies:
            proxy = self._stack.enter_context(self._start(way))
            self._proxies[way] = proxy, int(proxy.url.rpartition(":")[2])
            # All at once, and before the first one is waited for.
            self._terminated.callback(proxy.process.terminate)
        return self._proxies[way][1]

    def _start(self, way: str) -> AbstractContextManager[Mitmproxy]:
        settings = {"flow_detail": "0", **WAYS[way].settings}
        inside = self.stage.inside
        words: list[str] = []
        match WAYS[way].family:
            case "reverse":
                for (whose, target), port in self._reverse.items():
                    words += ["--mode", f"reverse:{target}@{port}"] if whose == way else []
            case "socks5" | "transparent" as mode:
                words = ["--mode", mode]
        match way:
            case "upstream":
                # It lets TLS pass as it is.
                tunnels = ["--set", f"ignore_hosts=:({self.port}|{self.other_port})$"]
                second = mitmproxy(
                    "mitmdump", *tunnels, folder=self.stage.folder, script=Path(tell.__file__), inside=self.stage.inside
                )
                words = ["--mode", f"upstream:{self._stack.enter_context(second).url}"]
            case "transparent" if self._namespace is not None:
                words = ["--mode", f"transparent@{namespace.PROXY_PORT}"]
                inside = self._namespace.inside
            case "transparent":
                settings["original_address"] = str(self._original_address)
        words = ["-s", tell.__file__, *self.stage.options(settings), *words]
        return mitmproxy("mitmdump", *words, folder=self.stage.folder, inside=inside)

    @cached_property
    def _reverse(self) -> dict[tuple[str, str], int]:
        """The port of each reverse proxy, by its way and target."""
        return {
            (way, f"{scheme}://{host}:{self.port}"): free_port()
            for way in ("reverse", "keep host")
            for scheme, host in (("https", HTTPS), ("http", HTTP), ("https", EVIL), ("http", EVIL))
        }

    @cached_property
    def _namespace(self) -> namespace.Namespace | None:
        """A network of its own, in which the servers have the same addresses."""
        if namespace.missing() is not None:
            return None
        made = self._stack.enter_context(namespace.namespace())
        for host, port in (
            (tell.GOOD, self.port),
            (tell.EVIL, self.port),
            (tell.GOOD, self.other_port),
            (tell.GOOD, self.token_port),
        ):
            self._stack.enter_context(made.reaches(host, port))
        return made

    # --- Ways ---------------------------------------------------------------------------------------------------------

    def connect(self, way: str, scheme: str, host: str, port: int) -> socket.socket:
        """A connection through the proxy that ends at this host, as the clients of this way make it.

        Raises Refused.
        """
        listens = self.port_of(way)
        if way == "transparent" and self._namespace is not None:
            return self._namespace.connect(tell.address(host), port, namespace.CLIENT)
        self._original_address.write_text(f"{tell.address(host)} {port}")
        if WAYS[way].family == "reverse":
            listens = self._reverse[way, f"{scheme}://{host}:{port}"]
        match WAYS[way].family:
            case "regular" if scheme == "https":
                return dial(listens, lambda connection: tunnel(connection, host, port))
            case "socks5":
                return dial(listens, lambda connection: socks(connection, host, port))
        return dial(listens)


@contextmanager
def arena(stage: Stage, authority: Authority) -> Iterator[Arena]:
    """An arena until the block ends."""
    with ExitStack() as stack, ExitStack() as terminated:
        yield Arena(stage, stack, terminated, authority)


def tls(connection: socket.socket, sni: str | None, protocol: str) -> ssl.SSLSocket:
    """TLS that verifies nothing: an attacker's client. Raises Refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    try:
        return context.wrap_socket(connection, server_hostname=sni)
    except OSError as error:
        raise Refused from error


def http1(connection: socket.socket, request: bytes) -> list[Answer]:
    """Send these bytes, and read until the proxy closes the connection, or says that it will."""
    received = b""
    with suppress(OSError):
        connection.sendall(request)
        while not _LAST.search(received) and (data := connection.recv(65536)):
            received += data
    return [_answer(int(status), headers) for status, headers in _ANSWER.findall(received) if status != b"100"]


def http2(connection: socket.socket, headers: list[tuple[str, str]], body: bytes = b"") -> list[Answer]:
    """Send one request with these headers as they are, and read its answer."""
    config = h2.config.H2Configuration(
        client_side=True,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
        validate_inbound_headers=False,
    )
    client = h2.connection.H2Connection(config)
    client.initiate_connection()
    client.send_headers(1, headers, end_stream=not body)
    if body:
        client.send_data(1, body, end_stream=True)
    with suppress(OSError, h2.exceptions.ProtocolError):
        connection.sendall(client.data_to_send())
        while data := connection.recv(65536):
            for event in client.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    fields = {_text(name).lower(): _text(value) for name, value in event.headers}
                    told = fields.get(tell.HEADER.lower())
                    return [Answer(int(fields[":status"]), json.loads(told) if told is not None else None)]
                if isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                    return []
    return []


def _answer(status: int, headers: bytes) -> Answer:
    told = re.search(rb"(?im)^%b: (.*?)\r$" % tell.HEADER.encode(), headers)
    return Answer(status, json.loads(told[1]) if told else None)


def dial(port: int, ask: Callable[[socket.socket], None] = lambda _: None) -> socket.socket:
    """A connection to a proxy, which has been asked for what is wanted of it. Raises what `ask` does."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    try:
        ask(connection)
    except Refused:
        connection.close()
        raise
    return connection


def tunnel(connection: socket.socket, host: str, port: int) -> None:
    """Ask a proxy for a tunnel. Raises Refused."""
    connection.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\n\r\n".encode())
    if b" 200 " not in connection.recv(4096):
        raise Refused


def socks(connection: socket.socket, host: str, port: int) -> None:
    """Ask a SOCKS proxy (RFC 1928) for a connection. Raises Refused."""
    connection.sendall(b"\x05\x01\x00")
    assert connection.recv(2) == b"\x05\x00"
    name = host.strip("[]").encode()
    try:
        address = b"\x01" + socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        try:
            address = b"\x04" + socket.inet_pton(socket.AF_INET6, host.strip("[]"))
        except (OSError, ValueError):
            address = b"\x03" + bytes([len(name)]) + name
    connection.sendall(b"\x05\x01\x00" + address + struct.pack("!H", port))
    if connection.recv(100)[1:2] != b"\x00":
        raise Refused


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()

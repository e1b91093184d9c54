"""What decides who gets a token is stated once: mitmproxy and Envoy do the same with each case of `cases.py`."""

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from credential_injector.demo.processes import mitmproxy
from tests.certificates import Authority
from tests.e2e import tell
from tests.e2e.arena import Refused, dial, http1, http2, tls, tunnel
from tests.e2e.cases import BLOCKED, CASES, ENVIRONMENTS, NAMES, REFUSED, TOKENLESS, UNTOUCHED, Case
from tests.e2e.conftest import Stage, on_stage
from tests.e2e.envoy import envoy
from tests.e2e.recorder import Recorder

_NUMBERS = count(1)


OWN_KEYS = "TOKEN_ENDPOINT,CLIENT_ID,CLIENT_SECRET,SCOPE"


class Table:
    """Both engines, before the same servers, with the same files."""

    def __init__(self, stage: Stage, certificate: Path, stack: ExitStack) -> None:
        self.server = Recorder(certificate)
        self.port = stack.enter_context(self.server.listening(tell.GOOD))
        stack.enter_context(self.server.listening(tell.EVIL, self.port))  # of names that no file names
        self.other = stack.enter_context(self.server.listening(tell.GOOD))
        ports = {"port": self.port, "other": self.other}
        for name, lines in ENVIRONMENTS.items():
            credential = ("GRANT_TYPE=static", f"VALUE=canary-{name}-")
            stage.env("", *(line.format(**ports) for line in lines), *credential, name=name, without=OWN_KEYS)
        for name, lines in TOKENLESS.items():
            stage.env("", *(line.format(**ports) for line in lines), name=name)
        names = "".join(f"{tell.GOOD} {name} {name}.\n" for name in NAMES)
        self.envoy = stack.enter_context(envoy(stage, hosts=names))
        options = ("-s", str(Path(tell.__file__)), *stage.options({}))
        self.mitmproxy = stack.enter_context(mitmproxy("mitmdump", *options, folder=stage.folder, inside=stage.inside))

    def proxy(self, engine: str) -> int:
        """Its port."""
        return self.envoy.port if engine == "envoy" else int(self.mitmproxy.url.rpartition(":")[2])


@pytest.fixture(scope="module")
def table(
    tmp_path_factory: pytest.TempPathFactory,
    confdir: Path,
    authority: Authority,
    certificates: tuple[Path, Path],
    inside: Sequence[str],
) -> Iterator[Table]:
    folder = tmp_path_factory.mktemp("table")
    with on_stage(folder, confdir, certificates, inside) as stage, ExitStack() as stack:
        yield Table(stage, authority.file(folder, "table", *NAMES, tell.GOOD), stack)


def _tried(case: Case) -> Iterator[tuple[str, str]]:
    """By which protocols and engines. mitmproxy's own tests are those of its protocols."""
    protocols = case.protocols if case.url.startswith("https") else ("h1",)
    yield from ((protocol, "envoy") for protocol in protocols)
    yield protocols[0], "mitmproxy"


@pytest.mark.parametrize(
    ("case", "protocol", "engine"),
    [pytest.param(case, *tried, id=f"{case.name} - {' - '.join(tried)}") for case in CASES for tried in _tried(case)],
)
def test_case(table: Table, case: Case, protocol: str, engine: str) -> None:
    """What becomes of it, with either engine."""
    assert bool(case.envoy) == bool(case.why)
    before, number = len(table.server.received), f"case-{next(_NUMBERS)}"
    status = ask(table, case, protocol, engine, number)
    received = bytes(table.server.received[before:])
    expected = case.envoy if engine == "envoy" and case.envoy else case.expected
    assert outcome(received, status, number) == expected, (status, received)
    if expected not in (BLOCKED, UNTOUCHED, REFUSED):
        assert not re.search(rb"mine|bWluZ", received)
    elif expected == UNTOUCHED and any("mine" in value for _, value in case.headers):
        assert b"mine" in received
    if expected == "key":
        assert re.search(rb"(?i)x-tenant: tenant-7", received)
        assert re.search(rb"(?i)x-api-key: canary-key-", received)
    assert not re.search(rb"(?i)x-inject-as", received)


def outcome(received: bytes, status: int, number: str) -> str:
    """What became of a request whose answer had this status, 0 if there was none."""
    if tokens := set(re.findall(rb"canary-([a-z0-9]+)-", received)):
        return ",".join(sorted(token.decode() for token in tokens))
    if number.encode() in received:
        return UNTOUCHED
    return BLOCKED if status in (502, 403) else REFUSED


def ask(table: Table, case: Case, protocol: str, engine: str, number: str) -> int:
    """Send the request by this engine. Returns the answer's status."""
    ports = {"port": str(table.port), "other": str(table.other)}
    match = re.fullmatch(r"(https?)://([^:]+):(\d+)(.*)", case.url.format(**ports))
    assert match is not None
    scheme, host, port, path = match.groups()
    said = case.host.format(**ports) or f"{host}:{port}"
    headers = [(name, value.format(**ports)) for name, value in (*case.headers, ("X-Case", number))]
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(_connected(table.proxy(engine), scheme, host, int(port)))
            if scheme == "https":
                sni = None if case.sni == "-" else case.sni or host
                protocols = {"h1": "http/1.1", "h2": "h2"}
                connection = stack.enter_context(tls(connection, sni, protocols[protocol]))
        except Refused:
            return 0
        if protocol == "h1":
            target = path if scheme == "https" else f"http://{said}{path}"
            lines = [f"{case.method} {target} HTTP/1.1", f"Host: {said}", *map(": ".join, headers)]
            body = ["Content-Length: 0"] if case.method in ("POST", "PUT", "PATCH") else []
            text = "\r\n".join([*lines, *body, "Connection: close", "", ""])
            answers = http1(connection, text.encode("latin-1"))
        else:
            pseudo = [(":method", case.method), (":scheme", scheme), (":authority", said), (":path", path)]
            answers = http2(connection, [*pseudo, *((name.lower(), value) for name, value in headers)])
        return answers[0].status if answers else 0


def _connected(proxy: int, scheme: str, host: str, port: int) -> socket.socket:
    return dial(proxy, lambda connection: tunnel(connection, host, port) if scheme == "https" else None)

"""Every way to make Envoy hand its identity to somebody else, or show it: the attacks on mitmproxy, and Envoy's own.

`test_attacks.py` says what {good}, {evil} and {at} are.
"""

import re
import socket
import stat
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.e2e import namespace, tell
from tests.e2e.arena import EVIL, HTTP, HTTPS, SHARED, Arena, Refused, dial, http1, http2, tls, tunnel
from tests.e2e.conftest import CLIENT_SECRET, Stage, on_stage
from tests.e2e.envoy import Envoy, envoy
from tests.e2e.test_attacks import CASES, Case, send
from tests.ports import free_port

GOOD_NAMES = (
    *("api", "plain", "path", "xn--mnchen-3ya", "page", "query", "cookie"),
    *("x.wild.test", "a.b.wild.test", "one.more"),
)
EVIL_NAMES = (
    *(EVIL, SHARED, "wild.test", "evilwild.test", "evilqa.test", "x.wild.test.evil.test", tell.HIJACKED),
    "api.qa.test.evil.test",
)

_TARGET = "a proxy replaces Host by what the target says (RFC 9112 section 3.2.2)"
DIFFERS = {
    **dict.fromkeys(
        (
            *("http: Host of evil", "http: Host of good and of evil", "http: Host of evil and of good"),
            *("http: Host with another port", "http: Host good@evil, to good", "http: Host evil@good, to good"),
            *("http: Host good, evil", "http: Host good.evil", "http: an empty Host", "http: Host is an address"),
            "http: Host with an encoded dot",
        ),
        _TARGET,
    ),
    "https: HTTP/2, Host of evil": ":authority is the host, and Host is not sent on",
    "http: HTTP/1, a header's value with a CR": "the CR is left out",
    "https: HTTP/1, a header's value with a CR": "the CR is left out",
    "https: no SNI": "Envoy has a certificate for the name of the CONNECT only",
    "https: an address, SNI of good": "Envoy goes by the name of the CONNECT",
    "https: HTTP/1.0 without Host": "Envoy serves HTTP/1.1 and HTTP/2",
    "https: OPTIONS *": "Envoy takes no such path",
    "https: HTTP/2, OPTIONS *": "Envoy takes no such path",
    **dict.fromkeys(
        (
            f"https: {place}: {what}"
            for place in ("query", "cookie")
            for what in ("as a client sends it", "replaced", "a WebSocket", "HTTP/2")
        ),
        "Envoy blocks what wants the token elsewhere than in a header",
    ),
}
"""What becomes of something else with Envoy than with mitmproxy, and why that is right."""


class EnvoyArena(Arena):
    """The arena, with Envoy in mitmproxy's place."""

    def __init__(self, stage: Stage, stack: ExitStack, authority: Authority) -> None:
        super().__init__(stage, stack, stack, authority)
        self.running: Envoy | None = None

    def port_of(self, way: str) -> int:
        """Where Envoy listens."""
        assert way == "regular"
        return self.envoy.port

    @property
    def envoy(self) -> Envoy:
        assert self.running is not None
        return self.running

    def reverse(self, name: str) -> int:
        """The port of a reverse proxy."""
        return int(self.envoy.reverse(name).rpartition(":")[2])


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory,
    confdir: Path,
    authority: Authority,
    certificates: tuple[Path, Path],
    inside: Sequence[str],
) -> Iterator[EnvoyArena]:
    """The arena. At its end no server has got what it should not, and nothing that Envoy shows holds a secret."""
    folder = tmp_path_factory.mktemp("envoy_arena")
    with on_stage(folder, confdir, certificates, inside) as stage, ExitStack() as stack:
        made = EnvoyArena(stage, stack, authority)
        port = made.port
        stage.env(f"https://{HTTPS}:{port}")
        stage.env(f"http://{HTTP}:{port}", name="plain")
        stage.env(f"https://*.wild.test:{port}", name="wild")
        stage.env(f"http://*.more.qa.test:{port}", name="more")
        stage.env(f"https://path.qa.test:{port}/orders", name="path")
        stage.env(f"https://münchen.qa.test:{port}", name="idna")
        stage.env(f"https://page.qa.test:{port}", "ORIGINS=https://spa.test", name="page")
        stage.env(f"https://query.qa.test:{port}", "QUERY=api_key", name="query")
        stage.env(f"https://cookie.qa.test:{port}", "COOKIE=session", name="cookie")
        stage.env(f"http://{tell.GOOD}:{made.token_port}", name="token")
        stage.env(f"https://{tell.GOOD}:{port}", name="loopback")
        good = " ".join(name if name.endswith(".wild.test") else f"{name}.qa.test" for name in GOOD_NAMES)
        hosts = f"{tell.GOOD} {good}\n{tell.EVIL} {' '.join(EVIL_NAMES)}\n"
        reverse = ("--reverse", f"plain=127.0.0.1:{free_port()}")
        made.running = stack.enter_context(envoy(stage, *reverse, hosts=hosts))
        yield made
        assert [made.canaries_at(server) for server in made.strangers] == [0, 0]
        for shown in ("config_dump?include_eds", "certs", "clusters", "listeners", "stats", "stats/prometheus"):
            assert_clean(made, shown, ask_admin(made, shown))
        for file in made.envoy.folder.iterdir():
            if file.is_file() and not re.match(r"token-|header-", file.name):
                assert_clean(made, file.name, file.read_bytes())


def assert_clean(place: EnvoyArena, what: str, data: bytes) -> None:
    """Nothing of a secret is in there."""
    assert not [canary for canary in place.canaries if canary.encode() in data], what
    assert CLIENT_SECRET.encode() not in data, what


def ask_admin(place: EnvoyArena, path: str) -> bytes:
    with urllib.request.urlopen(f"{place.envoy.admin}/{path}") as answer:
        return bytes(answer.read())


def expected(case: Case, scheme: str) -> set[str]:
    """`injected` or `bare`: all that may become of the requests of a case."""
    words = {outcome for outcomes in case.expects("regular", scheme) for outcome in outcomes}
    return {"injected" if word == "injected" else "bare" for word in words}


@pytest.mark.parametrize(
    ("case", "scheme"),
    [
        pytest.param(case, scheme, id=f"{scheme}: {case.name}")
        for case in CASES
        for scheme in case.schemes
        if {"regular", "upstream", "lazy"} & set(case.ways)
    ],
)
def test_attack(place: EnvoyArena, case: Case, scheme: str) -> None:
    """No attack on mitmproxy succeeds with Envoy."""
    good, strangers = wary(place, lambda: send(place, case, scheme, "regular"))
    assert strangers == [0, 0]
    outcomes = expected(case, scheme)
    right = (good > 0 or outcomes != {"injected"}) and (good == 0 or "injected" in outcomes)
    assert right == (f"{scheme}: {case.name}" not in DIFFERS), good


def wary(place: EnvoyArena, attack: Callable[[], object]) -> tuple[int, list[int]]:
    """Do it. How many secrets the good server got meanwhile, and how many the strangers."""
    servers = (place.good, *place.strangers)
    before = [len(server.received) for server in servers]
    with suppress(Refused, OSError):
        attack()
    good, *strangers = [place.canaries_at(server, since) for server, since in zip(servers, before, strict=True)]
    return good, strangers


# --- What a client may ask the proxy itself for -----------------------------------------------------------------------

_CONNECTS = (
    ("{evil}:{port}", "{good}:{port}"),
    ("{good}:{other}", "{good}:{port}"),
    ("{evil}@{good}:{port}", ""),
    ("{good}@{evil}:{port}", ""),
    ("{good}:{port}@{evil}:{port}", ""),
    ("{evil}:{port}#{good}:{port}", ""),
    ("{evil}:{port}/{good}:{port}", ""),
    ("{good}:0{port}", ""),
    ("{good}:+{port}", ""),
    ("{good}:{port}:{port}", ""),
    ("{good}:", ""),
    ("{good}", ""),
    ("[{good}]:{port}", ""),
    ("https://{good}:{port}/", ""),
    ("{good}.:{port}", ""),
    ("{good}..:{port}", ""),
    ("127.0.0.1:{port}", "{good}:{port}"),
    ("127.1:{port}", "{good}:{port}"),
    ("0x7f000001:{port}", "{good}:{port}"),
    ("2130706433:{port}", "{good}:{port}"),
    ("0:{port}", "{good}:{port}"),
    ("[::ffff:127.0.0.1]:{port}", "{good}:{port}"),
    ("127.0.0.2:{port}", "{good}:{port}"),
    ("127.0.0.2%.wild.test:{port}", ""),
    ("127.0.0.2#.wild.test:{port}", ""),
    ("127.0.0.2\0.wild.test:{port}", ""),
    ("evil.test\\.wild.test:{port}", ""),
    (".wild.test:{port}", ""),
    ("*.wild.test:{port}", ""),
)


@pytest.mark.parametrize(("target", "host"), _CONNECTS)
def test_connect(place: EnvoyArena, target: str, host: str) -> None:
    """Whatever a CONNECT names: nobody but the good server gets a token, whatever is said inside."""
    words = {"good": HTTPS, "evil": EVIL, "port": place.port, "other": place.other_port}
    target, host = target.format(**words), host.format(**words)

    def attack(sni: str, said: str) -> None:
        def ask(connection: socket.socket) -> None:
            line = f"CONNECT {target} HTTP/1.1\r\n" + (f"Host: {host}\r\n" if host else "")
            connection.sendall(f"{line}\r\n".encode("latin-1"))
            if b" 200 " not in connection.recv(4096):
                raise Refused

        with ExitStack() as stack:
            connection = stack.enter_context(closing(dial(place.port_of("regular"), ask)))
            connection = stack.enter_context(tls(connection, sni, "http/1.1"))
            http1(connection, f"GET / HTTP/1.1\r\nHost: {said}\r\nConnection: close\r\n\r\n".encode())

    for sni, said in ((HTTPS, f"{HTTPS}:{place.port}"), (EVIL, target), ("x.wild.test", target)):
        _, strangers = wary(place, lambda sni=sni, said=said: attack(sni, said))  # type: ignore[misc]
        assert strangers == [0, 0]


_PSEUDO = (
    {"method": "CONNECT", "authority": "{evil}:{port}", "host": "{good}:{port}"},
    {"method": "CONNECT", "authority": "{good}:{port}", "host": "{evil}:{port}"},
    {"method": "CONNECT", "protocol": "websocket", "authority": "{evil}:{port}", "scheme": "http", "path": "/"},
    {"method": "CONNECT", "protocol": "websocket", "authority": "{plain}:{port}", "scheme": "http", "path": "/"},
    {"method": "CONNECT", "protocol": "connect-udp", "authority": "{plain}:{port}", "scheme": "http", "path": "/"},
    {"method": "GET", "authority": "{evil}:{port}", "scheme": "http", "path": "/", "host": "{plain}:{port}"},
    {"method": "GET", "authority": "{plain}:{port}", "scheme": "http", "path": "/", "host": "{evil}:{port}"},
    {"method": "GET", "authority": "{evil}:{port}", "scheme": "http", "path": "http://{plain}:{port}/"},
    {"method": "GET", "authority": "{plain}:{port}", "scheme": "http", "path": "http://{evil}:{port}/"},
    {"method": "GET", "authority": "{plain}:{port}", "scheme": "https", "path": "/"},
    {"method": "GET", "authority": "{good}:{port}", "scheme": "https", "path": "/"},
    {"method": "GET", "authority": "{evil}@{plain}:{port}", "scheme": "http", "path": "/"},
    {"method": "GET", "authority": "{plain}@{evil}:{port}", "scheme": "http", "path": "/"},
)


@pytest.mark.parametrize("fields", _PSEUDO, ids=str)
@pytest.mark.parametrize("where", ["the proxy", "the tunnel", "the reverse proxy"])
def test_http2(place: EnvoyArena, fields: dict[str, str], where: str) -> None:
    """HTTP/2 without TLS to the proxies, and in a tunnel: what it names in place of, or beside, the host."""
    words = {"good": HTTPS, "plain": HTTP, "evil": EVIL, "port": place.port}
    order = ("method", "protocol", "scheme", "authority", "path")
    headers = [(f":{name}", fields[name].format(**words)) for name in order if name in fields]
    headers += [("host", fields["host"].format(**words))] if "host" in fields else []

    def attack() -> None:
        with ExitStack() as stack:
            port = place.reverse("plain") if where == "the reverse proxy" else place.port_of("regular")
            inside = where == "the tunnel"
            connection = dial(port, lambda one: tunnel(one, HTTPS, place.port) if inside else None)
            stack.enter_context(closing(connection))
            http2(stack.enter_context(tls(connection, HTTPS, "h2")) if inside else connection, headers)

    _, strangers = wary(place, attack)
    assert strangers == [0, 0]


_SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n"
_SHAPES = {
    "TE and CL": "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "TE that looks like it": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE with a tab": "Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n",
    "TE_": "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "CL twice": "Content-Length: 0\r\nContent-Length: 71\r\n\r\n",
    "CL with a sign": "Content-Length: +71\r\n\r\n",
    "CL with a comma": "Content-Length: 0, 71\r\n\r\n",
    "CL_": "Content_Length: 71\r\n\r\n",
    "a folded header": "X: y\r\n Content-Length: 71\r\n\r\n",
    "a bare LF": "X: y\nContent-Length: 71\n\n",
    "a space before the colon": "Content-Length : 71\r\n\r\n",
    "a chunk's odd size": "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "a chunk's LF": "Transfer-Encoding: chunked\r\n\r\n0;\n\n\r\n\r\n",
    "a trailer": "Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n0\r\nAuthorization: mine\r\n\r\n",
    "an upgrade": "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "an upgrade to h2c": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    "an unknown upgrade": "Connection: Upgrade\r\nUpgrade: x\r\n\r\n",
}


@pytest.mark.parametrize("shape", _SHAPES)
def test_smuggling(place: EnvoyArena, shape: str) -> None:
    """What may be one request or two is blocked, or is as many for the server as Envoy put tokens in."""
    host = f"{HTTP}:{place.port}"
    request = f"POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{_SHAPES[shape]}{_SMUGGLED.format(host=host)}"
    since = len(place.good.received)
    good, strangers = wary(place, lambda: _exchange(place, request))
    received = bytes(place.good.received[since:])
    assert strangers == [0, 0]
    assert good == _requests(received)


def _requests(data: bytes) -> int:
    """How many requests a strict server reads there."""
    found = 0
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end
        found += 1
        if length := re.search(rb"(?i)\r\ncontent-length: *(\d+)(?=\r|$)", head):
            data = data[int(length[1]) :]
        elif re.search(rb"(?i)\r\ntransfer-encoding: *chunked(?=\r|$)", head):
            line, data = b"a trailer", data.partition(b"0\r\n")[2]
            while line:
                line, _, data = data.partition(b"\r\n")
    return found


def _exchange(place: EnvoyArena, request: str, port: int = 0) -> bytes:
    answer = b""
    with closing(dial(port or place.port_of("regular"))) as connection, suppress(OSError):
        connection.sendall(request.encode("latin-1"))
        connection.settimeout(1)
        while data := connection.recv(65536):
            answer += data
    return answer


@pytest.mark.parametrize(
    "header",
    [
        *("X-Forwarded-Host: {evil}:{port}", "X-Forwarded-For: 127.0.0.1", "Forwarded: host={evil}:{port}"),
        *("X-Envoy-Original-Dst-Host: 127.0.0.2:{port}", "X-Host: {evil}", "X-Envoy-Original-Path: http://{evil}/"),
        *("Proxy-Connection: {evil}", "X-Original-URL: http://{evil}:{port}/", "Host_: {evil}:{port}"),
        *("Connection: Host", "Connection: close, Authorization", "Content_Length: 0"),
    ],
)
def test_header(place: EnvoyArena, header: str) -> None:
    """No header of the client's leads a token elsewhere, or takes it away."""
    host = f"{HTTP}:{place.port}"
    said = header.format(evil=EVIL, port=place.port)
    request = f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{said}\r\n\r\n"
    good, strangers = wary(place, lambda: _exchange(place, request))
    assert (good, strangers) == (1, [0, 0])


# --- The reverse proxy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "tokens"),
    [
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1:{own}\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: LOCALHOST:{own}\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: rebound.evil.test:{own}\r\n", 0),
        ("GET / HTTP/1.1\r\nHost: {evil}\r\n", 0),
        ("GET / HTTP/1.1\r\nHost: plain.qa.test:{port}\r\n", 0),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n", 0),
        ("GET http://{evil}:{port}/ HTTP/1.1\r\nHost: 127.0.0.1:{own}\r\n", 0),
        ("CONNECT {evil}:{port} HTTP/1.1\r\nHost: 127.0.0.1:{own}\r\n", 0),
        ("CONNECT 127.0.0.1:{own} HTTP/1.1\r\nHost: 127.0.0.1:{own}\r\n", 0),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1:{own}\r\nOrigin: http://evil.test\r\n", 0),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1:{own}\r\nSec-Fetch-Site: cross-site\r\n", 0),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1:{own}\r\nX-Forwarded-Host: {evil}\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1:{own}\r\nHost: {evil}\r\n", 0),
    ],
)
def test_reverse(place: EnvoyArena, request_: str, tokens: int) -> None:
    """A reverse proxy serves who calls it by its own name: no page whose name somebody lets lead here."""
    own = place.reverse("plain")
    request = request_.format(own=own, port=place.port, evil=EVIL) + "\r\n"
    assert wary(place, lambda: _exchange(place, request, own)) == (tokens, [0, 0])


# --- What Envoy shows, and to whom ------------------------------------------------------------------------------------


def test_folder(place: EnvoyArena) -> None:
    """No other user of this machine reads what is in Envoy's folder."""
    folder = place.envoy.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    secret = [file for file in folder.iterdir() if re.match(r"token-|header-|leaf-|until-|reason-|refusals", file.name)]
    assert len(secret) > 20
    assert {stat.S_IMODE(file.stat().st_mode) for file in secret} == {0o600}


def test_processes(place: EnvoyArena) -> None:
    """Nobody sees a secret in the list of processes."""
    for pid in (place.envoy.process.pid, place.envoy.envoy_pid):
        for file in ("cmdline", "environ"):
            assert_clean(place, file, Path(f"/proc/{pid}/{file}").read_bytes())


def test_admin(place: EnvoyArena) -> None:
    """Envoy's admin page listens on loopback only, and changes nothing."""
    host = place.envoy.admin.removeprefix("http://").rpartition(":")[0]
    assert host == "127.0.0.1"
    port = place.envoy.admin.rpartition(":")[2]
    for path in ("quitquitquit", "logging?level=trace", "runtime_modify?x=y", "healthcheck/fail", "reset_counters"):
        request = f"POST /{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        assert b" 403 " in _exchange(place, request, int(port)).split(b"\r\n")[0]
    assert b" 200 " in _exchange(place, "GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", int(port))


def test_own_proxy(stage: Stage) -> None:
    """A request by the proxy to itself ends, and does not go round."""
    stage.env(f"https://api.qa.test:{stage.https_port}")
    port = free_port()
    with envoy(stage, "--listen", f"127.0.0.1:{port}") as running, closing(dial(running.port)) as connection:
        for name in ("127.0.0.1", "localhost"):
            host = f"{name}:{port}"
            connection.sendall(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert b"is the proxy itself" in connection.recv(4096)
        with urllib.request.urlopen(f"{running.admin}/stats?filter=http.proxy.downstream_cx_total") as answer:
            assert answer.read() == b"http.proxy.downstream_cx_total: 1\n"


def test_foreign_client(stage: Stage) -> None:
    """A client that is not in --clients is not served at all."""
    stage.env(stage.http.replace("127.0.0.1", "localhost"))
    own = f"127.0.0.1:{free_port()}"
    with envoy(stage, "--clients", "127.0.0.1/32", "--reverse", f"qa={own}") as running:
        host = stage.http.removeprefix("http://").replace("127.0.0.1", "localhost")
        for at, said, target in ((running.port, host, f"http://{host}"), (int(own.rpartition(":")[2]), own, "")):
            request = f"GET {target}/orders HTTP/1.1\r\nHost: {said}\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n"
            assert b" 200 " in _asked_from("127.0.0.1", at, request)
            assert _asked_from("127.0.0.2", at, request) == b""


def _asked_from(source: str, port: int, request: str) -> bytes:
    with closing(socket.create_connection(("127.0.0.1", port), 5, (source, 0))) as connection:
        try:
            connection.sendall(request.encode())
            return connection.recv(4096)
        except ConnectionError:
            return b""


def test_other_machine(stage: Stage) -> None:
    """A client on another machine gets its token, and reaches nothing that this machine keeps to itself."""
    if (why := namespace.missing()) is not None:
        pytest.skip(why)
    host = f"api.qa.test:{stage.https_port}"
    stage.env(f"https://{host}")
    with ExitStack() as stack:
        network = stack.enter_context(namespace.namespace())
        for url in (stage.https, stage.token_endpoint):
            stack.enter_context(network.reaches("127.0.0.1", int(url.split("/")[2].rpartition(":")[2])))
        listen = ("--listen", f"0.0.0.0:{namespace.PROXY_PORT}", "--clients", f"{namespace.CLIENT}/32")
        running = stack.enter_context(envoy(stage, *listen, hosts="127.0.0.1 rebound.test\n", inside=network.inside))
        admin = running.admin.rpartition(":")[2]

        def ask(request: str) -> bytes:
            with closing(network.connect("127.0.0.1", namespace.PROXY_PORT, namespace.CLIENT)) as connection:
                connection.sendall(request.encode())
                return connection.recv(4096)

        spoofed = "X-Forwarded-For: 127.0.0.1\r\n\r\n"
        for name in ("127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "127.1", "rebound.test"):
            target = f"{name}:{admin}"
            assert b" 200 " not in ask(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{spoofed}")
            assert b" 200 " not in ask(f"GET http://{target}/ready HTTP/1.1\r\nHost: {target}\r\n{spoofed}")
        assert b" 200 " in ask(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n")

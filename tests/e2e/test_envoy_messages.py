"""Through Envoy, servers and clients see what was sent, and where it has no connection the client reads why."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.e2e.conftest import Stage, on_stage
from tests.e2e.envoy import Envoy, envoy
from tests.e2e.envoy_origin import PATIENCE, Origin, exchange, tunnel
from tests.ports import free_port

CLOSE = "Connection: close\r\n"


@dataclass
class Scene:
    """One Envoy for all tests of this file, and the servers behind it."""

    stage: Stage
    proxy: Envoy
    plain: Origin
    secured: Origin
    six: Origin
    places: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Hosts and ports, by environment."""

    def ask(self, name: str, request: str) -> bytes:
        """The answer of an environment's server through CONNECT, byte for byte. The request has no Host."""
        host, port = self.places[name]
        line, _, rest = request.partition("\r\n")
        with tunnel(self.proxy.port, host, port, self.stage.mitmproxy_ca) as connection:
            return exchange(connection, f"{line}\r\nHost: {_shown(host)}:{port}\r\n{rest}".encode("latin-1"))

    def absolute(self, request: str, name: str = "plain") -> bytes:
        """The same in absolute form, to the plain server."""
        host, port = self.places[name]
        method, path, rest = request.split(" ", 2)
        line, _, rest = rest.partition("\r\n")
        with socket.create_connection(("127.0.0.1", self.proxy.port), PATIENCE) as connection:
            text = f"{method} http://{host}:{port}{path} {line}\r\nHost: {host}:{port}\r\n{rest}"
            return exchange(connection, text.encode("latin-1"))


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory, confdir: Path, certificates: tuple[Path, Path], authority: Authority
) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    other, made = Authority(), authority.file
    bad = {
        "expired": made(folder, "expired", "*.qa.test", days=-1),
        "early": folder / "early.pem",
        "misnamed": made(folder, "misnamed", "other.qa.test"),
        "unknown": other.file(folder, "unknown", "*.qa.test"),
        "private": other.file(folder, "private", "*.qa.test"),
    }
    bad["early"].write_text("".join(authority.issue("early", "*.qa.test", since=1)))
    (folder / "private-ca.pem").write_text(other.certificate)
    plain, secured, six = Origin(), Origin(certificates[1]), Origin(made(folder, "six", "0:0:0:0:0:0:0:1"))
    with ExitStack() as stack, on_stage(folder, confdir, certificates, ()) as stage:
        enter = stack.enter_context
        ports = {name: enter(Origin(certificate).listening()) for name, certificate in bad.items()}
        places = {name: ("a.qa.test", port) for name, port in ports.items()}
        places |= {
            "plain": ("localhost", enter(plain.listening())),
            "qa": ("api.qa.test", enter(secured.listening())),
            "six": ("::1", enter(six.listening("::1"))),
            "nowhere": ("nowhere.qa.test", 443),
            "refused": ("a.qa.test", free_port()),
        }
        for name, (host, port) in places.items():
            more = [f"CA_FILE={folder / 'private-ca.pem'}"] if name == "private" else []
            stage.env(f"{'http' if name == 'plain' else 'https'}://{_shown(host)}:{port}", *more, name=name)
        proxy = enter(envoy(stage))
        yield Scene(stage, proxy, plain, secured, six, places)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def lines(head: bytes, *without: str) -> list[str]:
    """The header lines of a message, without those of these names."""
    found = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    return [line for line in found if line.partition(":")[0].lower() not in without]


HEADERS = (
    "X-CamelCase: One\r\nx-lower: two\r\nACCEPT: */*\r\nVia: 1.1 mine\r\nX-Forwarded-For: 10.0.0.1\r\n"
    "X-Request-Id: id\r\nX-Forwarded-Client-Cert: By=x\r\nForwarded: for=10.0.0.1\r\nX-Envoy-Mine: 1\r\nServer: no\r\n"
    "User-Agent: \r\nCookie: a=1; b=2\r\nX-Two: 1\r\nX-Two: 2\r\nX-Latin: caf\xe9\r\n"
)


@pytest.mark.parametrize("form", ["tunnel", "absolute"])
@pytest.mark.parametrize("proto", ["", "X-Forwarded-Proto: gopher\r\n"])
def test_request(scene: Scene, form: str, proto: str) -> None:
    """A server sees the client's headers as they were sent, and the credential; nothing else is added or lost."""
    name, server = ("plain", scene.plain) if form == "absolute" else ("qa", scene.secured)
    request = f"GET /orders?a=%2F HTTP/1.1\r\n{HEADERS}{proto}{CLOSE}\r\n"
    got = scene.absolute(request) if form == "absolute" else scene.ask(name, request)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    start, *came = lines(server.heads[-1])
    host, port = scene.places[name]
    credential = [line for line in came if line.startswith("Authorization: Bearer ")]
    assert start == "GET /orders?a=%2F HTTP/1.1"
    assert len(credential) == 1
    sent = [f"Host: {host}:{port}", *f"{HEADERS}{proto}".split("\r\n")[:-1]]
    # A repeated name stays where it is; X-Forwarded-Proto moves to the end.
    assert sorted(line for line in came if line not in credential) == sorted(sent)
    assert [line for line in came if line not in (*credential, proto.strip())] == [
        line for line in sent if line != proto.strip()
    ]


def test_answer(scene: Scene) -> None:
    """A client sees the server's answer as it was sent; with a Date (RFC 9110 section 6.6.1)."""
    answer = (
        "HTTP/1.1 299 Fine by me\r\nServer: Mine/1\r\nX-CamelCase: One\r\nVia: 1.1 x\r\nset-cookie: a=1\r\n"
        "set-cookie: b=2\r\nX-Envoy-Upstream-Service-Time: 5\r\nX-Request-Id: theirs\r\nContent-Length: 2\r\n"
    )
    scene.secured.answers["/fine"] = f"{answer}\r\nok".encode()
    got = scene.ask("qa", f"GET /fine HTTP/1.1\r\n{CLOSE}\r\n")
    assert lines(got, "date", "connection") == answer.split("\r\n")[:-1]
    assert got.endswith(b"\r\n\r\nok")


def test_trailers(scene: Scene) -> None:
    """Trailers pass in both directions, in lower case."""
    scene.secured.answers["/trailers"] = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    request = "POST /trailers HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: X-Up\r\n"
    got = scene.ask("qa", f"{request}{CLOSE}\r\n3\r\nyes\r\n0\r\nX-Up: 2\r\n\r\n")
    assert got.endswith(b"\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n")
    assert scene.secured.bodies[-1] == b"3\r\nyes\r\n0\r\nx-up: 2\r\n\r\n"


def test_continue(scene: Scene) -> None:
    """The server itself says whether the body may come."""
    got = scene.ask("qa", f"PUT /continue HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n{CLOSE}\r\nhi")
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert b"\r\nExpect: 100-continue\r\n" in scene.secured.heads[-1]
    assert scene.secured.bodies[-1] == b"hi"


BODIES = {
    "HEAD": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", b""),
    "204": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "304": ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n', b""),
    "empty": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    "empty chunks": ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
    "until the end": ("GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", b"5\r\nhello\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("case", BODIES)
def test_bodies(scene: Scene, case: str) -> None:
    """What has no body, or one whose length nobody tells, arrives so."""
    method, answer, body = BODIES[case]
    scene.secured.answers["/body"] = answer
    got = scene.ask("qa", f"{method} /body HTTP/1.1\r\n{CLOSE}\r\n")
    head, _, rest = got.partition(b"\r\n\r\n")
    assert (head.split(b"\r\n")[0], rest) == (answer.split(b"\r\n")[0], body)
    assert (b"\r\nContent-Length: 50" in head) == (case == "HEAD")


def test_large_headers(scene: Scene) -> None:
    """200 kB of headers pass in both directions, and 500 of them."""
    large, many = f"X-Large: {'x' * 200_000}\r\n", "".join(f"X-{number}: 1\r\n" for number in range(500))
    scene.secured.answers["/large"] = f"HTTP/1.1 200 OK\r\n{large}{many}Content-Length: 0\r\n\r\n".encode()
    got = scene.ask("qa", f"GET /large HTTP/1.1\r\n{large}{many}{CLOSE}\r\n")
    assert f"{large}{many}".encode() in got
    assert f"{large}{many}".encode() in scene.secured.heads[-1]


def test_old_clients(scene: Scene) -> None:
    """HTTP/1.0, and a client that offers HTTP/2 in clear, are served."""
    assert scene.absolute("GET /old HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 OK\r\n")
    offer = "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
    assert scene.absolute(f"GET /h2c HTTP/1.1\r\n{offer}\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Authorization: Bearer " in scene.plain.heads[-1]


def test_ipv6(scene: Scene) -> None:
    """A server at an IPv6 address is verified for it, and gets its token."""
    assert scene.ask("six", f"GET / HTTP/1.1\r\n{CLOSE}\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Authorization: Bearer " in scene.six.heads[-1]


def test_ca_file(scene: Scene) -> None:
    """CA_FILE of an environment says who may have issued its API's certificate."""
    assert scene.ask("private", f"GET / HTTP/1.1\r\n{CLOSE}\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


UNTRUSTED = "{name}: request blocked: Envoy does not trust the API's certificate ("
NEVER = ", so the credential never left; "
FAILURES = {
    "expired": f"{UNTRUSTED}it has expired){NEVER}ask whoever runs the API to renew it, or check this machine's clock",
    "early": f"{UNTRUSTED}it is not valid yet){NEVER}check this machine's clock",
    "misnamed": f"{UNTRUSTED}it is for another name){NEVER}check HOST in envs/{{name}}.env",
    "unknown": (
        f"{UNTRUSTED}no authority that is known here has issued it){NEVER}if a company's own CA has, name that in"
        " CA_FILE in envs/{name}.env, or with --upstream-ca"
    ),
    "nowhere": (
        f"{{name}}: request blocked: Envoy cannot connect to the API{NEVER}check HOST in envs/{{name}}.env, and the"
        " network or VPN"
    ),
}
FAILURES["refused"] = FAILURES["nowhere"]


@pytest.mark.parametrize("name", FAILURES)
def test_not_connected(scene: Scene, name: str) -> None:
    """Where Envoy has no connection that it trusts, nothing leaves, and one line says why and what to do."""
    got = scene.ask(name, f"GET / HTTP/1.1\r\n{CLOSE}\r\n").decode()
    head, _, body = got.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 502 Bad Gateway\r\ncache-control: no-store\r\n")
    assert body == FAILURES[name].format(name=name) + "\n"


def test_ended(scene: Scene) -> None:
    """A server that ends the connection without an answer may have got the request, which the client is told."""
    scene.plain.answers["/ends"] = b""
    got = scene.absolute(f"POST /ends HTTP/1.1\r\nContent-Length: 2\r\n{CLOSE}\r\nhi")
    assert got.startswith(b"HTTP/1.1 502 ")
    assert got.endswith(
        b"\r\n\r\nplain: the API ended the connection before it answered; it may have got the request, so look there"
        b" before you send it again\n"
    )

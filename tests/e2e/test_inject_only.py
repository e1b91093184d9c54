"""The option inject_only: TLS of hosts that no file names passes unopened."""

import socket
import ssl
from collections.abc import Callable, Sequence

import pytest

from tests.e2e.arena import PATIENCE, dial, tunnel
from tests.e2e.conftest import Curl, Stage

CONFIGURED, OTHER = "api.qa.test", "other.qa.test"


@pytest.mark.parametrize("mode", ["regular", "socks5"])
def test_unopened(stage: Stage, curl: Curl, mode: str) -> None:
    """A client that trusts only the other host's own authority reaches it; the configured one is opened."""
    stage.env(f"https://{CONFIGURED}:{stage.https_port}")
    proxy = stage.mitmdump("--mode", mode, inject_only="true")
    way = ["--proxy", proxy.url if mode == "regular" else proxy.url.replace("http", "socks5h")]
    pinned = curl(*way, "--cacert", str(stage.ca), f"https://{OTHER}:{stage.https_port}/orders")
    assert pinned.status == 401
    assert "error_description" in pinned.headers or "Bearer" in pinned.headers
    opened = curl(*way, "--cacert", str(stage.mitmproxy_ca), f"https://{CONFIGURED}:{stage.https_port}/orders")
    assert opened.status == 200
    refused = curl(*way, "--cacert", str(stage.ca), f"https://{CONFIGURED}:{stage.https_port}/orders", check=False)
    assert "orders" not in refused.body
    assert not any(OTHER in line for line in proxy.log if "GET" in line)


@pytest.mark.parametrize("name", ["API.QA.TEST", "api.qa.test."])
def test_spelling(stage: Stage, curl: Curl, name: str) -> None:
    """A configured host is opened, however the client spells it."""
    stage.env(f"https://{CONFIGURED}:{stage.https_port}")
    proxy = stage.mitmdump(inject_only="true")
    words = ["--proxy", proxy.url, "--cacert", str(stage.mitmproxy_ca)]
    assert curl(*words, f"https://{name}:{stage.https_port}/orders").status == 200


def test_unset(stage: Stage, curl: Curl) -> None:
    """By default every host is opened."""
    stage.env(f"https://{CONFIGURED}:{stage.https_port}")
    proxy = stage.mitmdump()
    url = f"https://{OTHER}:{stage.https_port}/orders"
    assert curl("--proxy", proxy.url, "--cacert", str(stage.mitmproxy_ca), url).status == 401


def test_named_later(stage: Stage, curl: Curl) -> None:
    """The next connection to a host that a file comes to name is opened."""
    stage.env(f"https://{CONFIGURED}:{stage.https_port}")
    proxy = stage.mitmdump(inject_only="true")
    url = f"https://{OTHER}:{stage.https_port}/orders"
    assert curl("--proxy", proxy.url, "--cacert", str(stage.ca), url).status == 401
    stage.env(f"https://{OTHER}:{stage.https_port}", name="other")
    proxy.wait_for(r"other: https://other")
    assert curl("--proxy", proxy.url, "--cacert", str(stage.mitmproxy_ca), url).status == 200


def whole(hello: bytes) -> Sequence[bytes]:
    """A ClientHello as it is."""
    return [hello]


def segments(hello: bytes) -> Sequence[bytes]:
    """A ClientHello whose record comes in pieces."""
    return [hello[:3], hello[3:60], hello[60:]]


def records(hello: bytes) -> Sequence[bytes]:
    """A ClientHello in several records (RFC 8446, section 5.1)."""
    parts = [hello[5:40], hello[40:90], hello[90:]]
    return [hello[:3] + len(part).to_bytes(2, "big") + part for part in parts]


def certified_by_mitmproxy(
    stage: Stage, connection: socket.socket, sni: str | None, cut: Callable[[bytes], Sequence[bytes]]
) -> bool:
    """Begin TLS, and say whether mitmproxy's own authority has signed what comes: whether it opens the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(stage.mitmproxy_ca)
    received, sends = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(received, sends, server_hostname=sni)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(PATIENCE)
    while True:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            for piece in cut(sends.read()):
                connection.sendall(piece)
            cut = whole
            data = connection.recv(65536)
            assert data, "it ended before the certificate came"
            received.write(data)
        except ssl.SSLCertVerificationError:
            return False
        else:
            return True


@pytest.mark.parametrize("cut", [whole, segments, records])
@pytest.mark.parametrize(
    ("dialled", "sni", "opens"),
    [
        (CONFIGURED, CONFIGURED, True),
        (OTHER, OTHER, False),
        (CONFIGURED, None, True),
        (CONFIGURED, OTHER, True),
        (OTHER, CONFIGURED, True),
        (OTHER, None, False),
        (OTHER, f"{CONFIGURED}.evil.test", False),
        (OTHER, "evil" + CONFIGURED, False),
    ],
)
@pytest.mark.parametrize("strategy", ["eager", "lazy"])
def test_names(
    stage: Stage, cut: Callable[[bytes], Sequence[bytes]], dialled: str, sni: str | None, opens: bool, strategy: str
) -> None:
    """Either name opens a connection, however the handshake is cut."""
    stage.env(f"https://{CONFIGURED}:{stage.https_port}")
    proxy = stage.mitmdump_by_name(inject_only="true", connection_strategy=strategy)
    listens, port = int(proxy.url.rpartition(":")[2]), int(stage.https_port)
    with dial(listens, lambda connection: tunnel(connection, dialled, port)) as connection:
        assert certified_by_mitmproxy(stage, connection, sni, cut) is opens
    assert not stage.token_requests


def test_onboarding(stage: Stage, curl: Curl) -> None:
    """The page with mitmproxy's certificate is served over https, too."""
    stage.env(f"https://{CONFIGURED}:{stage.https_port}")
    proxy = stage.mitmdump(inject_only="true", connection_strategy="lazy")  # as nobody need look up its name
    reply = curl("--proxy", proxy.url, "--cacert", str(stage.mitmproxy_ca), "https://mitm.it/")
    assert (reply.status, "certificate" in reply.body) == (200, True)


def test_plain(stage: Stage, curl: Curl) -> None:
    """There is nothing to open in http: a configured host gets its token, and another passes."""
    port = stage.http.rpartition(":")[2]
    stage.env(f"http://{CONFIGURED}:{port}")
    proxy = stage.mitmdump(inject_only="true")
    for name, status in ((CONFIGURED, 200), (OTHER, 401)):
        assert curl("--proxy", proxy.url, f"http://{name}:{port}/orders").status == status


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_reverse(stage: Stage, curl: Curl, scheme: str) -> None:
    """In reverse mode TLS ends at mitmproxy, so it is opened."""
    api = f"https://{CONFIGURED}:{stage.https_port}"
    stage.env(api)
    proxy = stage.mitmdump_by_name("--mode", f"reverse:{api}", inject_only="true")
    url = proxy.url.replace("http:", f"{scheme}:")
    assert curl("--cacert", str(stage.mitmproxy_ca), f"{url}/orders").status == 200

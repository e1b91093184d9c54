"""What was once got away with: a token for somebody else, a crash of mitmproxy's, a request that went out bare."""

import http.client
import socket
import ssl
import struct

import h2.config
import h2.connection
import h2.events
import pytest

from credential_injector.demo.processes import Mitmproxy, mitmproxy
from tests.e2e.conftest import Stage


def connect(
    proxy: Mitmproxy, *, tls: str | None = None, tunnel: str | None = None, alpn: str = "http/1.1"
) -> socket.socket:
    """A connection to the proxy, maybe through a tunnel, maybe with TLS whose SNI is `tls`. Nothing is verified."""
    host, _, port = proxy.url.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    if tunnel is not None:
        connection.sendall(f"CONNECT {tunnel} HTTP/1.1\r\n\r\n".encode())
        assert b" 200 " in connection.recv(4096)
    if tls is not None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols([alpn])
        connection = context.wrap_socket(connection, server_hostname=tls)
    return connection


def send(connection: socket.socket, *lines: str) -> int:
    """Send a request as it is written. Returns the answer's status."""
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


def stolen(stage: Stage) -> list[str]:
    """The credentials that any server received."""
    return [value for _, headers in stage.api.received for name, value in headers if name == "Authorization"]


def test_the_name_in_the_tls_to_the_proxy_is_not_that_of_the_server(stage: Stage) -> None:
    port = stage.https_port
    stage.env(f"https://api.qa.test:{port}")
    proxy = stage.mitmdump()
    with connect(proxy, tls="api.qa.test") as connection:
        line = f"GET https://127.0.0.1:{port}/open HTTP/1.1"
        assert send(connection, line, f"Host: api.qa.test:{port}") == 200
    assert stolen(stage) == []


@pytest.mark.parametrize("strategy", ["eager", "lazy"])
def test_a_name_that_the_resolver_reads_otherwise_matches_no_wildcard(stage: Stage, strategy: str) -> None:
    port = stage.http.rpartition(":")[2]
    stage.env(f"http://*.qa.test:{port}")
    words = ["--mode", "socks5", *stage.options({"connection_strategy": strategy})]
    proxy = stage.enter(mitmproxy("mitmdump", *words, folder=stage.folder))
    name = b"127.0.0.1\0%.qa.test"
    with connect(proxy) as connection:
        connection.sendall(b"\x05\x01\x00")
        assert connection.recv(2) == b"\x05\x00"
        connection.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + struct.pack("!H", int(port)))
        if connection.recv(100)[1] == 0:
            send(connection, "GET /steal HTTP/1.0")
    assert stolen(stage) == []


@pytest.mark.parametrize("strategy", ["eager", "lazy"])
def test_in_reverse_mode_no_server_is_verified_against_the_clients_choice(stage: Stage, strategy: str) -> None:
    api = f"https://localhost:{stage.https_port}"
    stage.env(api)
    proxy = stage.mitmdump("--mode", f"reverse:{api}", keep_host_header="true", connection_strategy=strategy)
    with connect(proxy, tls="evil.qa.test") as connection:
        send(connection, "GET /steal HTTP/1.1", f"Host: localhost:{stage.https_port}")
    assert stolen(stage) == []


def test_a_connection_that_was_made_unverified_carries_no_token_later(stage: Stage) -> None:
    # The certificate does not name evil.test, and the option is unset between two requests on one connection.
    port = stage.https_port
    stage.env(f"https://evil.test:{port}")
    (stage.folder / "unset.py").write_text(
        "from mitmproxy import ctx\ndef response(flow):\n    ctx.options.ssl_insecure = False\n"
    )
    proxy = stage.mitmdump("-s", str(stage.folder / "unset.py"), ssl_insecure="true")
    with connect(proxy, tunnel=f"evil.test:{port}", tls="evil.test") as connection:
        for _ in range(2):
            assert send(connection, "GET /steal HTTP/1.1", f"Host: evil.test:{port}") == 502
    assert stolen(stage) == []


@pytest.mark.parametrize(
    "path",
    ["/orders/..#/admin", "/orders/..%23/x", "/orders/..%3b/admin", "/orders/.%00./admin", "/orders%2f..%2fadmin"],
)
def test_an_ambiguous_path_gets_no_token(stage: Stage, path: str) -> None:
    stage.env(f"{stage.http}/orders")
    proxy = stage.mitmdump()
    host = stage.http.removeprefix("http://")
    for way in ("/orders", path):
        with connect(proxy) as connection:
            send(connection, f"GET {stage.http}{way} HTTP/1.1", f"Host: {host}", "Connection: close")
    assert len(stolen(stage)) == 1


@pytest.mark.parametrize(
    ("method", "size"), [("GET", 5000), ("DELETE", 5000), ("POST", 0), ("POST", 10), ("POST", 5000)]
)
def test_a_blocked_http2_request_is_answered_or_goes_on_bare_but_crashes_nothing(
    stage: Stage, method: str, size: int
) -> None:
    stage.env(f"https://api.qa.test:{stage.https_port}", "METHODS=HEAD")
    proxy = stage.mitmdump(stream_large_bodies="1k", connection_strategy="lazy")
    authority = f"api.qa.test:{stage.https_port}"
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    headers = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", "/orders")]
    client.send_headers(1, [*headers, ("authorization", "Bearer mine")], end_stream=not size)
    if size:
        client.send_data(1, b"x" * size, end_stream=True)
    status = None
    with connect(proxy, tunnel=authority, tls="api.qa.test", alpn="h2") as connection:
        connection.sendall(client.data_to_send())
        while status is None:
            data = connection.recv(65536)
            assert data, proxy.log
            for event in client.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
    assert status == (502 if size < 1024 else 401)
    assert stolen(stage) == []
    assert (stage.api.received == []) == (size < 1024)
    assert not any("crashed" in line for line in proxy.log)

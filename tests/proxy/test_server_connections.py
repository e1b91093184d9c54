"""Against which name each connection to a server is verified."""

import pytest
from mitmproxy.connection import Server
from mitmproxy.options import Options
from mitmproxy.proxy.context import Context
from mitmproxy.test import tflow
from mitmproxy.tls import TlsData

from credential_injector.proxy.server_connections import Connections

API = "api.example.com"


@pytest.mark.parametrize(
    ("address", "server_sni", "client_sni", "verifies", "expected"),
    [
        (API, "evil.example", API, True, ["evil.example"]),
        (API, "API.example.com.", None, True, [API]),
        (API, None, "evil.example", True, ["evil.example"]),
        (API, None, None, True, [API]),
        (API, API, API, False, [None]),
        ("other.example.com", API, API, True, []),
    ],
)
def test_verified(
    address: str, server_sni: str | None, client_sni: str | None, verifies: bool, expected: list[str | None]
) -> None:
    """Those to the request's address count, each with the name that mitmproxy sends as SNI."""
    connections, flow = Connections(), tflow.tflow()
    flow.request.host, flow.request.port = API, 443
    flow.client_conn.sni = client_sni
    connections.connected(flow.client_conn)
    server = Server(address=(address, 443))
    server.sni = server_sni
    context = Context(flow.client_conn, Options())
    context.server = server
    connections.tls_starts(TlsData(server, context), verifies=verifies)
    assert list(connections.verified(flow)) == expected
    server.timestamp_end = 1.0
    assert list(connections.verified(flow)) == []


def test_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of a process that is not named any more is not let in any more, although it stays connected."""
    monkeypatch.setattr("credential_injector.proxy.processes.is_of", lambda process, *_: process == 12)
    connections, client = Connections(), tflow.tflow().client_conn
    connections.let_in_only(12)
    connections.connected(client)
    assert connections.lets_in(client)
    connections.let_in_only(12)
    assert connections.lets_in(client)
    connections.let_in_only(None)
    assert not connections.lets_in(client)

"""Where a flow's request goes, and which names in it say otherwise."""

from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow

from credential_injector.proxy import flows
from credential_injector.proxy.flows import FlowRequest
from credential_injector.proxy.server_connections import Connections

API = "api.example.com"


def flow_of(url: str, mode: str = "regular", host: str | None = None, sni: str | None = None) -> http.HTTPFlow:
    flow = tflow.tflow(req=http.Request.make("GET", url))
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    flow.client_conn.sni = sni
    flow.server_conn.sni = None
    if host is not None:
        flow.request.headers["Host"] = host
    return flow


def host_of(flow: http.HTTPFlow, *, keep: bool = False) -> tuple[str, list[str]]:
    """The destination's host, and what names another one."""
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        context.options.add_option("keep_host_header", bool, keep, "")
        request = FlowRequest(flow, Connections())
        return request.destination.host, [claim.where for claim in request.claims()]


ADDRESS = "https://192.0.2.7/orders"


@pytest.mark.parametrize(
    ("flow", "goes_to", "claims"),
    [
        (flow_of(f"https://{API}/", sni=API), API, []),
        (flow_of(f"https://{API}/", host="API.example.com.:443", sni=API), API, []),
        (flow_of("https://evil.example/", host=API), "evil.example", ["Host header"]),
        (flow_of(ADDRESS, "socks5", host=API, sni=API), API, []),
        (flow_of("http://192.0.2.7/orders", "socks5", host=API, sni=API), "192.0.2.7", ["Host header"]),
        (flow_of(ADDRESS, "reverse:https://192.0.2.7", host=API, sni=API), "192.0.2.7", ["Host header"]),
        (flow_of(f"https://{API}/", f"reverse:https://{API}", sni="my-proxy.local"), API, []),
    ],
)
async def test_destination(flow: http.HTTPFlow, goes_to: str, claims: list[str]) -> None:
    """The host that is dialled, or the name against which its address is verified; never the Host header's."""
    assert host_of(flow) == (goes_to, claims)


@pytest.mark.parametrize("mode", ["regular", "upstream:http://127.0.0.1:3128"])
async def test_address_as_target(mode: str) -> None:
    """Where the request target is an address, mitmproxy verifies the server against that."""
    flow = flow_of(ADDRESS, mode, host=API, sni=API)
    flow.server_conn.address = None
    assert host_of(flow) == ("192.0.2.7", ["Host header", "TLS server name (SNI)"])


async def test_keep_host_header() -> None:
    """In reverse mode the client's SNI names the proxy, unless it goes on to the server."""
    flow = flow_of(f"https://{API}/", f"reverse:https://{API}", sni="my-proxy.local")
    assert host_of(flow, keep=True) == (API, ["TLS server name (SNI)"])


@pytest.mark.parametrize(("host", "goes_to"), [(API, API), (None, "192.0.2.7")])
async def test_replay_to_an_address(host: str | None, goes_to: str) -> None:
    """mitmproxy verifies it against the Host header."""
    flow = flow_of(ADDRESS, "socks5", sni=API)
    flow.request.headers.pop("Host", None)
    if host is not None:
        flow.request.headers["Host"] = host
    flow.is_replay = "request"
    assert host_of(flow) == (goes_to, [])


@pytest.mark.parametrize(
    ("lie", "where"),
    [
        ("host", "Host header"),
        ("second host", "Host header"),
        ("authority", "request target"),
        ("client sni", "TLS server name (SNI)"),
        ("upstream sni", "TLS server name (SNI)"),
    ],
)
async def test_claims(lie: str, where: str) -> None:
    """Each name of another host is a claim."""
    flow = flow_of(f"https://{API}/", sni=API)
    if lie == "host":
        flow.request.headers["Host"] = "evil.example"
    elif lie == "second host":
        flow.request.headers.set_all("Host", [API, "evil.example"])
    elif lie == "authority":
        flow.request.authority = "evil.example"
    elif lie == "client sni":
        flow.client_conn.sni = "evil.example"
    else:
        flow.server_conn.sni = "evil.example"
    assert host_of(flow) == (API, [where])


@pytest.mark.parametrize(
    ("url", "dialled", "via", "here"),
    [
        ("https://127.0.0.1:9443/", None, None, True),
        ("https://localhost/", None, None, True),
        ("https://api.example.com/", None, None, False),
        ("https://127.0.0.1:9443/", "192.0.2.7", None, False),
        ("https://127.0.0.1:9443/", None, "192.0.2.1", False),
        ("https://127.0.0.1:9443/", None, "127.0.0.1", True),
    ],
)
def test_ends_here(url: str, dialled: str | None, via: str | None, here: bool) -> None:
    """Only where its name, the address that is dialled and an upstream proxy are all of this machine."""
    flow = flow_of(url)
    host = flow.request.host
    if dialled is not None:
        flow.request.host = dialled
    flow.server_conn.via = ("http", (via, 3128)) if via is not None else None
    assert flows.ends_here(flow, host) == here


def test_request() -> None:
    """What the policy asks of it, where nothing needs mitmproxy's options."""
    flow = flow_of(f"https://{API}/orders?page=2", sni=API)
    flow.client_conn.peername = ("192.0.2.9", 50000)
    flow.metadata["proxyauth"] = ("me", "password")
    request: Any = FlowRequest(flow, Connections())
    assert (request.head.method, request.head.path, request.client) == (b"GET", b"/orders?page=2", "192.0.2.9")
    assert (request.is_let_in, request.is_replay, request.is_reverse) == (True, False, False)
    assert (request.proxy, request.replaced_before, request.verified()) == (None, None, ())


@pytest.mark.parametrize(
    ("mode", "is_let_in"), [("wireguard", True), ("local:curl", True), ("regular", False), ("transparent", False)]
)
def test_let_in_by_mode(mode: str, is_let_in: bool) -> None:
    """Clients whose addresses mitmproxy makes up."""
    request: Any = FlowRequest(flow_of(f"https://{API}/", mode), Connections())
    assert request.is_let_in is is_let_in


async def test_replay() -> None:
    """A replay in reverse mode, whose client has no address."""
    flow = flow_of(f"https://{API}/", f"reverse:https://{API}")
    flow.client_conn.peername = None  # type: ignore[assignment]
    flow.is_replay = "request"
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        context.options.add_option("keep_host_header", bool, False, "")
        request: Any = FlowRequest(flow, Connections())
        assert (request.is_let_in, request.is_replay, request.is_reverse) == (False, True, True)
        assert request.client is None

"""mitmweb's own port, which no client may reach through the proxy.

Before 11.1.2 mitmweb has no login and serves everybody who connects from this machine. Through the proxy all clients
do, so any of them could read every flow and set every option (CVE-2025-23217).
"""

import asyncio
import ipaddress
import logging
import re

from mitmproxy import ctx, http
from mitmproxy.proxy.mode_specs import UpstreamMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.version import VERSION

from credential_injector.proxy import internals

logger = logging.getLogger(__name__)

_FIXED_IN = (11, 1, 2)
_REFUSED = "mitmweb cannot be reached through the proxy (CVE-2025-23217); open it directly"


def is_needed(version: str = VERSION) -> bool:
    """Whether this mitmproxy lets its clients into mitmweb."""
    return tuple(map(int, re.findall(r"\d+", version)[:3])) < _FIXED_IN


def refuse_any_port(value: int) -> None:
    """The option web_port. Raises ValueError where it leaves mitmweb's port open."""
    if value == 0:
        raise ValueError(
            "is 0, but this mitmproxy's mitmweb has no login, and clients can be kept away from a known port only;"
            " name one, or use mitmproxy 12"
        )


def tell_taken_port() -> None:
    """Log an error, which ends the start, where mitmweb cannot listen on its port; its own error is a traceback."""
    if "web_port" not in ctx.options or not internals.are_scripts_loaded_at_start():
        return
    from tornado import netutil  # which mitmweb has imported

    host, port = ctx.options.web_host, ctx.options.web_port
    try:
        for one in netutil.bind_sockets(port, host):
            one.close()
    except OSError as error:
        logger.error(
            f"web_port: mitmweb cannot listen on {host or '*'}:{port} ({error.strerror}); end what does, or choose"
            f" another port: --set web_port={port + 2}"
        )


class WebGuard:
    """Refuses connections to mitmweb's port on this machine."""

    name = "credential_injector_web_guard"

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """An upstream proxy makes the connection itself, so check what it is asked for."""
        if _asks_upstream(flow):
            flow.response = http.Response.make(502, f"{_REFUSED}\n", {"Content-Type": "text/plain"})

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """As in `http_connect`, without a tunnel."""
        if _asks_upstream(flow):
            flow.kill()  # type: ignore[no-untyped-call]  # a response would crash mitmproxy where the body streams

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """Refuse the port on all names and addresses of this machine. Other ports cost nothing."""
        address = data.server.address
        if address is None or "web_port" not in ctx.options or address[1] != ctx.options.web_port:
            return
        try:
            found = await asyncio.get_running_loop().getaddrinfo(address[0], address[1])
        except OSError:
            data.server.error = "its name cannot be resolved"
            return
        hosts = [str(sockaddr[0]) for *_, sockaddr in found]
        for host in hosts:
            if await _is_own(host):
                data.server.error = _REFUSED
                return
        data.server.address = (hosts[0], address[1])  # so that a second look at the name cannot find another address


def _asks_upstream(flow: http.HTTPFlow) -> bool:
    """Whether an upstream proxy is asked for mitmweb's port, on whatever machine: only that proxy resolves the name."""
    upstream = isinstance(flow.client_conn.proxy_mode, UpstreamMode) and flow.is_replay is None
    return upstream and "web_port" in ctx.options and flow.request.port == ctx.options.web_port


async def _is_own(host: str) -> bool:
    """Whether an address is this machine's: only those can be bound to."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_loopback or ip.is_unspecified:
        return True
    try:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=(host, 0)
        )
    except OSError:
        return False
    transport.close()
    return True

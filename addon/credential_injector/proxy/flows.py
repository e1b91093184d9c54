"""Questions about a flow: where its request really goes, who sent it, whether it can still be answered."""

from collections.abc import Sequence

from mitmproxy import ctx, http
from mitmproxy.proxy.mode_specs import LocalMode, ReverseMode, WireGuardMode

from credential_injector.origins.claims import Claim
from credential_injector.origins.hosts import is_address, is_loopback, normalise_host
from credential_injector.origins.index import Destination
from credential_injector.proxy import internals, record
from credential_injector.proxy.credentials.credential import Before
from credential_injector.proxy.server_connections import Connections

# Their clients have made-up addresses, 169.254.0.1 and 10.0.0.1 (measured in 11.0.2 and 12.3.1). Those of local mode
# are programs of this machine that its user has named, and those of WireGuard hold a key.
LET_IN_BY_MODE = (LocalMode, WireGuardMode)


class FlowRequest:
    """A flow's request, as the policy asks about it."""

    __slots__ = ("_connections", "_flow", "destination", "head")

    def __init__(self, flow: http.HTTPFlow, connections: Connections) -> None:
        self._flow = flow
        self._connections = connections
        # The fields of `data` are decoded by the request's properties, which take as long as all the rest.
        self.head = data = flow.request.data
        name = normalise_host(data.host)
        if data.scheme != b"https":
            scheme = _text(data.scheme)
        else:
            scheme = "https"
            if is_address(name) and _resolved_before(flow) and (sni := _verified_against(flow)) is not None:
                name = normalise_host(sni)
        self.destination = Destination(scheme, name, data.port, data.path.decode("utf-8", "surrogateescape"))

    def claims(self) -> Sequence[Claim]:
        """What in the request, or in its TLS, names another host or port than mitmproxy dials.

        TLS is verified against the SNI, a server behind a shared address chooses by the Host header, and either may be
        written by whoever wrote the request. So all of it must name the destination.
        """
        data, flow = self.head, self._flow
        _, name, port, _ = self.destination
        found: list[Claim] = []
        # Nearly always they are letter for letter the same, and need no second look.
        same = name.encode("utf-8", "replace")
        for field, value in data.headers.fields:
            if len(field) == 4 and value != same and field.lower() == b"host":
                found.append(Claim("Host header", _text(value)))
        if data.authority and data.authority != same:
            found.append(Claim("request target", _text(data.authority)))
        if data.scheme == b"https" and not flow.client_conn.sni == name == (flow.server_conn.sni or name):
            names = (_verified_against(flow), flow.server_conn.sni)
            found += [Claim("TLS server name (SNI)", sni) for sni in names if sni is not None]
        return [claim for claim in found if not claim.means(name, port)] if found else found

    @property
    def client(self) -> str | None:
        peer = self._flow.client_conn.peername
        return peer[0] if peer else None

    @property
    def is_let_in(self) -> bool:
        client = self._flow.client_conn
        by_mode = isinstance(client.proxy_mode, LET_IN_BY_MODE)
        return by_mode or "proxyauth" in self._flow.metadata or self._connections.lets_in(client)

    @property
    def asks_as(self) -> Sequence[str]:
        client, names = self._flow.client_conn, []
        if (before := record.asked_as(self._flow)) is not None:  # the header is gone by now
            names.append(before)
        match self._flow.metadata.get("proxyauth"):
            case [str(user), *_]:
                names.append(user)
        names.append(client.proxy_mode.full_spec)
        if client.sockname:
            names.append(f"{client.proxy_mode.type_name}@{client.sockname[1]}")
        return names

    @property
    def is_replay(self) -> bool:
        return self._flow.is_replay == "request"

    @property
    def is_reverse(self) -> bool:
        return isinstance(self._flow.client_conn.proxy_mode, ReverseMode)

    @property
    def proxy(self) -> str | None:
        return proxy_elsewhere(self._flow)

    @property
    def ends_here(self) -> bool:
        return ends_here(self._flow, self.destination.host)

    def verified(self) -> Sequence[str | None]:
        return self._connections.verified(self._flow)

    @property
    def replaced_before(self) -> Before | None:
        return replaced_before(self._flow)


def upstream(flow: http.HTTPFlow) -> str:
    """The address of the upstream proxy by which the request goes; empty without one."""
    via = flow.server_conn.via
    return "" if via is None else "{}:{}".format(*via[1])


def proxy_elsewhere(flow: http.HTTPFlow) -> str | None:
    """The upstream proxy by which the request goes, where that is not on this machine."""
    via = flow.server_conn.via
    return None if via is None or is_loopback(host := normalise_host(via[1][0])) else host


def ends_here(flow: http.HTTPFlow, host: str) -> bool:
    """Whether the request can only end on this machine. `host` is its destination's."""
    return is_loopback(host) and is_loopback(normalise_host(flow.request.host)) and proxy_elsewhere(flow) is None


def replaced_before(flow: http.HTTPFlow) -> Before | None:
    """Of a replay: what our token replaced when the request was sent first."""
    return record.replaced(flow) if flow.is_replay == "request" and record.was_injected(flow) else None


def hide_proxyauth(flow: http.HTTPFlow) -> None:
    """Forget the password with which proxyauth let the client in, or did not; its user stays."""
    if "proxyauth" in flow.metadata:
        match flow.metadata["proxyauth"]:
            case [str(user), *_]:
                flow.metadata["proxyauth"] = (user, "<masked>")
            case _:  # read from a file, which may hold anything
                flow.metadata["proxyauth"] = "<masked>"
    if flow.response is None:
        return
    if "proxy-authorization" in flow.request.headers:
        flow.request.headers["Proxy-Authorization"] = "<masked>"
    # In other modes it refuses as a server does.
    challenges = flow.response.headers.get_all("www-authenticate")
    if "authorization" in flow.request.headers and internals.PROXYAUTH_CHALLENGE in challenges:
        flow.request.headers["Authorization"] = "<masked>"


def may_stream(request: http.Request) -> bool:
    """Whether the body is, or may come to be, sent on while it arrives."""
    if request.stream:
        return True
    if not ctx.options.stream_large_bodies:
        return False
    if "transfer-encoding" in request.headers:
        return True
    # A body of known length that is to be streamed is marked as such by now. In HTTP/1 none is known to be none.
    return "content-length" not in request.headers and (request.is_http2 or request.is_http3)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _resolved_before(flow: http.HTTPFlow) -> bool:
    """Whether a name had been resolved to the address that was dialled (transparent, wireguard, socks5, a tunnel): then
    the verified SNI is the name.

    Not so in reverse mode, and not where the request target itself is an address (`GET https://192.0.2.7/`): mitmproxy
    then verifies the server against that, and the client's SNI may be the one of the TLS to this proxy. Only then is
    no server known yet.
    """
    return not isinstance(flow.client_conn.proxy_mode, ReverseMode) and flow.server_conn.address is not None


def _verified_against(flow: http.HTTPFlow) -> str | None:
    """The name, if it is not the dialled one, that mitmproxy verifies or will verify the server against."""
    if flow.request.scheme != "https":
        return None
    if flow.is_replay == "request":
        return flow.request.pretty_host
    # In reverse mode the client's SNI names this proxy, and goes on to the server only with keep_host_header.
    reverse = isinstance(flow.client_conn.proxy_mode, ReverseMode)
    return None if reverse and not ctx.options.keep_host_header else flow.client_conn.sni

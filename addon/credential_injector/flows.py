"""Questions about a flow: where it really goes, what it carries, whether it can still be answered."""

from typing import cast

from mitmproxy import ctx, http
from mitmproxy.proxy.mode_specs import ReverseMode

from credential_injector import masking, record
from credential_injector.destinations import PAGE_ORIGIN, Claim, Origin, is_address, normalise_host
from credential_injector.environments import Environment


def destination(flow: http.HTTPFlow) -> str:
    """The normalised host that mitmproxy dials, or, for an address, the name against which it verifies the server."""
    name = normalise_host(flow.request.host)
    sni = _verified_against(flow)
    return normalise_host(sni) if sni is not None and is_address(name) and _resolved_before(flow) else name


def contradictions(flow: http.HTTPFlow, name: str) -> list[Claim]:
    """What in the request, or in its TLS, names another host or port than it is dialled to, which is `name`.

    TLS is verified against the SNI, a server behind a shared address chooses by the Host header, and either may be
    written by whoever wrote the request. So all of it must name `name`.
    """
    data = flow.request.data
    # Nearly always they are letter for letter the same, and the rest need not be looked at.
    same = name.encode(errors="replace")
    with_port = b"%s:%d" % (same, data.port)
    claims = [
        Claim("Host header", value.decode("latin-1"))
        for field, value in data.headers.fields
        if len(field) == 4 and value not in (same, with_port) and field.lower() == b"host"
    ]
    if data.authority and data.authority not in (same, with_port):
        claims.append(Claim("request target", data.authority.decode("latin-1")))
    if data.scheme == b"https":
        claims += [
            Claim("TLS server name (SNI)", sni)
            for sni in (_verified_against(flow), flow.server_conn.sni)
            if sni is not None and sni != name
        ]
    return [claim for claim in claims if not claim.means(name, data.port)] if claims else claims


def is_from_elsewhere(flow: http.HTTPFlow, name: str, environment: Environment) -> str | None:
    """Why the request was made by a page of another origin, which must not act in our name; None where it was not.

    A browser adds these headers itself (Fetch Metadata; Fetch standard, section 3.2), and no page can change them.
    """
    headers = flow.request.headers
    site, origins = headers.get_all("sec-fetch-site"), headers.get_all("origin")
    if not site and not origins:
        return None
    pages = [page.lower() for page in origins]
    if pages and environment.page_origins.issuperset(pages):
        return None
    if "cross-site" in map(str.lower, site):
        return f"{_shown(pages)} made it, which is another site"
    # In reverse mode the page has this proxy's own origin, of which only the browser knows.
    if site == ["same-origin"] and isinstance(flow.client_conn.proxy_mode, ReverseMode):
        return None
    own = Origin(flow.request.scheme, name, flow.request.port).base
    return f"{_shown(pages)} made it, which is of another origin" if set(pages) - {own} else None


def replaced(flow: http.HTTPFlow, environment: Environment) -> str | None:
    """What the client sent in the credential's place, by its scheme; None where it sent nothing.

    In a replay that is what our own earlier token replaced.
    """
    value = flow.request.headers.get(environment.header)
    if value is not None:
        return record.scheme(value)
    replays = flow.is_replay == "request" and record.was_injected(flow)
    return cast("str | None", flow.metadata[record.KEY]["replaced"]) if replays else None


def take_back(flow: http.HTTPFlow) -> None:
    """Remove our earlier token, or its mask, from a request that is replayed: it may go elsewhere by now."""
    if flow.is_replay != "request" or not record.was_injected(flow):
        return
    shown = flow.metadata[record.KEY]["token"]
    for earlier in (masking.find(flow.request.headers, shown), shown):
        if earlier is not None:
            masking.drop(flow.request.headers, earlier)


def hide_proxyauth(flow: http.HTTPFlow) -> None:
    """Forget the password with which proxyauth let the client in, or did not; its user stays."""
    if "proxyauth" in flow.metadata:
        flow.metadata["proxyauth"] = (flow.metadata["proxyauth"][0], "<masked>")
    if "proxy-authorization" in flow.request.headers and flow.response is not None:
        flow.request.headers["Proxy-Authorization"] = "<masked>"


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


def is_preflight(request: http.Request) -> bool:
    """A CORS preflight (Fetch standard, section 4.8)."""
    return request.method == "OPTIONS" and "access-control-request-method" in request.headers


def _shown(pages: list[str]) -> str:
    return f"a page of {pages[0]}" if pages and PAGE_ORIGIN.fullmatch(pages[0]) else "a page"


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

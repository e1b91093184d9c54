"""Questions about a flow: where it really goes, what it carries, whether it can still be answered."""

from typing import cast

from mitmproxy import ctx, http
from mitmproxy.proxy.mode_specs import ReverseMode

from credential_injector import record
from credential_injector.destinations import contradiction, is_address, normalise_host
from credential_injector.environments import Environment
from credential_injector.token_source import fingerprint


def destination(flow: http.HTTPFlow) -> str:
    """The normalised host that mitmproxy dials, or, for an address, the name against which it verifies the server."""
    name = normalise_host(flow.request.host)
    if flow.request.scheme != "https" or not _resolved_before(flow) or not is_address(name):
        return name
    sni = _verified_against(flow)
    return name if sni is None else normalise_host(sni)


def disagreement(flow: http.HTTPFlow, name: str) -> str | None:
    """Why the request may be meant for, or answered by, somebody else than `name`; None where everything agrees."""
    request = flow.request
    authorities = _header(request, "host")
    if authority := request.authority:  # decoded anew with each look
        authorities.append(authority)
    return contradiction(
        name,
        request.scheme,
        request.port,
        client_sni=_verified_against(flow),
        upstream_sni=flow.server_conn.sni,
        authorities=authorities,
    )


def replaced(flow: http.HTTPFlow, environment: Environment) -> str | None:
    """What the client sent in the credential's place, by its scheme; None where it sent nothing.

    In a replay our own earlier token stands there, which is none of the client's.
    """
    values = _header(flow.request, environment.header)
    if not values:
        return None
    value = ", ".join(values)
    if flow.is_replay == "request" and record.was_injected(flow):
        earlier = flow.metadata[record.KEY]
        if earlier["token"] == fingerprint(value.removeprefix(environment.prefix).lstrip()):
            return cast("str | None", earlier["replaced"])
    return record.scheme(value)


def write(request: http.Request, header: str, value: str) -> None:
    """Put a value into a header, in the place of what stands there."""
    if _header(request, header):
        request.headers[header] = value
    else:
        request.headers.fields += ((header.encode(), value.encode()),)


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


def _header(request: http.Request, name: str) -> list[str]:
    """`request.headers.get_all(name)`, which takes three times as long."""
    wanted = name.lower().encode()
    return [
        value.decode("utf-8", "surrogateescape") for field, value in request.headers.fields if field.lower() == wanted
    ]


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

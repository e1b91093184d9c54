"""Questions about a flow: where it really goes, what it carries, whether it can still be answered."""

from collections.abc import Callable
from typing import cast

from mitmproxy import ctx, http
from mitmproxy.addons.proxyauth import REALM
from mitmproxy.proxy.mode_specs import ReverseMode

from credential_injector.environments.environment import Environment
from credential_injector.oauth.fingerprints import fingerprint
from credential_injector.origins.claims import Claim
from credential_injector.origins.hosts import is_address, is_loopback, normalise_host
from credential_injector.origins.index import Destination
from credential_injector.origins.origin import PAGE_ORIGIN, Origin
from credential_injector.proxy import masking, record
from credential_injector.proxy.masking import Mask

_BY_PROXYAUTH = f'Basic realm="{REALM}"'

# RFC 9110 section 5.6.2, and RFC 9112 section 3.2.1. Deleting what is allowed is the fastest way to find what is not.
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TARGET = bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))
_VALUE = bytes(set(range(0x100)) - set(b"\r\n\0"))

# Headers by which some servers take another method than the request's.
_METHOD_OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")


def destination(flow: http.HTTPFlow) -> Destination:
    """Where mitmproxy dials."""
    data = flow.request.data  # whose fields the request's properties decode, which takes as long as all the rest
    name = normalise_host(data.host)
    if data.scheme == b"https" and is_address(name) and _resolved_before(flow):
        sni = _verified_against(flow)
        name = name if sni is None else normalise_host(sni)
    path = data.path.decode("utf-8", "surrogateescape")
    return Destination("https" if data.scheme == b"https" else _text(data.scheme), name, data.port, path)


def contradictions(flow: http.HTTPFlow, destination: Destination) -> list[Claim]:
    """What in the request, or in its TLS, names another host or port than it is dialled to.

    TLS is verified against the SNI, a server behind a shared address chooses by the Host header, and either may be
    written by whoever wrote the request. So all of it must name the destination.
    """
    data = flow.request.data
    name = destination.host
    claims: list[Claim] = []
    # Nearly always they are letter for letter the same, and need no second look.
    same = name.encode("utf-8", "replace")
    for field, value in data.headers.fields:
        if len(field) == 4 and value != same and field.lower() == b"host":
            claims.append(Claim("Host header", _text(value)))
    if data.authority and data.authority != same:
        claims.append(Claim("request target", _text(data.authority)))
    if data.scheme == b"https" and not flow.client_conn.sni == name == (flow.server_conn.sni or name):
        names = (_verified_against(flow), flow.server_conn.sni)
        claims += [Claim("TLS server name (SNI)", sni) for sni in names if sni is not None]
    return [claim for claim in claims if not claim.means(name, destination.port)] if claims else claims


def malformed(request: http.Request) -> str | None:
    """What in the request one program reads as the end of a line, or as another host, and another does not.

    HTTP/2 carries such names and values as they are, and mitmproxy may write them into HTTP/1: then the server reads
    another request than the one that was looked at.
    """
    data = request.data
    if not data.method or data.method.translate(None, _TOKEN):
        return "its method is no token"
    if data.path.translate(None, _TARGET) or not (data.path[:1] == b"/" or data.path == b"*"):
        return "its path does not begin with a slash, or holds a space or a control character"
    if not data.headers.fields:
        return None
    names, values = zip(*data.headers.fields, strict=True)
    if b"".join(names).translate(None, _TOKEN):
        return "the name of one of its headers is no token"
    if b"".join(values).translate(None, _VALUE):
        return "the value of one of its headers holds a line break or a NUL"
    return None


def methods(request: http.Request) -> set[str]:
    """The request's method, and those that some servers would take instead of it."""
    others = [value for name in _METHOD_OVERRIDES for value in request.headers.get_all(name)]
    others += [value for name, value in request.query.fields if name.lower() in ("_method", *_METHOD_OVERRIDES)]
    return {request.method, *(other.strip().upper() for other in others)}


def proxy_elsewhere(flow: http.HTTPFlow) -> str | None:
    """The upstream proxy by which the request goes, where that is not on this machine."""
    via = flow.server_conn.via
    return None if via is None or is_loopback(host := normalise_host(via[1][0])) else host


def is_this_machine(flow: http.HTTPFlow, host: str) -> bool:
    """Whether the request can only end on this machine. `host` is its destination's."""
    return is_loopback(host) and is_loopback(normalise_host(flow.request.host)) and proxy_elsewhere(flow) is None


def is_from_elsewhere(flow: http.HTTPFlow, destination: Destination, environment: Environment) -> str | None:
    """Why the request was made by a page of another origin, which must not act in our name; None where it was not.

    A browser adds these headers itself (Fetch Metadata; Fetch standard, section 3.2), and no page can change them.
    """
    site, origins = [], []
    for field, value in flow.request.headers.fields:
        if len(field) == 14 and field.lower() == b"sec-fetch-site":
            site.append(_text(value).lower())
        elif len(field) == 6 and field.lower() == b"origin":
            origins.append(_text(value).lower())
    if not site and not origins:
        return None
    if origins and environment.page_origins.issuperset(origins):
        return None
    if "cross-site" in site:
        return f"{_shown(origins)} made it, which is another site"
    # In reverse mode the page has this proxy's own origin, of which only the browser knows.
    if site == ["same-origin"] and isinstance(flow.client_conn.proxy_mode, ReverseMode):
        return None
    own = Origin(destination.scheme, destination.host, destination.port).base
    return f"{_shown(origins)} made it, which is of another origin" if set(origins) - {own} else None


def replaced(flow: http.HTTPFlow, environment: Environment) -> str | None:
    """What the client sent in the credential's place, by its scheme; None where it sent nothing.

    In a replay that is what our own earlier token replaced.
    """
    header, length = environment.header, len(environment.header)
    # `headers.get` takes four times as long.
    for field, value in flow.request.headers.fields:
        if len(field) == length and field.lower() == header.lower().encode():
            return record.scheme(_text(value))
    replays = flow.is_replay == "request" and record.was_injected(flow)
    return cast("str | None", flow.metadata[record.KEY]["replaced"]) if replays else None


def take_back(flow: http.HTTPFlow) -> None:
    """Remove our earlier token, or its mask, from a request that is replayed: it may go elsewhere by now."""
    if not record.was_injected(flow):
        return
    carried, headers = flow.metadata[record.KEY], flow.request.headers
    for name in carried.get("headers", []):
        headers.pop(name, None)
    token, length, masks = carried["token"], carried.get("token_length"), earlier_masks(flow)
    # What is of another length is none of ours: a person has put it in the token's place, and it stays.
    if not isinstance(length, int) or any(
        len(mask.secret) == length or fingerprint(mask.secret) == token for mask in masks
    ):
        masking.drop(headers, masks)
    shown = masking.mask_of(carried["environment"], "", "", token or masking.unnamed()).shown
    masking.drop(headers, [Mask("", shown, shown)])


def earlier_masks(flow: http.HTTPFlow) -> list[Mask]:
    """The masks of what was injected into a flow and is not masked yet.

    Where no header holds the token's fingerprint (it has none, or was made with the key of another user), that is
    whatever stands in the token's own header.
    """
    carried, headers = flow.metadata[record.KEY], flow.request.headers
    environment, token = carried["environment"], carried["token"]
    found = masking.find(headers, environment, token) if token is not None else None
    masks = [found] if found is not None else []
    if found is None:
        header, label = carried.get("header", "Authorization"), token or masking.unnamed()
        # The prefix may be any: all of the secret may stand behind each of the words.
        masks += _masks(headers, environment, header, label, lambda value: masking.endings(record.credential(value)))
    for name in carried.get("headers", []):
        masks += _masks(headers, environment, name, masking.unnamed(name), lambda value: [value])
    return masks


def _masks(
    headers: http.Headers, environment: str, header: str, label: str, secrets: Callable[[str], list[str]]
) -> list[Mask]:
    """The masks of the secrets in this header, where they are not masked yet."""
    shown = masking.mask_of(environment, header, "", label).shown
    return [
        masking.mask_of(environment, header, secret, label)
        for value in headers.get_all(header)
        if shown not in value
        for secret in secrets(value)
        if secret
    ]


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
    if "authorization" in flow.request.headers and _BY_PROXYAUTH in flow.response.headers.get_all("www-authenticate"):
        flow.request.headers["Authorization"] = "<masked>"


def write(request: http.Request, header: str, value: str, *, replaces: bool) -> None:
    """Put a value into a header, in the place of what may stand there, or where nothing does."""
    if replaces:
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
    return request.data.method.upper() == b"OPTIONS" and "access-control-request-method" in request.headers


def _shown(origins: list[str]) -> str:
    if not origins or not PAGE_ORIGIN.fullmatch(origins[0]):
        return "a page"
    return "a page whose origin is null" if origins[0] == "null" else f"a page of {origins[0]}"


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

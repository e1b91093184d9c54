"""A URL that a person writes -> a request that the policy can be asked about."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from credential_injector.origins.claims import Claim
from credential_injector.origins.hosts import is_loopback
from credential_injector.origins.index import Destination
from credential_injector.origins.origin import parse_origin, parse_page_origin
from credential_injector.proxy.choice import HEADER
from credential_injector.proxy.credentials.credential import Before

THIS_MACHINE = "127.0.0.1"

_URL = re.compile(r"(?:([a-z][a-z0-9+.-]*)://)?([^/?#]*)(/[^?#]*)?(\?[^#]*)?(?:#.*)?", re.IGNORECASE)
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}")  # RFC 9110 section 9.1; no real one is as long


@dataclass(slots=True)
class WrittenHeaders:
    """Those that decide, and no more."""

    fields: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(slots=True)
class WrittenHead:
    """What the request would begin with."""

    method: bytes
    path: bytes
    headers: WrittenHeaders


@dataclass(frozen=True, slots=True)
class WrittenRequest:
    """A request that nobody has sent: every name in it is its destination's, and its server is verified."""

    destination: Destination
    head: WrittenHead
    client: str | None = THIS_MACHINE
    proxy: str | None = None
    assumed: tuple[str, ...] = ()
    """What the person did not write, a sentence each."""
    is_let_in: bool = field(default=False, init=False)
    is_replay: bool = field(default=False, init=False)
    is_reverse: bool = field(default=False, init=False)
    replaced_before: Before | None = field(default=None, init=False)
    asks_as: tuple[str, ...] = ()

    def claims(self) -> Sequence[Claim]:
        """No other name is in it."""
        return ()

    def verified(self) -> Sequence[str | None]:
        """No connection is open yet."""
        return ()

    @property
    def ends_here(self) -> bool:
        """Whether it can only end on this machine."""
        return self.proxy is None and is_loopback(self.destination.host)


def written(  # noqa: PLR0917 - a command of mitmproxy's has no keywords
    url: str,
    method: str = "GET",
    client: str = THIS_MACHINE,
    origin: str = "",
    proxy: str | None = None,
    asked_as: str = "",
) -> WrittenRequest:
    """The request that this client sends to this URL. With an `origin` a page of that origin makes it.

    `proxy` is as in Request, `asked_as` is what the header X-Inject-As says. Raises ValueError, whose text names what
    is wrong and repeats nothing of it.
    """
    scheme, destination = _destination(url.strip())
    if not _METHOD.fullmatch(method):
        raise ValueError("the method is malformed; expected one such as GET or POST")
    try:
        ipaddress.ip_address(client)
    except ValueError:
        raise ValueError("the client is no IP address; expected one such as 192.168.1.23") from None
    fields: list[tuple[bytes, bytes]] = []
    if origin:
        try:
            fields.append((b"Origin", parse_page_origin(origin).encode()))
        except ValueError as error:
            raise ValueError(f"the origin {error}") from None
        if method.upper() == "OPTIONS":  # a page's OPTIONS request is a preflight, or has one before it
            fields.append((b"Access-Control-Request-Method", b"GET"))
    if asked_as:
        fields.append((HEADER.encode(), asked_as.encode("utf-8", "surrogateescape")))
    assumed = () if scheme else ("the URL names no scheme, so it is taken for https",)
    head = WrittenHead(method.encode(), destination.path.encode(), WrittenHeaders(tuple(fields)))
    return WrittenRequest(destination, head, client, proxy, assumed)


def _destination(url: str) -> tuple[str | None, Destination]:
    """The scheme as it is written, and where the URL leads. Raises ValueError."""
    match = _URL.fullmatch(url) if url.isprintable() and " " not in url else None
    if match is None:
        raise ValueError("the URL holds a space or a control character; expected one such as https://api.example.com/")
    scheme, authority, path, query = match.groups()
    if not authority or ";" in authority or re.match(r"https?:$", authority, re.IGNORECASE):
        raise ValueError("the URL is malformed; expected one such as https://api.example.com/orders")
    try:
        origin = parse_origin(f"{scheme or 'https'}://{authority}")
    except ValueError as error:
        raise ValueError(f"the URL {error}") from None
    if origin.wildcard:
        raise ValueError("the URL holds a wildcard; expected one host")
    # Clients send what is not ASCII percent-encoded (RFC 3987 section 3.1).
    target = "".join(one if one.isascii() else quote(one) for one in (path or "/") + (query or ""))
    return scheme, Destination(origin.scheme, origin.host, origin.port, target)

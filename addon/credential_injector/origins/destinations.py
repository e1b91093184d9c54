"""Scheme, host, port, path -> what was configured for them; the most specific wins.

Pure: no I/O, no clock, no mitmproxy. Both sides of a comparison, the origin in an environment file and the name
in a request, go through the same `normalise_host`.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

import idna

from credential_injector.origins.public_suffixes import covers_public_suffix

T = TypeVar("T")

DEFAULT_PORTS = {"http": 80, "https": 443}
LONGEST_NAME = 253  # RFC 1035 section 2.3.4, in the dotted form
LONGEST_ADDRESS = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")

_ORIGIN = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?"
    r"(?P<wildcard>\*\.)?(?P<host>\[[^\]]*\]|[^/:?#\[\]]*)(?::(?P<port>[^/?#]*))?(?P<path>/[^?#]*)?(?P<rest>[?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
# Browsers write null for an opaque origin (a sandboxed frame, a file), and file:// for a file that may read others.
PAGE_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://(?:(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)?")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_AUTHORITY = re.compile(r"(\[[^\]]+\]|[^:@\[\]/]+)(?::([0-9]{1,5}))?")
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)+/?")
# Servers disagree on what these mean, so they prove no path prefix: dot segments; whatever may hide one, as it is or
# percent-encoded (";", "#", "%", a slash, a dot, control characters); overlong UTF-8.
_AMBIGUOUS_PATH = re.compile(
    r"/\.{1,2}(/|$)|[\\;#\x00-\x20\x7f]|%(?:[01][0-9a-f]|23|25|2e|2f|3b|5c|7f|c0|c1|e0%80|f0%80)", re.IGNORECASE
)
# What such a segment leaves of a path hangs on how the server reads those before it ("/a%2fb/..", "/a%3f/..").
_CLIMBS = re.compile(r"[/\\][ \t\r\n\0]*\.\.[ \t\r\n\0]*([/\\;?#]|$)")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a credential may go: an RFC 6454 origin, here with an optional wildcard and path prefix."""

    scheme: str
    host: str
    """Normalised. Of a wildcard, the part behind `*.`."""
    port: int
    path: str = ""
    """A path prefix without a slash at its end, or empty."""
    wildcard: bool = False

    @property
    def base(self) -> str:
        """Scheme, host and port as a URL; the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{'*.' if self.wildcard else ''}{host}{port}"

    def covers(self, host: str) -> bool:
        """Whether a normalised host is this one, or below it."""
        return host.endswith(f".{self.host}") if self.wildcard else host == self.host

    def __str__(self) -> str:
        return self.base + self.path


class Destination(NamedTuple):
    """Where a request goes."""

    scheme: str
    host: str
    """Normalised. For an address, the name against which the server is verified, if there is one."""
    port: int
    path: str
    """With its query, as it is sent."""


def parse_page_origin(text: str) -> str:
    """Read one origin of an ORIGINS line, as a browser writes it into the Origin header (RFC 6454 section 6.2).

    Raises ValueError that says what was expected, never the value.
    """
    origin = text.lower()
    origin = origin if origin.endswith("://") else origin.removesuffix("/")
    if not PAGE_ORIGIN.fullmatch(origin):
        raise ValueError("is malformed, a page's origin such as http://localhost:3000, file:// or null was expected")
    scheme = origin.partition(":")[0]
    return parse_origin(origin).base if scheme in DEFAULT_PORTS else origin


def normalise_host(host: str) -> str:
    """Lower case, no dot at the end, IDNA as ASCII, an IP address in its canonical spelling (RFC 5952).

    A name that IDNA refuses comes back as it is: it then equals nothing that was configured.
    """
    host = host.lower().removesuffix(".")
    if not host.isascii():
        if len(host) > LONGEST_NAME:  # it takes seconds to encode what is long enough
            return host
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return host
    # Only IPv6 addresses have several spellings; trying every host would cost more than the whole lookup.
    if ":" in host:
        try:
            return str(ipaddress.ip_address(host.strip("[]")))
        except ValueError:
            pass
    return host


def is_address(host: str) -> bool:
    """Whether a normalised host is an IP address. With a zone (RFC 6874) it is none, as that may be any text."""
    if ":" not in host and not host[-1:].isdigit():
        return False
    return len(host) <= LONGEST_ADDRESS and "%" not in host and _parses(host)


@lru_cache(maxsize=1024)
def _parses(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def is_name(host: str) -> bool:
    """Whether a normalised host is a domain name. Only an address ends in a number (WHATWG URL, host parsing)."""
    return len(host) <= LONGEST_NAME and _NAME.fullmatch(host) is not None and not host.rpartition(".")[2].isdigit()


def is_loopback(host: str) -> bool:
    """Whether a normalised host can only be this machine: a loopback address or `localhost` (RFC 6761)."""
    return ipaddress.ip_address(host).is_loopback if is_address(host) else host == "localhost"


def parse_origin(text: str) -> Origin:
    """Read one origin of a HOST line. No scheme means https.

    Raises ValueError that says what was expected, never the value.
    """
    if re.search(r"[\s;]", text):
        raise ValueError("holds a space or a semicolon, origins with commas between them were expected")
    match = _ORIGIN.fullmatch(text)
    if match is None or re.match(r"https?:/(?!/)", text, re.IGNORECASE):
        raise ValueError("is malformed, an origin such as https://api.qa.example.com was expected")
    scheme = (match["scheme"] or "https").lower()
    if scheme not in DEFAULT_PORTS:
        raise ValueError("has an unknown scheme, http or https was expected")
    if "@" in match["host"] or "@" in (match["port"] or ""):
        raise ValueError("holds a user name or password, only scheme, host, port and path were expected")
    if match["rest"] is not None:
        raise ValueError("holds a query or a fragment, only scheme, host, port and path were expected")
    host = normalise_host(match["host"])
    if not is_address(host) and not is_name(host):
        raise ValueError("has a malformed host, a name such as api.qa.example.com or *.qa.example.com was expected")
    if not match["host"].isascii() and not _spelt_alike(match["host"], host):
        raise ValueError("has a name that older and newer IDNA spell differently, its xn-- form was expected")
    if host in DEFAULT_PORTS:
        raise ValueError("has a scheme in the host's place, an origin such as https://api.qa.example.com was expected")
    wildcard = match["wildcard"] is not None
    if wildcard:
        _check_wildcard(host)
    return Origin(scheme, host, _port(match["port"], scheme), _path(match["path"] or ""), wildcard)


def _check_wildcard(host: str) -> None:
    """Raises ValueError where names below this one are nobody's, or anybody's."""
    if is_address(host):
        raise ValueError("puts a wildcard before an IP address, a name was expected")
    if covers_public_suffix(host):
        raise ValueError(
            "puts a wildcard before a public suffix, below which anybody can have a name;"
            " expected a domain of your own such as *.qa.example.com"
        )


def _spelt_alike(name: str, ascii_name: str) -> bool:
    """Whether browsers (IDNA 2008) mean the name that Python dials (IDNA 2003), which is not so with an eszett."""
    try:
        return idna.encode(name, uts46=True).decode("ascii").removesuffix(".") == ascii_name
    except idna.IDNAError:
        return False


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return DEFAULT_PORTS[scheme]
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise ValueError("has a malformed port, a number from 1 to 65535 was expected")
    return int(text)


def _path(path: str) -> str:
    if _AMBIGUOUS_PATH.search(path) or not path.isascii() or "*" in path or "//" in path:
        raise ValueError("has an ambiguous path, plain segments such as /orders/v2 were expected")
    return path.rstrip("/")


class Destinations(Generic[T]):
    """A lookup whose steps grow with the labels and segments of a request, not with the number of origins."""

    def __init__(self, entries: Iterable[tuple[Origin, T]] = ()) -> None:
        self._exact: dict[tuple[str, str, int], _Paths[T]] = {}
        self._wildcard: dict[tuple[str, str, int], _Paths[T]] = {}
        for origin, value in entries:
            table = self._wildcard if origin.wildcard else self._exact
            table.setdefault((origin.scheme, origin.host, origin.port), _Paths()).add(origin.path, value)

    def find(self, scheme: str, host: str, port: int, path: str) -> T | None:
        """The value of the most specific origin: exact host, then longest wildcard suffix; then longest path."""
        paths = self._exact.get((scheme, host, port))
        if paths is not None and (found := paths.find(path)) is not None:
            return found
        # What only looks like a name to us ("127.0.0.1\\0%.example.com") may be dialled as something else.
        if not self._wildcard or not is_name(host):
            return None
        dot = host.find(".")
        while dot >= 0:
            paths = self._wildcard.get((scheme, host[dot + 1 :], port))
            if paths is not None and (found := paths.find(path)) is not None:
                return found
            dot = host.find(".", dot + 1)
        return None


class _Paths(Generic[T]):
    """The path prefixes of one scheme, host and port."""

    def __init__(self) -> None:
        self._values: dict[str, T] = {}
        self._longest = 0

    def add(self, prefix: str, value: T) -> None:
        self._values[prefix] = value
        self._longest = max(self._longest, len(prefix))

    def find(self, path: str) -> T | None:
        if self._longest:
            path = path.partition("?")[0]
            if not _AMBIGUOUS_PATH.search(path):
                # No prefix reaches behind `_longest`: a path of many segments costs no more than the longest one.
                if len(path) > self._longest:
                    path = path[: max(path.rfind("/", 0, self._longest + 1), 0)]
                while path:
                    if path in self._values:
                        return self._values[path]
                    path = path[: max(path.rfind("/"), 0)]
        return self._values.get("")


class Excluded:
    """URLs below a destination that are no part of it, however their paths are spelt."""

    def __init__(self, urls: Iterable[str] = ()) -> None:
        self._paths: dict[tuple[str, str, int], set[tuple[str, ...]]] = {}
        for url in urls:
            self.add(url)

    def add(self, url: str) -> None:
        """Another one."""
        parts = urlsplit(url)
        origin = (parts.scheme, normalise_host(parts.hostname or ""), parts.port or DEFAULT_PORTS[parts.scheme])
        self._paths.setdefault(origin, set()).add(segments(parts.path))

    def holds(self, scheme: str, host: str, port: int, path: str) -> bool:
        """Whether this is one of them."""
        paths = self._paths.get((scheme, host, port))
        return paths is not None and (segments(path) in paths or _CLIMBS.search(_decoded(path)) is not None)


def difference(destination: Destination, origins: Iterable[Origin]) -> tuple[str, str]:
    """By what a destination differs from the nearest of these origins, one of which has its host: `scheme`, `host`,
    `port` or `path`; and a sentence that says so.
    """
    scheme, host, port, _ = destination

    def differs(origin: Origin) -> tuple[bool, bool, bool]:
        return origin.scheme != scheme, not origin.covers(host), origin.port != port

    mine = [one for one in origins if one.covers(host) or (is_loopback(one.host) and is_loopback(host))]
    nearest = min(mine, key=differs)
    other_scheme, other_host, other_port = differs(nearest)
    if other_scheme:
        # Whoever wrote the request may have written anything there.
        return "scheme", f"HOST is {nearest}, and this was {scheme if scheme in DEFAULT_PORTS else 'another scheme'}"
    if other_host:
        return "host", f"HOST is {nearest}, and this was {host}"
    if other_port:
        return "port", f"HOST is {nearest}, and this was port {port}"
    return "path", f"HOST is {nearest}, and this path is not below it"


class Claim(NamedTuple):
    """A name that a request carries."""

    where: str
    """What carries it, as messages call it: `Host header`."""
    authority: str
    """The host, maybe with a port, as it was written; whoever wrote it may have written anything."""

    @property
    def host(self) -> str | None:
        """Normalised; None where it is no host at all."""
        match = _AUTHORITY.fullmatch(self.authority)
        return normalise_host(match[1]) if match else None

    def means(self, name: str, port: int) -> bool:
        """Whether it names this host, with this port or none."""
        match = _AUTHORITY.fullmatch(self.authority)
        return match is not None and normalise_host(match[1]) == name and (match[2] is None or int(match[2]) == port)

    def __str__(self) -> str:
        host = self.host
        if host is None or not _is_plainly_a_host(host):
            return f"its {self.where} is no host's name"
        port = self.authority.rpartition(":")[2]
        return f"its {self.where} names {host}{f':{port}' if port.isdigit() and ':' not in host else ''}"


def _is_plainly_a_host(host: str) -> bool:
    """Whether it may be repeated: anything else could be a secret in the wrong place."""
    labels = host.split(".")
    return is_address(host) or is_loopback(host) or (is_name(host) and len(labels) > 1 and max(map(len, labels)) < 64)


def segments(path: str) -> tuple[str, ...]:
    """A path as the most lenient server reads it: decoded to the end, dot segments resolved, without case, parameters
    and empty segments. Two paths that some server may take for the same are equal here.
    """
    if _PLAIN_PATH.fullmatch(path):
        return tuple(path.casefold().strip("/").split("/"))
    found: list[str] = []
    for written in re.split(r"[/\\]", re.split(r"[?#]", _decoded(path))[0].casefold()):
        segment = written.partition(";")[0].strip(" \t\r\n\0")
        if segment == "..":
            del found[-1:]
        elif segment not in ("", "."):
            found.append(segment)
    return tuple(found)


def _decoded(path: str) -> str:
    """A path without its query, percent-decoded to the end."""
    path = path.partition("?")[0]
    for _ in range(4):  # no server decodes as often
        path = unquote(path)
    return path

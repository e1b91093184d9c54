"""Origins: text -> scheme, host, port and path. Pure."""

import re
from dataclasses import dataclass

import idna

from credential_injector.origins.hosts import is_address, is_name, normalise_host
from credential_injector.origins.paths import AMBIGUOUS
from credential_injector.origins.public_suffixes import covers_public_suffix

DEFAULT_PORTS = {"http": 80, "https": 443}

_ORIGIN = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?"
    r"(?P<wildcard>\*\.)?(?P<host>\[[^\]]*\]|[^/:?#\[\]]*)(?::(?P<port>[^/?#]*))?(?P<path>/[^?#]*)?(?P<rest>[?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
# Browsers write null for an opaque origin (a sandboxed frame, a file), and file:// for a file that may read others.
PAGE_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://(?:(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)?")


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
    if AMBIGUOUS.search(path) or not path.isascii() or "*" in path or "//" in path:
        raise ValueError("has an ambiguous path, plain segments such as /orders/v2 were expected")
    return path.rstrip("/")

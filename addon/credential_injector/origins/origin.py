"""The text of an origin -> scheme, host, port and path. Pure."""

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
# Browsers write null for an opaque origin (a sandboxed frame, a file), or file:// for a file that may read others.
PAGE_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://(?:(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)?")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a credential may go: an origin (RFC 6454), maybe with a wildcard and a path prefix."""

    scheme: str
    host: str
    """Normalised; of a wildcard, the part after `*.`."""
    port: int
    path: str = ""
    """A path prefix without a slash at its end, or empty."""
    wildcard: bool = False

    @property
    def base(self) -> str:
        """Scheme, host and port as a URL, without the scheme's default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{'*.' if self.wildcard else ''}{host}{port}"

    def covers(self, host: str) -> bool:
        """Whether a normalised host is this one, or below it."""
        return host.endswith(f".{self.host}") if self.wildcard else host == self.host

    def __str__(self) -> str:
        return self.base + self.path


def parse_origin(text: str) -> Origin:
    """Read one origin of a HOST line. Without a scheme it is https.

    Raises ValueError, whose text does not repeat the value.
    """
    if re.search(r"[\s;]", text):
        raise ValueError("holds a space or a semicolon; expected origins with commas between them")
    match = _ORIGIN.fullmatch(text)
    if match is None or re.match(r"https?:/(?!/)", text, re.IGNORECASE):
        raise ValueError("is malformed; expected an origin such as https://api.qa.example.com")
    scheme = (match["scheme"] or "https").lower()
    if scheme not in DEFAULT_PORTS:
        raise ValueError("has an unknown scheme; expected http or https")
    if "@" in match["host"] or "@" in (match["port"] or ""):
        raise ValueError("holds a user name or password; expected only scheme, host, port and path")
    if match["rest"] is not None:
        raise ValueError("holds a query or a fragment; expected only scheme, host, port and path")
    host = normalise_host(match["host"])
    if not is_address(host) and not is_name(host):
        raise ValueError("has a malformed host; expected a name such as api.qa.example.com or *.qa.example.com")
    if not match["host"].isascii() and not _spelt_alike(match["host"], host):
        raise ValueError("has a name that older and newer IDNA spell differently; expected its xn-- form")
    if host in DEFAULT_PORTS:
        raise ValueError("has a scheme in the host's place; expected an origin such as https://api.qa.example.com")
    wildcard = match["wildcard"] is not None
    if wildcard:
        _check_wildcard(host)
    return Origin(scheme, host, _port(match["port"], scheme), _path(match["path"] or ""), wildcard)


def parse_page_origin(text: str) -> str:
    """Read one origin of an ORIGINS line into what a browser writes in the Origin header (RFC 6454 section 6.2).

    Raises ValueError, whose text does not repeat the value.
    """
    origin = text.lower()
    origin = origin if origin.endswith("://") else origin.removesuffix("/")
    if not PAGE_ORIGIN.fullmatch(origin):
        raise ValueError("is malformed; expected a page's origin such as http://localhost:3000, file:// or null")
    scheme = origin.partition(":")[0]
    return parse_origin(origin).base if scheme in DEFAULT_PORTS else origin


def _check_wildcard(host: str) -> None:
    """Raises ValueError where there are no names below this one, or anybody can have one."""
    if is_address(host):
        raise ValueError("puts a wildcard before an IP address; expected a name")
    if covers_public_suffix(host):
        raise ValueError(
            "puts a wildcard before a public suffix, below which anybody can have a name;"
            " expected a domain of your own such as *.qa.example.com"
        )


def _spelt_alike(name: str, ascii_name: str) -> bool:
    """Whether browsers (IDNA 2008) and Python (IDNA 2003) dial the same name. With an eszett they do not."""
    try:
        return idna.encode(name, uts46=True).decode("ascii").removesuffix(".") == ascii_name
    except idna.IDNAError:
        return False


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return DEFAULT_PORTS[scheme]
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise ValueError("has a malformed port; expected a number from 1 to 65535")
    return int(text)


def _path(path: str) -> str:
    if AMBIGUOUS.search(path) or not path.isascii() or "*" in path or "//" in path:
        raise ValueError("has an ambiguous path; expected plain segments such as /orders/v2")
    return path.rstrip("/")

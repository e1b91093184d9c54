"""What a token request is made of: what changes the token, and how the authorization server is reached."""

import re
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, urlsplit

from credential_injector.origins.hosts import is_address, is_loopback, is_name, normalise_host

Fields = tuple[tuple[str, str], ...]

DEFAULT_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """Everything that changes the token. It is the token's identity: equal requests share one token."""

    endpoint: str = ""
    """The token endpoint. Empty: `issuer` publishes it, or the grant needs none."""
    client_id: str = ""
    grant_type: str = "client_credentials"
    """A row of `grants.GRANTS`."""
    auth_method: str = "client_secret_post"
    """A row of `client_auth.METHODS`. Empty: the issuer's metadata decides."""
    client_secret: str = field(default="", repr=False)
    scope: str = ""
    audience: tuple[str, ...] = ()
    resource: tuple[str, ...] = ()
    params: Fields = field(default=(), repr=False)
    headers: Fields = field(default=(), repr=False)
    issuer: str = ""
    values: Fields = field(default=(), repr=False)
    """The values of keys that only some grants or methods use, by key: `USERNAME`, `PRIVATE_KEY`."""
    login: Fields = field(default=(), repr=False, compare=False)
    """The values of keys that only a login uses, by key: `REDIRECT_URI`. They change nothing about the token, so they
    are no part of the identity: whoever edits them keeps the stored login."""

    def value(self, key: str) -> str:
        """The value of a key of the grant, the method or the login; empty where the file does not give it."""
        return dict((*self.values, *self.login)).get(key, "")

    def with_value(self, key: str, value: str) -> "TokenRequest":
        """The same request with another value for this key."""
        return replace(self, values=tuple({**dict(self.values), key: value}.items()))

    @property
    def server_url(self) -> str:
        """Where its tokens come from, as messages name it; empty for a credential that is in the file."""
        return without_query(self.endpoint or self.issuer)


@dataclass(frozen=True, slots=True)
class Transport:
    """How the authorization server is reached. Nothing here changes the token."""

    ca: str = field(default="", repr=False)
    """PEM certificates of the trusted authorities. Empty: those in `ca_file`."""
    ca_file: str = ""
    """A file of such certificates. Empty: certifi's."""
    proxy: str | None = field(default=None, repr=False)
    """The URL of an HTTP proxy, maybe with a password. Empty: no proxy. None: the file does not say."""
    timeout: float = DEFAULT_TIMEOUT
    """Seconds for a whole token request, discovery included."""
    insecure_tls: bool = False
    """The server's certificate is not verified."""

    def completed(self, ca_file: str = "", proxy: str = "") -> "Transport":
        """The same with these values where the environment file gives none."""
        given = self.proxy
        return replace(self, ca_file="" if self.ca else ca_file, proxy=proxy if given is None else given)


def without_query(url: str) -> str:
    """A URL as messages name it: its query may hold a secret."""
    return url.partition("?")[0]


def parse_endpoint(value: str) -> str:
    """Check a URL to which credentials go: https, or http to this machine (RFC 6749 section 3.2 requires TLS).

    Raises ValueError.
    """
    malformed = "is malformed; expected a URL such as https://login.example.com/oauth2/v2.0/token"
    parts, host = _split(value, malformed)
    if re.search(r"[\s\x00-\x1f\x7f\\]", value) or not value.isascii():
        raise ValueError(malformed)
    if parts.username is not None or "#" in value:
        raise ValueError("holds a user name or a fragment; expected only scheme, host, port, path and query")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("would send the credentials in clear; expected https (http only to this machine)")
    return value


def parse_proxy(value: str) -> str:
    """Check the URL of an HTTP proxy, maybe with a user and a password. `direct` becomes empty. Raises ValueError."""
    if value.lower() in ("", "direct"):
        return ""
    malformed = "is malformed; expected a proxy such as http://proxy.example.com:3128, or direct"
    parts, _ = _split(value, malformed)
    if parts.path not in ("", "/") or parts.query or parts.fragment or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ValueError(malformed)
    return value


def _split(url: str, malformed: str) -> tuple[SplitResult, str]:
    """The parts of an http or https URL, and its normalised host. Raises ValueError with this text."""
    try:
        parts = urlsplit(url)
        host, port = normalise_host(parts.hostname or ""), parts.port
    except ValueError:
        raise ValueError(malformed) from None
    if parts.scheme not in ("http", "https") or port == 0 or not (is_name(host) or is_address(host)):
        raise ValueError(malformed)
    return parts, host

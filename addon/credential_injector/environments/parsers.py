"""What a key's value may be: text -> value. Each parser raises ValueError, which never repeats the text."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from credential_injector.oauth.login_recipe import parse_at
from credential_injector.oauth.request import parse_endpoint
from credential_injector.origins.methods import Methods, parse_methods
from credential_injector.origins.origin import Origin, parse_origin, parse_page_origin

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
HEADERS_OF_HTTP = {
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
# RFC 8414 section 3.1 and OpenID Connect Discovery section 4.1: before or behind the issuer's path.
_METADATA = re.compile(r"([a-z]+://[^/]+)(/.*)?/\.well-known/(?:oauth-authorization-server|openid-configuration)(/.*)?")


def text(value: str) -> str:
    """Anything but nothing."""
    if not value:
        raise ValueError("is empty; expected a value")
    return value


def line(value: str) -> str:
    """One printable line."""
    if not text(value).isprintable():
        raise ValueError("holds a line break or a control character; expected one line")
    return value


def one_of(*choices: str, **others: str) -> Callable[[str], str]:
    """One of these, in any case; `others` are further names for some of them."""
    known = {choice.lower(): choice for choice in choices} | others

    def parse(value: str) -> str:
        if value.lower() not in known:
            raise ValueError(f"is not a known value; expected one of {', '.join(choices)}")
        return known[value.lower()]

    return parse


def true(value: str) -> bool:
    """`true` or `false`."""
    return one_of("true", "false")(value) == "true"


def seconds(longest: int) -> Callable[[str], float]:
    """A whole number of seconds, up to this one."""

    def parse(value: str) -> float:
        if not re.fullmatch(r"[0-9]{1,8}", value) or not 1 <= int(value) <= longest:
            raise ValueError(f"is not a number of seconds; expected 1 to {longest}")
        return float(value)

    return parse


def whole_seconds(longest: int) -> Callable[[str], str]:
    """As `seconds`, for a key whose value is kept as a text."""
    parse = seconds(longest)
    return lambda value: f"{parse(value):.0f}"


def endpoint(value: str) -> str:
    """The URL of an authorization server's endpoint."""
    return parse_endpoint(text(value))


def issuer(value: str) -> str:
    """An authorization server's issuer identifier (RFC 8414 section 2)."""
    if "?" in value:
        raise ValueError("holds a query; expected the issuer exactly as its server writes it")
    if metadata := _METADATA.fullmatch(endpoint(value)):
        of_metadata = "".join(filter(None, metadata.groups())).rstrip("/")
        raise ValueError(f"is the URL of the metadata; expected the issuer, {of_metadata}")
    return value


def redirect_uri(value: str) -> str:
    """A URL of this machine, to which a login's browser comes back."""
    parts = urlsplit(endpoint(value))
    if parts.scheme != "http" or not parts.port or parts.query:
        raise ValueError(
            "is not a URL of this machine with a port; expected one such as http://127.0.0.1:8400/callback"
        )
    return value


def items(value: str) -> tuple[str, ...]:
    """What stands between commas, each once."""
    return tuple(dict.fromkeys(item.strip() for item in value.split(",") if item.strip()))


def origins(value: str) -> tuple[Origin, ...]:
    """One or more origins."""
    parsed = []
    for number, item in enumerate(items(text(value)), start=1):
        try:
            parsed.append(parse_origin(item))
        except ValueError as error:
            raise ValueError(f"origin {number} {error}") from None
    if not parsed:
        raise ValueError("is empty; expected one or more origins with commas between them")
    return tuple(parsed)


def page_origins(value: str) -> frozenset[str]:
    """Origins of web pages."""
    return frozenset(parse_page_origin(item) for item in items(text(value)))


def methods(value: str) -> Methods:
    """HTTP methods, each maybe with a path."""
    return parse_methods(items(text(value)))


def header_name(value: str) -> str:
    """The name of a header that HTTP itself does not need."""
    if not HEADER_NAME.fullmatch(value):
        raise ValueError("is not a header's name; expected letters, digits and hyphens")
    if value.lower() in HEADERS_OF_HTTP:
        raise ValueError("is a header that HTTP itself needs; expected Authorization or one of the API's own")
    return value


def header_value(value: str) -> str:
    """What may stand in a header."""
    if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value):
        raise ValueError("cannot stand in a header; expected visible ASCII")
    return value


def prefix(value: str) -> str:
    """What stands before a credential in its header; maybe nothing."""
    return header_value(value) if value else ""


def query_name(value: str) -> str:
    """The name of a query parameter."""
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ValueError("is not a parameter's name; expected one such as api_key, without spaces")
    return value


def cookie_name(value: str) -> str:
    """The name of a cookie."""
    if not HEADER_NAME.fullmatch(value):  # RFC 6265 section 4.1.1
        raise ValueError("is not a cookie's name; expected letters, digits and hyphens")
    return value


def askers(value: str) -> tuple[str, ...]:
    """Names of accounts, users of a proxy, or modes with their ports."""
    names = items(text(value))
    if not names or not all(re.fullmatch(r"[\x21-\x7e]{1,100}", name) for name in names):
        raise ValueError("is malformed; expected names such as admin, or regular@8081")
    return names


def place_in_answer(value: str) -> str:
    """Where a login's answer holds something."""
    parse_at(value)
    return value


def login_method(value: str) -> str:
    """The method of a login."""
    return one_of("POST", "PUT", "GET")(value)


def true_as_text(value: str) -> str:
    """As `true`, for a key whose value is kept as a text."""
    return "true" if true(value) else ""

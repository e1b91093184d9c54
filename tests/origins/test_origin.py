"""Origins, as HOST and ORIGINS name them."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credential_injector.origins.hosts import normalise_host
from credential_injector.origins.origin import Origin, parse_origin, parse_page_origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("api.example.com", Origin("https", "api.example.com", 443)),
        ("https://API.Example.com.", Origin("https", "api.example.com", 443)),
        ("http://127.0.0.1:9000", Origin("http", "127.0.0.1", 9000)),
        ("api.example.com:8443", Origin("https", "api.example.com", 8443)),
        ("https://*.qa.example.com", Origin("https", "qa.example.com", 443, wildcard=True)),
        ("https://gw.example.com/orders/v2/", Origin("https", "gw.example.com", 443, "/orders/v2")),
        ("https://bücher.example", Origin("https", "xn--bcher-kva.example", 443)),
        ("https://[2001:DB8:0::1]:8443", Origin("https", "2001:db8::1", 8443)),
        ("HTTPS://api_internal.corp", Origin("https", "api_internal.corp", 443)),
    ],
)
def test_parsed(text: str, origin: Origin) -> None:
    """An origin is read and normalised."""
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("ftp://api.example.com", "scheme"),
        ("https://", "host"),
        ("https://*", "host"),
        ("https://api.*.example.com", "host"),
        ("https://*.127.0.0.1", "IP address"),
        ("https://user:secret@api.example.com", "user name"),
        ("https://api.example.com:0", "port"),
        ("https://api.example.com:65536", "port"),
        ("https://api.example.com:", "port"),
        ("https://api.example.com/?q=1", "query"),
        ("https://api.example.com/#top", "fragment"),
        ("https://api.example.com/a/../b", "ambiguous path"),
        ("https://api.example.com/a%2Fb", "ambiguous path"),
        ("https://api.example.com/a\\b", "ambiguous path"),
        ("https://-api.example.com", "host"),
        ("https://a..example.com", "host"),
        ("https://[::1", "malformed|scheme"),
        ("https://api example.com", "space"),
        ("https://a.example.com;https://b.example.com", "semicolon"),
        ("https//api.example.com", "scheme in the host's place"),
        ("https:/api.example.com", "malformed"),
        ("https://https://api.example.com", "port|scheme"),
        ("https://1.2.3.4.5", "host"),
        ("https://api.example.com/*", "ambiguous path"),
        ("https://" + "a." * 130 + "com", "host"),
    ],
)
def test_malformed(text: str, wrong: str) -> None:
    """The error says what is wrong with an origin, and never repeats it."""
    with pytest.raises(ValueError, match=wrong) as error:
        parse_origin(text)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["https://api.example.com", "http://127.0.0.1:9000", "https://*.qa.example.com:8443/orders", "https://[::1]:8443"],
)
def test_str(text: str) -> None:
    """An origin reads as it was written."""
    assert str(parse_origin(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "*.com",
        "http://*.net:8080",
        "*.co.uk",
        "*.github.io/me",
        "*.foo.ck",
        "*.xn--p1ai",
        "*.рф",
        "*.svc",
        "*.amazonaws.com",  # no suffix in itself, but s3.amazonaws.com below it is one
    ],
)
def test_wildcard_public(text: str) -> None:
    """Anybody can have a name below a public suffix, and would get the credential."""
    with pytest.raises(ValueError, match=r"wildcard before a public suffix.*; expected"):
        parse_origin(text)


@pytest.mark.parametrize(
    "name",
    [
        *("example.com", "example.co.uk", "me.github.io", "qa.test", "qa.internal", "default.svc", "www.ck"),
        *("test", "example", "localhost", "local", "internal", "corp", "home", "lan", "home.arpa"),
    ],
)
def test_wildcard_own(name: str) -> None:
    """Nobody can register a name below a private domain, nor below a top-level domain that is kept for private use."""
    assert parse_origin(f"*.{name}") == Origin("https", name, 443, wildcard=True)


def test_public_suffix() -> None:
    """A public suffix without a wildcard is an origin: github.io may be an API."""
    assert parse_origin("github.io").host == "github.io"


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://localhost:3000", "http://localhost:3000"),
        ("HTTPS://App.Example.com:443/", "https://app.example.com"),
        ("http://[::1]:80", "http://[::1]"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("null", "null"),
        ("NULL", "null"),
        ("file://", "file://"),
        ("File:///", "file://"),
    ],
)
def test_page_origin(text: str, origin: str) -> None:
    """A page's origin is read as a browser writes it into the Origin header."""
    assert parse_page_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        *("*", "localhost:3000", "https://*.example.com", "http://me@x.example", "http://x/y"),
        *("nullable", "http://", "https:///", "file:/", "file", "file:///index.html", "://", "file:////"),
    ],
)
def test_page_origin_malformed(text: str) -> None:
    """What no browser writes is refused."""
    with pytest.raises(ValueError, match="; expected a"):
        parse_page_origin(text)


@given(st.text(alphabet=string.printable + "äß。/@:*[]%", max_size=80))
def test_any_text(text: str) -> None:
    """Any text is an origin, which reads back as itself, or a ValueError."""
    try:
        origin = parse_origin(text)
    except ValueError:
        return
    assert parse_origin(str(origin)) == origin
    assert normalise_host(origin.host) == origin.host

"""Looking up where a request goes."""

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credential_injector.origins.claims import Claim
from credential_injector.origins.hosts import normalise_host
from credential_injector.origins.index import Destinations, Excluded
from credential_injector.origins.origin import parse_origin


def destinations(**origins: str) -> Destinations[str]:
    return Destinations((parse_origin(origin), name) for name, text in origins.items() for origin in text.split(","))


def find(table: Destinations[str], url: str) -> str | None:
    """Look up as the add-on does: scheme, host and port are mitmproxy's, the path is the request's."""
    scheme, rest = url.split("://")
    authority, slash, path = rest.partition("/")
    host, _, port = authority.rpartition(":") if ":" in authority else (authority, "", "")
    return table.find(
        scheme, normalise_host(host), int(port or {"http": 80, "https": 443}[scheme]), slash + path or "/"
    )


def test_most_specific() -> None:
    """The exact host comes before a wildcard, and a longer wildcard before a shorter one."""
    table = destinations(exact="api.qa.example.com", near="*.qa.example.com", far="*.example.com")
    assert find(table, "https://api.qa.example.com") == "exact"
    assert find(table, "https://other.qa.example.com") == "near"
    assert find(table, "https://deep.other.qa.example.com") == "near"
    assert find(table, "https://prod.example.com") == "far"


def test_wildcard() -> None:
    """A wildcard matches neither its apex nor a name that only ends alike."""
    table = destinations(qa="*.qa.example.com")
    assert find(table, "https://qa.example.com") is None
    assert find(table, "https://evilqa.example.com") is None
    assert find(table, "https://api.qa.example.com.evil.example") is None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1\0%.qa.example.com",
        "2001:db8::1%x.qa.example.com",
        "1.2.3.4.qa.example.com",
        "a" * 300 + ".qa.example.com",
    ],
)
def test_wildcard_names(host: str) -> None:
    """A wildcard matches nothing that only looks like a name."""
    found = destinations(qa="http://*.qa.example.com").find("http", normalise_host(host), 80, "/")
    assert found == ("qa" if host.startswith("1.2") else None)


def test_scheme_port() -> None:
    """Scheme and port must be the configured ones."""
    table = destinations(default="api.example.com", explicit="api.example.com:8443", plain="http://api.example.com")
    assert find(table, "https://api.example.com") == "default"
    assert find(table, "https://api.example.com:8443") == "explicit"
    assert find(table, "http://api.example.com") == "plain"
    assert find(table, "http://api.example.com:8443") is None
    assert find(table, "https://api.example.com:80") is None


def test_longest_path() -> None:
    """The longest path prefix wins, and ends where a segment ends."""
    table = destinations(root="gw.example.com", orders="gw.example.com/orders", v2="gw.example.com/orders/v2")
    assert find(table, "https://gw.example.com/") == "root"
    assert find(table, "https://gw.example.com/orders") == "orders"
    assert find(table, "https://gw.example.com/orders?v2") == "orders"
    assert find(table, "https://gw.example.com/orders/7") == "orders"
    assert find(table, "https://gw.example.com/orders2") == "root"
    assert find(table, "https://gw.example.com/orders/v2/7/items") == "v2"
    assert find(table, "https://gw.example.com/orders/v22") == "orders"


def test_other_paths() -> None:
    """A host whose paths do not match falls back to the wildcard."""
    table = destinations(orders="gw.example.com/orders", rest="*.example.com")
    assert find(table, "https://gw.example.com/orders/1") == "orders"
    assert find(table, "https://gw.example.com/customers") == "rest"


@pytest.mark.parametrize(
    "path",
    [
        "/orders/../admin",
        "/orders/%2e%2e/admin",
        "/orders%2fadmin",
        "/orders%5cadmin",
        "/orders\\admin",
        "/orders/.",
        "/orders/..;/admin",
        "/orders/..#/admin",
        "/orders/..%23/x",
        "/orders/..%3b/admin",
        "/orders/.%00./admin",
        "/orders/.\t./admin",
        "/orders/%c0%ae%c0%ae/admin",
        "/orders/%252e%252e/admin",
    ],
)
def test_ambiguous_path(path: str) -> None:
    """A path that servers read differently proves no prefix."""
    assert find(destinations(orders="gw.example.com/orders"), f"https://gw.example.com{path}") is None


@pytest.mark.parametrize("path", ["*", "", "x" * 100, "/" * 100_000, "/orders" + "/x" * 100_000])
def test_strange_path(path: str) -> None:
    """Looking up a strange or an endless path ends."""
    table = destinations(orders="gw.example.com/orders")
    assert table.find("https", "gw.example.com", 443, path) == ("orders" if path.startswith("/orders/") else None)


def test_spellings() -> None:
    """Case, a dot at the end, IDNA and the spelling of an IPv6 address do not matter."""
    table = destinations(name="API.Example.com", idna="bücher.example", six="[2001:db8::1]")
    assert find(table, "https://api.EXAMPLE.com.") == "name"
    assert find(table, "https://BÜCHER.example") == "idna"
    assert find(table, "https://xn--bcher-kva.example") == "idna"
    assert table.find("https", normalise_host("[2001:0db8:0000::0001]"), 443, "/") == "six"


def test_idna_refused() -> None:
    """A name that IDNA refuses stays as it is, and matches nothing."""
    assert normalise_host("\udcff.example") == "\udcff.example"
    assert find(destinations(qa="api.example.com"), "https://ä..example.com") is None


def test_constant_steps() -> None:
    """A look-up runs the same lines with 1 and with 10,000 environments."""

    def lines(count: int) -> int:
        table = Destinations((parse_origin(f"*.env{i}.example.com"), i) for i in range(count))
        run = 0

        def trace(_frame: FrameType, event: str, _: object) -> Any:
            nonlocal run
            run += event == "line"
            return trace

        before = sys.gettrace()  # coverage may be one
        sys.settrace(trace)
        try:
            found = table.find("https", "api.env0.example.com", 443, "/")
        finally:
            sys.settrace(before)
        assert found == 0
        return run

    assert lines(1) == lines(10_000)


@pytest.mark.parametrize(
    "path",
    [
        "/oauth2/v2.0/token",
        "/oauth2/v2.0/token/",
        "/oauth2/v2.0/token?x=/y",
        "//oauth2/./v2.0/x/../token",
        "/OAuth2/v2.0/%74oken",
        "/oauth2/v2.0/%2574oken",
        "/oauth2%2fv2.0\\token",
        "/oauth2/v2.0/token;jsessionid=1",
        "/oauth2/v2.0/token%3Fx",
        "/oauth2/v2.0/token%20",
        # To a server that takes no "%2f" for a slash, and no "%3f" for a question mark.
        "/a%2fb/../oauth2/v2.0/token",
        "/a%5Cb/../oauth2/v2.0/token",
        "/a%3fb/../oauth2/v2.0/token",
        "/a%23b/..%2foauth2/v2.0/token",
    ],
)
def test_excluded(path: str) -> None:
    """A URL is excluded, however its path is spelt."""
    excluded = Excluded(["https://login.example.com/oauth2/v2.0/token?tenant=1"])
    assert excluded.holds("https", "login.example.com", 443, path)
    assert not excluded.holds("https", "other.example.com", 443, path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/oauth2/v2.0",
        "/oauth2/v2.0/tokens",
        "/oauth2/v2.0/token/x",
        "/orders?/oauth2/v2.0/token",
        "/orders?x=/../oauth2/v2.0/token",
        "/orders/a..b/...",
    ],
)
def test_not_excluded(path: str) -> None:
    """What lies beside an excluded URL is not excluded."""
    assert not Excluded(["https://login.example.com/oauth2/v2.0/token"]).holds("https", "login.example.com", 443, path)


@given(st.text(max_size=60), st.text(max_size=200))
def test_any_lookup(host: str, path: str) -> None:
    """Any host and path can be looked up."""
    table = destinations(qa="*.qa.example.com/orders", one="api.example.com")
    table.find("https", normalise_host(host), 443, path)
    claim = Claim("Host header", host)
    assert not claim.means("api.example.com", 443) or "api.example.com" in host.lower()
    assert str(claim).isprintable()
    Excluded(["https://login.example.com/token"]).holds("https", "login.example.com", 443, path)

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credential_injector.origins.destinations import (
    LONGEST_NAME,
    Claim,
    Destinations,
    Excluded,
    Origin,
    is_loopback,
    normalise_host,
    parse_origin,
    parse_page_origin,
)


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
def test_an_origin_is_read_and_normalised(text: str, origin: Origin) -> None:
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
def test_a_malformed_origin_says_what_is_wrong_and_never_the_value(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong) as error:
        parse_origin(text)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["https://api.example.com", "http://127.0.0.1:9000", "https://*.qa.example.com:8443/orders", "https://[::1]:8443"],
)
def test_an_origin_is_shown_as_it_is_written(text: str) -> None:
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
def test_a_wildcard_of_everybody(text: str) -> None:
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
def test_a_wildcard_of_ones_own(name: str) -> None:
    """Nobody can register a name below a private domain, nor below a top-level domain that is kept for private use."""
    assert parse_origin(f"*.{name}") == Origin("https", name, 443, wildcard=True)


def test_a_public_suffix_itself() -> None:
    """Only a wildcard before it is refused: github.io may be an API."""
    assert parse_origin("github.io").host == "github.io"


def test_exact_host_comes_before_wildcard_and_the_longer_suffix_first() -> None:
    table = destinations(exact="api.qa.example.com", near="*.qa.example.com", far="*.example.com")
    assert find(table, "https://api.qa.example.com") == "exact"
    assert find(table, "https://other.qa.example.com") == "near"
    assert find(table, "https://deep.other.qa.example.com") == "near"
    assert find(table, "https://prod.example.com") == "far"


def test_a_wildcard_does_not_match_its_apex_nor_a_name_that_only_ends_alike() -> None:
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
def test_a_wildcard_matches_nothing_that_only_looks_like_a_name(host: str) -> None:
    found = destinations(qa="http://*.qa.example.com").find("http", normalise_host(host), 80, "/")
    assert found == ("qa" if host.startswith("1.2") else None)


def test_scheme_and_port_must_be_the_configured_ones() -> None:
    table = destinations(default="api.example.com", explicit="api.example.com:8443", plain="http://api.example.com")
    assert find(table, "https://api.example.com") == "default"
    assert find(table, "https://api.example.com:8443") == "explicit"
    assert find(table, "http://api.example.com") == "plain"
    assert find(table, "http://api.example.com:8443") is None
    assert find(table, "https://api.example.com:80") is None


def test_the_longest_path_prefix_wins_at_a_path_boundary() -> None:
    table = destinations(root="gw.example.com", orders="gw.example.com/orders", v2="gw.example.com/orders/v2")
    assert find(table, "https://gw.example.com/") == "root"
    assert find(table, "https://gw.example.com/orders") == "orders"
    assert find(table, "https://gw.example.com/orders?v2") == "orders"
    assert find(table, "https://gw.example.com/orders/7") == "orders"
    assert find(table, "https://gw.example.com/orders2") == "root"
    assert find(table, "https://gw.example.com/orders/v2/7/items") == "v2"
    assert find(table, "https://gw.example.com/orders/v22") == "orders"


def test_a_host_that_is_configured_with_other_paths_falls_back_to_the_wildcard() -> None:
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
def test_an_ambiguous_path_proves_no_prefix(path: str) -> None:
    assert find(destinations(orders="gw.example.com/orders"), f"https://gw.example.com{path}") is None


@pytest.mark.parametrize("path", ["*", "", "x" * 100, "/" * 100_000, "/orders" + "/x" * 100_000])
def test_a_strange_or_endless_path_ends(path: str) -> None:
    table = destinations(orders="gw.example.com/orders")
    assert table.find("https", "gw.example.com", 443, path) == ("orders" if path.startswith("/orders/") else None)


def test_case_trailing_dot_idna_and_ipv6_spelling_do_not_matter() -> None:
    table = destinations(name="API.Example.com", idna="bücher.example", six="[2001:db8::1]")
    assert find(table, "https://api.EXAMPLE.com.") == "name"
    assert find(table, "https://BÜCHER.example") == "idna"
    assert find(table, "https://xn--bcher-kva.example") == "idna"
    assert table.find("https", normalise_host("[2001:0db8:0000::0001]"), 443, "/") == "six"


def test_a_name_that_idna_refuses_matches_nothing() -> None:
    assert normalise_host("\udcff.example") == "\udcff.example"
    assert find(destinations(qa="api.example.com"), "https://ä..example.com") is None


def test_a_lookup_takes_the_same_steps_with_1_and_with_10000_environments() -> None:
    class Counting(dict[Any, Any]):
        steps = 0

        def get(self, key: Any, default: Any = None) -> Any:
            Counting.steps += 1
            return super().get(key, default)

    def steps(count: int) -> int:
        table = Destinations((parse_origin(f"*.env{i}.example.com"), i) for i in range(count))
        table._exact = Counting(table._exact)
        table._wildcard = Counting(table._wildcard)
        Counting.steps = 0
        assert table.find("https", "api.env0.example.com", 443, "/") == 0
        return Counting.steps

    assert steps(1) == steps(10_000)


def test_loopback_is_an_address_or_localhost_and_no_name_that_resembles_one() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "localhost"]))
    assert not any(map(is_loopback, ["127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "2130706433x"]))


@pytest.mark.parametrize("authority", ["api.example.com", "API.example.com.:443", "api.example.com:443"])
def test_a_claim_means_the_host_that_it_names_with_its_port_or_none(authority: str) -> None:
    assert Claim("Host header", authority).means("api.example.com", 443)


@pytest.mark.parametrize(
    "authority",
    [
        "evil.example",
        "api.example.com:8443",
        "api.example.com:٤٤٣",
        "api.example.com.evil.example",
        "user@api.example.com",
        "api.example.com@evil.example",
        "api.example.com,evil.example",
        " api.example.com",
        "",
        "api.example.com:" + "9" * 5000,
    ],
)
def test_a_claim_of_anything_else_does_not(authority: str) -> None:
    assert not Claim("Host header", authority).means("api.example.com", 443)


@pytest.mark.parametrize(
    ("authority", "told"),
    [
        ("Evil.Example:8443", "its Host header names evil.example:8443"),
        ("[::1]:80", "its Host header names ::1"),
        ("me:canary@evil.example", "its Host header is no host's name"),
        ("evil\x1b[31m", "its Host header is no host's name"),
        ("[fe80::1%canary \x1b[31m", "its Host header is no host's name"),
        ("[fe80::1%canary \x1b[31m x]:443", "its Host header is no host's name"),
        ("", "its Host header is no host's name"),
        ("canary", "its Host header is no host's name"),
        (f"eyj.{'canary' * 11}.x", "its Host header is no host's name"),
    ],
)
def test_a_claim_is_told_by_its_host_where_that_is_one(authority: str, told: str) -> None:
    assert str(Claim("Host header", authority)) == told


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
def test_a_url_is_excluded_however_its_path_is_spelt(path: str) -> None:
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
def test_what_lies_beside_an_excluded_url_is_not(path: str) -> None:
    assert not Excluded(["https://login.example.com/oauth2/v2.0/token"]).holds("https", "login.example.com", 443, path)


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
def test_a_pages_origin_is_read_as_a_browser_writes_it(text: str, origin: str) -> None:
    assert parse_page_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        *("*", "localhost:3000", "https://*.example.com", "http://me@x.example", "http://x/y"),
        *("nullable", "http://", "https:///", "file:/", "file", "file:///index.html", "://", "file:////"),
    ],
)
def test_what_no_browser_writes_is_no_pages_origin(text: str) -> None:
    with pytest.raises(ValueError, match="was expected"):
        parse_page_origin(text)


def test_a_name_that_is_too_long_is_not_encoded() -> None:
    name = "é." * LONGEST_NAME
    assert normalise_host(name) == name.removesuffix(".")


@given(st.text(alphabet=string.printable + "äß。/@:*[]%", max_size=80))
def test_any_text_is_an_origin_or_a_value_error(text: str) -> None:
    try:
        origin = parse_origin(text)
    except ValueError:
        return
    assert parse_origin(str(origin)) == origin
    assert normalise_host(origin.host) == origin.host


@given(st.text(max_size=60), st.text(max_size=200))
def test_any_host_and_path_can_be_looked_up(host: str, path: str) -> None:
    table = destinations(qa="*.qa.example.com/orders", one="api.example.com")
    table.find("https", normalise_host(host), 443, path)
    claim = Claim("Host header", host)
    assert not claim.means("api.example.com", 443) or "api.example.com" in host.lower()
    assert str(claim).isprintable()
    Excluded(["https://login.example.com/token"]).holds("https", "login.example.com", 443, path)

from pathlib import Path

import pytest

from credential_injector.envoy.sites import sites
from tests.envoy.made import environment


def test_shared(tmp_path: Path) -> None:
    """Environments of one server share it, the longest path first, whatever their order."""
    wide = environment(tmp_path, host="https://gw.example.com", name="wide")
    deep = environment(tmp_path, host="https://gw.example.com/a/b", name="deep")
    near = environment(tmp_path, host="https://gw.example.com/a", name="near")
    (site,) = sites([wide, deep, near])
    assert [(claim.path, claim.environment.name) for claim in site.claims] == [
        ("/a/b", "deep"),
        ("/a", "near"),
        ("", "wide"),
    ]
    assert {one.name for one in site.environments} == {"wide", "deep", "near"}


def test_apart(tmp_path: Path) -> None:
    """Another scheme, port or host is another server, and a wildcard is none of the hosts below it."""
    origins = "https://a.example.com, http://a.example.com, https://a.example.com:8443, https://*.a.example.com"
    found = sites([environment(tmp_path, host=origins)])
    assert [one.name for one in found] == origins.split(", ")


@pytest.mark.parametrize(
    ("origin", "host", "authority", "names", "is_address"),
    [
        (
            "https://a.test",
            "a.test",
            "a.test:443",
            ["a.test:443", "a.test.:443", "a.test", "a.test."],
            False,
        ),
        ("http://a.test:81", "a.test", "a.test:81", ["a.test:81", "a.test.:81", "a.test", "a.test."], False),
        ("https://*.example.com", "*.example.com", "*.example.com:443", ["*.example.com:443", "*.example.com"], False),
        (
            "https://[2001:db8::1]:81",
            "[2001:db8::1]",
            "[2001:db8::1]:81",
            ["[2001:db8::1]:81", "[2001:db8::1]"],
            True,
        ),
        ("http://127.0.0.1:9000", "127.0.0.1", "127.0.0.1:9000", ["127.0.0.1:9000", "127.0.0.1"], True),
    ],
)
def test_names(tmp_path: Path, origin: str, host: str, authority: str, names: list[str], is_address: bool) -> None:
    """A Host may leave out the port, but for a wildcard: there it decides where the request goes."""
    (site,) = sites([environment(tmp_path, host=origin)])
    assert (site.host, site.authority, site.names, site.is_address) == (host, authority, names, is_address)
    assert site.is_tls == origin.startswith("https")


def test_page_origins(tmp_path: Path) -> None:
    """A site's own pages may ask it, but of a wildcard nobody's are its own."""
    own = environment(tmp_path, "ORIGINS=http://localhost:3000\n")
    many = environment(tmp_path, host="https://*.example.com", name="many")
    (one,), (other,) = sites([own]), sites([many])
    assert one.page_origins(own) == {"http://localhost:3000", "https://api.qa.example.com"}
    assert other.page_origins(many) == set()


def test_token_endpoints(tmp_path: Path) -> None:
    """Those that the files name, and those that issuers publish, belong to the server at which they are."""
    here = environment(tmp_path, host="https://login.qa.example.com, https://*.example.com")
    (exact, wildcard) = sites([here], ["https://login.qa.example.com/published", "https://other.test/token"])
    assert "/published" in exact.endpoints
    assert "/published" in wildcard.endpoints
    assert "/token" in exact.endpoints  # the file's
    assert len(exact.endpoints) == len(wildcard.endpoints) == 2

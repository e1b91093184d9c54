from pathlib import Path

import pytest

from credential_injector.envoy import listeners, servers
from credential_injector.envoy.listeners import Address, Reverse
from credential_injector.envoy.paths import Paths
from credential_injector.envoy.sites import Site, sites
from credential_injector.envoy.typed import Message, figures
from credential_injector.origins.clients import parse_networks
from tests.envoy.made import environment, words

PATHS = Paths("/run/envoy")
ADDRESS = Address("127.0.0.1", 8080)


def site(folder: Path, host: str = "https://api.qa.example.com", lines: str = "") -> Site:
    (one,) = sites([environment(folder, lines, host=host)])
    return one


@pytest.mark.parametrize(
    ("address", "names"),
    [
        (Address("127.0.0.1", 9001), {"127.0.0.1:9001", "localhost:9001", "[::1]:9001"}),
        (Address("::1", 9001), {"127.0.0.1:9001", "localhost:9001", "[::1]:9001"}),
        (Address("192.168.1.5", 9001), {"192.168.1.5:9001"}),
        (Address("192.168.1.5", 80), {"192.168.1.5:80", "192.168.1.5"}),
    ],
)
def test_reverse_names(address: Address, names: set[str]) -> None:
    """A reverse proxy answers to its addresses, and to no name that somebody else's DNS may lead there."""
    assert set(Reverse("qa", address).names) == names


def test_clients(tmp_path: Path) -> None:
    """Who is in no network has no filter chain, at the proxy as at a reverse proxy; behind it nobody is asked."""
    clients = listeners.networks(parse_networks("192.168.1.0/24, 2001:db8::/32"))
    one = site(tmp_path)
    outside = [
        listeners.forward(Address("127.0.0.1", 0), clients, PATHS),
        listeners.reverse(Reverse("qa", Address("127.0.0.1", 0)), one, clients, PATHS),
    ]
    for each in outside:
        (chain,) = each["filter_chains"]
        assert chain["filter_chain_match"]["source_prefix_ranges"] == [
            {"address_prefix": "192.168.1.0", "prefix_len": 24},
            {"address_prefix": "2001:db8::", "prefix_len": 32},
        ]
    own = listeners.of(one, "/run/envoy/leaf-0.json", PATHS)
    assert "address" not in own
    assert "internal_listener" in own


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("https://api.qa.example.com", ["api.qa.example.com"]),
        ("https://*.qa.example.com", ["*.qa.example.com"]),
        ("https://127.0.0.1:8443", None),
    ],
)
def test_sni(tmp_path: Path, host: str, names: list[str] | None) -> None:
    """A site's TLS is opened for its own name only; an address has none in TLS."""
    (chain,) = listeners.of(site(tmp_path, host), "/run/envoy/leaf-0.json", PATHS)["filter_chains"]
    assert chain["filter_chain_match"].get("server_names") == names
    assert chain["filter_chain_match"]["transport_protocol"] == "tls"
    assert "/run/envoy/leaf-0.json" in words(chain["transport_socket"])


def test_forward_routes(tmp_path: Path) -> None:
    """CONNECT to a site leads to its own listener, and to any other host straight on; http needs no CONNECT."""
    found = [site(tmp_path), site(tmp_path, "http://api.qa.example.com:81")]
    made = listeners.forward_routes(found, ADDRESS)["virtual_hosts"]
    hosts = {domain: one for one in made for domain in one["domains"]}
    tls, plain, other = hosts["api.qa.example.com:443"], hosts["api.qa.example.com:81"], hosts["*"]

    def clusters(host: Message) -> list[str]:
        return [one["route"]["cluster"] for one in host["routes"] if "route" in one]

    assert clusters(tls) == ["inside https://api.qa.example.com", servers.ANYWHERE, servers.ANYWHERE]
    assert clusters(plain)[:2] == ["inside http://api.qa.example.com:81"] * 2
    assert set(clusters(other)) == {servers.ANYWHERE}
    assert "127.0.0.1:8080 is the proxy itself" in words(hosts["localhost:8080"])


def test_forward_routes_itself(tmp_path: Path) -> None:
    """An environment may name the proxy's own address; each name is in one place only, or Envoy takes none."""
    found = [site(tmp_path, "http://localhost:8080")]
    hosts = listeners.forward_routes(found, Address("0.0.0.0", 8080))["virtual_hosts"]
    names = [name for one in hosts for name in one["domains"]]
    assert len(names) == len(set(names))
    assert {"localhost:8080", "0.0.0.0:8080", "127.0.0.1:8080", "[::1]:8080", "*"} <= set(names)


def test_no_secret(tmp_path: Path) -> None:
    """The configuration holds no secret: those are in files of their own."""
    one = site(tmp_path, lines="HEADER_X-Key=hunter2-canary\n")
    for message in (listeners.of(one, "leaf", PATHS), listeners.of_routes(one), servers.of(one, "trusted.pem")):
        assert "hunter2" not in words(message)


@pytest.mark.parametrize(
    ("host", "verified", "sni"),
    [
        ("https://api.qa.example.com:8443", "DNS", "api.qa.example.com"),
        ("https://127.0.0.1:8443", "IP_ADDRESS", None),
    ],
)
def test_upstream(tmp_path: Path, host: str, verified: str, sni: str | None) -> None:
    """The server must prove that it is the host which the file names."""
    tls = servers.of(site(tmp_path, host), "/run/envoy/trusted.pem")["transport_socket"]["typed_config"]
    validation = tls["common_tls_context"]["validation_context"]
    (name,) = validation["match_typed_subject_alt_names"]
    assert (name["san_type"], name["matcher"]["exact"]) == (verified, sni or "127.0.0.1")
    assert validation["trusted_ca"] == {"filename": "/run/envoy/trusted.pem"}
    assert tls.get("sni") == sni


def test_upstream_plain(tmp_path: Path) -> None:
    """Over http there is no TLS."""
    assert "transport_socket" not in servers.of(site(tmp_path, "http://api.qa.example.com"), "")


def test_upstream_wildcard(tmp_path: Path) -> None:
    """Behind a wildcard the name of each request is that which the server must prove."""
    cluster = words(servers.of(site(tmp_path, "https://*.qa.example.com"), "/run/envoy/trusted.pem"))
    assert '"auto_sni": true' in cluster
    assert '"auto_san_validation": true' in cluster


def test_figures(tmp_path: Path) -> None:
    """No dot is in what statistics are called by, as Envoy would cut the label there."""
    one = site(tmp_path)
    names = [servers.of(one, "")["alt_stat_name"], listeners.of(one, "", PATHS)["stat_prefix"]]
    assert names == ["https_api_qa_example_com", "inside_https_api_qa_example_com"]
    assert figures("https://*.example.com:443") == "https_*_example_com_443"

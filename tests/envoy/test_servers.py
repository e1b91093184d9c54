"""How Envoy connects to servers."""

import sys

import pytest

from credential_injector.envoy import servers
from credential_injector.envoy.sites import Site
from credential_injector.origins.origin import parse_origin


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are looked up by the system")
def test_look_ups() -> None:
    """A name server that does not answer holds up the start for less long than the command waits."""
    cluster = servers.of(Site(parse_origin("https://api.example.com"), ()), "trusted.pem")
    resolver = cluster["typed_dns_resolver_config"]["typed_config"]
    # Each try takes longer than the one before, and IPv6 comes after IPv4 (measured: 11 s).
    assert (resolver["query_timeout_seconds"], resolver["query_tries"]) == (2, 2)


@pytest.mark.parametrize("host", ["https://127.0.0.1", "https://[::1]"])
def test_address(host: str) -> None:
    """An address is verified as one, and TLS names no host (RFC 6066 section 3)."""
    cluster = servers.of(Site(parse_origin(host), ()), "trusted.pem")
    tls = cluster["transport_socket"]["typed_config"]
    (name,) = tls["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert (cluster["type"], name["san_type"], "sni" in tls) == ("STATIC", "IP_ADDRESS", False)

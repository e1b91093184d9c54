"""The servers as Envoy's clusters: how it connects to them. Pure."""

import sys

from credential_injector.envoy import messages
from credential_injector.envoy.sites import Site
from credential_injector.envoy.typed import Message, extension, figures, typed

ANYWHERE = "anywhere"
"""The cluster of every host that no environment names."""

_CACHE = {"name": "names", "dns_lookup_family": "V4_PREFERRED", "max_hosts": 65536}
_CONNECT_TIMEOUT = "10s"
# Envoy serves nobody before it has looked up each name once. Without these, a name server that does not answer, as
# where a VPN is off, takes longer than the command waits for it (measured: 11 s with them, more than 30 s without).
_RESOLVER: Message = {}
if sys.platform == "linux":  # elsewhere the system's own one is used
    _RESOLVER["typed_dns_resolver_config"] = extension(
        "envoy.network.dns_resolver.cares", "CaresResolver", query_timeout_seconds=2, query_tries=2
    )
MOST_AT_ONCE = 1_000_000  # Envoy's own limit is 1024, which event streams and tunnels that are open soon reach
_LIMITS = ("max_connections", "max_pending_requests", "max_requests")
_NAMED = {"upstream_http_protocol_options": {"auto_sni": True, "auto_san_validation": True}}
_HTTP1 = {"http_protocol_options": messages.as_sent()}


def looked_up() -> Message:
    """The HTTP filter that looks up the host of a request which goes anywhere."""
    return extension(
        "envoy.filters.http.dynamic_forward_proxy",
        "DynamicForwardProxy",
        dns_cache_config=_CACHE,
        save_upstream_address=True,
    )


def by_http1() -> Message:
    """The HTTP filter that lets a request go by HTTP/1.1 alone.

    A WebSocket needs it: few servers of HTTP/2 know RFC 8441, and Envoy does not ask whether one does.
    """
    protocols = {
        "object_key": "envoy.network.application_protocols",
        "format_string": {"text_format_source": {"inline_string": "http/1.1"}},
    }
    return extension("by_http1", "SetFilterState", on_request_headers=[protocols])


def anywhere() -> Message:
    """Any host, as the client names it."""
    return typed(
        "Cluster", name=ANYWHERE, **_options(**_NAMED, explicit_http_config=_HTTP1), **_looked_up_for_each_request()
    )


def of(site: Site, trusted: str) -> Message:
    """A site's own server; `trusted` is the file of the authorities that may have issued its certificate."""
    how = _looked_up_for_each_request() if site.origin.wildcard else _at(site)
    http: Message = {}
    if site.is_tls:
        http["auto_config"] = {**_HTTP1, "http2_protocol_options": {}}
        how["transport_socket"] = _tls(site, trusted)
    else:
        http["explicit_http_config"] = _HTTP1
    if site.origin.wildcard and site.is_tls:
        http |= _NAMED
    if site.origin.wildcard and not site.is_tls:
        how["cluster_type"]["typed_config"]["allow_insecure_cluster_options"] = True
    return typed("Cluster", name=site.name, alt_stat_name=figures(site.name), **_options(**http), **how)


def inside(listener: str) -> Message:
    """One of Envoy's own internal listeners."""
    return typed(
        "Cluster",
        name=listener,
        alt_stat_name=figures(listener),
        **_options(explicit_http_config=_HTTP1),
        load_assignment=_endpoint(listener, {"envoy_internal_address": {"server_listener_name": listener}}),
        transport_socket=extension(
            "envoy.transport_sockets.internal_upstream",
            "InternalUpstream",
            transport_socket=extension("envoy.transport_sockets.raw_buffer", "RawBuffer"),
        ),
    )


def _options(**http: Message) -> Message:
    """How a server is spoken to."""
    common = {
        "idle_timeout": "50s",  # idle connections are closed before most servers do
        "max_headers_count": messages.MOST_HEADERS,
        "max_response_headers_kb": messages.MOST_KILOBYTES,
    }
    options = typed("HttpProtocolOptions", common_http_protocol_options=common, **http)
    return {
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "circuit_breakers": {"thresholds": [dict.fromkeys(_LIMITS, MOST_AT_ONCE)]},
    }


def _at(site: Site) -> Message:
    address = {"socket_address": {"address": site.origin.host, "port_value": site.origin.port}}
    return {
        "type": "STATIC" if site.is_address else "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        **_RESOLVER,
        "connect_timeout": _CONNECT_TIMEOUT,
        "load_assignment": _endpoint(site.name, address),
    }


def _looked_up_for_each_request() -> Message:
    return {
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": _CONNECT_TIMEOUT,
        "cluster_type": extension("envoy.clusters.dynamic_forward_proxy", "DynamicCluster", dns_cache_config=_CACHE),
    }


def _endpoint(name: str, address: Message) -> Message:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def _tls(site: Site, trusted: str) -> Message:
    validation: Message = {"trusted_ca": {"filename": trusted}}
    host, more = site.origin.host, {}
    if not site.origin.wildcard:
        kind = "IP_ADDRESS" if site.is_address else "DNS"
        validation["match_typed_subject_alt_names"] = [{"san_type": kind, "matcher": {"exact": host}}]
        more = {} if site.is_address else {"sni": host}  # RFC 6066 section 3: an address is no name
    return extension(
        "envoy.transport_sockets.tls", "UpstreamTls", common_tls_context={"validation_context": validation}, **more
    )

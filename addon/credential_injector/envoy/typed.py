"""Envoy's messages (protobuf in JSON), which say their own type."""

import re
from collections.abc import Mapping
from typing import Any

Message = dict[str, Any]

_TYPES: Mapping[str, str] = {
    "Action": "envoy.config.rbac.v3.Action",
    "CaresResolver": "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
    "CelMatchInput": "xds.type.matcher.v3.HttpAttributesCelMatchInput",
    "CelMatcher": "xds.type.matcher.v3.CelMatcher",
    "Cluster": "envoy.config.cluster.v3.Cluster",
    "CredentialInjector": "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
    "DownstreamConnections": (
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    ),
    "DownstreamTls": "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    "DynamicCluster": "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
    "DynamicForwardProxy": "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
    "EarlyHeaderMutation": "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
    "ExpressionFilter": "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
    "ExtensionConfig": "envoy.config.core.v3.TypedExtensionConfig",
    "FileAccessLog": "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    "FileContent": "envoy.extensions.formatter.file_content.v3.FileContent",
    "FilterConfig": "envoy.config.route.v3.FilterConfig",
    "Generic": "envoy.extensions.http.injected_credentials.generic.v3.Generic",
    "HeaderMutation": "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    "HttpConnectionManager": ("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
    "HttpProtocolOptions": "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "InternalListener": "envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
    "InternalUpstream": ("envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport"),
    "Listener": "envoy.config.listener.v3.Listener",
    "PreserveCase": "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
    "RawBuffer": "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    "Rbac": "envoy.extensions.filters.http.rbac.v3.RBAC",
    "RouteConfiguration": "envoy.config.route.v3.RouteConfiguration",
    "Router": "envoy.extensions.filters.http.router.v3.Router",
    "Secret": "envoy.extensions.transport_sockets.tls.v3.Secret",
    "SetFilterState": "envoy.extensions.filters.http.set_filter_state.v3.Config",
    "TcpProxy": "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "TlsInspector": "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    "UpstreamIpPort": "envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher",
    "UpstreamTls": "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
}


def figures(name: str) -> str:
    """What statistics call something of this name: at a dot, Envoy would cut Prometheus's label in two."""
    return re.sub("[^A-Za-z0-9*-]+", "_", name)


def url(name: str) -> str:
    """The URL of a type."""
    return f"type.googleapis.com/{_TYPES[name]}"


def typed(type_name: str, /, **fields: Any) -> Message:
    """A message of this type."""
    return {"@type": url(type_name), **fields}


def extension(extension_name: str, type_name: str, /, **fields: Any) -> Message:
    """An extension of this name, which is told of in its own configuration."""
    return {"name": extension_name, "typed_config": typed(type_name, **fields)}


def from_file(path: str) -> Message:
    """Where a resource comes from: a file, which is read again whenever another one is moved to its place."""
    return {"path_config_source": {"path": path}, "resource_api_version": "V3"}

"""Where Envoy listens: the proxy, a listener of its own for each site behind it, and reverse proxies. Pure."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from credential_injector.envoy import answers, filters, messages, routes, servers
from credential_injector.envoy.paths import Paths
from credential_injector.envoy.sites import Site
from credential_injector.envoy.typed import Message, extension, figures, from_file, typed
from credential_injector.origins.hosts import is_loopback
from credential_injector.origins.origin import DEFAULT_PORTS

FORWARD = "proxy"
LEAF = "leaf"
"""What the file of each leaf certificate names it."""
_MARK = "%DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%"
_IDLE = "3600s"  # an event stream may be silent for long


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def names(self) -> list[str]:
        """What a client's Host says that means this address, as far as that is known here."""
        hosts = [str(self).rpartition(":")[0]]
        if is_loopback(self.host) or self.is_any:
            hosts += ["localhost", "127.0.0.1", "[::1]"]
        ends = [f":{self.port}", *([""] if self.port == 80 else [])]
        return [f"{host}{end}" for host in dict.fromkeys(hosts) for end in ends]

    @property
    def is_any(self) -> bool:
        """Whether it means all addresses of this machine."""
        return self.host in ("0.0.0.0", "::")  # noqa: S104 - compared only

    @property
    def message(self) -> Message:
        """As Envoy takes it."""
        return {"socket_address": {"address": self.host, "port_value": self.port}}


class Reverse(NamedTuple):
    """A listener for programs that have a base URL and know no proxy."""

    environment: str
    address: Address

    @property
    def name(self) -> str:
        """The listener's."""
        return f"reverse {self.environment}"

    @property
    def names(self) -> list[str]:
        """What a client's Host may say: no name that somebody else's DNS may lead here."""
        return self.address.names


def inside(site: Site) -> str:
    """The name of a site's own listener."""
    return f"inside {site.name}"


def forward(address: Address, clients: Iterable[Message], paths: Paths) -> Message:
    """The proxy."""
    connected = extension(
        "connected",
        "SetFilterState",
        on_request_headers=[
            filters.remembered("connect", "%REQ(:AUTHORITY)%", shared_with_upstream="TRANSITIVE"),
        ],
    )
    return _listener(
        FORWARD,
        _manager(
            FORWARD,
            paths,
            [connected, servers.looked_up(), filters.not_back(address.port)],
            upgrade_configs=[{"upgrade_type": "CONNECT"}, {"upgrade_type": "websocket"}],
        ),
        address=address,
        clients=clients,
    )


def forward_routes(sites: Sequence[Site], address: Address) -> Message:
    """Where the proxy leads requests: those to a site to its own listener, all others on."""
    connect = {"upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}], "timeout": "0s"}
    anywhere = {"cluster": servers.ANYWHERE, "timeout": "0s"}
    # What comes without CONNECT goes on, but for what wants TLS: Envoy would send that in clear.
    straight = [
        routes.answer(
            routes.EVERYTHING.and_headers({"name": ":scheme", "string_match": {"exact": "https"}}),
            "request blocked: it asks the proxy for an https URL without CONNECT; use a client that sends CONNECT",
        ),
        {"match": {"prefix": ""}, "route": anywhere},
    ]
    led: dict[str, list[Message]] = {}
    for site in sorted(sites, key=lambda site: not site.is_tls):  # a tunnel to a port of both is one for TLS
        to = {"cluster": inside(site), "timeout": "0s"}
        ways: list[Message] = [{"match": {"connect_matcher": {}}, "route": {**to, **connect}}]
        if not site.is_tls:
            ways.append({"match": {"prefix": ""}, "route": to})
        for authority in site.authorities:
            led.setdefault(authority, []).extend(ways)
    others = [{"match": {"connect_matcher": {}}, "route": {**anywhere, **connect}}, *straight]
    hosts = [{"name": name, "domains": [name], "routes": [*ways, *others]} for name, ways in led.items()]
    if address.port and (own := [name for name in address.names if name not in led]):
        # Envoy would ask itself, and then again, until the client gives up.
        this = f"request blocked: {address} is the proxy itself, and no website; let the client use it as its proxy"
        hosts.append({"name": "self", "domains": own, "routes": [routes.answer(routes.EVERYTHING, this)]})
    hosts.append({"name": "any", "domains": ["*"], "routes": others})
    return typed("RouteConfiguration", name=FORWARD, virtual_hosts=hosts)


def of(site: Site, certificate: str, paths: Paths) -> Message:
    """A site's own listener: it opens TLS, and puts the credential in."""
    before = []
    if site.origin.wildcard:
        before = [*filters.agreement(site.origin.port, DEFAULT_PORTS[site.origin.scheme]), servers.looked_up()]
    manager = _site_manager(inside(site), site, before, paths)
    inspector = extension("envoy.filters.listener.tls_inspector", "TlsInspector")
    if not site.is_tls:
        chains = [_chain(manager)]
        if not site.origin.wildcard:  # TLS to this port is none of ours
            tunnel = extension("envoy.filters.network.tcp_proxy", "TcpProxy", stat_prefix="tls", cluster=site.name)
            chains.append({**_chain(tunnel), "filter_chain_match": {"transport_protocol": "tls"}})
        return _inside(site, listener_filters=[inspector], filter_chains=chains)
    tls = extension(
        "envoy.transport_sockets.tls",
        "DownstreamTls",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificate_sds_secret_configs": [{"name": LEAF, "sds_config": from_file(certificate)}],
        },
    )
    match: Message = {"transport_protocol": "tls"}
    if not site.is_address:  # RFC 6066 section 3: there is no SNI for an address
        match["server_names"] = [site.host]
    chain = {**_chain(manager), "transport_socket": tls, "filter_chain_match": match}
    return _inside(site, listener_filters=[inspector], filter_chains=[chain])


def _inside(site: Site, **more: object) -> Message:
    name = inside(site)
    return typed("Listener", name=name, stat_prefix=figures(name), internal_listener={}, **more)


def of_routes(site: Site) -> Message:
    """The routes of a site's own listener."""
    way = routes.Way(site.name)
    hosts = [
        {"name": site.name, "domains": site.names, "routes": routes.of(site, way)},
        {"name": "elsewhere", "domains": ["*"], "routes": routes.elsewhere(site, way)},
    ]
    return typed("RouteConfiguration", name=inside(site), virtual_hosts=hosts)


def reverse(one: Reverse, site: Site, clients: Iterable[Message], paths: Paths) -> Message:
    """A reverse proxy in front of a site."""
    return _listener(one.name, _site_manager(one.name, site, [], paths), address=one.address, clients=clients)


def reverse_routes(one: Reverse, site: Site) -> Message:
    """The routes of a reverse proxy."""
    own = frozenset(f"http://{name}" for name in one.names)
    way = routes.Way(site.name, own, site.said)
    wrong = (
        f"{one.environment}: request blocked: its Host is not one of {', '.join(one.names)}, so a page may have made it"
    )
    hosts = [
        {"name": site.name, "domains": one.names, "routes": routes.of(site, way)},
        {"name": "elsewhere", "domains": ["*"], "routes": [routes.answer(routes.EVERYTHING, wrong)]},
    ]
    return typed("RouteConfiguration", name=one.name, virtual_hosts=hosts)


def withdrawn(routing: Message) -> Message:
    """What replaces the routes of a listener that goes, for the connections that are still open."""
    name = routing["name"]
    why = "request blocked: no environment file names this host any more; connect again"
    hosts = [{"name": "withdrawn", "domains": ["*"], "routes": [routes.answer(routes.EVERYTHING, why)]}]
    return typed("RouteConfiguration", name=name, virtual_hosts=hosts)


def networks(clients: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> list[Message]:
    """Networks, as Envoy takes them."""
    return [{"address_prefix": str(one.network_address), "prefix_len": one.prefixlen} for one in clients]


def _listener(name: str, manager: Message, *, address: Address, clients: Iterable[Message]) -> Message:
    """Whoever is not one of the clients is not served: no filter chain is theirs."""
    chain = {**_chain(manager), "filter_chain_match": {"source_prefix_ranges": list(clients)}}
    return typed("Listener", name=name, stat_prefix=figures(name), address=address.message, filter_chains=[chain])


def _chain(manager: Message) -> Message:
    return {"filters": [manager]}


def _site_manager(name: str, site: Site, before: Sequence[Message], paths: Paths) -> Message:
    served = [one for one in site.environments if routes.is_served(one)]
    http_filters = [*before, *filters.of(served, paths)]
    return _manager(
        name,
        paths,
        http_filters,
        upgrade_configs=[{"upgrade_type": "websocket", "filters": _ended([servers.by_http1(), *http_filters])}],
        mappers=answers.of(served, paths),
        scheme_header_transformation={"match_upstream": True},
        access_log=[_told_of_refusals(paths)],
    )


def _told_of_refusals(paths: Paths) -> Message:
    """A line for each token that the API refuses: its mark, and which environment's; no header."""
    # Cheap, as each request is asked: what is no gRPC counts as the gRPC status of its HTTP status.
    refused = {"grpc_status_filter": {"statuses": ["UNAUTHENTICATED"]}}
    of_the_api = answers.where("response.code_details == 'via_upstream'")
    return {
        **extension(
            "envoy.access_loggers.file",
            "FileAccessLog",
            path=paths.refusals,
            log_format={"text_format_source": {"inline_string": f"{_MARK} %ROUTE_NAME%\n"}},
        ),
        "filter": {"and_filter": {"filters": [refused, of_the_api]}},
    }


def _manager(
    name: str, paths: Paths, http_filters: Sequence[Message], mappers: Sequence[Message] = (), **more: object
) -> Message:
    """What speaks HTTP. It adds and changes nothing that a server or a client would see.

    Its routes come from a file of their own, so that no connection ends when they change.
    """
    return extension(
        "envoy.filters.network.http_connection_manager",
        "HttpConnectionManager",
        stat_prefix=figures(name),
        server_header_transformation="PASS_THROUGH",
        generate_request_id=False,
        skip_xff_append=True,
        forward_client_cert_details="ALWAYS_FORWARD_ONLY",
        early_header_mutation_extensions=[messages.aside()],
        proxy_100_continue=True,
        max_request_headers_kb=messages.MOST_KILOBYTES,
        common_http_protocol_options={"idle_timeout": _IDLE, "max_headers_count": messages.MOST_HEADERS},
        stream_idle_timeout=_IDLE,
        http_protocol_options={"allow_absolute_url": True, "accept_http_10": True, **messages.as_sent()},
        http2_protocol_options={"allow_connect": True},
        http_filters=_ended(http_filters),
        local_reply_config={"mappers": [*mappers, *answers.of_all()]},
        rds={"config_source": from_file(paths.routes(name)), "route_config_name": name},
        **more,
    )


def _ended(http_filters: Sequence[Message]) -> list[Message]:
    """With the filters that stand last in each chain."""
    router = extension("envoy.filters.http.router", "Router", suppress_envoy_headers=True)
    return [*http_filters, messages.back(), router]

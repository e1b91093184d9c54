"""The servers that environments name, each with the environments that share it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from credential_injector.environments.environment import Environment
from credential_injector.origins.hosts import is_address, normalise_host
from credential_injector.origins.origin import DEFAULT_PORTS, Origin


@dataclass(frozen=True, slots=True)
class Claim:
    """An environment at a server: below a path, or everywhere."""

    path: str
    environment: Environment
    origin: Origin
    """The site's, or a wildcard's that covers it."""


@dataclass(frozen=True, slots=True)
class Site:
    """A scheme, host and port."""

    origin: Origin
    """Without a path."""
    claims: tuple[Claim, ...]
    """The first whose path fits is that of a request: its own before a wildcard's, and the longest path first."""
    endpoints: tuple[str, ...] = ()
    """The paths of the token endpoints that are here."""

    @property
    def name(self) -> str:
        """As Envoy's statistics and messages name it."""
        return self.origin.base

    @property
    def environments(self) -> tuple[Environment, ...]:
        """Each of its environments once."""
        return tuple({claim.environment.name: claim.environment for claim in self.claims}.values())

    @property
    def is_tls(self) -> bool:
        """Whether it is reached by https."""
        return self.origin.scheme == "https"

    @property
    def host(self) -> str:
        """As it stands in a URL."""
        host = f"[{self.origin.host}]" if ":" in self.origin.host else self.origin.host
        return f"*.{host}" if self.origin.wildcard else host

    @property
    def is_address(self) -> bool:
        """Whether an IP address stands in the host's place."""
        return is_address(self.origin.host)

    @property
    def authority(self) -> str:
        """Host and port, as CONNECT names them."""
        return f"{self.host}:{self.origin.port}"

    @property
    def said(self) -> str:
        """Host and port, as a request's Host says them."""
        return self.host if self.origin.port == DEFAULT_PORTS[self.origin.scheme] else self.authority

    @property
    def authorities(self) -> list[str]:
        """How a proxy may be asked for it."""
        port = self.origin.port
        dotted = [] if self.origin.wildcard or self.is_address else [f"{self.host}."]
        bare = [self.host, *dotted]
        return [*(f"{host}:{port}" for host in bare), *(bare if port == DEFAULT_PORTS[self.origin.scheme] else [])]

    @property
    def names(self) -> list[str]:
        """What the Host of a request to it may say: no port is any port, unless Host decides where the request goes."""
        bare = [] if self.origin.wildcard else [self.host, *([] if self.is_address else [f"{self.host}."])]
        return list(dict.fromkeys([*self.authorities, *bare]))

    def page_origins(self, environment: Environment) -> set[str]:
        """The origins whose pages may ask it for something: its own, and those in ORIGINS."""
        return {*environment.page_origins, *(set() if self.origin.wildcard else {self.origin.base})}


def sites(environments: Iterable[Environment], token_endpoints: Iterable[str] = ()) -> list[Site]:
    """The servers of these environments. `token_endpoints` are those that the files do not name, as of issuers."""
    environments = tuple(environments)
    found: dict[Origin, list[Claim]] = {}
    for environment in environments:
        for origin in dict.fromkeys(environment.origins):
            server = Origin(origin.scheme, origin.host, origin.port, "", origin.wildcard)
            found.setdefault(server, []).append(Claim(origin.path, environment, server))
    wildcards = [server for server in found if server.wildcard]
    endpoints: dict[tuple[str, str, int], dict[str, None]] = {}
    for url in dict.fromkeys([*(environment.token_request.endpoint for environment in environments), *token_endpoints]):
        parts = urlsplit(url)
        if parts.hostname:
            at = parts.scheme, normalise_host(parts.hostname), parts.port or DEFAULT_PORTS[parts.scheme]
            endpoints.setdefault(at, {})[parts.path or "/"] = None
    return [Site(server, _claims(server, found, wildcards), tuple(_at(server, endpoints))) for server in found]


def _claims(server: Origin, found: dict[Origin, list[Claim]], wildcards: Iterable[Origin]) -> tuple[Claim, ...]:
    """Those of a server: what is not below a path of its own is a wildcard's that covers it, as in `Destinations`."""
    covering = [
        one for one in wildcards if (one.scheme, one.port) == (server.scheme, server.port) and one.covers(server.host)
    ]
    claims: list[Claim] = []
    for one in (server, *sorted(covering, key=lambda one: -len(one.host))):
        claims += sorted(found[one], key=lambda claim: -len(claim.path))
        if not claims[-1].path:
            break
    return tuple(claims)


def _at(server: Origin, endpoints: dict[tuple[str, str, int], dict[str, None]]) -> Iterable[str]:
    """The paths of the token endpoints at a server."""
    if not server.wildcard:
        return endpoints.get((server.scheme, server.host, server.port), ())
    return (
        path
        for (scheme, host, port), paths in endpoints.items()
        if (scheme, port) == (server.scheme, server.port) and server.covers(host)
        for path in paths
    )

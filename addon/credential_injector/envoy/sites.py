"""The servers that environments name, each with the environments that share it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from credential_injector.environments.environment import Environment
from credential_injector.origins.hosts import is_address
from credential_injector.origins.origin import DEFAULT_PORTS, Origin


@dataclass(frozen=True, slots=True)
class Claim:
    """An environment at a server: below a path, or everywhere."""

    path: str
    environment: Environment


@dataclass(frozen=True, slots=True)
class Site:
    """A scheme, host and port."""

    origin: Origin
    """Without a path."""
    claims: tuple[Claim, ...]
    """The longest path first."""

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
    def names(self) -> list[str]:
        """What a request's Host may say."""
        return (
            [self.authority, self.host] if self.origin.port == DEFAULT_PORTS[self.origin.scheme] else [self.authority]
        )

    def page_origins(self, environment: Environment) -> set[str]:
        """The origins whose pages may ask it for something: its own, and those in ORIGINS."""
        return {*environment.page_origins, *(set() if self.origin.wildcard else {self.origin.base})}


def sites(environments: Iterable[Environment]) -> list[Site]:
    """The servers of these environments."""
    found: dict[Origin, list[Claim]] = {}
    for environment in environments:
        for origin in dict.fromkeys(environment.origins):
            server = Origin(origin.scheme, origin.host, origin.port, "", origin.wildcard)
            found.setdefault(server, []).append(Claim(origin.path, environment))
    return [Site(server, tuple(sorted(claims, key=lambda claim: -len(claim.path)))) for server, claims in found.items()]

"""A set of environments -> the files of Envoy's configuration. Pure."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from credential_injector.environments.environment import Environment
from credential_injector.envoy import bootstrap, limits, listeners, servers
from credential_injector.envoy.listeners import Address, Reverse
from credential_injector.envoy.paths import Paths
from credential_injector.envoy.sites import Site, sites
from credential_injector.envoy.typed import Message
from credential_injector.launch.envoy import WORDS


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asks for."""

    listen: Address
    reverse: tuple[Reverse, ...] = ()
    clients: tuple[Message, ...] = ()
    admin_port: int = 0


@dataclass(frozen=True, slots=True)
class Configuration:
    """The files that change with the environments, in the order in which Envoy may read them."""

    files: dict[str, Message] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    """What Envoy does not do, a line each."""
    missing: tuple[str, ...] = ()
    """Why reverse proxies that are wanted are not there, a line each."""


def build(
    environments: Sequence[Environment],
    wanted: Wanted,
    paths: Paths,
    certificate: Callable[[Site], str],
    token_endpoints: Iterable[str] = (),
) -> Configuration:
    """The configuration for these environments. `certificate` makes a site's file."""
    found = sites(environments, token_endpoints)
    lacks = [f"{one.name}: {line}" for one in environments for line in limits.lacks(one)]
    clusters = [servers.anywhere()]
    listening = [listeners.forward(wanted.listen, wanted.clients, paths)]
    routing = []
    for site in found:
        trusted = next((paths.trusted(one.transport.ca) for one in site.environments if one.transport.ca), "")
        clusters += [servers.of(site, trusted or paths.trusted("")), servers.inside(listeners.inside(site))]
        listening.append(listeners.of(site, certificate(site) if site.is_tls else "", paths))
        routing.append(listeners.of_routes(site))
    missing: list[str] = []
    for one in wanted.reverse:
        behind = _site_of(one, environments, found)
        if isinstance(behind, str):
            missing.append(f"--reverse {one.environment}: {behind}")
            continue
        listening.append(listeners.reverse(one, behind, wanted.clients, paths))
        routing.append(listeners.reverse_routes(one, behind))
    # A file comes before those that name what is in it.
    files = {
        paths.of("clusters.json"): bootstrap.resources(clusters),
        **{paths.routes(one["name"]): bootstrap.resources([one]) for one in routing},
        paths.of("listeners.json"): bootstrap.resources(listening),
        paths.routes(listeners.FORWARD): bootstrap.resources([listeners.forward_routes(found, wanted.listen)]),
    }
    return Configuration(files, tuple(lacks), tuple(missing))


def start(lacks: Sequence[str], admin_port: int, paths: Paths) -> str:
    """The file with which Envoy starts: YAML, with what it does not do as comments."""
    lines = [
        "Written by credential-injector envoy, which keeps the files it names fresh while it runs.",
        f"Start: envoy -c {paths.of('envoy.yaml')} {' '.join(WORDS)}",
        "What Envoy does otherwise than mitmproxy with the add-on:",
        *(f"- {line}" for line in (*limits.GENERAL, *lacks)),
    ]
    return bootstrap.commented(lines) + json.dumps(bootstrap.bootstrap(admin_port, paths), indent=1) + "\n"


def _site_of(reverse: Reverse, environments: Sequence[Environment], found: Sequence[Site]) -> Site | str:
    """The site behind a reverse proxy, or why there is none."""
    environment = next((one for one in environments if one.name == reverse.environment), None)
    if environment is None:
        return "there is no such environment; write its file again, or start without this option"
    origin = next((one for one in environment.origins if not one.wildcard), None)
    if origin is None:
        return f"HOST of {environment.file} names a wildcard only"
    if (why := limits.refusal(environment)) is not None:
        return why
    site = next(one for one in found if one.origin.base == origin.base)
    # Who has a listener of its own is not asked who it is.
    return replace(site, claims=tuple(claim for claim in site.claims if claim.environment is environment))

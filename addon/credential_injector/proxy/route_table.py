"""A set of environments -> a table: which destination belongs to which, and where its tokens come from.

A table is built beside the event loop, and replaced as a whole.
"""

import logging
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import DEFAULT_FOLDER, Folder
from credential_injector.oauth.grants import FIXED
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.oauth.token import AccessToken
from credential_injector.origins.hosts import LONGEST_NAME, is_loopback
from credential_injector.origins.index import Destination, Destinations, distance
from credential_injector.origins.origin import DEFAULT_PORTS, Origin
from credential_injector.proxy.choice import Choices
from credential_injector.proxy.credentials import credential_of
from credential_injector.proxy.story import Story, story
from credential_injector.status import Counts
from credential_injector.tokens.source import TokenSource

logger = logging.getLogger(__name__)

LISTED = 20  # environments that are named one by one in the log when they are loaded

Key = tuple[TokenRequest, Transport]
"""Environments with the same one share a token source."""
NewSource = Callable[[TokenRequest, Transport], TokenSource]


class Route:
    """What the requests to one origin of an environment need, put together once."""

    __slots__ = ("_story", "choices", "counts", "credential", "environment", "origin", "others", "source")

    def __init__(
        self, environment: Environment, source: TokenSource, counts: Counts, origin: Origin | None = None
    ) -> None:
        self.environment = environment
        self.source = source
        self.counts = counts
        self.origin = origin or environment.origins[0]
        self.credential = credential_of(environment)
        self.others = [Route(environment, source, counts, one) for one in environment.origins[1:]] if not origin else []
        """Those of the environment's further origins."""
        self.choices: Choices | None = None
        """The routes of the same origin, if who asks decides which one serves a request."""
        self._story: Story | None = None

    def story(self, token: AccessToken) -> Story:
        """What its requests with this token have in common."""
        if self._story is None or self._story.token is not token:
            self._story = story(self.environment, self.origin, self.credential, token)
        return self._story


class Table(NamedTuple):
    """The table of a set of environments."""

    environments: tuple[Environment, ...] = ()
    routes: Mapping[str, Route] = {}
    """By the environments' names."""
    sources: Mapping[Key, TokenSource] = {}
    names: Mapping[Key, list[str]] = {}
    """The environments that share a source."""
    counts: Mapping[str, Counts] = {}
    destinations: Destinations[Route] = Destinations()
    of_host: Callable[[str], Sequence[Route]] = lambda _: ()
    nearest: Callable[[Destination], Route | None] = lambda _: None
    endpoints: frozenset[str] = frozenset()
    """The token endpoints that the files name."""
    new: tuple[Environment, ...] = ()
    """Those that the table before did not have, or not like this."""
    gone: tuple[str, ...] = ()

    @property
    def asks_for_tokens(self) -> bool:
        """Whether any environment's credential comes from a token request."""
        return any(request.grant_type not in FIXED for request, _ in self.sources)


def build(
    environments: tuple[Environment, ...],
    before: Table,
    defaults: Mapping[str, str],
    counts: Mapping[str, Counts],
    new_source: NewSource,
) -> Table:
    """The table that follows the one before: what did not change stays. A thread may do it: it takes a while.

    `defaults` are the fields of Transport that a file need not name, `counts` those of all environments ever used.
    """
    keys = [(one.token_request, one.transport.completed(**defaults)) for one in environments]
    sources: dict[Key, TokenSource] = {}
    names: dict[Key, list[str]] = {}
    routes: dict[str, Route] = {}
    new = []
    for environment, key in zip(environments, keys, strict=True):
        name = environment.name
        if key not in sources:
            sources[key] = before.sources.get(key) or new_source(*key)
        names.setdefault(key, []).append(name)
        route = before.routes.get(name)
        if route is None or (route.environment is not environment and route.environment != environment):
            new.append(environment)
        if route is None or route.environment is not environment or route.source is not sources[key]:
            count = route.counts if route is not None else counts.get(name) or Counts()
            route = Route(environment, sources[key], count)
        routes[name] = route
    entries = [(one.origin, one) for route in routes.values() for one in (route, *route.others)]
    of_host = _by_host(entries)
    return Table(
        environments,
        routes,
        sources,
        names,
        {name: route.counts for name, route in routes.items()},
        Destinations(_chosen_by_who_asks(entries)),
        of_host,
        _nearest(of_host),
        frozenset(request.endpoint for request, _ in keys if request.endpoint),
        tuple(new),
        tuple(sorted(before.routes.keys() - routes.keys())),
    )


def _chosen_by_who_asks(entries: Iterable[tuple[Origin, Route]]) -> Iterable[tuple[Origin, Route]]:
    """One route for each origin. Where AS counts, that is any of them, and its `choices` has them all.

    These are made anew: the table before has its own.
    """
    groups: dict[Origin, list[Route]] = {}
    for origin, route in entries:
        groups.setdefault(origin, []).append(route)
    for origin, routes in groups.items():
        if not any(route.environment.asked_as for route in routes):
            yield origin, routes[-1]
            continue
        own = [Route(one.environment, one.source, one.counts, origin) for one in routes]
        choices = Choices(own)
        for route in own:
            route.choices = choices
        yield origin, choices.default or own[0]


def log_changes(table: Table, folder: Folder | None) -> None:
    """Tell which environments are new and which are gone, and what to do where there are none."""
    for environment in table.new[:LISTED]:
        origins = ", ".join(map(str, environment.origins))
        whence = environment.token_request.server_url
        credential = f"tokens from {whence}" if whence else f"the credential in {environment.file}"
        in_url = "; QUERY puts it into URLs, which logs keep unless inject_mask hides it" if environment.query else ""
        production = f"; production: only {environment.methods}" if environment.production else ""
        logger.info(f"{environment.name}: {origins} with {credential}{production}{in_url}")
    if len(table.new) > LISTED:
        logger.info(f"... and {len(table.new) - LISTED} more environments")
    for name in table.gone[:LISTED]:
        logger.info(f"{name}: file removed; its hosts no longer get a token")
    if len(table.gone) > LISTED:
        logger.info(f"... and {len(table.gone) - LISTED} more files removed")
    if not table.environments and folder is not None:
        is_default = folder.path == Path(DEFAULT_FOLDER)
        option = "" if is_default else f" --envs {shlex.quote(str(folder.path.absolute()))}"
        todo = folder.found_instead() or f"To make one, run: credential-injector init dev{option}"
        logger.warning(f"No environment file in {folder.path.absolute()}: every request passes untouched. {todo}")


def _by_host(entries: Iterable[tuple[Origin, Route]]) -> Callable[[str], Sequence[Route]]:
    """A look-up by host alone, in which the names of this machine count as one."""
    routes: dict[Origin, list[Route]] = {}
    for origin, route in entries:
        routes.setdefault(Origin("", _known(origin.host), 0, "", origin.wildcard), []).append(route)
    hosts = Destinations(routes.items())
    return lambda host: hosts.find("", _known(host), 0, "/") or () if len(host) <= LONGEST_NAME else ()


def _known(host: str) -> str:
    return "localhost" if is_loopback(host) else host


def _nearest(of_host: Callable[[str], Sequence[Route]]) -> Callable[[Destination], Route | None]:
    """A look-up of what comes nearest to a destination that no environment names.

    Cached: each request to such a destination asks for it.
    """

    @lru_cache(maxsize=1024)
    def find(scheme: str, host: str, port: int) -> Route | None:
        destination = Destination(scheme, host, port, "/")
        return min(of_host(host), key=lambda route: distance(destination, route.origin), default=None)

    # A client may write anything as its scheme.
    return lambda to: find(to.scheme if to.scheme in DEFAULT_PORTS else "", to.host[: LONGEST_NAME + 1], to.port)

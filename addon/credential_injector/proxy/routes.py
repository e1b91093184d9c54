"""The environments in use: look-up, and following their files.

A change of the files is taken into use when every file is right; until then everything stays as it is.
"""

import asyncio
import logging
import operator
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from credential_injector import messages
from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import Folder, InvalidEnvironments
from credential_injector.environments.owners import Owners
from credential_injector.oauth.jwt_claims import JwtClaims
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.origins.index import Destination, Excluded
from credential_injector.proxy import route_table, startup_tuning
from credential_injector.proxy.handshakes import Handshakes
from credential_injector.proxy.route_table import Route, Table
from credential_injector.status import Counts, Overview
from credential_injector.threads import Interrupted, in_thread, interruptible
from credential_injector.tokens.provider import Provider

if TYPE_CHECKING:
    from credential_injector.tokens.store import TokenStore

logger = logging.getLogger(__name__)

Preload = Callable[[Callable[[], bool]], Coroutine[None, None, None]]


class Routes:
    """The environments in use: none, before `load`."""

    def __init__(self, provider: Provider | None = None, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called when other environments are in use, or another token endpoint is known."""
        self._changed = changed
        self.mistakes: tuple[str, ...] = ()
        """In changed files, which are therefore not in use yet."""
        self.provider = provider or Provider()
        self._folder: Folder | None = None
        self._table = Table()
        self._defaults: dict[str, str] = {}
        """The fields of Transport that a file need not name."""
        self._counts: dict[str, Counts] = {}
        self.handshakes = Handshakes()
        """Those that clients refused."""
        """Those of environments that are gone included."""
        self.token_endpoints: dict[str, None] = {}
        """As far as they are known, those of environments that are gone included."""
        self._token_endpoints = Excluded()
        """The same, for look-ups."""
        self._owners: Owners | None = None
        """Of the table's environments; made when somebody asks."""
        self._watching: asyncio.Task[None] | None = None
        self._preloading: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def load(self, folder: Folder, store: "TokenStore | None") -> None:
        """Use the environments of this folder from now on, with tokens from this store.

        Raises InvalidEnvironments; what was in use before then stays so.
        """
        if self._folder is None:
            self._folder = folder  # to be watched, even if there is nothing in it that could be used yet
        else:
            folder.take_over(self._folder)
        with startup_tuning.no_collection():
            environments = _read(folder)
            if store is not self.provider.store:
                self._table = self._table._replace(sources={})  # theirs know the other store
                if self.provider.store is not None:
                    _start(self.provider.store.close(), self._tasks)
            self._folder, self.provider.store, self.mistakes = folder, store, ()
            self._replace(self._build(environments))
            if self._watching is None:
                startup_tuning.freeze()
        if self._watching is not None:
            self.watch()

    def set_defaults(self, *, ca_file: str, proxy: str) -> None:
        """How authorization servers are reached where a file does not say: the fields of Transport."""
        defaults = {"ca_file": ca_file, "proxy": proxy}
        if defaults != self._defaults:
            self._defaults = defaults
            self._replace(self._build(self._table.environments))

    # --- Look-up ------------------------------------------------------------------------------------------------------

    def find(self, destination: Destination) -> Route | None:
        """The route of the most specific origin (see `Destinations.find`)."""
        return self._table.destinations.find(*destination)

    def of_host(self, host: str) -> Route | None:
        """A route of this host, whatever the scheme, port and path. The names of this machine count as one."""
        return next(iter(self._table.of_host(host)), None)

    def nearest(self, destination: Destination) -> Route | None:
        """Of the routes of its host, the one that comes nearest to a destination that no environment names."""
        return self._table.nearest(destination)

    def is_token_endpoint(self, destination: Destination) -> bool:
        """Whether tokens are asked for there. Whoever asks brings a credential of its own."""
        return self._token_endpoints.holds(*destination)

    def named(self, name: str) -> Route | None:
        """The route of an environment."""
        return self._table.routes.get(name)

    def names(self) -> list[str]:
        """The environments' names."""
        return list(self._table.routes)

    def other_owner(self, claims: JwtClaims, environment: Environment) -> str:
        """The name of another environment, whose token these claims are; empty where it is not clearly another's."""
        if self._owners is None:
            self._owners = Owners(self._table.environments)
        return self._owners.other(claims, environment)

    def status(self) -> Overview:
        """How each environment stands, and the mistakes in files that are therefore not in use."""
        routes = self._table.routes.values()
        return Overview(
            tuple(
                messages.environment_status(
                    route.environment, route.source.status(), route.counts, route.source.kept_in
                )
                for route in routes
            ),
            self.mistakes,
            {name: replace(one) for name, one in self._counts.items() if name not in self._table.routes},
            self.handshakes.status(),
        )

    # --- Changes ------------------------------------------------------------------------------------------------------

    def refresh(self, name: str = "") -> None:
        """Ask for a new token now, for one environment or for all that have been used."""
        for route in self._table.routes.values():
            if route.environment.name == name or (not name and route.source.used):
                route.source.refresh()

    def preload_requests(self, preload: Preload = startup_tuning.preload_requests) -> None:
        """Import soon what the first token request needs."""
        self._preloading = asyncio.create_task(preload(lambda: self._table.asks_for_tokens))

    def watch(self) -> None:
        """Take every change of the files into use from now on."""
        if self._watching is not None:
            self._watching.cancel()
        if self._folder is not None:
            self._watching = asyncio.create_task(_watch(self._folder, self.read_again))

    def close(self) -> None:
        """Stop what goes on beside the requests. No token request begins any more."""
        self.provider.end()
        for task in (self._watching, self._preloading):
            if task is not None:
                task.cancel()

    async def read_again(self) -> None:
        """Take the files into use as they are now, or tell what is wrong with them."""
        folder = self._folder
        if folder is None:
            return
        mistakes: tuple[str, ...] = ()
        try:
            environments = await in_thread(folder.read, "environment files")
            while folder is self._folder and environments != self._table.environments:
                built_on = self._table, self._defaults, self.provider.store
                with startup_tuning.no_collection():
                    table = await in_thread(partial(self._build, environments), "environments")
                now = self._table, self._defaults, self.provider.store
                if all(map(operator.is_, built_on, now)) and folder is self._folder:
                    self._replace(table)
        except InvalidEnvironments as error:
            mistakes = error.mistakes
        if mistakes == self.mistakes:
            return
        self.mistakes = mistakes
        for mistake in mistakes:
            logger.error(mistake)
        logger.warning(
            "Keeping the previous environments until this is fixed" if mistakes else "The environment files are fixed"
        )

    def _build(self, environments: tuple[Environment, ...]) -> Table:
        new_source = partial(self.provider.source, watcher=self)
        return route_table.build(environments, self._table, self._defaults, self._counts, new_source)

    def _replace(self, table: Table) -> None:
        """Requests that are under way finish with what they began with."""
        before, self._table, self._owners = self._table, table, None
        self._counts |= table.counts
        self.published(table.endpoints - before.endpoints)
        route_table.log_changes(table, self._folder)
        self._changed()

    # --- What is told of token requests: tokens.provider.Watcher ------------------------------------------------------

    def begins(self, request: TokenRequest, transport: Transport) -> str:
        """A token request goes out. Returns the names of its environments."""
        # Look names up now; a file may have been renamed since the source was made.
        names = self._table.names.get((request, transport), [])
        for name in names[:1]:
            self._counts[name].token_requests += 1
        return ", ".join(names)

    def published(self, endpoints: Iterable[str]) -> None:
        """Requests to these token endpoints get no token from now on."""
        new = [url for url in endpoints if url not in self.token_endpoints]
        for url in new:
            self.token_endpoints[url] = None
            self._token_endpoints.add(url)
        if new:
            self._changed()

    def refused(self, request: TokenRequest, transport: Transport) -> None:
        """Read the files again where a secret comes from a command: it may print another one by now."""
        names = self._table.names.get((request, transport), [])
        if self._folder is not None and self._folder.forget(names):
            _start(self.read_again(), self._tasks)


async def _watch(folder: Folder, changed: Callable[[], Awaitable[None]]) -> None:
    try:
        async with aclosing(folder.changes()) as changes:
            async for _ in changes:
                await changed()
    except Exception as error:  # noqa: BLE001 - a request is worth more than a watch
        logger.warning(f"Changed environment files are not noticed any more: {messages.own_error(error)}")


def _start(work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> None:
    """Do it beside the requests. `tasks` keeps what is under way: the event loop would not."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _read(folder: Folder) -> tuple[Environment, ...]:
    """Raises InvalidEnvironments, also where SIGINT comes first: a disk, a pipe or a command may not answer."""
    try:
        return interruptible(folder.read, "environment files")
    except Interrupted:
        raise InvalidEnvironments(
            [f"{folder.at}: interrupted while it was read; nothing of the folder is used"]
        ) from None

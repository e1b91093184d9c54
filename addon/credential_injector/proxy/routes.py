"""The environments in use: which destination belongs to which, and where its tokens come from.

They follow the files: a change is taken into use when every file is right, and until then they stay as they are.
"""

import asyncio
import gc
import logging
import math
import operator
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from credential_injector import messages
from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import Folder, InvalidEnvironments
from credential_injector.oauth.grants import FIXED, GRANTS
from credential_injector.oauth.refresh_token import RefreshToken
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.origins.hosts import LONGEST_NAME, is_loopback
from credential_injector.origins.index import Destination, Destinations, Excluded
from credential_injector.origins.origin import Origin
from credential_injector.proxy.credential import HeaderCredential
from credential_injector.threads import Interrupted, in_thread, interruptible
from credential_injector.tokens.provider import store_of
from credential_injector.tokens.source import TokenSource

if TYPE_CHECKING:
    from credential_injector.tokens.store import TokenStore

logger = logging.getLogger(__name__)

LAST_WAIT = 5.0  # seconds beyond a token request's timeout, in which what came is stored
LONG_LIFETIME = 30 * 86400.0  # seconds; a longer life may have been meant in milliseconds
IMPORT_AFTER = 1.0  # seconds after the start, when the first connections have been served
LISTED = 20  # environments that are named one by one in the log when they are loaded

_Key = tuple[TokenRequest, Transport]


@dataclass(slots=True)
class Counts:
    """What has happened in an environment since mitmproxy started."""

    injected: int = 0
    token_requests: int = 0
    replays: int = 0
    blocked: int = 0
    answered: bool = False
    """The server has answered a request with a token."""

    def __str__(self) -> str:
        return (
            f"{self.injected} requests with a token, {self.token_requests} token requests,"
            f" {self.replays} sent again, {self.blocked} blocked"
        )


class Route:
    """What one destination's requests need, put together once."""

    __slots__ = (
        "counts",
        "credential",
        "environment",
        "source",
    )

    def __init__(self, environment: Environment, source: TokenSource, counts: Counts) -> None:
        self.environment = environment
        self.source = source
        self.counts = counts
        self.credential = HeaderCredential(environment)


class Asking:
    """The token requests of one source. What makes them is imported with the first: it takes a while."""

    def __init__(
        self,
        request: TokenRequest,
        transport: Transport,
        refresh_token: RefreshToken,
        endpoint_for: Callable[[TokenRequest, Transport], Awaitable[Any]],
        may_begin: Callable[[], None] = lambda: None,
    ) -> None:
        self.request = request
        self.transport = transport
        self.refresh_token = refresh_token
        self._endpoint_for = endpoint_for
        self._may_begin = may_begin
        self._endpoint: Any = None

    @property
    def published(self) -> tuple[str, ...]:
        """The token endpoint's URLs, as far as an issuer has published them."""
        return () if self._endpoint is None else tuple(self._endpoint.published)

    async def token(self, asked_at: float) -> AccessToken:
        """Raises NoToken."""
        if self._endpoint is None:
            self._endpoint = await self._endpoint_for(self.request, self.transport)
        if not GRANTS[self.request.grant_type].refreshes:
            return await self._ask(asked_at)
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with self.refresh_token.turn:
            # In whole seconds: a token must not be of TokenSource's future, and two clocks differ.
            token = await self._ask(asked_at + math.floor(loop.time() - began))
            self.refresh_token.came(token.refresh_token or "")
        return token

    async def _ask(self, asked_at: float) -> AccessToken:
        self._may_begin()
        token: AccessToken = await self._endpoint.token(asked_at, self.refresh_token.value)
        return token


class _Table(NamedTuple):
    """What a set of environments comes to. It is built beside the event loop, and replaced as a whole."""

    environments: tuple[Environment, ...]
    routes: dict[str, Route]
    sources: dict[_Key, TokenSource]
    refresh_tokens: dict[TokenRequest, RefreshToken]
    """By what asks for tokens; the file's may be used up, whatever the way to the server or the store is now."""
    names: dict[_Key, list[str]]
    """The environments that share a source."""
    counts: dict[str, Counts]
    destinations: Destinations[Route]
    of_host: Callable[[str], Route | None]
    endpoints: frozenset[str]
    new: tuple[Environment, ...]
    """Those that the table before did not have, or not like this."""
    gone: tuple[str, ...]


_NOTHING = _Table((), {}, {}, {}, {}, {}, Destinations(), lambda _: None, frozenset(), (), ())


class Routes:
    """The environments in use. Nothing is, before `load`."""

    def __init__(self) -> None:
        self.mistakes: tuple[str, ...] = ()
        """In changed files, which are therefore not in use yet."""
        self._folder: Folder | None = None
        self._store: TokenStore | None = None
        self._logins: TokenStore | None = None
        """The one for logins where there is no other."""
        self._table = _NOTHING
        self._network: Any = None
        """What the token endpoints share; it is made with the first."""
        self._importing = asyncio.Lock()
        self._way: dict[str, str] = {}
        self._counts: dict[str, Counts] = {}
        self._token_endpoints = Excluded()
        """As far as they are known, those of environments that are gone included."""
        self._following: asyncio.Task[None] | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._refreshes: dict[asyncio.Task[Any], float] = {}
        """Those under way that show a refresh token, with the timeouts of their token requests, in seconds."""
        self._ended = False

    def load(self, folder: Folder, store: "TokenStore | None") -> None:
        """Use the environments of this folder from now on, with tokens from this store.

        Raises InvalidEnvironments; what was in use before then stays so.
        """
        if self._folder is None:
            self._folder = folder  # to be followed, even if there is nothing in it that could be used yet
        else:
            folder.take_over(self._folder)
        with _nothing_collected():
            environments = _read(folder)
            if store is not self._store:
                self._table = self._table._replace(sources={})  # theirs know the other store
                if self._store is not None:
                    self._start(self._store.close())
            self._folder, self._store, self.mistakes = folder, store, ()
            self.use(environments)
            if self._following is None:
                _freeze()
        if self._following is not None:
            self.follow()

    def reach(self, *, ca_file: str, proxy: str) -> None:
        """How authorization servers are reached where a file does not say: the fields of Transport."""
        way = {"ca_file": ca_file, "proxy": proxy}
        if way != self._way:
            self._way = way
            self.use(self._table.environments)

    def find(self, destination: Destination) -> Route | None:
        """The route of the most specific origin (see `Destinations.find`)."""
        return self._table.destinations.find(*destination)

    def of_host(self, host: str) -> Route | None:
        """A route of this host, whatever the scheme, port and path. The names of this machine count as one."""
        return self._table.of_host(host)

    def is_token_endpoint(self, destination: Destination) -> bool:
        """Whether tokens are asked for there. Whoever asks brings a credential of its own."""
        return self._token_endpoints.holds(*destination)

    def named(self, name: str) -> Route | None:
        """The route of an environment."""
        return self._table.routes.get(name)

    def names(self) -> list[str]:
        """The environments' names."""
        return list(self._table.routes)

    def summary(self) -> list[str]:
        """A line for each environment in which anything has happened."""
        return [f"{name}: {counts}" for name, counts in self._counts.items() if counts != Counts()]

    def status(self) -> list[str]:
        """A line for each environment, and one for each mistake in a file that is therefore not in use."""
        return [
            messages.status(route.environment, route.source.status(), str(route.counts))
            for route in self._table.routes.values()
        ] + [f"not in use: {mistake}" for mistake in self.mistakes]

    def refresh(self, name: str = "") -> None:
        """Ask for a new token now, for one environment or for all that have been used."""
        for route in self._table.routes.values():
            if route.environment.name == name or (not name and route.source.used):
                route.source.refresh()

    def prepare(self) -> None:
        """Import soon what the first token request needs: with clients that wait for it, that takes far longer."""
        self._preparing = asyncio.create_task(self._prepare())

    async def _prepare(self) -> None:
        await asyncio.sleep(IMPORT_AFTER)
        if self._table.refresh_tokens:
            await in_thread(_import_authorization_server, "import of the authorization server")

    def close(self) -> None:
        """Stop what goes on beside the requests. No token request begins any more."""
        self._ended = True
        for task in (self._following, self._preparing):
            if task is not None:
                task.cancel()

    def farewell(self) -> "asyncio.Task[None] | None":
        """What mitmproxy should wait for before it ends: a refresh token that is shown may be used up, and only the
        answer holds the next one. It takes as long as a token request may, and LAST_WAIT. None: nothing to wait for.
        """
        if not self._refreshes:
            return None
        longest = max(self._refreshes.values()) + LAST_WAIT

        async def wait() -> None:
            await asyncio.wait(self._refreshes.keys(), timeout=longest)

        logger.info(f"Waiting for a refresh token that is on its way, {messages.duration(longest)} at most")
        return asyncio.create_task(wait())

    def use(self, environments: tuple[Environment, ...]) -> None:
        """Environments of one token identity share a source, and a source outlives changes that do not concern it.

        Requests that are under way finish with what they began with.
        """
        self._replace(self._build(environments))

    def _build(self, environments: tuple[Environment, ...]) -> _Table:
        """The table of these environments. It changes nothing, so that a thread can do it: it takes a while."""
        before = self._table
        keys = [(one.token_request, one.transport.completed(**self._way)) for one in environments]
        refresh_tokens = dict(before.refresh_tokens)
        sources: dict[_Key, TokenSource] = {}
        names: dict[_Key, list[str]] = {}
        routes: dict[str, Route] = {}
        new = []
        for environment, key in zip(environments, keys, strict=True):
            name = environment.name
            if key not in sources:
                sources[key] = before.sources.get(key) or TokenSource(self._fetch_for(*key, refresh_tokens))
            names.setdefault(key, []).append(name)
            route = before.routes.get(name)
            if route is None or (route.environment is not environment and route.environment != environment):
                new.append(environment)
            if route is None or route.environment is not environment or route.source is not sources[key]:
                counts = route.counts if route is not None else self._counts.get(name) or Counts()
                route = Route(environment, sources[key], counts)
            routes[name] = route
        entries = [(origin, route) for route in routes.values() for origin in route.environment.origins]
        requests = {request for request, _ in keys}
        return _Table(
            environments,
            routes,
            sources,
            {request: one for request, one in refresh_tokens.items() if request in requests},
            names,
            {name: route.counts for name, route in routes.items()},
            Destinations(entries),
            _by_host(entries),
            frozenset(request.endpoint for request in requests if request.endpoint),
            tuple(new),
            tuple(sorted(before.routes.keys() - routes.keys())),
        )

    def _replace(self, table: _Table) -> None:
        before, self._table = self._table, table
        self._counts |= table.counts
        self._learn(table.endpoints - before.endpoints)
        self._announce(table)

    def _announce(self, table: _Table) -> None:
        for environment in table.new[:LISTED]:
            origins = ", ".join(map(str, environment.origins))
            whence = environment.token_request.server_url
            credential = f"tokens from {whence}" if whence else f"the credential in {environment.file}"
            logger.info(f"{environment.name}: {origins} with {credential}")
        if len(table.new) > LISTED:
            logger.info(f"... and {len(table.new) - LISTED} more environments")
        for name in table.gone[:LISTED]:
            logger.info(f"{name}: its file is gone, its hosts get no token any more")
        if len(table.gone) > LISTED:
            logger.info(f"... and {len(table.gone) - LISTED} more files are gone")
        if not table.environments and self._folder is not None:
            folder = self._folder.path
            todo = self._folder.found_instead() or (
                "To make one, write HOST=https://api.example.com, CLIENT_ID=... and CLIENT_SECRET=..., a line each, to"
                f" {folder / 'dev.env'}"
            )
            logger.warning(f"No environment file in {folder.absolute()}: every request passes untouched. {todo}")

    def follow(self) -> None:
        """Take every change of the files into use from now on."""
        if self._following is not None:
            self._following.cancel()
        if self._folder is not None:
            self._following = asyncio.create_task(self._follow(self._folder))

    async def _follow(self, folder: Folder) -> None:
        try:
            async with aclosing(folder.changes()) as changes:
                async for _ in changes:
                    await self._read_again()
        except Exception as error:  # noqa: BLE001 - a request is worth more than a watch
            logger.warning(f"Changed environment files are not noticed any more: {messages.own_error(error)}")

    async def _read_again(self) -> None:
        folder = self._folder
        if folder is None:
            return
        mistakes: tuple[str, ...] = ()
        try:
            environments = await in_thread(folder.read, "environment files")
            while folder is self._folder and environments != self._table.environments:
                built_on = self._table, self._way, self._store
                with _nothing_collected():
                    table = await in_thread(partial(self._build, environments), "environments")
                if all(map(operator.is_, built_on, (self._table, self._way, self._store))) and folder is self._folder:
                    self._replace(table)
        except InvalidEnvironments as error:
            mistakes = error.mistakes
        if mistakes == self.mistakes:
            return
        self.mistakes = mistakes
        for mistake in mistakes:
            logger.error(mistake)
        logger.warning(
            "The environments stay as they were until this is mended"
            if mistakes
            else "The environment files are mended"
        )

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _fetch_for(
        self, request: TokenRequest, transport: Transport, refresh_tokens: dict[TokenRequest, RefreshToken]
    ) -> Callable[[float, str | None], Awaitable[AccessToken]]:
        if request.grant_type in FIXED:
            return partial(_fixed_credential, request)
        shown = refresh_tokens.setdefault(request, RefreshToken(request.value("REFRESH_TOKEN")))
        asking = Asking(request, transport, shown, self._token_endpoint, self._may_begin)
        fetch: Callable[[float, str | None], Awaitable[AccessToken]] = partial(self._fetch, asking)
        store = store_of(request, self._store)
        if store is not self._store:
            store = self._logins = self._logins or store
        if store is not None:
            from credential_injector.tokens.store import shared

            fetch = shared(store, request, fetch, shown, timeout=transport.timeout)
        return partial(self._fetch_and_learn, asking, fetch) if request.issuer else fetch

    async def _fetch_and_learn(
        self,
        asking: Asking,
        fetch: Callable[[float, str | None], Awaitable[AccessToken]],
        asked_at: float,
        replaces: str | None,
    ) -> AccessToken:
        """Know the token endpoint before anybody has the token, and even where there is none."""
        try:
            token = await fetch(asked_at, replaces)
        finally:
            self._learn(asking.published)
        self._learn(token.endpoints)
        return token

    def _learn(self, endpoints: Iterable[str]) -> None:
        """Requests to these token endpoints get no token from now on."""
        for url in endpoints:
            self._token_endpoints.add(url)

    async def _token_endpoint(self, request: TokenRequest, transport: Transport) -> Any:
        async with self._importing:
            if self._network is None:
                # Not on the event loop, either, and in one thread, however many environments ask at once.
                self._network = (await in_thread(_import_token_endpoint, "import of the token endpoint")).Network()
        return _import_token_endpoint().TokenEndpoint(request, transport, self._network)

    def _may_begin(self) -> None:
        """Raises NoToken."""
        if self._ended:  # mitmproxy still serves, and would not wait for the answer
            raise NoToken("ending", "the add-on is ending and asks for no token any more")

    async def _fetch(self, asking: Asking, asked_at: float, _replaces: str | None) -> AccessToken:
        self._may_begin()
        task = asyncio.current_task()
        if task is not None and GRANTS[asking.request.grant_type].refreshes and task not in self._refreshes:
            self._refreshes[task] = asking.transport.timeout
            task.add_done_callback(self._refreshes.pop)
        # By the environments of the moment: a file may have been renamed since the source was made.
        names = self._table.names.get((asking.request, asking.transport), [])
        for name in names[:1]:
            self._counts[name].token_requests += 1
        known = asking.refresh_token.replaced
        try:
            token = await _request_token(", ".join(names), asking, asked_at)
        except NoToken as error:
            # A command may print another secret by now.
            if error.lasting and self._folder is not None and self._folder.forget(names):
                self._start(self._read_again())
            raise
        if asking.refresh_token.replaced and not known and store_of(asking.request, self._store) is None:
            logger.warning(
                f"{', '.join(names)}: the server has replaced the refresh token, and with inject_tokens=memory the new"
                " one is lost when mitmproxy ends; to keep it, name a file: --set inject_tokens=tokens.json"
            )
        return token


def _by_host(entries: Iterable[tuple[Origin, Route]]) -> Callable[[str], Route | None]:
    """A look-up by host alone, in which the names of this machine count as one. Cached: each request to a host that no
    environment names asks for it.
    """

    def known(host: str) -> str:
        return "localhost" if is_loopback(host) else host

    hosts = Destinations((Origin("", known(origin.host), 0, "", origin.wildcard), route) for origin, route in entries)
    find = lru_cache(maxsize=1024)(lambda host: hosts.find("", known(host), 0, "/"))
    return lambda host: find(host) if len(host) <= LONGEST_NAME else None


async def _fixed_credential(request: TokenRequest, asked_at: float, _replaces: str | None) -> AccessToken:
    return AccessToken(FIXED[request.grant_type].credential(request), asked_at, math.inf)


def _read(folder: Folder) -> tuple[Environment, ...]:
    """Raises InvalidEnvironments, also where SIGINT comes first: a disk, a pipe or a command may not answer."""
    try:
        return interruptible(folder.read, "environment files")
    except Interrupted:
        raise InvalidEnvironments(
            [f"{folder.at}: interrupted while it was read; nothing of the folder is used"]
        ) from None


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """10,000 files make 300,000 objects that stay: to look for garbage among them takes a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _freeze() -> None:
    """Let no garbage be looked for in what is there while mitmproxy starts, nearly all of which stays: with 10,000
    environments that would halt all requests for up to 0.2 s, again and again. What is frozen goes when nothing refers
    to it any more, unless it is part of a circle.
    """
    if gc.get_freeze_count():  # the script is loaded anew: what it was before is such a circle
        gc.unfreeze()
        gc.collect()
    gc.freeze()


def _import_authorization_server() -> None:
    from credential_injector.oauth import server as authorization_server  # noqa: F401 - to have it


def _import_token_endpoint() -> ModuleType:
    from credential_injector.oauth import endpoint as token_endpoint

    return token_endpoint


async def _request_token(name: str, asking: Asking, asked_at: float) -> AccessToken:
    token = await asking.token(asked_at)
    left = messages.duration(token.expires_at - token.issued_at)
    logger.info(f"{name}: token fetched ({token.fingerprint}), it lives for {left}")
    if token.expires_at - token.issued_at > LONG_LIFETIME:
        logger.warning(
            f"{name}: the server says that its token lives for {left}. If it means milliseconds, tell whoever runs it"
            " that expires_in is in seconds (RFC 6749 section 5.1); until then the API's 401 tells when the token ended"
        )
    return token

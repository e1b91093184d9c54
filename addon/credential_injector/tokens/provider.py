"""An identity's endpoint, store and cache, put together once: for the add-on, the command line and logins."""

import asyncio
import logging
import math
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from credential_injector import messages
from credential_injector.oauth.grants import FIXED, GRANTS
from credential_injector.oauth.refresh_token import RefreshToken
from credential_injector.oauth.request import DEFAULT_TIMEOUT, TokenRequest, Transport
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.threads import in_thread
from credential_injector.tokens.sharing import Fetch, keep, shared, unshared
from credential_injector.tokens.source import TokenSource

if TYPE_CHECKING:
    from credential_injector.tokens.store import TokenStore

logger = logging.getLogger(__name__)

LAST_WAIT = 5.0  # seconds beyond a token request's timeout, in which what came is stored
LONG_LIFETIME = 30 * 86400.0  # seconds; a longer life may have been meant in milliseconds


class Endpoint(Protocol):
    """What asks for a token: TokenEndpoint."""

    @property
    def published(self) -> tuple[str, ...]:
        """The token endpoint's URLs, as far as an issuer has published them."""

    async def token(self, asked_at: float, refresh_token: str = "") -> AccessToken:
        """One token request. Raises NoToken."""


OpenEndpoint = Callable[[TokenRequest, Transport], Awaitable[Endpoint]]


class Watcher(Protocol):
    """Is told of the token requests of a source."""

    def begins(self, request: TokenRequest, transport: Transport) -> str:
        """A token request goes out. Returns the name of its environment, for the log."""

    def published(self, endpoints: Iterable[str]) -> None:
        """An issuer publishes these URLs of its token endpoint."""

    def refused(self, request: TokenRequest, transport: Transport) -> None:
        """The server understood the request and said no: the file, or a command in it, may say something else now."""


@dataclass(frozen=True, slots=True)
class Named:
    """Watches for one environment and only tells its name."""

    name: str

    def begins(self, request: TokenRequest, transport: Transport) -> str:  # noqa: ARG002 - a Watcher's
        """Its name."""
        return self.name

    def published(self, endpoints: Iterable[str]) -> None:
        """Nobody asks for it."""

    def refused(self, request: TokenRequest, transport: Transport) -> None:
        """Nobody asks for it."""


class Provider:
    """Makes token sources, which share a network, a store, and the refresh tokens of one identity.

    `open_endpoint` makes what asks for tokens, with the first token request.
    """

    def __init__(self, store: "TokenStore | None" = None, *, open_endpoint: OpenEndpoint | None = None) -> None:
        self.store = store
        """Of the sources that are made from now on. None: memory, but for logins."""
        self.open_endpoint: OpenEndpoint = open_endpoint or _Endpoints()
        self._logins: TokenStore | None = None
        self._refresh_tokens: WeakValueDictionary[TokenRequest, RefreshToken] = WeakValueDictionary()
        """One for each identity, whichever way to the server and whichever store its sources have."""
        self._making = threading.Lock()
        self._showing: dict[asyncio.Task[Any], float] = {}
        """The token requests under way that send a refresh token, with their timeouts in seconds."""
        self._ended = False

    def source(
        self, request: TokenRequest, transport: Transport, watcher: Watcher, endpoint: Endpoint | None = None
    ) -> TokenSource:
        """A new source of this identity's tokens. `endpoint` asks for them; None: one is opened when it is needed."""
        if request.grant_type in FIXED:
            return TokenSource(unshared(partial(_fixed_credential, request)))
        refresh_token = self._refresh_token(request)
        store = self.store_of(request)
        asking = _Asking(
            self,
            request=request,
            transport=transport,
            watcher=watcher,
            refresh_token=refresh_token,
            endpoint=endpoint,
            kept=store is not None,
        )
        fetch = (
            unshared(asking.token)
            if store is None
            else shared(store, request, asking.token, refresh_token, timeout=transport.timeout)
        )
        if request.issuer:
            fetch = _publishing(fetch, watcher)
        return TokenSource(fetch, kept_in="" if store is None else store.option)

    def store_of(self, request: TokenRequest) -> "TokenStore | None":
        """Where a request's tokens live: what a person logged in for outlives the process even without a store."""
        if self.store is not None or request.grant_type in FIXED or not GRANTS[request.grant_type].login_endpoint:
            return self.store
        if self._logins is None:
            from credential_injector.tokens.file_store import open_logins

            self._logins = open_logins()
        return self._logins

    async def keep(
        self, request: TokenRequest, token: AccessToken, *, request_timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        """Store the token of a login. Raises whatever the store raises."""
        store = self.store_of(request)
        if store is not None:
            await keep(store, request, token, request_timeout=request_timeout)

    async def loses(self, request: TokenRequest) -> bool:
        """Whether the end of this process loses the server's last refresh token, as no store holds it.

        What a store could not take is offered to it once more. The identity's source must still be there.
        """
        refresh_token = self._refresh_token(request)
        store = self.store_of(request)
        if refresh_token.unsaved and store is not None:
            await store.catch_up()
        return refresh_token.unsaved

    def end(self) -> None:
        """Begin no token request any more."""
        self._ended = True

    def unfinished_refreshes(self) -> "asyncio.Task[None] | None":
        """What a process should wait for before it ends; None: nothing.

        A refresh token that was sent may be used up, and only the answer holds the next one. It takes as long as a
        token request may, and LAST_WAIT.
        """
        if not self._showing:
            return None
        longest = max(self._showing.values()) + LAST_WAIT

        async def wait() -> None:
            await asyncio.wait(self._showing.keys(), timeout=longest)

        logger.info(f"Waiting for a refresh token that is on its way, {messages.duration(longest)} at most")
        return asyncio.create_task(wait())

    def may_begin(self) -> None:
        """Raises NoToken."""
        if self._ended:  # mitmproxy still serves, and would not wait for the answer
            raise NoToken("ending", "the add-on is ending and asks for no token any more")

    def sends_refresh_token(self, timeout: float) -> None:
        """The current task is a token request that sends one, and takes so many seconds at most."""
        task = asyncio.current_task()
        if task is not None and task not in self._showing:
            self._showing[task] = timeout
            task.add_done_callback(self._showing.pop)

    def _refresh_token(self, request: TokenRequest) -> RefreshToken:
        with self._making:  # a table of environments is built in a thread, and on the event loop
            return self._refresh_tokens.setdefault(request, RefreshToken(request.value("REFRESH_TOKEN")))


class _Asking:
    """The token requests of one source."""

    def __init__(
        self,
        provider: Provider,
        *,
        request: TokenRequest,
        transport: Transport,
        watcher: Watcher,
        refresh_token: RefreshToken,
        endpoint: Endpoint | None,
        kept: bool,
    ) -> None:
        self._provider = provider
        self._request = request
        self._transport = transport
        self._watcher = watcher
        self._refresh_token = refresh_token
        self._endpoint = endpoint
        self._kept = kept
        """There is a store for what comes."""
        self._refreshes = GRANTS[request.grant_type].refreshes

    async def token(self, asked_at: float) -> AccessToken:
        """Raises NoToken."""
        self._provider.may_begin()
        if self._refreshes:
            self._provider.sends_refresh_token(self._transport.timeout)
        name = self._watcher.begins(self._request, self._transport)
        replaced_before = self._refresh_token.replaced
        try:
            if self._endpoint is None:
                self._endpoint = await self._provider.open_endpoint(self._request, self._transport)
            token = await self._in_turn(self._endpoint, asked_at)
        except NoToken as error:
            if error.lasting:
                self._watcher.refused(self._request, self._transport)
            raise
        finally:
            if self._endpoint is not None:
                self._watcher.published(self._endpoint.published)
        _log_arrival(name, token)
        if self._refresh_token.replaced and not replaced_before and not self._kept:
            logger.warning(
                f"{name}: the server has replaced the refresh token, and with inject_tokens=memory the new one is lost"
                " when mitmproxy ends; to keep it, name a file: --set inject_tokens=tokens.json"
            )
        return token

    async def _in_turn(self, endpoint: Endpoint, asked_at: float) -> AccessToken:
        """One token request at a time sends the refresh token: most servers take each one once."""
        if not self._refreshes:
            self._provider.may_begin()
            return await endpoint.token(asked_at, self._refresh_token.value)
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with self._refresh_token.turn:
            self._provider.may_begin()
            # In whole seconds: a token must not be of TokenSource's future, and two clocks differ.
            waited = math.floor(loop.time() - began)
            token = await endpoint.token(asked_at + waited, self._refresh_token.value)
            self._refresh_token.came(token.refresh_token or "")
        return token


class _Endpoints:
    """Makes token endpoints. What they need is imported with the first one: it takes a while."""

    def __init__(self) -> None:
        self._network: Any = None
        """What they share."""
        self._importing = asyncio.Lock()

    async def __call__(self, request: TokenRequest, transport: Transport) -> Endpoint:
        async with self._importing:
            if self._network is None:
                # Not on the event loop, either, and in one thread, however many environments ask at once.
                self._network = (await in_thread(_token_endpoint, "import of the token endpoint")).server.Network()
        endpoint: Endpoint = _token_endpoint().open_endpoint(request, transport, self._network)
        return endpoint


def _token_endpoint() -> ModuleType:
    from credential_injector.oauth import endpoints

    return endpoints


def _publishing(fetch: Fetch, watcher: Watcher) -> Fetch:
    """`fetch`, which tells the watcher of the token endpoint before it returns a token, also one from a store."""

    async def fetch_and_publish(asked_at: float, replaces: str | None) -> AccessToken:
        token = await fetch(asked_at, replaces)
        watcher.published(token.endpoints)
        return token

    return fetch_and_publish


async def _fixed_credential(request: TokenRequest, asked_at: float) -> AccessToken:
    return AccessToken(FIXED[request.grant_type].credential(request), asked_at, math.inf)


def _log_arrival(name: str, token: AccessToken) -> None:
    left = messages.duration(token.expires_at - token.issued_at)
    logger.info(f"{name}: token fetched ({token.fingerprint}), it lives for {left}")
    if token.expires_at - token.issued_at > LONG_LIFETIME:
        logger.warning(
            f"{name}: the server says that its token lives for {left}. If it means milliseconds, tell whoever runs it"
            " that expires_in is in seconds (RFC 6749 section 5.1); until then the API's 401 tells when the token ended"
        )

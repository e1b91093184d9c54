"""Tokens that outlive the process, shared by all proxies that name the same store: a file, or Redis.

A store saves token requests and must never cost a request: where it fails, a token is asked for as if there were none.
"""

import asyncio
import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import asdict, replace
from functools import partial
from hashlib import scrypt
from urllib.parse import urlsplit

from credential_injector.oauth.refresh_token import RefreshToken
from credential_injector.oauth.request import DEFAULT_TIMEOUT, TokenRequest
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.threads import Turns, in_thread

logger = logging.getLogger(__name__)

Fetch = Callable[[float, str | None], Awaitable[AccessToken]]
"""One token request, as TokenSource takes it: now in unix seconds, and the fingerprint of the token to be replaced."""

LOCK_WAIT = 1.5  # times a token request's timeout: whoever holds the lock makes one
PROBE_EVERY = 1.0  # seconds between two looks at whether a broken store works again
PROBE_WAIT = 1.0  # seconds for which such a look waits for whoever holds the lock

# The hash takes about 0.1 s and 16 MiB (OWASP's advice for passwords): the names in a stolen store must not make it
# cheap to guess a client secret. The salt cannot be a random one, as every proxy has to come to the same name.
SCRYPT_COST = 2**14
HASHES_AT_ONCE = 2
AT_ONCE = 64  # of those who ask: each holds a lock, which takes a thread and a file descriptor
AT_ONCE_WITH_ONE = 32  # of those who ask one authorization server: one that hangs does not take every turn
_SALT = b"mitmproxy-credential-injector token store"


def shared(
    store: "TokenStore",
    request: TokenRequest,
    fetch: Fetch,
    refresh_token: RefreshToken | None = None,
    *,
    timeout: float = DEFAULT_TIMEOUT,
) -> Fetch:
    """`fetch`, made by one at a time of all who share the store; the others take the token that it stored.

    `fetch` shows `refresh_token`, which may have come from the store by then. `timeout` is that of a token request, in
    seconds.
    Raises what `fetch` raises and nothing else: without the store, every one makes its own token request. A store that
    failed is left alone until it works again; it gets then what came meanwhile.
    """
    return _Sharing(store, request, fetch, refresh_token or RefreshToken(), LOCK_WAIT * timeout).fetch_or_take


class _Sharing:
    """The token requests of one source, which shares a store with others."""

    def __init__(
        self, store: "TokenStore", request: TokenRequest, fetch: Fetch, refresh_token: RefreshToken, wait: float
    ) -> None:
        self._store = store
        self._request = request
        self._fetch = fetch
        self._refresh_token = refresh_token
        self._wait = wait
        """Seconds that whoever holds the lock may take."""
        self._stuck = False
        """Whoever holds it has taken longer: nobody waits for it until it is free again."""
        self._identity = ""
        self._identity_before = ""

    async def fetch_or_take(self, asked_at: float, replaces: str | None) -> AccessToken:
        if self._store.broken:
            return await self._fetch_alone(asked_at, replaces)
        began = asyncio.get_running_loop().time()
        async with self._store.turns.held(urlsplit(self._request.server_url).netloc), AsyncExitStack() as lock:
            try:
                wait = 0.0 if self._stuck else self._wait
                self._stuck = not await lock.enter_async_context(self._store.lock(await self._name(), wait))
                stored = await self._store.read(self._identity) or await self._read_as_before()
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not cost the request
                self._store.failed(error)
                return await self._fetch_alone(later(asked_at, began), replaces)
            if stored is not None:
                if stored.refresh_token:
                    self._refresh_token.read(stored.refresh_token)
                if stored.fingerprint != replaces:
                    waited = asyncio.get_running_loop().time() - began
                    taken = _taken(stored, self._request, asked_at, waited=waited)
                    if taken is not None:
                        return taken
            asked_at = later(asked_at, began)
            token = await self._ask(asked_at, replaces)
            try:
                await self._write(token, asked_at)
            except Exception as error:  # noqa: BLE001 - the token is there all the same
                self._store.failed(error)
                self._leave(token, asked_at)
            return token

    async def _fetch_alone(self, asked_at: float, replaces: str | None) -> AccessToken:
        self._leave(None, asked_at)
        token = await self._ask(asked_at, replaces)
        self._leave(token, asked_at)
        return token

    async def _ask(self, asked_at: float, replaces: str | None) -> AccessToken:
        try:
            return await self._fetch(asked_at, replaces)
        except NoToken as error:
            error.tokens = self._store.option
            raise

    def _leave(self, token: AccessToken | None, now: float) -> None:
        leave = self._store.looks_for if token is None else self._store.catches_up
        leave(self._request, partial(self._catch_up, token, now))

    async def _catch_up(self, token: AccessToken | None, now: float) -> None:
        """Store what was left, but for what another proxy has stored since."""
        async with self._store.lock(await self._name(), PROBE_WAIT):
            stored = await self._store.read(self._identity)
            if token is None or (stored is not None and self._refresh_token.is_news(stored.refresh_token or "")):
                return
            await self._write(token, now)

    async def _write(self, token: AccessToken, now: float) -> None:
        self._refresh_token.writes(token.refresh_token or "")
        await self._store.write(self._identity, token, now)

    async def _name(self) -> str:
        self._identity = self._identity or await self._hashed(identify)
        return self._identity

    async def _read_as_before(self) -> AccessToken | None:
        if not self._request.login:
            return None
        self._identity_before = self._identity_before or await self._hashed(identify_as_before)
        return await self._store.read(self._identity_before)

    async def _hashed(self, name: Callable[[TokenRequest], str]) -> str:
        async with self._store.hashes:
            return await in_thread(partial(name, self._request), "token store")


def later(asked_at: float, began: float) -> float:
    """`asked_at`, in unix seconds, after the wait that began at this time of the event loop.

    In whole seconds: two clocks are compared, and a token of TokenSource's future is of no use to it.
    """
    return asked_at + math.floor(asyncio.get_running_loop().time() - began)


async def keep(
    store: "TokenStore", request: TokenRequest, token: AccessToken, *, request_timeout: float = DEFAULT_TIMEOUT
) -> None:
    """Store a token that came without `shared`: that of a login. Raises whatever the store raises.

    `request_timeout` is that of a token request, in seconds.
    """
    identity = await in_thread(partial(identify, request), "token store")
    async with store.lock(identity, LOCK_WAIT * request_timeout):
        await store.write(identity, token, token.issued_at)


def identify(request: TokenRequest) -> str:
    """The name under which a request's token is stored: another one where anything but `login` differs, the secret
    included."""
    fields = asdict(request)
    del fields["login"]
    canonical = json.dumps(fields, sort_keys=True).encode()
    return "v1-" + scrypt(canonical, salt=_SALT, n=SCRYPT_COST, r=8, p=5, dklen=32).hex()


def identify_as_before(request: TokenRequest) -> str:
    """The name of a login that was stored when `login` still counted."""
    return identify(replace(request, values=tuple(sorted((*request.values, *request.login)))))


def _taken(stored: AccessToken, request: TokenRequest, asked_at: float, *, waited: float) -> AccessToken | None:
    """The stored token as TokenSource may have it; None where it is too near its end, or of an unknown age."""
    if request.issuer and not stored.endpoints:
        return (
            None  # the token endpoint's own clients would get it: only the issuer says where they are to be let alone
        )
    now = asked_at + waited
    leeway = stored.expires_at - stored.usable_until
    if asked_at >= stored.refresh_from or now >= stored.usable_until or stored.issued_at > now + leeway:
        return None
    # It may have been asked for while we waited, or by a machine whose clock is ahead; TokenSource takes a token that
    # was issued in its future for one of unknown age. What counts is expires_at, which stays.
    return replace(stored, issued_at=min(stored.issued_at, asked_at), stored=True)


class TokenStore(ABC):
    """Where the tokens are. Its methods may raise anything; `shared` goes on without it then.

    A broken store is told once, and once more when it works again, which one probe at a time finds out.
    """

    def __init__(self, name: str, option: str = "") -> None:
        self._name = name
        """As messages name it."""
        self.option = option
        """As the command line's --tokens names it; empty for its default."""
        self.turns = Turns(AT_ONCE, AT_ONCE_WITH_ONE)
        self.hashes = asyncio.Semaphore(HASHES_AT_ONCE)
        self._behind: dict[TokenRequest, Callable[[], Awaitable[None]]] = {}
        """What brings into the store what it missed."""
        self._probing: asyncio.Task[None] | None = None
        self._told = self._closed = False

    @abstractmethod
    def lock(self, identity: str, wait: float) -> AbstractAsyncContextManager[bool]:
        """Wait for whoever asks for this identity's token, so many seconds at most: then go on without the lock.

        Yields whether it is held.
        """

    @abstractmethod
    async def read(self, identity: str) -> AccessToken | None:
        """The identity's token; None where there is none that is well-formed. It may have expired."""

    @abstractmethod
    async def write(self, identity: str, token: AccessToken, now: float) -> None:
        """Store the identity's token. `now` is in unix seconds: what has expired by then goes."""

    async def close(self) -> None:
        """Close the connections. A closed store opens them again when it is used, but remembers no failure."""
        self._closed = True
        if self._probing is not None:
            self._probing.cancel()

    @property
    def broken(self) -> bool:
        """It failed, and nobody has found yet that it works again."""
        return self._probing is not None and not self._probing.done()

    def failed(self, error: Exception) -> None:
        """A method raised."""
        if not self._told:
            self._told = True
            logger.warning(
                f"inject_tokens: {self._name} cannot be used ({cause(error)});"
                " until it can, tokens are kept in memory and shared with nobody"
            )

    def catches_up(self, request: TokenRequest, catch_up: Callable[[], Awaitable[None]]) -> None:
        """Await this when the store works, in the place of what this request has left here before."""
        self._behind[request] = catch_up
        self.probe()

    def looks_for(self, request: TokenRequest, catch_up: Callable[[], Awaitable[None]]) -> None:
        """Await this when the store works, unless the request has left something here before."""
        self._behind.setdefault(request, catch_up)
        self.probe()

    def probe(self) -> None:
        """Find out when the store works again."""
        if not self.broken and not self._closed:
            self._probing = asyncio.create_task(self._probe(), name="token store")

    async def _probe(self) -> None:
        while self._behind:
            await asyncio.sleep(PROBE_EVERY)
            with suppress(Exception):
                for request, catch_up in list(self._behind.items()):
                    await catch_up()
                    if self._behind[request] is catch_up:
                        del self._behind[request]
        if self._told:
            self._told = False
            logger.info(f"inject_tokens: {self._name} can be used again")


def cause(error: BaseException) -> str:
    """What the operating system said; the libraries' own messages may repeat more."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        if isinstance(seen, TimeoutError):
            return "no answer in time"
        seen = seen.__cause__ or seen.__context__
    return type(error).__name__

"""Proxies that share a store make one token request: one asks, and the others take the token that it stored."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from functools import partial
from hashlib import scrypt
from urllib.parse import urlsplit

from credential_injector.oauth.refresh_token import RefreshToken
from credential_injector.oauth.request import DEFAULT_TIMEOUT, TokenRequest
from credential_injector.oauth.token import AccessToken
from credential_injector.tokens.store import SCRYPT_COST, TokenStore

Ask = Callable[[float], Awaitable[AccessToken]]
"""One token request, now (in unix seconds)."""
Fetch = Callable[[float, str | None], Awaitable[AccessToken]]
"""A token, now (in unix seconds), that is another one than that of this fingerprint."""

# Every proxy has to come to the same name, so the salt cannot be a random one.
_SALT = b"mitmproxy-credential-injector token store"


def unshared(ask: Ask) -> Fetch:
    """`ask` for each token."""

    async def fetch(asked_at: float, _replaces: str | None) -> AccessToken:
        return await ask(asked_at)

    return fetch


def shared(
    store: TokenStore,
    request: TokenRequest,
    ask: Ask,
    refresh_token: RefreshToken | None = None,
    *,
    timeout: float = DEFAULT_TIMEOUT,
) -> Fetch:
    """`ask`, but one at a time of all who share the store asks; the others take the token that it stored.

    `ask` sends `refresh_token`, which may have come from the store by then. `timeout` is that of a token request, in
    seconds.
    Raises what `ask` raises and nothing else: without the store, every one makes its own token request. A store that
    failed is left alone until it works again; it gets then what came meanwhile.
    """
    wait = store.limits.lock_wait * timeout
    return _Sharing(store, request, ask, refresh_token or RefreshToken(), wait).take_or_ask


class _Sharing:
    """The token requests of one source, which shares a store with others."""

    def __init__(
        self, store: TokenStore, request: TokenRequest, ask: Ask, refresh_token: RefreshToken, wait: float
    ) -> None:
        self._store = store
        self._request = request
        self._ask = ask
        self._refresh_token = refresh_token
        self._wait = wait
        """Seconds that whoever holds the lock may take."""
        self._stuck = False
        """Whoever holds it has taken longer: nobody waits for it until it is free again."""
        self._identity = self._identity_before = ""

    async def take_or_ask(self, asked_at: float, replaces: str | None) -> AccessToken:
        if self._store.broken:
            return await self._ask_alone(asked_at)
        began = asyncio.get_running_loop().time()
        async with self._store.turns.held(urlsplit(self._request.server_url).netloc), AsyncExitStack() as lock:
            try:
                wait = 0.0 if self._stuck else self._wait
                self._stuck = not await lock.enter_async_context(self._store.lock(await self._name(), wait))
                stored = await self._store.read(self._identity) or await self._read_as_before()
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not cost the request
                self._store.failed(error)
                return await self._ask_alone(_later(asked_at, began))
            if stored is not None:
                if stored.refresh_token:
                    self._refresh_token.read(stored.refresh_token)
                if stored.fingerprint != replaces:
                    waited = asyncio.get_running_loop().time() - began
                    taken = _taken(stored, self._request, asked_at, waited=waited)
                    if taken is not None:
                        return taken
            asked_at = _later(asked_at, began)
            token = await self._ask(asked_at)
            try:
                await self._write(token, asked_at)
            except Exception as error:  # noqa: BLE001 - the token is there all the same
                self._store.failed(error)
                self._leave(token, asked_at)
            return token

    async def _ask_alone(self, asked_at: float) -> AccessToken:
        self._leave(None, asked_at)
        token = await self._ask(asked_at)
        self._leave(token, asked_at)
        return token

    def _leave(self, token: AccessToken | None, now: float) -> None:
        leave = self._store.looks_for if token is None else self._store.catches_up
        leave(self._request, partial(self._catch_up, token, now))

    async def _catch_up(self, token: AccessToken | None, now: float) -> None:
        """Store what was left, unless another proxy has stored something since."""
        async with self._store.lock(await self._name(), self._store.limits.probe_wait):
            stored = await self._store.read(self._identity)
            if token is None or (stored is not None and self._refresh_token.is_news(stored.refresh_token or "")):
                return
            await self._write(token, now)

    async def _write(self, token: AccessToken, now: float) -> None:
        refresh_token = token.refresh_token or ""
        self._refresh_token.writes(refresh_token)
        await self._store.write(self._identity, token, now)
        self._refresh_token.wrote(refresh_token)

    async def _name(self) -> str:
        self._identity = self._identity or await self._hashed(identify)
        return self._identity

    async def _read_as_before(self) -> AccessToken | None:
        if not self._request.login:
            return None
        self._identity_before = self._identity_before or await self._hashed(identify_as_before)
        return await self._store.read(self._identity_before)

    async def _hashed(self, name: Callable[[TokenRequest, int], str]) -> str:
        return await self._store.name(partial(name, self._request, self._store.limits.scrypt_cost))


async def keep(
    store: TokenStore, request: TokenRequest, token: AccessToken, *, request_timeout: float = DEFAULT_TIMEOUT
) -> None:
    """Store a token that came without `shared`: that of a login. Raises whatever the store raises.

    `request_timeout` is that of a token request, in seconds.
    """
    identity = await store.name(partial(identify, request, store.limits.scrypt_cost))
    async with store.lock(identity, store.limits.lock_wait * request_timeout):
        await store.write(identity, token, token.issued_at)


def identify(request: TokenRequest, cost: int = SCRYPT_COST) -> str:
    """The name under which a request's token is stored.

    It is another one where anything but `login` differs, the secret included.
    """
    fields = asdict(request)
    del fields["login"]
    canonical = json.dumps(fields, sort_keys=True).encode()
    return "v1-" + scrypt(canonical, salt=_SALT, n=cost, r=8, p=5, dklen=32).hex()


def identify_as_before(request: TokenRequest, cost: int = SCRYPT_COST) -> str:
    """The name of a login that was stored when `login` still counted."""
    return identify(replace(request, values=tuple(sorted((*request.values, *request.login)))), cost)


def _later(asked_at: float, began: float) -> float:
    """`asked_at`, in unix seconds, after the wait that began at this time of the event loop.

    In whole seconds: two clocks are compared, and TokenSource does not use a token that was issued in its future.
    """
    return asked_at + math.floor(asyncio.get_running_loop().time() - began)


def _taken(stored: AccessToken, request: TokenRequest, asked_at: float, *, waited: float) -> AccessToken | None:
    """The stored token as TokenSource may have it; None where it is too near its end, or of an unknown age."""
    if request.issuer and not stored.endpoints:
        # Requests to the token endpoint get no token, and only the issuer tells where that is.
        return None
    now = asked_at + waited
    leeway = stored.expires_at - stored.usable_until
    if asked_at >= stored.refresh_from or now >= stored.usable_until or stored.issued_at > now + leeway:
        return None
    # It may have been asked for while we waited, or by a machine whose clock is ahead; TokenSource takes a token that
    # was issued in its future for one of unknown age. What counts is expires_at, which stays.
    return replace(stored, issued_at=min(stored.issued_at, asked_at), stored=True)

"""Tokens that outlive the process, shared by all proxies that name the same store: a file, or Redis.

A store saves token requests and must never cost a request: where it fails, a token is asked for as if there were none.
"""

import asyncio
import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import asdict, replace
from functools import partial
from hashlib import scrypt

from credential_injector.refresh_token import RefreshToken
from credential_injector.threads import in_thread
from credential_injector.token_request import DEFAULT_TIMEOUT, TokenRequest, parse_endpoint
from credential_injector.token_source import LONGEST_LIFETIME, AccessToken, NoToken, sendable

logger = logging.getLogger(__name__)

Fetch = Callable[[float, str | None], Awaitable[AccessToken]]
"""One token request, as TokenSource takes it: now in unix seconds, and the fingerprint of the token to be replaced."""

LOCK_WAIT = 1.5  # times a token request's timeout: whoever holds the lock makes one
LATEST = 253402300800.0  # unix seconds: the year 10000, before which a token must expire; dates overflow there

# The hash takes about 0.1 s and 16 MiB (OWASP's advice for passwords): the names in a stolen store must not make it
# cheap to guess a client secret. The salt cannot be a random one, as every proxy has to come to the same name.
SCRYPT_COST = 2**14
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
    Raises what `fetch` raises and nothing else: without the store, every one makes its own token request.
    """
    identity = ""
    shown = refresh_token or RefreshToken()

    async def ask(asked_at: float, replaces: str | None) -> AccessToken:
        try:
            return await fetch(asked_at, replaces)
        except NoToken as error:
            error.tokens = store.option
            raise

    async def fetch_or_take(asked_at: float, replaces: str | None) -> AccessToken:
        nonlocal identity
        loop = asyncio.get_running_loop()
        began = loop.time()

        def now() -> float:
            """A second early, so that no token counts as issued in the future where the two clocks differ a little."""
            return asked_at + max(0.0, loop.time() - began - 1.0)

        async with AsyncExitStack() as lock:
            try:
                identity = identity or await in_thread(partial(identify, request), "token store")
                await lock.enter_async_context(store.lock(identity, LOCK_WAIT * timeout))
                stored = await store.read(identity)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not cost the request
                store.failed(error)
                return await ask(now(), replaces)
            if stored is not None and stored.refresh_token:
                shown.read(stored.refresh_token)
            if stored is not None and stored.fingerprint != replaces:
                taken = _taken(stored, request, asked_at, waited=loop.time() - began)
                if taken is not None:
                    store.works()
                    return taken
            token = await ask(now(), replaces)
            try:
                await store.write(identity, token, asked_at)
                shown.written(token.refresh_token or "")
                store.works()
            except Exception as error:  # noqa: BLE001 - the token is there all the same
                store.failed(error)
            return token

    return fetch_or_take


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
    """The name under which a request's token is stored: another one where any field differs, the secret included."""
    canonical = json.dumps(asdict(request), sort_keys=True).encode()
    return "v1-" + scrypt(canonical, salt=_SALT, n=SCRYPT_COST, r=8, p=5, dklen=32).hex()


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

    A broken store is told once, and once more when it works again.
    """

    def __init__(self, name: str, option: str = "") -> None:
        self._name = name
        """As messages name it."""
        self.option = option
        """As the command line's --tokens names it; empty for its default."""
        self._broken = False

    @abstractmethod
    def lock(self, identity: str, wait: float) -> AbstractAsyncContextManager[None]:
        """Wait for whoever asks for this identity's token, so many seconds at most: then go on without the lock."""

    @abstractmethod
    async def read(self, identity: str) -> AccessToken | None:
        """The identity's token; None where there is none that is well-formed. It may have expired."""

    @abstractmethod
    async def write(self, identity: str, token: AccessToken, now: float) -> None:
        """Store the identity's token. `now` is in unix seconds: what has expired by then goes."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connections. A closed store opens them again when it is used."""

    def failed(self, error: Exception) -> None:
        """A method raised."""
        if not self._broken:
            self._broken = True
            logger.warning(
                f"inject_tokens: {self._name} cannot be used ({cause(error)});"
                " until it can, tokens are kept in memory and shared with nobody"
            )

    def works(self) -> None:
        """A token was read or written."""
        if self._broken:
            self._broken = False
            logger.info(f"inject_tokens: {self._name} can be used again")


def cause(error: BaseException) -> str:
    """What the operating system said; the libraries' own messages may repeat more."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return type(error).__name__


# --- What is stored ---------------------------------------------------------------------------------------------------
# Anybody may have written it: what is not exactly as expected is no token.


def entry_of(token: AccessToken) -> dict[str, object]:
    entry: dict[str, object] = {
        "access_token": token.value,
        "issued_at": token.issued_at,
        "expires_at": token.expires_at,
    }
    if token.refresh_token:
        entry["refresh_token"] = token.refresh_token
    if token.endpoints:
        entry["endpoints"] = list(token.endpoints)
    return entry


def kept_until(token: AccessToken) -> float:
    """Unix seconds. A refresh token may live long, and nobody says how long."""
    return token.issued_at + LONGEST_LIFETIME if token.refresh_token else token.expires_at


def token_of(entry: object) -> AccessToken | None:
    if not isinstance(entry, dict):
        return None
    value, issued_at, expires_at = (entry.get(name) for name in ("access_token", "issued_at", "expires_at"))
    if not isinstance(value, str) or not sendable(value):
        return None
    refresh_token = entry.get("refresh_token")
    if refresh_token is not None and (not isinstance(refresh_token, str) or not sendable(refresh_token)):
        return None
    endpoints = _endpoints(entry.get("endpoints", []))
    if endpoints is None:
        return None
    token = AccessToken(value, _time(issued_at), _time(expires_at), refresh_token=refresh_token, endpoints=endpoints)
    # A second more, as the longest lifetime may have been rounded up. NaN is in no range.
    return token if 0 < token.expires_at - token.issued_at <= LONGEST_LIFETIME + 1 else None


def _endpoints(urls: object) -> tuple[str, ...] | None:
    """None where these are no endpoints."""
    if not isinstance(urls, list):
        return None
    try:
        return tuple(parse_endpoint(url if isinstance(url, str) else "") for url in urls)
    except ValueError:
        return None


def _time(moment: object) -> float:
    """Unix seconds; NaN where it is no time."""
    if isinstance(moment, int | float) and not isinstance(moment, bool) and 0 <= moment < LATEST:
        return float(moment)
    return math.nan


def parsed(text: str | bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None

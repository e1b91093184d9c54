"""The token store that proxies on several machines share: Redis."""

import asyncio
import json
import logging
import re
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from credential_injector.oauth.addresses import connected
from credential_injector.oauth.token import AccessToken
from credential_injector.origins.hosts import is_loopback, normalise_host
from credential_injector.tokens.store import DEFAULT_LIMITS, Limits, TokenStore
from credential_injector.tokens.stored_token import entry_of, kept_until, parsed, token_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

LOCK_POLL = 0.1  # seconds

# It logs each attempt at a lock at level debug, and mitmweb's event log keeps debug records.
logging.getLogger("redis").setLevel(logging.WARNING)


# Only while it has its owner's value: another may hold the lock by now.
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"
_RENEW = (
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end"
)


def open_redis(url: str, limits: Limits = DEFAULT_LIMITS) -> TokenStore:
    """The store at a redis://, rediss:// or unix:// URL, not opened yet. Raises ValueError without it."""
    client = _client(url, limits.redis_patience)
    parts = urlsplit(url)
    if parts.scheme == "redis" and parts.hostname and not is_loopback(normalise_host(parts.hostname)):
        logger.warning("inject_tokens: redis:// sends tokens unencrypted to another machine; rediss:// encrypts them")
    return _RedisStore(client, limits)


def _client(url: str, patience: float) -> Any:
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        # The bare name `pip` may be another Python's, and this project's name may be anybody's on an index.
        raise ValueError(f"needs the package redis; run: {sys.executable} -m pip install 'redis<8'") from None
    malformed = "is malformed; expected a URL such as redis://:password@host:6379/0"
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": patience,
        "socket_timeout": patience,
    }
    try:
        parts = urlsplit(url)
        parse_qsl(parts.query, strict_parsing=bool(parts.query))
        # An unquoted '/', '?' or '#' in a password would make a part of it a host's name, which is looked up.
        if parts.fragment or not re.fullmatch(r"/.+" if parts.scheme == "unix" else r"/?[0-9]*", parts.path):
            raise ValueError(malformed)
        if parts.scheme == "rediss":
            options["ssl_check_hostname"] = True  # the default of redis 5 takes anybody's certificate
        client: Any = Redis.from_url(url, **options)
        if parts.scheme != "unix":
            pool = client.connection_pool
            pool.connection_class = _dialled(pool.connection_class)
        client.connection_pool.make_connection()  # raises for unknown options
    except Exception:  # noqa: BLE001 - its text may repeat the password
        raise ValueError(malformed) from None
    return client


def _dialled(connection_class: Any) -> Any:
    """Connections that look their server's name up in a thread of their own (see `connected`).

    HACK: redis's undocumented `_connect` and `_connection_arguments`, as they are in redis 5.0 to 7.4.
    """

    class Dialled(connection_class):  # type: ignore[misc]  # its type is known when it runs
        async def _connect(self) -> None:
            self._dialled = await connected(self.host, self.port)
            await super()._connect()

        def _connection_arguments(self) -> dict[str, Any]:
            arguments = dict(super()._connection_arguments())
            host = arguments.pop("host")
            del arguments["port"]
            return {**arguments, "sock": self._dialled, **({"server_hostname": host} if "ssl" in arguments else {})}

    return Dialled


class _RedisStore(TokenStore):
    """A key for each identity, which expires with its token, and one for its lock."""

    def __init__(self, client: Any, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__("Redis", "redis://...", limits)  # its URL may hold a password
        self._client = client
        self._cut_off: dict[str, str] = {}
        """Value -> key of the locks that an interrupted command may still take."""

    @asynccontextmanager
    async def lock(self, identity: str, wait: float) -> AsyncIterator[bool]:
        await self._release_cut_off()
        key, value = f"{_key(identity)}:lock", secrets.token_hex()
        renewing: asyncio.Task[None] | None = None
        try:
            held = await self._acquire(key, value, wait)
            if held:
                renewing = asyncio.create_task(self._renew(key, value), name="token store")
        except Exception:
            self._cut_off[value] = key
            raise
        except asyncio.CancelledError:
            await self._release(key, value)
            raise
        try:
            yield held
        finally:
            if renewing is not None:
                renewing.cancel()
                await self._release(key, value)

    async def _acquire(self, key: str, value: str, wait: float) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + wait
        while not await self._in_time(self._client.set(key, value, nx=True, px=round(self.limits.lock_life * 1000))):
            if loop.time() >= end:
                return False
            await asyncio.sleep(LOCK_POLL)
        return True

    async def _renew(self, key: str, value: str) -> None:
        while True:
            await asyncio.sleep(self.limits.lock_life / 3)
            with suppress(Exception):
                await self._in_time(self._client.eval(_RENEW, 1, key, value, round(self.limits.lock_life * 1000)))

    async def _release(self, key: str, value: str) -> None:
        with suppress(Exception):  # the lock expires by itself
            await self._in_time(self._client.eval(_RELEASE, 1, key, value))

    async def _release_cut_off(self) -> None:
        """Free locks taken after all: Redis runs a command even if its sender has gone."""
        if self._cut_off:
            await self._in_time(self._client.ping())  # it answers when it has run what came before
        for value, key in list(self._cut_off.items()):
            await self._in_time(self._client.eval(_RELEASE, 1, key, value))
            self._cut_off.pop(value, None)

    async def read(self, identity: str) -> AccessToken | None:
        from redis.exceptions import ResponseError

        try:
            value = await self._in_time(self._client.getrange(_key(identity), 0, self.limits.largest_value))
        except ResponseError:
            return None  # it is no string; writing replaces it
        return token_of(parsed(value)) if len(value) <= self.limits.largest_value else None

    async def write(self, identity: str, token: AccessToken, now: float) -> None:
        life = int((kept_until(token) - now) * 1000)
        if life > 0:
            await self._in_time(self._client.set(_key(identity), json.dumps(entry_of(token)), px=life))

    async def close(self) -> None:
        await super().close()
        await self._client.aclose()

    async def _in_time(self, command: Awaitable[T]) -> T:
        async with asyncio.timeout(self.limits.redis_patience):
            return await command


def _key(identity: str) -> str:
    return f"credential-injector:{identity}"

"""Tokens that outlive the process, shared by all proxies that name the same store: a file, or Redis.

A store saves token requests and must never cost a request: where it fails, a token is asked for as if there were none.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass

from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken
from credential_injector.threads import Turns, in_thread

logger = logging.getLogger(__name__)

# The hash of a token's name takes about 0.1 s and 16 MiB (OWASP's advice for passwords): the names in a stolen store
# must not make it cheap to guess a client secret.
SCRYPT_COST = 2**14
HASHES_AT_ONCE = 2
AT_ONCE = 64  # of those who ask: each holds a lock, which takes a thread and a file descriptor
AT_ONCE_WITH_ONE = 32  # of those who ask one authorization server: one that hangs does not take every turn


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a store may take, and how much it holds. Times are in seconds."""

    lock_wait: float = 1.5
    """Times a token request's timeout: whoever holds the lock makes one."""
    probe_every: float = 1.0
    """Between two looks at whether a broken store works again."""
    probe_wait: float = 1.0
    """For which such a look waits for whoever holds the lock."""
    scrypt_cost: int = SCRYPT_COST
    file_patience: float = 5.0
    """For reading or writing the file; on a network disk that hangs, it would take for ever."""
    largest_file: int = 64 << 20
    """Bytes."""
    redis_patience: float = 1.0
    """For one command, its connection included."""
    lock_life: float = 3.0
    """For which a lock in Redis outlives its owner, who renews it."""
    largest_value: int = 4 << 20
    """Bytes of one token in Redis; a token endpoint's answer holds 1 MiB at most."""


DEFAULT_LIMITS = Limits()


class TokenStore(ABC):
    """Where the tokens are. Its methods may raise anything; `shared` goes on without it then.

    The log says once that a store is broken, and once that it works again. One probe at a time finds that out.
    """

    def __init__(self, label: str, option: str = "", limits: Limits = DEFAULT_LIMITS) -> None:
        self._label = label
        """As messages name it."""
        self.option = option
        """As the command line's --tokens names it; empty for its default."""
        self.limits = limits
        self.turns = Turns(AT_ONCE, AT_ONCE_WITH_ONE)
        self._hashes = asyncio.Semaphore(HASHES_AT_ONCE)
        self._missed: dict[TokenRequest, Callable[[], Awaitable[None]]] = {}
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

    async def name(self, identify: Callable[[], str]) -> str:
        """An identity, which takes a while to compute. Raises what computing it raises."""
        async with self._hashes:
            return await in_thread(identify, "token store")

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
                f"inject_tokens: {self._label} cannot be used ({cause(error)});"
                " until it can, tokens are kept in memory and shared with nobody"
            )

    def catches_up(self, request: TokenRequest, catch_up: Callable[[], Awaitable[None]]) -> None:
        """Await this when the store works, in the place of what this request has left here before."""
        self._missed[request] = catch_up
        self.probe()

    def looks_for(self, request: TokenRequest, catch_up: Callable[[], Awaitable[None]]) -> None:
        """Await this when the store works, unless the request has left something here before."""
        self._missed.setdefault(request, catch_up)
        self.probe()

    def probe(self) -> None:
        """Find out when the store works again."""
        if not self.broken and not self._closed:
            self._probing = asyncio.create_task(self._probe(), name="token store")

    async def catch_up(self) -> None:
        """Bring into the store what it missed, as far as it works."""
        with suppress(Exception):
            for request, catch_up in list(self._missed.items()):
                await catch_up()
                if self._missed.get(request) is catch_up:
                    del self._missed[request]

    async def _probe(self) -> None:
        while self._missed:
            await asyncio.sleep(self.limits.probe_every)
            await self.catch_up()
        if self._told:
            self._told = False
            logger.info(f"inject_tokens: {self._label} can be used again")


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

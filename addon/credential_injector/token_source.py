"""A token when it is needed: reuse, single flight, back off. The only reader of the clock."""

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

# A token is not sent any more this long before it expires: it must still be valid when it arrives, and servers floor
# seconds (a token of 3 s may live 2). At most a tenth of its life, so that short tokens remain of use.
LEEWAY = 10.0
LEEWAY_SHARE = 0.1

REFUSED_FOR = 60.0  # seconds for which a refusal (wrong secret, wrong scope) is remembered
FIRST_BACK_OFF = 1.0  # seconds after the first failure of another kind; doubled with each further one
LONGEST_BACK_OFF = 60.0
JITTER = 0.2  # of a back-off, at random, so that many proxies do not return together


class NoToken(Exception):
    """There is no token.

    `code` is the OAuth error code (RFC 6749 section 5.2) or one of ours: unreachable, timeout, redirect, http_<status>,
    invalid_response, expired, internal. `reason` is a sentence of ours: nothing that the server wrote is repeated.
    """

    def __init__(
        self, code: str, reason: str, *, lasting: bool = False, retry_after: float | None = None, next_try: float = 0.0
    ) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.lasting = lasting
        """The server understood and said no: asking again soon is pointless."""
        self.retry_after = retry_after
        """Seconds that the server asked us to wait."""
        self.next_try = next_try
        """Seconds until the next token request may go out."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token as it is sent. Times are unix seconds."""

    value: str = field(repr=False)
    issued_at: float
    """When it was asked for: it lives from then on at the earliest."""
    expires_at: float
    fingerprint: str = field(init=False)
    """`sha256:` and 12 hex digits: enough to compare two sightings, nothing to log in with."""
    usable_until: float = field(init=False)

    def __post_init__(self) -> None:
        leeway = min(LEEWAY, LEEWAY_SHARE * (self.expires_at - self.issued_at))
        digest = hashlib.sha256(self.value.encode()).hexdigest()
        object.__setattr__(self, "fingerprint", f"sha256:{digest[:12]}")
        object.__setattr__(self, "usable_until", self.expires_at - leeway)


class Served(NamedTuple):
    """A token with what a person wants to know about it."""

    token: AccessToken
    source: Literal["cached", "fetched"]
    seconds_left: float


@dataclass(frozen=True, slots=True)
class _Failure:
    error: NoToken
    failed_at: float
    retry_at: float


class TokenSource:
    """The tokens of one identity.

    `fetch` makes one token request; it is given the time at which it is made (unix seconds) and raises NoToken.
    `clock` is the wall clock: a monotonic one stands still while a laptop sleeps, and tokens expire meanwhile.
    """

    def __init__(
        self,
        fetch: Callable[[float], Awaitable[AccessToken]],
        *,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._jitter = jitter
        self._token: AccessToken | None = None
        self._failure: _Failure | None = None
        self._failures = 0
        self._flight: asyncio.Task[None] | None = None

    def cached(self) -> Served | None:
        """The token at hand, if it may still be sent. Awaits nothing."""
        token = self._token
        if token is None:
            return None
        now = self._clock()
        # Earlier than it was issued: the clock was set back, and how long the token still lives is unknown.
        if token.issued_at <= now < token.usable_until:
            return Served(token, "cached", token.expires_at - now)
        return None

    async def token(self) -> Served:
        """The token at hand, or a new one; many callers share one token request. Raises NoToken."""
        if (served := self.cached()) is not None:
            return served
        if (refusal := self._remembered()) is not None:
            raise refusal
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._fly(), name="token request")
        # A client that goes away cancels its own wait, not the token request that others wait for.
        await asyncio.shield(self._flight)
        if (served := self.cached()) is not None:
            return served._replace(source="fetched")
        raise self._remembered() or NoToken("expired", "the token expired while the request waited for its turn")

    def close(self) -> None:
        """End what is under way."""
        if self._flight is not None:
            self._flight.cancel()

    def _remembered(self) -> NoToken | None:
        """The last failure, while it forbids another token request: a new object, as each raise grows a traceback."""
        failure = self._failure
        if failure is None:
            return None
        now = self._clock()
        if not failure.failed_at <= now < failure.retry_at:
            return None
        error = failure.error
        return NoToken(
            error.code,
            error.reason,
            lasting=error.lasting,
            retry_after=error.retry_after,
            next_try=failure.retry_at - now,
        )

    async def _fly(self) -> None:
        """One token request. It ends with a token or a remembered failure, and never raises into those who wait."""
        try:
            self._token = await self._fetch(self._clock())
            if self.cached() is None:
                raise NoToken("expired", "the token expired while it was on its way")
            self._failure, self._failures = None, 0
        except NoToken as error:
            self._remember(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiting requests must hear of it
            self._remember(NoToken("internal", f"an error of the add-on's own, {type(error).__name__}"))

    def _remember(self, error: NoToken) -> None:
        self._failures += 1
        if error.lasting:
            pause = REFUSED_FOR
        elif error.retry_after is not None:
            pause = error.retry_after
        else:
            pause = min(FIRST_BACK_OFF * 2 ** min(self._failures - 1, 10), LONGEST_BACK_OFF)
            pause *= 1 - JITTER * self._jitter()
        now = self._clock()
        self._failure = _Failure(error, now, now + pause)

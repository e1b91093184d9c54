"""A token when it is needed: reuse, refresh ahead, single flight, back off. The only reader of the clock."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from credential_injector.oauth.token import AccessToken, Failure, NoToken, Served, Status
from credential_injector.tokens.back_off import pause

COOL_DOWN = 60.0  # seconds for which nothing is renewed for a URL where the API refused a token that was new
MOST_COOLING = 3  # URLs: where more of them refuse new tokens, it is the tokens
SLOW = 1.0  # seconds after which a failed token request counts as slow: one request at a time tries again
SLOW_FOR = 60.0  # seconds for which that is known, from the moment on in which it may be tried again
CLOCK_STEP = 0.1  # seconds by which the wall clock and the monotonic one differ where one of them was set


@dataclass(frozen=True, slots=True)
class _Remembered:
    failure: Failure
    failed_at: float
    retry_at: float
    slow: bool
    """Whoever waited for it waited long."""


class TokenSource:
    """The tokens of one identity.

    `fetch` makes one token request; it is given the time at which it is made (unix seconds) and the fingerprint of the
    token that is to be replaced, and raises NoToken.
    `clock` is the wall clock: a monotonic one stands still while a laptop sleeps, and tokens expire meanwhile.
    `monotonic` tells how long a token request took, and, beside it, whether somebody set the clock meanwhile.
    """

    def __init__(
        self,
        fetch: Callable[[float, str | None], Awaitable[AccessToken]],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        kept_in: str = "",
    ) -> None:
        self._fetch = fetch
        self.kept_in = kept_in
        """Where its tokens are stored, as the command line's --tokens names it; empty for the default."""
        self._clock = clock
        self._monotonic = monotonic
        self._jitter = jitter
        self._token: AccessToken | None = None
        self._last: str | None = None
        """The fingerprint of the last token: the current one, or one that was discarded."""
        self._failure: _Remembered | None = None
        self._failures = 0
        self._flight: asyncio.Task[None] | None = None
        self._cool: dict[str, float] = {}
        """Until when nothing is renewed, by URL."""
        self._probes = False
        """The token request that is under way finds out whether the last failure, a slow one, still stands."""
        self._anew = False
        """A token from a store is not enough: somebody asked for a new one."""

    def cached(self) -> Served | None:
        """The token at hand, if it may still be sent. Awaits nothing; near its end it starts a refresh beside it."""
        token = self._token
        if token is None:
            return None
        now = self._clock()
        # Earlier than it was issued: the clock was set back, and how long the token still lives is unknown.
        if not token.issued_at <= now < token.usable_until:
            return None
        if now >= token.refresh_from and self._remembered(now) is None:
            self._fly()
        return Served(token, "cached", token.expires_at - now)

    async def token(self) -> Served:
        """The token at hand, or a new one; many callers share one token request. Raises NoToken."""
        if (served := self.cached()) is not None:
            return served
        if self._probes and self._failure is not None and self._flight is not None and not self._flight.done():
            raise self._failure.failure.raised()
        for _ in range(2):
            if self._remembered(now := self._clock()) is not None:
                break
            # A client that goes away cancels its own wait, not the token request that others wait for.
            await asyncio.shield(self._fly())
            if (served := self.cached()) is not None:
                return served._replace(source="store" if served.token.stored else "fetched")
            now = self._clock()
        # In no variable: its traceback refers to this frame, which would keep it, and this source, alive.
        raise self._remembered(now) or NoToken("late", "the token expired before the request had its turn")

    async def renewed(self, refused: str, url: str = "") -> Served | None:
        """Another token than the one that the API refused there, told by its fingerprint; many callers share one.

        None while nothing is renewed, as the API has refused a new token, too. Raises NoToken.
        """
        now = self._clock()
        if self._token is not None and self.holds(refused):
            # Only the current token: a late refusal of an old one says nothing about its successor.
            if self._cools(now, url):
                return None
            discarded, self._token = self._token, None
            try:
                served = await self.token()
            except NoToken:
                # The 401 may have been about something else, and a valid token is better than none.
                self._token = self._token or discarded
                raise
        else:
            served = await self.token()
        if served.token.fingerprint == refused:
            self.cool_down(url)
            return None
        return served._replace(source="refreshed")

    def refresh(self) -> None:
        """Start a token request now, whatever was remembered. The token at hand serves until another one has come."""
        self._failure, self._failures, self._cool = None, 0, {}
        self._anew = True
        self._fly()

    @property
    def used(self) -> bool:
        """Whether a token has ever been asked for."""
        return self._last is not None or self._failure is not None

    def status(self) -> Status:
        """How it stands."""
        now, token = self._clock(), self._token
        usable = token is not None and token.issued_at <= now < token.usable_until
        error = self._remembered(now)
        return Status(
            token if usable else None,
            token.expires_at - now if token and usable else 0.0,
            None if error is None else error.failure,
            0.0 if error is None else error.next_try,
        )

    def holds(self, fingerprint: str) -> bool:
        """Whether this is the current token's."""
        return self._token is not None and self._token.fingerprint == fingerprint

    def cool_down(self, url: str = "") -> None:
        """The API refused a token there that was new: another one would not please it either."""
        now = self._clock()
        self._cool = {one: until for one, until in self._cool.items() if now < until <= now + COOL_DOWN}
        self._cool.setdefault(url, now + COOL_DOWN)

    def _cools(self, now: float, url: str) -> bool:
        cooling = [one for one, until in self._cool.items() if now < until <= now + COOL_DOWN]
        return url in cooling or len(cooling) >= MOST_COOLING

    def _remembered(self, now: float) -> NoToken | None:
        """The last failure, while it forbids another token request."""
        failure = self._failure
        if failure is None or not failure.failed_at <= now < failure.retry_at:
            return None
        return failure.failure.raised(failure.retry_at - now)

    def _fly(self) -> asyncio.Task[None]:
        """The token request that is under way, or a new one."""
        if self._flight is None or self._flight.done():
            failure, now = self._failure, self._clock()
            self._probes = (
                failure is not None and failure.slow and failure.failed_at <= now < failure.retry_at + SLOW_FOR
            )
            self._flight = asyncio.create_task(self._request(), name="token request")
        return self._flight

    async def _request(self) -> None:
        """One token request. It ends with a token or a remembered failure, and never raises into those who wait."""
        began = self._monotonic()
        try:
            token = await self._usable()
            self._anew = False
            self._token, self._last, self._failure, self._failures = token, token.fingerprint, None, 0
        except NoToken as error:
            self._remember(error.failure, self._monotonic() - began)
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiting requests must hear of it
            reason = f"an error of the add-on's own, {type(error).__name__}"
            self._remember(Failure("internal", reason), self._monotonic() - began)

    async def _usable(self) -> AccessToken:
        """A token that may be sent. Raises NoToken."""
        replaces = self._last
        for _ in range(2):
            asked_at, began = self._clock(), self._monotonic()
            token = await self._fetch(asked_at, replaces)
            if self._anew and token.stored:
                token = await self._fetch(self._clock(), token.fingerprint)
            now, took = self._clock(), self._monotonic() - began
            if token.issued_at <= now < token.usable_until:
                return token
            if now >= asked_at and abs(now - asked_at - took) < CLOCK_STEP:
                raise NoToken("late", f"the token expired while it was on its way, which took {took:.1f} s")
            # Its times are those of the clock as it was. Nobody knows how old it is: the machine may have slept.
            replaces = token.fingerprint
        raise NoToken("clock", "this machine's clock was set while the token was on its way, twice")

    def _remember(self, failure: Failure, took: float) -> None:
        self._failures += 1
        now, token = self._clock(), self._token
        retry_at = now + pause(
            failure,
            None if self._failure is None else self._failure.failure,
            failures=self._failures,
            worked=self._last is not None,
            left=token.usable_until - now if token is not None and token.issued_at <= now else 0.0,
            jitter=self._jitter(),
        )
        self._failure = _Remembered(failure, now, retry_at, slow=took >= SLOW)

"""The current token of an identity: reused, refreshed ahead, asked for once. Only this module reads the clock."""

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
    """The token request took long."""


class TokenSource:
    """The tokens of one identity.

    `fetch` gets a token, now (in unix seconds), that is another one than that of this fingerprint; it raises NoToken.
    `clock` is the wall clock, as tokens expire while a laptop sleeps, and a monotonic clock stands still then.
    `monotonic` measures how long a token request took, and so whether somebody set the clock meanwhile.
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
        """The fingerprint of the last token, current or discarded."""
        self._failure: _Remembered | None = None
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._cool: dict[str, float] = {}
        """By URL: until when no token is renewed for it."""
        self._probes = False
        """The token request under way tries again after a slow failure; other requests do not wait for it."""
        self._bypass_store = False
        """Somebody asked for a new token: do not take one from the store."""

    def cached(self) -> Served | None:
        """The token at hand, if it may still be sent. Awaits nothing; near its end a background refresh starts."""
        token = self._token
        if token is None:
            return None
        now = self._clock()
        # Before it was issued: the clock was set back, so nobody knows how long the token still lives.
        if not token.issued_at <= now < token.usable_until:
            return None
        if now >= token.refresh_from and self._remembered(now) is None:
            self._start()
        return Served(token, "cached", token.expires_at - now)

    async def token(self) -> Served:
        """The token at hand, or a new one. Many callers share one token request. Raises NoToken."""
        if (served := self.cached()) is not None:
            return served
        if self._probes and self._failure is not None and self._task is not None and not self._task.done():
            raise self._failure.failure.raised()
        for _ in range(2):
            if self._remembered(now := self._clock()) is not None:
                break
            # A client that leaves cancels its own wait, not the token request that others share.
            await asyncio.shield(self._start())
            if (served := self.cached()) is not None:
                return served._replace(source="store" if served.token.stored else "fetched")
            now = self._clock()
        # Not in a variable: the traceback refers to this frame, so that would keep both, and this source, alive.
        raise self._remembered(now) or NoToken("late", "the token expired before the request had its turn")

    async def renewed(self, refused: str, url: str = "") -> Served | None:
        """Another token than the one of this fingerprint, which the API refused at this URL. Many callers share one.

        None while the URL cools down, as the API has refused a new token there, too. Raises NoToken.
        """
        now = self._clock()
        if self._token is not None and self.holds(refused):
            # A late refusal of an old token says nothing about its successor.
            if self._cools(now, url):
                return None
            discarded, self._token = self._token, None
            try:
                served = await self.token()
            except NoToken:
                # The 401 may have been about something else: a valid token is better than none.
                self._token = self._token or discarded
                raise
        else:
            served = await self.token()
        if served.token.fingerprint == refused:
            self.cool_down(url)
            return None
        return served._replace(source="refreshed")

    def now(self) -> float:
        """The wall clock's time in unix seconds."""
        return self._clock()

    def refresh(self) -> None:
        """Start a token request now, and forget failures. The token at hand serves until another one has come."""
        self._failure, self._failures, self._cool = None, 0, {}
        self._bypass_store = True
        self._start()

    @property
    def used(self) -> bool:
        """Whether a token has ever been asked for."""
        return self._last is not None or self._failure is not None

    def status(self) -> Status:
        """The token at hand, and why there is no newer one: the last failure, until a token request succeeds."""
        now, token, failed = self._clock(), self._token, self._failure
        usable = token is not None and token.issued_at <= now < token.usable_until
        waits = failed is not None and failed.failed_at <= now < failed.retry_at
        return Status(
            token if usable else None,
            token.expires_at - now if token and usable else 0.0,
            failed.failure if failed is not None else None,
            failed.retry_at - now if failed is not None and waits else 0.0,
            failed.failed_at if failed is not None else None,
        )

    def holds(self, fingerprint: str) -> bool:
        """Whether this is the current token's fingerprint."""
        return self._token is not None and self._token.fingerprint == fingerprint

    def cool_down(self, url: str = "") -> None:
        """The API refused a new token at this URL: renew none for it for a while."""
        now = self._clock()
        self._cool = {one: until for one, until in self._cool.items() if now < until <= now + COOL_DOWN}
        self._cool.setdefault(url, now + COOL_DOWN)

    def _cools(self, now: float, url: str) -> bool:
        cooling = [one for one, until in self._cool.items() if now < until <= now + COOL_DOWN]
        return url in cooling or len(cooling) >= MOST_COOLING

    def _remembered(self, now: float) -> NoToken | None:
        """The last failure, while it keeps another token request from going out."""
        failure = self._failure
        if failure is None or not failure.failed_at <= now < failure.retry_at:
            return None
        return failure.failure.raised(failure.retry_at - now)

    def _start(self) -> asyncio.Task[None]:
        """The token request under way, or a new one."""
        if self._task is None or self._task.done():
            failure, now = self._failure, self._clock()
            self._probes = (
                failure is not None and failure.slow and failure.failed_at <= now < failure.retry_at + SLOW_FOR
            )
            self._task = asyncio.create_task(self._request(), name="token request")
        return self._task

    async def _request(self) -> None:
        """One token request. It keeps the token or the failure, and never raises into those who wait."""
        began = self._monotonic()
        try:
            token = await self._usable()
            self._bypass_store = False
            self._token, self._last, self._failure, self._failures = token, token.fingerprint, None, 0
        except NoToken as error:
            self._remember(error.failure, self._monotonic() - began)
        except Exception as error:  # noqa: BLE001 - the requests that wait must learn of any error
            reason = f"an error of the add-on's own, {type(error).__name__}"
            self._remember(Failure("internal", reason), self._monotonic() - began)

    async def _usable(self) -> AccessToken:
        """A token that may be sent. Raises NoToken."""
        replaces = self._last
        for _ in range(2):
            asked_at, began = self._clock(), self._monotonic()
            token = await self._fetch(asked_at, replaces)
            if self._bypass_store and token.stored:
                token = await self._fetch(self._clock(), token.fingerprint)
            now, took = self._clock(), self._monotonic() - began
            if token.issued_at <= now < token.usable_until:
                return token
            if now >= asked_at and abs(now - asked_at - took) < CLOCK_STEP:
                raise NoToken("late", f"the token expired while it was on its way, which took {took:.1f} s")
            # The clock was set, or the machine slept: nobody knows how old the token is.
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

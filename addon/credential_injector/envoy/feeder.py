"""Keeps the files of each environment's token fresh: from a TokenSource into Envoy's folder."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from secrets import token_hex

from credential_injector import messages
from credential_injector.environments.environment import Environment
from credential_injector.envoy import bootstrap, filters
from credential_injector.envoy.files import Files
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.tokens.source import COOL_DOWN, TokenSource

logger = logging.getLogger(__name__)

# Seconds.
LOOK = 0.2  # between looks for a token that a refresh in the background brings
LONGEST_REST = 2.0  # between looks at the clock: it may be set, and a laptop may sleep
RETRY = 1.0  # at least, between tries where there is no token

_FOREVER = "9999-12-31T23:59:59Z"


class Feeder:
    """Feeds one environment."""

    def __init__(
        self, environment: Environment, source: TokenSource, files: Files, changed: Callable[[], None]
    ) -> None:
        self.environment = environment
        self.source = source
        self.failures = 0
        """Token requests that brought no token, so far as they kept Envoy without one."""
        self.token: AccessToken | None = None
        """What Envoy has."""
        self.looked = asyncio.Event()
        """Envoy has a token, or the reason why there is none."""
        self._files = files
        self._changed = changed
        self._said = ""
        self._mark = ""
        self._renewing: asyncio.Task[None] | None = None
        self._replacement = ("", 0.0)
        """The fingerprint of what replaced a refused token, and until when its own refusal says that no token helps."""
        self._cools_until = 0.0

    async def run(self) -> None:
        """Keep it fresh until it is cancelled."""
        rest = 0.0
        while True:
            await asyncio.sleep(rest)
            try:
                rest = await self.step()
            except Exception as error:  # noqa: BLE001 - nobody else would feed this environment
                self._say(_unwritten(error) if isinstance(error, OSError) else messages.own_error(error))
                rest = RETRY

    async def step(self) -> float:
        """Look once, and return for how many seconds nothing has to be done. Raises OSError."""
        if self.token is not None and not self.token.issued_at <= self.source.now() < self.token.usable_until:
            self._write(None, "its token has ended, and the next one is on its way; send the request again")
        try:
            token = (await self.source.token()).token
        except NoToken as error:
            self._empty(error)
            self.looked.set()
            return max(RETRY, min(error.next_try, LONGEST_REST))
        self._take(token)
        self.looked.set()
        now = self.source.now()
        if now < token.refresh_from:
            return min(token.refresh_from - now, LONGEST_REST)
        return max(min(token.usable_until - now, LOOK), 0.01)

    def refused(self, mark: str) -> None:
        """The API refused the token that Envoy had under this mark. A late refusal says nothing about its successor."""
        renews = self._renewing is not None and not self._renewing.done()
        if self.token is not None and mark == self._mark and not renews and _time() >= self._cools_until:
            self._renewing = asyncio.create_task(self._renew(self.token.fingerprint))

    def end(self) -> None:
        """Renew nothing any more."""
        if self._renewing is not None:
            self._renewing.cancel()

    def withhold(self, reason: str) -> None:
        """Envoy gets no token until the next one comes."""
        self._write(None, reason)

    async def _renew(self, fingerprint: str) -> None:
        name, (replacement, until) = self.environment.name, self._replacement
        if fingerprint == replacement and _time() < until:
            self.source.cool_down()
        try:
            served = await self.source.renewed(fingerprint)
            if served is not None:
                logger.info(f"{name}: the API refused the token, which is replaced")
                self._replacement = served.token.fingerprint, _time() + COOL_DOWN
                self._take(served.token)
                return
            what = (
                "the API refuses a new token, too, so it is not replaced for a while;"
                f" run: credential-injector check --probe / {name}"
            )
            self._cools_until = _time() + COOL_DOWN
        except NoToken as error:
            reason = messages.failure(self.environment, error, self.source.kept_in)
            what = f"the API refuses the token, and there is no other one: {reason}"
            self._cools_until = _time() + max(RETRY, error.next_try)
        except OSError as error:
            what = _unwritten(error)
        logger.warning(f"{name}: {what}")

    def _take(self, token: AccessToken) -> None:
        # A server may hand out the same token again, with another end.
        had = (self.token.fingerprint, self.token.usable_until) if self.token is not None else None
        if had != (token.fingerprint, token.usable_until):
            self._write(token, "a token has come just now; send the request again")
        self._say("")

    def _empty(self, error: NoToken) -> None:
        reason = messages.failure(self.environment, error, self.source.kept_in)
        if reason != self._said or self.token is not None:
            self.failures += 1
            self._write(None, reason)
        self._say(reason)

    def _say(self, reason: str) -> None:
        if reason != self._said:
            logger.warning(f"{self.environment.name}: {reason or 'has a token again'}")
        self._said = reason

    def _write(self, token: AccessToken | None, reason: str) -> None:
        """The token's files. One that is not sent any more goes first, and one that may be sent comes first."""
        name, paths, environment = self.environment.name, self._files.paths, self.environment
        prefix = f"{environment.prefix} " if environment.prefix else ""
        value = f"{prefix}{token.value}" if token is not None else ""
        until = _FOREVER if token is None or token.usable_until > 9e10 else _rfc3339(token.usable_until)
        secrets = {paths.token(name): value}
        secrets |= {
            paths.header(name, header): text if token is not None else "" for header, text in environment.extra_headers
        }
        self._files.overwrite(paths.reason(name), f"{environment.title}: request blocked: {reason}")
        for path, text in secrets.items():
            self._files.write(path, bootstrap.resources([bootstrap.secret(filters.NAME, text)]))
        self._mark = token_hex(4)  # Envoy has it last, so that it tells of no older token under it
        ends = filters.lives_until(name, until, self._mark)
        self._files.write(paths.until(name), bootstrap.resources([bootstrap.extension_config(ends)]))
        self.token = token
        self._changed()


def _time() -> float:
    """Seconds, whatever the wall clock is set to."""
    return asyncio.get_running_loop().time()


def _unwritten(error: OSError) -> str:
    where = error.filename or "its folder"
    return f"{where}: cannot be written ({error.strerror}), so Envoy gets no new token until that is mended"


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""Keeps the files of each environment's token fresh: from a TokenSource into Envoy's folder."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from credential_injector import messages
from credential_injector.environments.environment import Environment
from credential_injector.envoy import bootstrap, filters
from credential_injector.envoy.files import Files
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.tokens.source import TokenSource

logger = logging.getLogger(__name__)

# Seconds.
LOOK = 0.2  # between looks for a token that a refresh in the background brings
LONGEST_REST = 30.0  # between looks at the clock: it may be set, and a laptop may sleep
RETRY = 1.0  # at least, between tries where there is no token
TAKEN_UP = 1.0  # until Envoy uses a new file (measured: within a second)

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
        self.written_at = 0.0
        self.looked = asyncio.Event()
        """Envoy has a token, or the reason why there is none."""
        self._files = files
        self._changed = changed
        self._said = ""
        self._renewing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Keep it fresh until it is cancelled."""
        rest = 0.0
        while True:
            await asyncio.sleep(rest)
            rest = await self.step()

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

    def refused(self, began: float) -> None:
        """The API refused the token of a request that began then, in unix seconds."""
        token = self.token
        late = began < self.written_at + TAKEN_UP
        if token is not None and not late and (self._renewing is None or self._renewing.done()):
            self._renewing = asyncio.create_task(self._renew(token.fingerprint))

    def end(self) -> None:
        """Renew nothing any more."""
        if self._renewing is not None:
            self._renewing.cancel()

    def withhold(self, reason: str) -> None:
        """Envoy gets no token until the next one comes."""
        self._write(None, reason)

    async def _renew(self, fingerprint: str) -> None:
        with suppress(NoToken):  # the next step says so, if there is none
            if (served := await self.source.renewed(fingerprint)) is not None:
                logger.info(f"{self.environment.name}: the API refused the token, which is replaced")
                self._take(served.token)
            else:
                logger.warning(
                    f"{self.environment.name}: the API refuses a new token, too, so it is not replaced for a while;"
                    f" run: credential-injector check --probe / {self.environment.name}"
                )

    def _take(self, token: AccessToken) -> None:
        if self.token is token or (self.token is not None and self.token.fingerprint == token.fingerprint):
            self._say("")
            return
        self._write(token, "no token")
        self._say("")

    def _empty(self, error: NoToken) -> None:
        reason = messages.failure(self.environment, error, self.source.kept_in)
        if reason != self._said:
            self.failures += 1
        self._write(None, reason)
        self._say(reason)

    def _say(self, reason: str) -> None:
        if reason != self._said:
            name = self.environment.name
            logger.log(
                logging.WARNING if reason else logging.INFO, f"{name}: {reason}" if reason else f"{name}: has a token"
            )
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
        self._files.write(paths.reason(name), f"{environment.title}: request blocked: {reason}")
        for path, text in secrets.items():
            self._files.write(path, bootstrap.resources([bootstrap.secret(filters.NAME, text)]))
        ends = filters.lives_until(name, until)
        self._files.write(paths.until(name), bootstrap.resources([bootstrap.extension_config(ends)]))
        self.token, self.written_at = token, self.source.now()
        self._changed()


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

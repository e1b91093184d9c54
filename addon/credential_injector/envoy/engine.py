"""Environments -> an Envoy's folder, kept as the files and the tokens are."""

import asyncio
import logging
from contextlib import suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from credential_injector.envoy import bootstrap, configuration, filters, listeners, metrics
from credential_injector.envoy.configuration import Wanted
from credential_injector.envoy.feeder import Feeder
from credential_injector.envoy.files import Files
from credential_injector.envoy.metrics import Figures
from credential_injector.envoy.refusals import Refusals
from credential_injector.envoy.sites import Site
from credential_injector.envoy.typed import Message
from credential_injector.proxy.routes import Routes
from credential_injector.threads import in_thread

if TYPE_CHECKING:
    from credential_injector.proxy.leaf import Authority  # it imports mitmproxy

logger = logging.getLogger(__name__)

FIRST_TOKENS = 15.0  # seconds that the start waits for tokens
CERTIFICATES_FOR = 86400.0  # seconds after which leaf certificates are made anew: they live for a year
FIGURES = 0.2  # seconds until figures that have changed are written
TRY_AGAIN = 5.0  # seconds until files are written again that could not be written
TAKE_UP = 0.3  # seconds between the files of servers, listeners and routes, which name each other


class Engine:
    """Keeps the folder's files.

    `changed` is set when the environments are others. `trusted` is the PEM text of those whom the APIs' certificates
    may be from.
    """

    def __init__(
        self,
        routes: Routes,
        changed: asyncio.Event,
        *,
        wanted: Wanted,
        files: Files,
        authority: "Authority",
        trusted: str,
    ) -> None:
        self.lacks: tuple[str, ...] = ()
        """What Envoy does not do for these environments."""
        self._routes = routes
        self._wanted = wanted
        self._files = files
        self._authority = authority
        self._trusted = trusted
        self._certificates: dict[str, str] = {}
        self._feeders: dict[str, Feeder] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._refusals: Refusals | None = None
        self._figures: asyncio.TimerHandle | None = None
        self._changed = changed
        self._missing: tuple[str, ...] = ()
        """Why reverse proxies are not there."""
        self._written: dict[str, Message] = {}
        """The files of the configuration that Envoy has."""

    async def begin(self) -> None:
        """Write all files; tokens as far as they come soon. Raises OSError and ValueError."""
        self._files.make()
        for path in self._files.left_of_secrets():  # of a run that was killed
            self._files.write(path, bootstrap.resources([bootstrap.secret(filters.NAME, "")]))
        self._refusals = Refusals(self._files.paths.refusals, self._refused)
        self._files.write(self._files.paths.trusted(""), self._trusted)
        await self.follow()
        self._files.write(
            self._files.paths.of("envoy.yaml"),
            configuration.start(self.lacks, self._wanted.admin_port, self._files.paths),
        )

    async def run(self) -> None:
        """Follow the environments until it is cancelled."""
        said = ""
        while True:
            try:
                async with asyncio.timeout(CERTIFICATES_FOR):
                    await self._changed.wait()
            except TimeoutError:
                self._certificates = {}
            self._changed.clear()
            missed = self._missing
            try:
                await self.follow()
                for line in self._missing:
                    if line not in missed:
                        logger.error(f"{line}; until then nobody is served there")
            except OSError as error:
                where = error.filename or self._files.folder
                what = f"{where}: cannot be written ({error.strerror}); Envoy goes on as it is until that is mended"
                if what != said:
                    logger.error(what)
                said = what
                await asyncio.sleep(TRY_AGAIN)
                self._changed.set()
            else:
                said = ""

    async def follow(self) -> None:
        """Write what the environments are now. Raises OSError, and at the start ValueError."""
        environments = [route.environment for name in self._routes.names() if (route := self._routes.named(name))]
        built = await in_thread(
            partial(
                configuration.build,
                environments,
                self._wanted,
                self._files.paths,
                self._certificate,
                tuple(self._routes.token_endpoints),
            ),
            "configuration of Envoy",
        )
        self.lacks, self._missing = built.lacks, built.missing
        if built.missing and not self._written:
            raise ValueError("\n".join(built.missing))
        for one in environments:
            if one.transport.ca:
                text = f"{self._trusted}\n{one.transport.ca}\n"
                self._files.write(self._files.paths.trusted(one.transport.ca), text)
        # First what nobody may reach any more: a new token must not go where the file no longer says.
        if gone := self._written.keys() - built.files.keys():
            for path in gone:
                (routing,) = self._written[path]["resources"]
                self._files.write(path, bootstrap.resources([listeners.withdrawn(routing)]))
            await asyncio.sleep(TAKE_UP)
        await self._feed()
        # Files of one kind do not name each other.
        for _, kind in groupby(built.files.items(), key=lambda one: Path(one[0]).name.partition("-")[0]):
            said = [self._files.write(path, content) for path, content in kind]
            if any(said):
                await asyncio.sleep(TAKE_UP)
        self._written = built.files

    def end(self) -> None:
        """Stop. Whoever still runs with this folder gets no token from now on."""
        if self._refusals is not None:
            self._refusals.close()
        for name in list(self._feeders):
            with suppress(OSError):  # the token's end is known to Envoy
                self._stop(name).withhold("credential-injector envoy has ended; start it again")
        if self._figures is not None:
            self._figures.cancel()
        self._write_figures()

    async def _feed(self) -> None:
        """Feed each environment as it is now, and wait for a while until the new ones have a token or none."""
        for name in self._feeders.keys() - set(self._routes.names()):
            self._stop(name).withhold("there is no such environment any more")
        new = []
        for name in self._routes.names():
            route, before = self._routes.named(name), self._feeders.get(name)
            if route is None or (
                before is not None and route.environment == before.environment and route.source is before.source
            ):
                continue
            feeder = Feeder(route.environment, route.source, self._files, self._tell_figures)
            if before is None:
                feeder.withhold("no token yet; send the request again")
            else:
                feeder.failures = self._stop(name).failures
            self._feeders[name] = feeder
            self._tasks[name] = asyncio.create_task(feeder.run(), name=f"feeder of {name}")
            new.append(asyncio.create_task(feeder.looked.wait()))
        if new:
            _, late = await asyncio.wait(new, timeout=FIRST_TOKENS)
            for task in late:
                task.cancel()
            for feeder in self._feeders.values():
                if not feeder.looked.is_set():  # what Envoy has is its predecessor's
                    feeder.withhold("no token yet; send the request again")

    def _stop(self, name: str) -> Feeder:
        self._tasks.pop(name).cancel()
        feeder = self._feeders.pop(name)
        feeder.end()
        return feeder

    def _refused(self, name: str, mark: str) -> None:
        if (feeder := self._feeders.get(name)) is not None:
            feeder.refused(mark)

    def _tell_figures(self) -> None:
        """Write them soon: other environments' figures may change at the same time."""
        if self._figures is None:
            self._figures = asyncio.get_running_loop().call_later(FIGURES, self._write_figures)

    def _write_figures(self) -> None:
        figures, self._figures = [], None
        for name, feeder in self._feeders.items():
            route, token = self._routes.named(name), feeder.token
            ends = token.expires_at if token is not None and token.expires_at != float("inf") else None
            requests = route.counts.token_requests if route is not None else 0
            figures.append(Figures(name, requests, feeder.failures, ends, token is not None))
        try:
            self._files.write(self._files.paths.of("metrics.prom"), metrics.text(figures))
        except OSError:
            self._tell_figures()  # the feeders say so, whose tokens matter more

    def _certificate(self, site: Site) -> str:
        path = self._certificates.get(site.name)
        if path is None:
            path = self._files.paths.certificate(len(self._certificates))
            made = self._authority.leaf(site.host.strip("[]"), is_address=site.is_address)
            self._files.write(path, bootstrap.resources([bootstrap.leaf(listeners.LEAF, *made)]))
            self._certificates[site.name] = path
        return path

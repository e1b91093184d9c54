"""The commands `inject.*`, which a person types in mitmproxy's prompt or mitmweb's command bar.

They are not in an add-on of their own: mitmproxy visits each add-on several times a request.
"""

import logging
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from mitmproxy import command, ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.flow import Flow
from mitmproxy.types import Choice

from credential_injector import status_lines
from credential_injector.imports.written import NotWritten, write
from credential_injector.origins.hosts import is_loopback, normalise_host
from credential_injector.proxy import explain, internals, learning, options
from credential_injector.proxy.policy import Policy
from credential_injector.proxy.written_request import THIS_MACHINE, written

logger = logging.getLogger(__name__)


class Commands:
    """Commands about the environments in use."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._routes = policy.routes

    def add(self, loader: Loader) -> None:
        """Make them known to mitmproxy."""
        loader.add_command("inject.status", self.status)
        loader.add_command("inject.environments", self.environments)
        loader.add_command("inject.refresh", self.refresh)
        loader.add_command("inject.explain", self.explain)
        loader.add_command("inject.learn", self.learn)

    def status(self) -> Sequence[str]:
        """Each environment: its hosts, its token, what has happened, the last error and the next try."""
        lines = status_lines.overview(self._routes.status())
        return [f"as a page: {url}", *lines] if (url := options.page()) else lines

    def environments(self) -> Sequence[str]:
        """The names of the environments."""
        return self._routes.names()

    @command.argument("environment", type=Choice("inject.environments"))  # type: ignore[untyped-decorator,no-untyped-call]
    def refresh(self, environment: str = "") -> None:
        """Ask for a new token now: for one environment, or for all that have been used."""
        self._routes.refresh(environment)

    def learn(self, flows: Sequence[Flow], name: str = "", secret: bool = False) -> None:
        """Write an environment file from a token request, with its secret only if that is true."""
        has_list = internals.has_a_person()

        def everywhere() -> Iterable[Flow]:
            return ctx.master.commands.call("view.flows.resolve", "@all") if has_list else flows

        try:
            drafts = learning.learn(lambda: flows, everywhere, "a flow in mitmproxy", name=name, secret=secret)
            files = write(drafts, options.folder().path)
        except learning.NothingLearned:
            wrong = "no token request that was answered with a token; choose the flow in which a client got its token"
            raise exceptions.CommandError(wrong) from None
        except (NotWritten, ValueError) as error:  # InvalidEnvironments is a ValueError
            raise exceptions.CommandError(str(error)) from None
        for one in files:
            todo = f"; fill in {', '.join(one.to_fill_in)}" if one.to_fill_in else ""
            logger.warning(f"{one.path} is written, from {one.draft.source}{todo}")

    def explain(
        self, url: str, method: str = "GET", client: str = THIS_MACHINE, origin: str = "", asked_as: str = ""
    ) -> Sequence[str]:
        """Why a request to this URL gets a token or none, by this client's address, and by a page of this origin.

        `asked_as` is what its header X-Inject-As says.
        """
        upstream = normalise_host(urlsplit(options.upstream_proxy()).hostname or "")
        try:
            proxy = upstream if upstream and not is_loopback(upstream) else None
            request = written(url, method, client, origin, proxy, asked_as)
            folder = str(options.folder().path.absolute())
        except ValueError as error:  # InvalidEnvironments is one
            raise exceptions.CommandError(str(error)) from None
        now = self._routes.status()
        explanation = explain.explain(self._policy, request, folder, request.assumed)
        told = list(explain.lines(explanation))
        if explanation.credential is not None:
            (one,) = (one for one in now.environments if one.name == explanation.environment)
            told.append(f"now: {status_lines.credential_status(one)}")
        return [*told, *(f"not in use: {mistake}" for mistake in now.mistakes)]

"""The commands `inject.*`, which a person types in mitmproxy's prompt or mitmweb's command bar.

They are not in an add-on of their own: mitmproxy visits each add-on several times a request.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from mitmproxy import command, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.types import Choice

from credential_injector import status_lines
from credential_injector.origins.hosts import is_loopback, normalise_host
from credential_injector.proxy import explain, options
from credential_injector.proxy.policy import Policy
from credential_injector.proxy.written_request import THIS_MACHINE, written


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

"""The commands `inject.*`, which a person types in mitmproxy's prompt or mitmweb's command bar.

They are not in an add-on of their own: mitmproxy visits each add-on several times a request.
"""

from collections.abc import Sequence

from mitmproxy import command
from mitmproxy.addonmanager import Loader
from mitmproxy.types import Choice

from credential_injector import status_lines
from credential_injector.proxy.routes import Routes


class Commands:
    """Commands about the environments in use."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    def add(self, loader: Loader) -> None:
        """Make them known to mitmproxy."""
        loader.add_command("inject.status", self.status)
        loader.add_command("inject.environments", self.environments)
        loader.add_command("inject.refresh", self.refresh)

    def status(self) -> Sequence[str]:
        """Each environment: its hosts, its token, what has happened, the last error and the next try."""
        return status_lines.overview(self._routes.status())

    def environments(self) -> Sequence[str]:
        """The names of the environments."""
        return self._routes.names()

    @command.argument("environment", type=Choice("inject.environments"))  # type: ignore[untyped-decorator,no-untyped-call]
    def refresh(self, environment: str = "") -> None:
        """Ask for a new token now: for one environment, or for all that have been used."""
        self._routes.refresh(environment)

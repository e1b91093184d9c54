"""The requests that wait for a token."""

from collections.abc import Iterator

from mitmproxy import http

from credential_injector.oauth.token import Served
from credential_injector.proxy.route_table import Route


class Waiting:
    """The flows that wait, so that the add-on can decide about them when it ends."""

    def __init__(self) -> None:
        self._routes: dict[http.HTTPFlow, Route] = {}

    async def token(self, flow: http.HTTPFlow, route: Route) -> Served | None:
        """Wait for the route's token. None: `end` has taken the flow meanwhile. Raises NoToken."""
        self._routes[flow] = route
        try:
            served = await route.source.token()
        except BaseException:
            if self._routes.pop(flow, None) is None:
                return None
            raise
        return served if self._routes.pop(flow, None) is not None else None

    def end(self) -> Iterator[tuple[http.HTTPFlow, Route]]:
        """Take each flow that waits."""
        while self._routes:
            yield self._routes.popitem()

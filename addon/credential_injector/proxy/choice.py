"""Which of several files of one origin serves a request: AS and DEFAULT. Pure."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from credential_injector.proxy.masking import Headers
from credential_injector.proxy.request import Request

if TYPE_CHECKING:
    from credential_injector.proxy.route_table import Route

HEADER = "X-Inject-As"
_HEADER = HEADER.lower().encode()


class Choices:
    """The routes of one origin, by what AS says in their files."""

    def __init__(self, routes: "Iterable[Route]") -> None:
        routes = tuple(routes)
        self.by_name: Mapping[str, Route] = {name: route for route in routes for name in route.environment.asked_as}
        self.default: Route | None = next((route for route in routes if route.environment.default), None)
        self._files = ", ".join(
            f"AS={','.join(route.environment.asked_as)} ({route.environment.file})"
            for route in routes
            if route.environment.asked_as
        )

    def choose(self, request: Request) -> "Route | str":
        """The route that serves the request, or why there is none.

        Its header X-Inject-As names it, or else proxyauth's user, or the mode and port by which the client came.
        """
        named = header_values(request.head.headers)
        if named:
            # What is no name of a file must not get the default's token.
            if len(named) == 1 and (route := self.by_name.get(named[0])) is not None:
                return route
            wrong = "is there twice" if len(named) > 1 else "names none of them"
            return f"several accounts share this host, and the header {HEADER} {wrong}; it may say {self._names()}"
        for name in request.asks_as:
            if (route := self.by_name.get(name)) is not None:
                return route
        if self.default is not None:
            return self.default
        return (
            f"several accounts share this host, and nothing says which one asks; send the header {HEADER} with"
            f" {self._names()}, or write DEFAULT=true into one of the files: {self._files}"
        )

    def _names(self) -> str:
        return " or ".join(self.by_name)


def header_values(headers: Headers) -> list[str]:
    """What the header X-Inject-As says, once for each time that it is there."""
    length = len(_HEADER)
    return [
        value.decode("utf-8", "surrogateescape").strip(" \t")
        for name, value in headers.fields
        if len(name) == length and name.lower() == _HEADER
    ]


def forget_header(headers: Headers) -> None:
    """Remove the header X-Inject-As: it is for the add-on, and no API gets it."""
    headers.fields = tuple(field for field in headers.fields if field[0].lower() != _HEADER)

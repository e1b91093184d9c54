"""A credential in the query of the URL."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

from credential_injector.oauth.token import NoToken
from credential_injector.proxy import parameters
from credential_injector.proxy.credentials.credential import LONGEST_SENT, Before, Carrier, Request, sent
from credential_injector.proxy.request_fields import PATH


class QueryPlace:
    """A query parameter."""

    __slots__ = ("_name", "label", "name")

    def __init__(self, name: str) -> None:
        self.name = f"query parameter {name}"
        self.label = name
        self._name = name.encode()

    def write(self, request: Request, value: str) -> Before | None:
        """As in Place. Raises NoToken for `OPTIONS *`, which has no query."""
        if request.path[:1] != b"/":
            raise NoToken("no_query", "a request for * has no query", lasting=True)
        replaced = self.found_in(request)
        request.path = parameters.replaced(request.path, self._name, quote(value, safe="").encode())
        return replaced

    def found_in(self, request: Carrier) -> Before | None:
        """As in Place."""
        return next((sent(value[:LONGEST_SENT]) for value in self._values(request)), None)

    def holds(self, request: Carrier, value: str) -> bool:
        """As in Place."""
        return value in self.values(request)

    def remove(self, request: Carrier) -> None:
        """As in Place."""
        request.path = parameters.replaced(request.path, self._name, None)

    def written(self, value: str) -> Sequence[tuple[str, str]]:
        """As in Place. As it is, it may stand in what an answer repeats, with pluses in what a script writes."""
        encoded = quote(value, safe="")
        raw = [("", value)] if value != encoded else []
        return (*((PATH.decode(), form) for form in dict.fromkeys((encoded, quote_plus(value)))), *raw)

    def described(self, shown: str) -> str:
        """As in Place."""
        return f"query: {self._name.decode()}={shown}"

    def record(self, into: dict[str, Any]) -> None:
        """As in Place."""
        into["query"] = self._name.decode()

    def values(self, request: Carrier) -> list[str]:
        """All that stands there, decoded."""
        return [value.decode("utf-8", "surrogateescape") for value in self._values(request)]

    def _values(self, request: Carrier) -> Iterator[bytes]:
        for name, value in parameters.read(request.path):
            if name == self._name:
                yield parameters.decoded(value)

"""A credential in a cookie."""

from collections.abc import Iterator, Sequence
from typing import Any

from credential_injector.oauth.token import NoToken, is_cookie
from credential_injector.proxy import cookies
from credential_injector.proxy.credentials.credential import LONGEST_SENT, Before, Carrier, Request, sent
from credential_injector.proxy.credentials.fields import is_http2


class CookiePlace:
    """A cookie."""

    __slots__ = ("_name", "label", "name")

    def __init__(self, name: str) -> None:
        self.name = f"cookie {name}"
        self.label = name
        self._name = name.encode()

    def write(self, request: Request, value: str) -> Before | None:
        """As in Place. Raises NoToken where no cookie can hold the value."""
        if not is_cookie(value):
            raise NoToken("invalid_cookie", "the credential holds a character that no cookie can hold", lasting=True)
        replaced, headers = self.found_in(request), request.headers
        header = b"cookie" if is_http2(request) else b"Cookie"
        headers.fields = cookies.replaced(headers.fields, self._name, value.encode(), header)
        return replaced

    def found_in(self, request: Carrier) -> Before | None:
        """As in Place."""
        return next((sent(value[:LONGEST_SENT]) for value in self._values(request)), None)

    def holds(self, request: Carrier, value: str) -> bool:
        """As in Place."""
        return value in self.values(request)

    def remove(self, request: Carrier) -> None:
        """As in Place."""
        request.headers.fields = cookies.replaced(request.headers.fields, self._name, None)

    def written(self, value: str) -> Sequence[tuple[str, str]]:
        """As in Place."""
        return (("cookie", value),)

    def described(self, shown: str) -> str:
        """As in Place."""
        return f"Cookie: {self._name.decode()}={shown}"

    def record(self, into: dict[str, Any]) -> None:
        """As in Place."""
        into["cookie"] = self._name.decode()

    def values(self, request: Carrier) -> list[str]:
        """All that stands there."""
        return [value.decode("utf-8", "surrogateescape") for value in self._values(request)]

    def _values(self, request: Carrier) -> Iterator[bytes]:
        return (value for name, value in cookies.read(request.headers.fields) if name == self._name)

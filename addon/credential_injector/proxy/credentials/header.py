"""A credential in a header."""

from collections.abc import Sequence
from typing import Any

from credential_injector.proxy.credentials.credential import LONGEST_SENT, Before, Carrier, Request, sent
from credential_injector.proxy.credentials.fields import drop_header, is_http2, set_header


class HeaderPlace:
    """A header, in which a prefix or none goes before the credential."""

    __slots__ = ("_header", "_header_http2", "_prefix", "label", "name")

    def __init__(self, name: str, prefix: str) -> None:
        self.name = name
        self.label = prefix or name
        self._prefix = f"{prefix} " if prefix else ""
        self._header = name.encode()
        self._header_http2 = self._header.lower()  # RFC 9113 section 8.2: upper case is malformed there

    def write(self, request: Request, value: str) -> Before | None:
        """As in Place."""
        replaced, headers = self.found_in(request), request.headers
        field = self._header_http2 if is_http2(request) else self._header, (self._prefix + value).encode()
        if replaced is None:
            headers.fields += (field,)
        else:
            set_header(headers, *field)
        return replaced

    def found_in(self, request: Carrier) -> Before | None:
        """As in Place."""
        lower = self._header_http2
        length = len(lower)
        for field, value in request.headers.fields:
            if len(field) == length and field.lower() == lower:
                return sent(value[:LONGEST_SENT])
        return None

    def holds(self, request: Carrier, value: str) -> bool:
        """As in Place."""
        lower, secret = self._header_http2, value.encode()
        return any(field.lower() == lower and secret in content for field, content in request.headers.fields)

    def remove(self, request: Carrier) -> None:
        """As in Place."""
        drop_header(request.headers, self.name)

    def written(self, value: str) -> Sequence[tuple[str, str]]:
        """As in Place."""
        return ((self.name, value),)

    def described(self, shown: str) -> str:
        """As in Place."""
        return f"{self.name}: {self._prefix}{shown}"

    def record(self, into: dict[str, Any]) -> None:
        """As in Place."""
        into["header"] = self.name

"""A request's headers and its path, as one list of fields: masks count in both."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from credential_injector.proxy.credentials.credential import Carrier

Fields = tuple[tuple[bytes, bytes], ...]

PATH = b":path"  # as HTTP/2 has it (RFC 9113 section 8.3.1); no header of HTTP/1 can have this name


class RequestFields:
    """Those of one request. What is written to `fields` is written to the request."""

    __slots__ = ("_request",)

    def __init__(self, request: "Carrier") -> None:
        self._request = request

    @property
    def fields(self) -> Fields:
        """The headers, then the path."""
        return (*self._request.headers.fields, (PATH, self._request.path))

    @fields.setter
    def fields(self, fields: Fields) -> None:
        *headers, (_, path) = fields
        self._request.headers.fields = tuple(headers)
        self._request.path = path

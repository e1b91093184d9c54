"""Where in a request a credential goes: a header, a query parameter or a cookie."""

from collections.abc import Sequence
from typing import Any, Protocol

from credential_injector.proxy.credentials.credential import Before, Carrier, Request


class Place(Protocol):
    """One place."""

    @property
    def name(self) -> str:
        """As messages name it: `Authorization`, `query parameter api_key`, `cookie session`."""

    @property
    def label(self) -> str:
        """The word for it in a flow's headline: a prefix, else a name."""

    def write(self, request: Request, value: str) -> Before | None:
        """Write a credential into it. Returns what the client sent there, as `found_in`."""

    def found_in(self, request: Carrier) -> Before | None:
        """What the client sent there; None where it sent nothing."""

    def holds(self, request: Carrier, value: str) -> bool:
        """Whether this credential stands there."""

    def remove(self, request: Carrier) -> None:
        """Remove all that stands there."""

    def written(self, value: str) -> Sequence[tuple[str, str]]:
        """The forms in which the credential stands in a request's fields, each with its field's name."""

    def described(self, shown: str) -> str:
        """What `write` writes, with this in the credential's place."""

    def record(self, into: dict[str, Any]) -> None:
        """Write into a flow's record what `earlier` needs to find the credential again."""

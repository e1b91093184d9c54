"""What the policy asks about a request, whether mitmproxy received it or a person wrote it."""

from collections.abc import Sequence
from typing import Protocol

from credential_injector.origins.claims import Claim
from credential_injector.origins.index import Destination
from credential_injector.proxy.credentials.credential import Before
from credential_injector.proxy.masking import Headers


class Head(Protocol):
    """What a request begins with, as it was sent."""

    method: bytes
    path: bytes
    """With its query."""

    @property
    def headers(self) -> Headers:
        """All of them, in their order."""


class Request(Protocol):
    """What the policy asks about a request."""

    @property
    def destination(self) -> Destination:
        """Where it goes."""

    @property
    def head(self) -> Head:
        """Its method, path and headers."""

    def claims(self) -> Sequence[Claim]:
        """The names in it, or in its TLS, that are not its destination's."""

    @property
    def client(self) -> str | None:
        """The client's address."""

    @property
    def is_let_in(self) -> bool:
        """Whether the client is let in, whatever its address: by proxyauth, or by the mode in which it came."""

    @property
    def asks_as(self) -> Sequence[str]:
        """The names for which AS may be written, the one that counts most first: without those in its headers."""

    @property
    def is_replay(self) -> bool:
        """Whether a person at the proxy sends it again."""

    @property
    def is_reverse(self) -> bool:
        """Whether the client takes the proxy for the server."""

    @property
    def proxy(self) -> str | None:
        """The upstream proxy by which it goes, unless that is on this machine."""

    @property
    def ends_here(self) -> bool:
        """Whether it can only end on this machine."""

    def verified(self) -> Sequence[str | None]:
        """The name against which each connection is verified on which it may go out; None: nobody verified it."""

    @property
    def replaced_before(self) -> Before | None:
        """Of a replay: what our token replaced when it was sent first."""

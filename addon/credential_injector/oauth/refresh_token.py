"""The refresh token of one identity (RFC 6749 section 6): most servers take each one once."""

import asyncio
from collections import deque

KNOWN = 16  # refresh tokens


class RefreshToken:
    """What the identity's next token request sends, whatever its transport and its store."""

    def __init__(self, given: str = "") -> None:
        self.value = given
        """The last one that came, from the server or from a store; at first the file's. Empty: there is none."""
        self.replaced = False
        """The server has replaced one."""
        self.unsaved = False
        """The server has replaced one, and no store holds `value`, which came."""
        self.turn = asyncio.Lock()
        """Held by the token request that sends it, until its answer has come."""
        self._known: deque[str] = deque(maxlen=KNOWN)
        """Those that were read from the store or written to it; none is newer than `value`."""

    def came(self, value: str) -> None:
        """The server answered with this one, which may be the one that was sent."""
        if value != self.value:
            self.replaced = self.unsaved = True
        self.value = value

    def is_news(self, stored: str) -> bool:
        """Whether another proxy, or a new login, brought what the store holds.

        Otherwise it holds one that is older than ours, which could not be stored, or ours, whose write seemed to fail.
        """
        return bool(stored) and stored not in self._known

    def read(self, stored: str) -> None:
        """The store holds this one."""
        if self.is_news(stored):
            self.value, self.unsaved = stored, False
        self._known.append(stored)

    def writes(self, value: str) -> None:
        """This one is about to be written to the store."""
        self._known.append(value)

    def wrote(self, value: str) -> None:
        """This one has been written to the store."""
        if value == self.value:
            self.unsaved = False

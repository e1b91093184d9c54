"""The refresh token of one identity (RFC 6749 section 6): most servers take each one once."""

import asyncio


class RefreshToken:
    """What the identity's next token request shows, whichever way to the server and whichever store it has."""

    def __init__(self, given: str = "") -> None:
        self.value = given
        """The last one that came, from the server or from a store; at first the file's. Empty: there is none."""
        self.replaced = False
        """The server has replaced one."""
        self.turn = asyncio.Lock()
        """Held by the token request that shows it, until the next one has come."""
        self._stored = ""
        """The last one that is known to be in the store."""

    def came(self, value: str) -> None:
        """The server answered with this one, which may be the one that was shown."""
        self.replaced |= value != self.value
        self.value = value

    def read(self, stored: str) -> None:
        """The store holds this one: another proxy, or a new login, may have brought it.

        Where the store holds what it held before, ours is the newer one, which could not be stored.
        """
        if stored != self._stored:
            self.value = self._stored = stored

    def written(self, stored: str) -> None:
        """The store holds this one of ours."""
        self._stored = stored

"""TLS handshakes that clients refused, by client and host. Pure."""

from dataclasses import replace

from credential_injector.status import RefusedHandshakes

MOST = 100  # pairs that are kept: a client may ask for any name
_MOST_CLIENTS = 1000


class Handshakes:
    """What became of each client's handshakes with mitmproxy."""

    def __init__(self) -> None:
        self._refused: dict[tuple[str, str], RefusedHandshakes] = {}
        self._closed: dict[tuple[str, str], int] = {}
        """How often the client hung up without a reason, since its last handshake that went well."""
        self._accepts: set[str] = set()
        """Clients that accepted mitmproxy's certificate, for whichever host."""

    def refused(self, client: str, host: str, environment: str, *, certain: bool) -> RefusedHandshakes | None:
        """Count one; what to tell of it where it is the first of this client and host.

        If the client has just hung up, that is no refusal before it does so twice: browsers drop connections that
        they do not need.
        """
        pair = client, host
        number = 1 if certain else self._closed.get(pair, 0) + 1
        before = self._refused.get(pair)
        if before is not None:
            self._refused[pair] = replace(before, number=before.number + 1)
            return None
        if len(self._refused) >= MOST or (pair not in self._closed and len(self._closed) >= MOST):
            return None
        if not certain and number < 2:
            self._closed[pair] = number
            return None
        self._closed.pop(pair, None)
        self._refused[pair] = RefusedHandshakes(client, host, environment, number, client in self._accepts)
        return self._refused[pair]

    def accepted(self, client: str, host: str) -> None:
        """A handshake went well: what was refused before is mended."""
        if len(self._accepts) < _MOST_CLIENTS:
            self._accepts.add(client)
        self._closed.pop((client, host), None)
        self._refused.pop((client, host), None)

    def status(self) -> tuple[RefusedHandshakes, ...]:
        """Those that were refused, until the client accepts one with the same host."""
        return tuple(replace(one, accepts_others=one.client in self._accepts) for one in self._refused.values())

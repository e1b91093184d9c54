"""How the connections to servers are verified: against which name, or by nobody.

A flow does not hold that. mitmproxy verifies a server against the name that it sends as SNI, and chooses it when TLS
starts, which may be after the request has got its credential. `ssl_insecure` may be set and unset between two
connections, and a request may go out on any connection that its client has to the same address.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.tls import TlsData

from credential_injector.origins.hosts import normalise_host
from credential_injector.proxy import processes


class Made(NamedTuple):
    """A connection to a server."""

    server: Server
    verified: str | None
    """The name, normalised, against which mitmproxy verifies it. None: nobody verifies it."""


class Connections:
    """The connections that were made for each client that is connected.

    Not those of a replay: it uses each once, and no hook is called when it ends.
    """

    def __init__(self) -> None:
        self._made: dict[str, list[Made] | None] = {}
        """By the client's id. None: the client is older than the add-on, so they are unknown."""
        self._process: int | None = None
        self._let_in: set[str] = set()

    def let_in_only(self, process: int | None) -> None:
        """Let in the clients of this process and its descendants. Those that another one had let in connect again."""
        if process != self._process:
            self._process = process
            self._let_in.clear()

    def connected(self, client: Client) -> None:
        """The client is new."""
        self._made[client.id] = []
        if self._process is not None and processes.is_of(self._process, client.peername[:2], client.sockname[:2]):
            self._let_in.add(client.id)

    def lets_in(self, client: Client) -> bool:
        """Whether it is one of the process's."""
        return client.id in self._let_in

    def disconnected(self, client: Client) -> None:
        """The client disconnected."""
        self._made.pop(client.id, None)
        self._let_in.discard(client.id)

    def tls_starts(self, data: TlsData, *, verifies: bool) -> str | None:
        """Remember the name against which the server will be verified, and return it."""
        name = data.conn.sni or data.context.client.sni  # as tlsconfig, which comes later, will choose it
        if name is None and isinstance(data.conn, Server) and data.conn.address is not None:
            name = data.conn.address[0]
        verified = normalise_host(name) if verifies and name is not None else None
        if isinstance(data.conn, Server):
            self._remember(data.context.client, Made(data.conn, verified))
        return verified

    def failed(self, client: Client, server: Server) -> None:
        """The server could not be connected."""
        self._remember(client, Made(server, None))

    def _remember(self, client: Client, made: Made) -> None:
        others = self._made.get(client.id)
        if others is not None:
            self._made[client.id] = [*(one for one in others if not _ended(one.server)), made]

    def of(self, flow: http.HTTPFlow) -> object:
        """Those of the flow's client: another object once one has been added."""
        return self._made.get(flow.client_conn.id)

    def verified(self, flow: http.HTTPFlow) -> Sequence[str | None]:
        """For each connection on which the request may go out, the name against which it was verified, if any.

        mitmproxy takes one that the client has to the same address. Until then `flow.server_conn` may be another.
        """
        made = self._made.get(flow.client_conn.id, ())
        if made is None:
            return (None,)
        if not made:
            return ()
        current, address = flow.server_conn, (flow.request.data.host, flow.request.data.port)
        return [
            one.verified
            for one in made
            if (one.server is current or one.server.address == address) and not _ended(one.server)
        ]

    def failure(self, flow: http.HTTPFlow) -> str | None:
        """The flow's error, if it says that the server could not be connected."""
        error = flow.error.msg if flow.error is not None else None
        if error is not None and error.startswith("Upstream proxy "):  # mitmproxy's words: it refused the CONNECT
            return error
        made = self._made.get(flow.client_conn.id) or ()
        return error if error is not None and any(one.server.error == error for one in made) else None

    def export(self) -> dict[str, list[Made] | None]:
        """What `restore` takes, in another add-on: the script is loaded anew."""
        return self._made

    def restore(self, made: dict[str, list[Made] | None], clients: Iterable[Client]) -> None:
        """What another add-on knew of these clients, who were there before this one."""
        self._made = {
            client: [Made(*one) for one in known] if known is not None else None for client, known in made.items()
        }
        for client in clients:
            self._made.setdefault(client.id, None)


def _ended(server: Server) -> bool:
    return server.error is not None or server.timestamp_end is not None

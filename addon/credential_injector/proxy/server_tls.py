"""What mitmproxy tells of its connections to servers: against which name each is verified, and why one was not made."""

from mitmproxy import http
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

from credential_injector.proxy import internals
from credential_injector.proxy.departure import Departure
from credential_injector.proxy.policy import Policy
from credential_injector.proxy.server_connections import Connections


class ServerTls:
    """The hooks about it."""

    def __init__(self, policy: Policy, connections: Connections, departure: Departure) -> None:
        self._policy = policy
        self._connections = connections
        self._departure = departure
        self._failures: dict[str, str] = {}
        """Why the server of a request that waits for it could not be verified, by the flow's id."""

    def starts(self, data: TlsData) -> None:
        """As tls_start_server."""
        if data.conn is not data.context.server:
            return  # TLS to an upstream proxy; that to the server comes later
        verified = self._connections.tls_starts(data, verifies=not self._policy.ssl_insecure)
        self._departure.tls_starts(internals.waiting_for(data.context), verified)

    def failed(self, data: TlsData) -> None:
        """As tls_failed_server."""
        if data.conn is data.context.server and data.conn.error is not None:
            self._failures.update((flow.id, data.conn.error) for flow in internals.waiting_for(data.context))

    def not_connected(self, data: ServerConnectionHookData) -> None:
        """As server_connect_error."""
        self._connections.failed(data.client, data.server)

    def failure(self, flow: http.HTTPFlow) -> str | None:
        """Why the request of a flow that has ended could not leave; None where that was not the reason."""
        return self._failures.pop(flow.id, None) or self._connections.failure(flow)

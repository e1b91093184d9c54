"""The hooks of a client's TLS handshake: who refuses mitmproxy's certificate, and for which host."""

import logging

from mitmproxy import ctx
from mitmproxy.tls import TlsData

from credential_injector import messages
from credential_injector.origins.hosts import normalise_host
from credential_injector.proxy import internals, options
from credential_injector.proxy.routes import Routes

logger = logging.getLogger(__name__)


class ClientTls:
    """Handshakes with configured hosts, and with any host while mitmproxy listens for a phone.

    Apps on a phone fail as a whole because of a host that no file names.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._told: set[tuple[str, str]] = set()

    def failed(self, data: TlsData) -> None:
        """The client refused the handshake, or something else went wrong with it."""
        certain = internals.client_refuses_certificate(data.conn.error or "")
        host, environment = self._named(data)
        if certain is None or not host or not (environment or ctx.options.inject_phone):
            return
        client = data.context.client.peername[0]
        told = self._routes.handshakes.refused(client, host, environment, certain=certain)
        if told is not None and (client, host) not in self._told:
            self._told.add((client, host))
            logger.warning(f"{messages.refused_handshakes(told)}{options.see()}")

    def established(self, data: TlsData) -> None:
        """The client accepted mitmproxy's certificate."""
        host, _ = self._named(data)
        self._routes.handshakes.accepted(data.context.client.peername[0], host)

    def _named(self, data: TlsData) -> tuple[str, str]:
        """The host that the client means, and the name of an environment of it."""
        address = data.context.server.address
        names = [normalise_host(name) for name in (data.conn.sni, address[0] if address else None) if name]
        for name in names:
            if (route := self._routes.of_host(name)) is not None:
                return name, route.environment.name
        return (names[0] if names else ""), ""

"""Which TLS connections pass unopened (inject_only)."""

from mitmproxy import ctx
from mitmproxy.proxy.mode_specs import ReverseMode
from mitmproxy.tls import ClientHelloData

from credential_injector.origins.hosts import normalise_host
from credential_injector.proxy.routes import Routes


def passes_unopened(data: ClientHelloData, routes: Routes) -> bool:
    """Whether a client begins TLS with a host that no environment names, whatever the port.

    A connection is opened if the dialled name or the SNI is an environment's. If only one of them is, the request gets
    no token, and its flow says why.
    """
    address = data.context.server.address
    # TLS that ends at the proxy itself: that of a client in reverse mode, and of one that asks the proxy by TLS.
    if address is None or isinstance(data.context.client.proxy_mode, ReverseMode):
        return False
    names = {normalise_host(name) for name in (address[0], data.client_hello.sni) if name}
    return getattr(ctx.options, "onboarding_host", "") not in names and not any(routes.of_host(name) for name in names)

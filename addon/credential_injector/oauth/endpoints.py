"""What asks for tokens, by the grant. Slow to import, as it imports what opens connections."""

from credential_injector.oauth import server
from credential_injector.oauth.endpoint import TokenEndpoint
from credential_injector.oauth.login_endpoint import LoginEndpoint
from credential_injector.oauth.login_recipe import GRANT
from credential_injector.oauth.request import TokenRequest, Transport


def open_endpoint(
    request: TokenRequest, transport: Transport, network: server.Network | None = None
) -> TokenEndpoint | LoginEndpoint:
    """What asks for the tokens of this request."""
    if request.grant_type == GRANT:
        return LoginEndpoint(request, transport, network)
    return TokenEndpoint(request, transport, network)

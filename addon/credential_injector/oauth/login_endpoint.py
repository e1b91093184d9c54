"""Logs in where that is no OAuth2.

Slow to import, as it imports what opens connections: the add-on does that with its first login.
"""

import asyncio

from credential_injector.oauth.answers import Answer
from credential_injector.oauth.login_recipe import message, read_login
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.oauth.server import AuthorizationServer, Conversation, Network
from credential_injector.oauth.token import AccessToken


class LoginEndpoint:
    """Where one environment logs in: LOGIN_URL."""

    def __init__(self, request: TokenRequest, transport: Transport, network: Network | None = None) -> None:
        self._request = request
        self._server = AuthorizationServer(transport, None, network)
        self.last: Answer | None = None
        """The last answer."""

    @property
    def published(self) -> tuple[str, ...]:
        """Nobody publishes it."""
        return ()

    async def token(self, asked_at: float, refresh_token: str = "") -> AccessToken:  # noqa: ARG002 - an Endpoint's
        """Log in once. `asked_at` is now, in unix seconds. Raises NoToken."""

        def log_in(conversation: Conversation) -> AccessToken:
            self.last = None
            self.last = conversation.send(self._request.endpoint, message(self._request))
            return read_login(self.last, self._request, asked_at)

        began = asyncio.get_running_loop().time()
        return await self._server.converse(log_in, self._request.server_url, began=began)

"""TokenRequest -> AccessToken: one token request (RFC 6749).

Importing this imports what opens connections, which takes a while: the add-on does it with its first token request.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar
from urllib.parse import urlencode

from credential_injector.oauth.answers import Answer, json_object, read_answer
from credential_injector.oauth.client_auth import METHODS, given, possible
from credential_injector.oauth.discovery import Metadata, locations, metadata
from credential_injector.oauth.grants import GRANTS, grant_type
from credential_injector.oauth.request import Fields, TokenRequest, Transport
from credential_injector.oauth.server import AuthorizationServer, Conversation, Network
from credential_injector.oauth.token import AccessToken, NoToken

T = TypeVar("T")

METADATA_LIFETIME = 86400.0  # seconds for which what an issuer publishes is taken as known
# Then a request waits this long for newer metadata at most, and for no more than this share of its timeout.
METADATA_WAIT = 1.0  # seconds
METADATA_SHARE = 0.1
_PENDING = ("authorization_pending", "slow_down")  # RFC 8628 section 3.5: a login goes on, nothing has failed


class TokenEndpoint:
    """The token endpoint of one token request. It remembers what an issuer published."""

    def __init__(self, request: TokenRequest, transport: Transport, network: Network | None = None) -> None:
        self._request = request
        self._metadata_wait = min(METADATA_WAIT, METADATA_SHARE * transport.timeout)
        certificate = request.value("CLIENT_CERT"), request.value("CLIENT_KEY")
        self._server = AuthorizationServer(transport, certificate if all(certificate) else None, network)
        self._metadata: Metadata | None = None
        self._discovered_at = 0.0
        """Unix seconds."""
        self._discovery: asyncio.Task[None] | None = None
        """Newer metadata is on its way."""
        self.last: Answer | None = None
        """What the server said last to a request of a token, or of a login."""
        self._ended = ""
        """The refresh token of a login that has ended."""

    @property
    def published(self) -> tuple[str, ...]:
        """The token endpoint's URLs, as the issuer published them last; empty where the file names the endpoint."""
        return self._metadata.endpoints("token_endpoint") if self._metadata is not None else ()

    async def token(self, asked_at: float, refresh_token: str = "") -> AccessToken:
        """Ask for a token once. `asked_at` is now, in unix seconds. Raises NoToken.

        Where the grant uses a refresh token, it is this one, or else the file's; the next one comes with the token.
        """
        request, grant = self._request, GRANTS[self._request.grant_type]
        if grant.refreshes:
            refresh_token = refresh_token or request.value("REFRESH_TOKEN")
            request = request.with_value("REFRESH_TOKEN", refresh_token)
            if not refresh_token or refresh_token == self._ended:
                # Asked again as soon as somebody has logged in: this has cost nobody anything.
                since = " again since the login ended" if self._ended else ""
                raise NoToken("login_required", f"nobody has logged in{since}", retry_after=0.0)
        try:
            token = await self.ask(
                lambda url: (("grant_type", grant_type(request)), *grant.form(request, url, asked_at)),
                asked_at,
                read_answer,
            )
        except NoToken as error:
            if grant.login_endpoint and error.code == "invalid_grant":
                self._ended = refresh_token
                raise NoToken("login_required", f"the login has ended: {error.reason}", retry_after=0.0) from None
            raise
        next_one = (token.refresh_token or refresh_token) if grant.refreshes else None
        return replace(token, refresh_token=next_one, endpoints=self.published)

    async def ask(
        self,
        grant: Callable[[str], Fields],
        asked_at: float,
        read: Callable[[Answer, TokenRequest, float], T],
        endpoint: str = "token_endpoint",
    ) -> T:
        """What `read` makes of the answer to these fields, which are given the endpoint's URL. Raises NoToken.

        `endpoint` is named as in RFC 8414; a device code comes from `device_authorization_endpoint` (RFC 8628).
        """

        def exchange(conversation: Conversation) -> T:
            url, method = self.locate(conversation, asked_at, endpoint)
            request = replace(self._request, endpoint=url)
            message = dict(request.headers), urlencode([*grant(url), *_fields(request)])
            self.last = None
            self.last = conversation.post(url, *METHODS[method].apply(request, url, asked_at, message))
            return read(self.last, request, asked_at)

        return await self._converse(exchange, asked_at)

    async def authorization_endpoint(self, asked_at: float) -> tuple[str, bool]:
        """Where a person logs in, and whether its answers name the issuer (RFC 9207). Raises NoToken."""
        where = partial(self.locate, asked_at=asked_at, endpoint="authorization_endpoint")
        url, _ = await self._converse(where, asked_at)
        return url, self._metadata is not None and self._metadata.names_issuer

    async def _converse(self, conversation: Callable[[Conversation], T], asked_at: float) -> T:
        began = asyncio.get_running_loop().time()
        if self._metadata is not None and not self._is_current(asked_at):
            if self._discovery is None or self._discovery.done():
                self._discovery = asyncio.create_task(self._discover_again(asked_at), name="discovery")
            await asyncio.wait([self._discovery], timeout=self._metadata_wait)
        try:
            return await self._server.converse(conversation, self._request.server_url, began=began)
        except NoToken as error:
            if error.code not in _PENDING:
                self._discovered_at = 0.0  # the server may have moved
            raise

    async def _discover_again(self, asked_at: float) -> None:
        """Beside the requests: where it fails, or takes long, the old metadata serves."""
        issuer = self._request.issuer
        with suppress(NoToken):
            self._metadata = await self._server.converse(partial(_discover, issuer=issuer), issuer)
            self._discovered_at = asked_at

    def _is_current(self, asked_at: float) -> bool:
        return self._discovered_at <= asked_at < self._discovered_at + METADATA_LIFETIME

    def locate(self, conversation: Conversation, asked_at: float, endpoint: str) -> tuple[str, str]:
        """An endpoint, by its name in RFC 8414, and how the client authenticates there. Raises NoToken."""
        request = self._request
        if not request.issuer:
            return request.value(endpoint.upper()) or request.endpoint, request.auth_method
        if self._metadata is None:
            self._metadata, self._discovered_at = _discover(conversation, request.issuer), asked_at
        known = self._metadata
        method = request.auth_method or known.method(possible(given(request)))
        return known.endpoint(endpoint, certificate=METHODS[method].certificate), method


def _fields(request: TokenRequest) -> list[tuple[str, str]]:
    """The fields beside those of the grant and of client authentication: audience and resource may be repeated."""
    return [
        *([("scope", request.scope)] if request.scope else []),
        *(("audience", audience) for audience in request.audience),
        *(("resource", resource) for resource in request.resource),
        *request.params,
    ]


def _discover(conversation: Conversation, issuer: str) -> Metadata:
    """Raises NoToken: of the two places, the one that came nearer tells why."""
    errors = []
    for url in locations(issuer):
        try:
            answer = conversation.get(url)
            document = json_object(answer.body) if answer.status == 200 else None
            if document is None:
                raise NoToken("no_metadata", f"{url} answered {answer.status} without metadata in a JSON object")
            return metadata(document, issuer)
        except NoToken as error:
            errors.append(error)
    raise max(errors, key=lambda error: error.code == "issuer_mismatch")

"""Asks an authorization server for a token (RFC 6749).

Slow to import, as it imports what opens connections: the add-on does that with its first token request.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar
from urllib.parse import urlencode

from credential_injector.oauth import dpop
from credential_injector.oauth.answers import Answer, error_code, json_object, read_answer
from credential_injector.oauth.client_auth import METHODS, given, possible
from credential_injector.oauth.discovery import Metadata, locations, metadata
from credential_injector.oauth.grants import GRANTS, grant_type
from credential_injector.oauth.request import Fields, TokenRequest, Transport
from credential_injector.oauth.server import AuthorizationServer, Conversation, Network
from credential_injector.oauth.token import AccessToken, NoToken

T = TypeVar("T")

METADATA_LIFETIME = 86400.0  # seconds for which an issuer's metadata is not asked for again
# The most that a request waits for newer metadata; this share of its timeout, where that is less.
METADATA_WAIT = 1.0  # seconds
METADATA_SHARE = 0.1
_PENDING = ("authorization_pending", "slow_down")  # RFC 8628 section 3.5: nothing has failed, a login goes on
# Signs that a URL is not the endpoint that it should be.
_NOT_THE_ENDPOINT = ("http_404", "http_405", "invalid_response", "redirect")


class TokenEndpoint:
    """The token endpoint of one token request. It remembers the issuer's metadata."""

    def __init__(
        self,
        request: TokenRequest,
        transport: Transport,
        network: Network | None = None,
        *,
        metadata_share: float = METADATA_SHARE,
    ) -> None:
        self._request = request
        self._metadata_wait = min(METADATA_WAIT, metadata_share * transport.timeout)
        certificate = request.value("CLIENT_CERT"), request.value("CLIENT_KEY")
        self._server = AuthorizationServer(transport, certificate if all(certificate) else None, network)
        self._metadata: Metadata | None = None
        self._discovered_at = 0.0
        """Unix seconds."""
        self._discovery: asyncio.Task[None] | None = None
        """Asks for newer metadata."""
        self.last: Answer | None = None
        """The last answer to a request for a token or a device code."""
        self._nonce = ""
        """What the server wants in the next proof of a key."""
        self._ended = ""
        """The refresh token whose login the server has ended."""

    @property
    def published(self) -> tuple[str, ...]:
        """The token endpoint's URLs by the issuer's metadata; empty where the file names the endpoint."""
        return self._metadata.endpoints("token_endpoint") if self._metadata is not None else ()

    async def token(self, asked_at: float, refresh_token: str = "") -> AccessToken:
        """Ask for a token once. `asked_at` is now, in unix seconds. Raises NoToken.

        A grant that sends a refresh token sends this one, or else the file's. The answer may bring the next one.
        """
        request, grant = self._request, GRANTS[self._request.grant_type]
        if grant.refreshes:
            refresh_token = refresh_token or request.value("REFRESH_TOKEN")
            request = request.with_value("REFRESH_TOKEN", refresh_token)
            if not refresh_token or refresh_token == self._ended:
                # No wait before the next try: it asks the server only when somebody has logged in.
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
        """Send the fields that `grant` makes for the endpoint's URL, and read the answer with `read`. Raises NoToken.

        `endpoint` is a name of RFC 8414: `token_endpoint`, or `device_authorization_endpoint` (RFC 8628).
        """

        def exchange(conversation: Conversation) -> T:
            url, method = self.locate(conversation, asked_at, endpoint)
            request = replace(self._request, endpoint=url)

            def post() -> Answer:
                message = dict(request.headers), urlencode([*grant(url), *_fields(request)])
                headers, form = METHODS[method].apply(request, url, asked_at, message)
                return conversation.post(url, {**headers, **self._proof(url, asked_at)}, form)

            self.last = None
            self.last = post()
            if dpop.is_asked_for(request):
                before, self._nonce = self._nonce, dpop.nonce_in(self.last.headers, self._nonce)
                # RFC 9449 section 8. A client assertion, too, is good for one request only.
                if self._nonce != before and error_code(json_object(self.last.body)) == "use_dpop_nonce":
                    self.last = post()
                    self._nonce = dpop.nonce_in(self.last.headers, self._nonce)
            return read(self.last, request, asked_at)

        try:
            return await self._converse(exchange, asked_at)
        except NoToken as error:
            if endpoint != "token_endpoint" and error.code in _NOT_THE_ENDPOINT:
                raise NoToken("login_endpoint", error.reason, lasting=error.lasting) from None
            raise

    def _proof(self, url: str, now: float) -> dict[str, str]:
        """The header that proves the key, if the tokens are to be bound to one."""
        if not dpop.is_asked_for(self._request):
            return {}
        return {"DPoP": dpop.proof(self._request.value("DPOP_KEY"), "POST", url, now, nonce=self._nonce)}

    async def authorization_endpoint(self, asked_at: float) -> tuple[str, bool]:
        """The URL at which a person logs in, and whether its answers name the issuer (RFC 9207). Raises NoToken."""
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
                self._discovered_at = 0.0  # the server may have moved: ask for its metadata again
            raise

    async def _discover_again(self, asked_at: float) -> None:
        """Ask for newer metadata beside the requests: where that fails, or takes long, they use the old one."""
        issuer = self._request.issuer
        with suppress(NoToken):
            self._metadata = await self._server.converse(partial(_discover, issuer=issuer), issuer)
            self._discovered_at = asked_at

    def _is_current(self, asked_at: float) -> bool:
        return self._discovered_at <= asked_at < self._discovered_at + METADATA_LIFETIME

    def locate(self, conversation: Conversation, asked_at: float, endpoint: str) -> tuple[str, str]:
        """The URL of an endpoint, by its name in RFC 8414, and how the client authenticates there. Raises NoToken."""
        request = self._request
        if not request.issuer:
            return request.value(endpoint.upper()) or request.endpoint, request.auth_method
        if self._metadata is None:
            self._metadata, self._discovered_at = _discover(conversation, request.issuer), asked_at
        known = self._metadata
        method = request.auth_method or known.method(possible(given(request)))
        return known.endpoint(endpoint, certificate=METHODS[method].certificate), method


def _fields(request: TokenRequest) -> list[tuple[str, str]]:
    """The fields that every grant may send. audience and resource may be repeated."""
    return [
        *([("scope", request.scope)] if request.scope else []),
        *(("audience", audience) for audience in request.audience),
        *(("resource", resource) for resource in request.resource),
        *request.params,
    ]


def _discover(conversation: Conversation, issuer: str) -> Metadata:
    """Ask for an issuer's metadata. Raises the NoToken of the place that came nearer."""
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

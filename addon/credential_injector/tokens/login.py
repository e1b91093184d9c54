"""A person's login, from which refresh tokens come: in a browser (RFC 6749 section 4.1), or with a code (RFC 8628)."""

import asyncio
import base64
import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from credential_injector import messages
from credential_injector.environments.environment import Environment
from credential_injector.oauth.answers import Answer, accepted, read_answer
from credential_injector.oauth.authorization_response import AuthorizationRequest, read_code
from credential_injector.oauth.endpoint import TokenEndpoint
from credential_injector.oauth.grants import GRANTS
from credential_injector.oauth.request import TokenRequest, parse_endpoint
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.tokens.provider import Provider
from credential_injector.tokens.sharing import unshared
from credential_injector.tokens.source import TokenSource

T = TypeVar("T")

DEADLINE = 300.0  # seconds for logging in in a browser
PROGRESS = 15.0  # seconds between two words of progress
PATIENCE = 10.0  # seconds for a browser to send its request
LONGEST_CODE_LIFE = 1800.0  # seconds
# RFC 8628 section 3.5: seconds between two token requests where the server does not say, and how many more if asked to.
INTERVAL = 5.0
SLOWER_BY = 5.0


@dataclass(frozen=True, slots=True)
class Terminal:
    """What a login needs of the person's terminal."""

    tell: Callable[[str], None]
    """Show a line."""
    browse: Callable[[str], Awaitable[object]]
    """Open a URL in a browser, if there is one."""
    deadline: float = DEADLINE
    progress: float = PROGRESS


async def log_in(environment: Environment, provider: Provider, terminal: Terminal) -> AccessToken:
    """Let a person log in to this environment, whose grant is one of LOGINS, and store what comes from it.

    Raises NoToken, and whatever the store raises.
    """
    request = environment.token_request
    endpoint = TokenEndpoint(request, environment.transport.completed())
    loop = asyncio.get_running_loop()

    async def ask(asked_at: float) -> AccessToken:
        began = loop.time()
        login = _Login(environment.name, request, endpoint, terminal, lambda: asked_at + loop.time() - began)
        return await LOGINS[request.grant_type](login)

    token = (await TokenSource(unshared(ask)).token()).token
    await provider.keep(request, token, request_timeout=environment.transport.timeout)
    return token


@dataclass(frozen=True, slots=True)
class _Login:
    """A login in progress: what both kinds of it need."""

    name: str
    request: TokenRequest
    endpoint: TokenEndpoint
    terminal: Terminal
    now: Callable[[], float]

    async def answer(self, **fields: str) -> AccessToken:
        """The token for these fields of a token request."""
        token = await self.endpoint.ask(lambda _: tuple(fields.items()), self.now(), read_answer)
        return replace(token, endpoints=self.endpoint.published)

    async def wait(self, awaited: Awaitable[T], seconds: float) -> T:
        """Wait for a person, with a word of progress now and then. Raises NoToken when the time is over."""
        task = asyncio.ensure_future(awaited)
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        try:
            while (left := end - loop.time()) > 0:
                await asyncio.wait([task], timeout=min(left, self.terminal.progress))
                if task.done():
                    return task.result()
                self.terminal.tell(f"{self.name}: waiting for the login, {messages.duration(end - loop.time())} left")
        finally:
            task.cancel()
        raise NoToken("login_required", f"nobody has logged in within {messages.duration(seconds)}")


# --- In a browser -----------------------------------------------------------------------------------------------------


async def _authorization_code(login: _Login) -> AccessToken:
    """RFC 6749 section 4.1 with PKCE (RFC 7636), to a loopback address (RFC 8252 section 7.3)."""
    url, names_issuer = await login.endpoint.authorization_endpoint(login.now())
    state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
    expected = AuthorizationRequest(state, login.request.issuer, names_issuer)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    async with _callback(login, expected) as (redirect_uri, code):
        asked = _authorization_request(login.request, url) | {
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        url += ("&" if urlsplit(url).query else "?") + urlencode(asked, doseq=True)
        login.terminal.tell(f"{login.name}: log in in the browser; if none opens, open this URL in one:\n\n{url}\n")
        opening = asyncio.ensure_future(login.terminal.browse(url))  # some browsers end only when they are closed
        try:
            received = await login.wait(code, login.terminal.deadline)
        finally:
            opening.cancel()
    return await login.answer(
        grant_type="authorization_code", code=received, redirect_uri=redirect_uri, code_verifier=verifier
    )


def _authorization_request(request: TokenRequest, url: str) -> dict[str, object]:
    asked: dict[str, object] = {"response_type": "code", "client_id": request.client_id}
    if request.scope:
        asked["scope"] = request.scope
    if "offline_access" in request.scope.split():
        asked["prompt"] = "consent"  # else it is not granted (OpenID Connect Core section 11)
    given = {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    asked |= {name: many for name, many in (("audience", request.audience), ("resource", request.resource)) if many}
    return {name: value for name, value in asked.items() if name not in given}


@asynccontextmanager
async def _callback(login: _Login, expected: AuthorizationRequest) -> AsyncIterator[tuple[str, "asyncio.Future[str]"]]:
    """Listen where the browser is sent back to: the redirect URI, and the code that comes there."""
    fixed = login.request.value("REDIRECT_URI")
    parts = urlsplit(fixed or "http://127.0.0.1:0/callback")
    code: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A connection that a browser opens in advance is cancelled at the end, which Python 3.11 would tell at length.
        with suppress(OSError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
            async with asyncio.timeout(PATIENCE):
                target = _target(await reader.readuntil(b"\r\n\r\n"))
                settle: Callable[[], object] | None = None
                if target is None or (target.path or "/") != (parts.path or "/"):
                    page = _page(404, "there is nothing here")
                else:
                    page, settle = _received(login, code, target.query, expected)
                writer.write(page)
                await writer.drain()
            if settle is not None and not code.done():
                settle()
        writer.close()

    try:
        server = await asyncio.start_server(answer, parts.hostname, parts.port)
    except OSError as error:
        reason = f"cannot listen on {parts.hostname}:{parts.port} ({os.strerror(error.errno or 0)})"
        raise NoToken("redirect_uri", reason, lasting=True) from None
    try:
        yield fixed or f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callback", code
    finally:
        server.close()
        code.cancel()


def _target(head: bytes) -> SplitResult | None:
    """What a GET asks for."""
    found = re.match(rb"GET (/[\x21-\x7e]*) HTTP/1", head)
    return urlsplit(f"http://callback{found[1].decode()}") if found else None


def _received(
    login: _Login, code: "asyncio.Future[str]", query: str, expected: AuthorizationRequest
) -> tuple[bytes, Callable[[], object] | None]:
    """The page that answers the browser, and what then comes of the login; nothing, where the answer is another's."""
    try:
        received = read_code(query, expected)
    except ValueError:
        login.terminal.tell(f"{login.name}: refused an answer with another state: it belongs to another login")
        return _page(400, "this answer belongs to another login and was refused"), None
    except NoToken as error:
        page = _page(400, f"{login.name}: the login was refused ({error.code}); the terminal says what to do")
        return page, partial(code.set_exception, error)
    page = _page(200, f"{login.name}: go back to the terminal to see how it went; you can close this page")
    return page, partial(code.set_result, received)


def _page(status: int, text: str) -> bytes:
    page = f"<!doctype html><meta charset=utf-8><title>credential-injector</title><p>{text}\n".encode()
    lines = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: text/html; charset=utf-8",
        f"Content-Length: {len(page)}",
        "Cache-Control: no-store",
        "Content-Security-Policy: default-src 'none'",
        "Referrer-Policy: no-referrer",
        "Connection: close",
    )
    return "\r\n".join([*lines, "", ""]).encode() + page


# --- With a code ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Device:
    """A device authorization response (RFC 8628 section 3.2)."""

    device_code: str = field(repr=False)
    user_code: str
    verification_uri: str
    complete: str
    """The same with the code in it; empty where there is none."""
    expires_in: float
    interval: float


async def _device_code(login: _Login) -> AccessToken:
    """RFC 8628."""
    device = await login.endpoint.ask(lambda _: (), login.now(), _device, "device_authorization_endpoint")
    complete = f", or open\n\n{device.complete}\n\nand compare the code" if device.complete else ""
    login.terminal.tell(
        f"{login.name}: on any device, open\n\n{device.verification_uri}\n\nand enter {device.user_code}{complete}\n"
    )

    async def token() -> AccessToken:
        pause = device.interval
        while True:
            await asyncio.sleep(pause)
            try:
                return await login.answer(grant_type=grant_urn, device_code=device.device_code)
            except NoToken as error:
                if error.code == "slow_down":
                    pause += SLOWER_BY
                elif error.code == "expired_token":
                    raise NoToken("login_required", "nobody has entered the code in time") from None
                elif error.code != "authorization_pending":
                    if error.lasting:
                        raise
                    pause *= 2  # RFC 8628 section 3.5: the server is in trouble

    grant_urn = GRANTS["device_code"].urn
    return await login.wait(token(), device.expires_in)


def _device(answer: Answer, request: TokenRequest, asked_at: float) -> _Device:
    """Raises NoToken. Whatever else the server may have written, a person is shown a URL and a short code."""
    said = accepted(answer, request, asked_at)
    malformed = NoToken(
        "invalid_response", f"{request.server_url} answered without a usable user_code, device_code or verification_uri"
    )

    def text(*names: str) -> str:
        value = next((said[name] for name in names if name in said), "")
        if not isinstance(value, str):
            raise malformed
        return value

    def seconds(name: str, default: float, longest: float) -> float:
        value = said.get(name, default)
        # In this order NaN becomes 1, too.
        return min(longest, max(1.0, value)) if type(value) in (int, float) else default

    uri, code = text("verification_uri", "verification_url"), text("user_code")
    complete = text("verification_uri_complete")
    try:
        parse_endpoint(uri)
        complete = complete and parse_endpoint(complete)
    except ValueError:
        raise malformed from None
    if not text("device_code") or not re.fullmatch(r"[\x21-\x7e](?:[\x20-\x7e]{0,38}[\x21-\x7e])?", code):
        raise malformed
    expires_in = seconds("expires_in", LONGEST_CODE_LIFE, LONGEST_CODE_LIFE)
    return _Device(text("device_code"), code, uri, complete, expires_in, seconds("interval", INTERVAL, 60.0))


LOGINS: Mapping[str, Callable[[_Login], Awaitable[AccessToken]]] = {
    "authorization_code": _authorization_code,
    "device_code": _device_code,
}
"""How a person logs in, by the value of GRANT_TYPE."""

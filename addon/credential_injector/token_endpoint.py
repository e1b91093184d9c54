"""TokenRequest -> AccessToken: one token request (RFC 6749). The only caller of an authorization server.

Importing this imports requests and Authlib, which takes a while: the add-on does it with its first token request.
"""

import asyncio
import base64
import contextlib
import json
import logging
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import requests
import urllib3
from requests.adapters import HTTPAdapter

from credential_injector import __version__
from credential_injector.client_authentication import METHODS
from credential_injector.grants import GRANTS
from credential_injector.threads import in_thread
from credential_injector.token_request import TokenRequest
from credential_injector.token_source import LONGEST_LIFETIME, AccessToken, NoToken, sendable

DEADLINE = 10.0  # seconds for the whole token request; requests' own timeout ends a silence, never a drip
LARGEST_ANSWER = 1 << 20  # bytes
DEFAULT_LIFETIME = 300.0  # seconds, where neither expires_in nor the token says how long it lives
LONGEST_RETRY_AFTER = 3600.0  # seconds
# RFC 6749 sections 4.1.2.1 and 5.2, RFC 6750 section 3.1, RFC 8628 section 3.5, RFC 8707 section 2, RFC 9449 section 5,
# OpenID Connect Core section 3.1.2.6; and what glewlwyd says instead of invalid_scope.
OAUTH_ERRORS = {
    "access_denied",
    "account_selection_required",
    "authorization_pending",
    "consent_required",
    "expired_token",
    "insufficient_scope",
    "interaction_required",
    "invalid_client",
    "invalid_dpop_proof",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "invalid_token",
    "login_required",
    "scope_invalid",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_token_type",
    "use_dpop_nonce",
}

# Their debug records hold requests and tokens, and mitmweb's event log keeps debug records.
for _name in ("authlib", "requests", "urllib3"):
    logging.getLogger(_name).setLevel(logging.WARNING)


async def request_token(request: TokenRequest, asked_at: float) -> AccessToken:
    """Ask the token endpoint once. `asked_at` is now, in unix seconds. Raises NoToken."""
    exchange = _Exchange(request, asked_at)
    try:
        async with asyncio.timeout(DEADLINE):
            answer = await in_thread(exchange.run, "token request")
    except asyncio.CancelledError:
        exchange.abort()
        raise
    except TimeoutError:
        exchange.abort()
        raise NoToken("timeout", f"{request.shown} did not answer within {DEADLINE:.0f} s") from None
    return read_answer(answer, request, asked_at)


# --- Asking -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What the token endpoint said."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class _Exchange:
    """One HTTP exchange, which another thread can abort."""

    def __init__(self, request: TokenRequest, asked_at: float) -> None:
        self._request = request
        self._asked_at = asked_at
        self._connection: Any = None
        self._aborted = False

    def run(self) -> Answer:
        """Raises NoToken where no answer came."""
        request = self._request
        headers, form = METHODS[request.auth_method].apply(
            request, request.endpoint, self._asked_at, (_headers(request), urlencode(_form(request, self._asked_at)))
        )
        session = requests.Session()
        session.trust_env = False  # no .netrc, and no proxy from the environment, which may be ourselves
        for scheme in ("https://", "http://"):
            session.mount(scheme, _WatchedAdapter(self._watch))
        try:
            with (
                session,
                session.post(
                    request.endpoint,
                    data=form,
                    headers=headers,
                    allow_redirects=False,
                    stream=True,
                    timeout=DEADLINE,
                ) as response,
            ):
                return Answer(response.status_code, response.headers, _body(response, request))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise NoToken("unreachable", f"{request.shown} cannot be reached ({_cause(error)})") from None

    def abort(self) -> None:
        """End the exchange: a read that blocks returns when its socket is shut down."""
        self._aborted = True
        sock = getattr(self._connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):  # it may have ended by itself
                sock.shutdown(socket.SHUT_RDWR)

    def _watch(self, connection: Any) -> None:
        self._connection = connection
        if self._aborted:
            self.abort()


class _WatchedAdapter(HTTPAdapter):
    """Tells `watch` of each connection, before and after it is made."""

    def __init__(self, watch: Callable[[Any], None]) -> None:
        self._watch = watch
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            "http": self._watched(urllib3.HTTPConnectionPool),
            "https": self._watched(urllib3.HTTPSConnectionPool),
        }

    def _watched(self, pool: Any) -> Any:
        watch = self._watch

        def connect(connection: Any) -> None:
            watch(connection)
            pool.ConnectionCls.connect(connection)
            watch(connection)

        connection_class = type("Watched", (pool.ConnectionCls,), {"connect": connect})
        return type("WatchedPool", (pool,), {"ConnectionCls": connection_class})


def _form(request: TokenRequest, asked_at: float) -> list[tuple[str, str]]:
    """The fields beside those of client authentication. Authlib's own form could not repeat audience or resource."""
    return [
        ("grant_type", request.grant_type),
        *GRANTS[request.grant_type].form(request, request.endpoint, asked_at),
        *([("scope", request.scope)] if request.scope else []),
        *(("audience", audience) for audience in request.audience),
        *(("resource", resource) for resource in request.resource),
        *request.params,
    ]


def _headers(request: TokenRequest) -> dict[str, str]:
    return {
        "Accept": "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept-Encoding": "identity",  # a small answer that inflates to a large one has no place here
        "User-Agent": f"mitmproxy-credential-injector/{__version__}",
        **dict(request.headers),
    }


def _body(response: requests.Response, request: TokenRequest) -> bytes:
    body = b""
    for chunk in response.iter_content(64 * 1024):
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise NoToken("invalid_response", f"{request.shown} answered more than {LARGEST_ANSWER >> 20} MiB")
    return body


def _cause(error: BaseException) -> str:
    """What the operating system or TLS said; the libraries' own messages repeat URLs and may repeat more."""
    seen: BaseException | None = error
    cause = type(error).__name__
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {seen.verify_message}"
        if isinstance(seen, ssl.SSLError):
            return "the TLS handshake failed"
        if isinstance(seen, OSError) and seen.strerror:
            cause = seen.strerror
        inner = seen.__cause__ or seen.__context__ or next((a for a in seen.args if isinstance(a, Exception)), None)
        seen = inner or getattr(seen, "reason", None)
        if not isinstance(seen, BaseException):
            break
    return cause


# --- Understanding the answer -----------------------------------------------------------------------------------------


def read_answer(answer: Answer, request: TokenRequest, asked_at: float) -> AccessToken:
    """The token of an RFC 6749 section 5.1 answer that was asked for at `asked_at` (unix seconds).

    Raises NoToken for anything else; its text holds nothing of the server's but a well-formed error code.
    """
    said = _json_object(answer.body)
    if answer.status != 200 or said is None or "error" in said:
        raise _refusal(answer, said, request, asked_at)
    value, kind = said.get("access_token"), said.get("token_type")
    if kind is not None and (not isinstance(kind, str) or kind.lower() != "bearer"):
        raise NoToken("invalid_response", f"{request.shown} answered with a token_type that is not bearer")
    if value is None:
        raise NoToken("invalid_response", f"{request.shown} answered without an access_token")
    if not isinstance(value, str) or not sendable(value):
        raise NoToken("invalid_response", f"{request.shown} answered with an access_token that fits into no header")
    expires_at = _expires_at(value, said.get("expires_in"), asked_at)
    if expires_at <= asked_at:
        raise NoToken("expired", f"{request.shown} issued a token that has expired already")
    return AccessToken(value, asked_at, expires_at)


def _refusal(answer: Answer, said: dict[str, Any] | None, request: TokenRequest, asked_at: float) -> NoToken:
    status = answer.status
    code = _error_code(said)
    retry_after = _retry_after(answer.headers, asked_at)
    if code is not None or 400 <= status < 500:
        busy = status in (408, 425, 429) or status >= 500
        return NoToken(
            code or f"http_{status}", f"{request.shown} answered {status}", lasting=not busy, retry_after=retry_after
        )
    if status >= 500:
        return NoToken(f"http_{status}", f"{request.shown} answered {status}", retry_after=retry_after)
    if 300 <= status < 400:
        return NoToken(
            "redirect", f"{request.shown} answered {status}, a redirect, which is never followed", lasting=True
        )
    return NoToken("invalid_response", f"{request.shown} answered {status} without a token in a JSON object")


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _error_code(said: dict[str, Any] | None) -> str | None:
    """The OAuth error code, if it is a known one: a server may write anything there, a piece of the secret included."""
    code = said.get("error") if said else None
    return code if isinstance(code, str) and code in OAUTH_ERRORS else None


def _retry_after(headers: Mapping[str, str], asked_at: float) -> float | None:
    """Seconds to wait (RFC 9110 section 10.2.3: a number, or a date)."""
    text = headers.get("Retry-After", "").strip()
    try:
        if re.fullmatch(r"[0-9]{1,10}", text):
            seconds = float(text)
        else:
            moment = parsedate_to_datetime(text)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - asked_at
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _expires_at(token: str, expires_in: object, asked_at: float) -> float:
    """Unix seconds. RFC 6749 only recommends expires_in; some servers send it as a string, some leave it out."""
    lifetime = _number(expires_in)
    if lifetime is None:
        expires_at = _number(_claim(token, "exp"))
        lifetime = DEFAULT_LIFETIME if expires_at is None else expires_at - asked_at
    return asked_at + min(lifetime, LONGEST_LIFETIME)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except OverflowError:
        return LONGEST_LIFETIME if value > 0 else 0.0  # type: ignore[operator]  # only an int overflows
    except ValueError:
        return None
    return None if number != number else number  # noqa: PLR0124 - only NaN differs from itself


def _claim(token: str, name: str) -> object:
    """A claim of a JWT (RFC 7519), unverified: it is the API's to verify, ours only to know when to ask again."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = _json_object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    return claims.get(name) if claims else None

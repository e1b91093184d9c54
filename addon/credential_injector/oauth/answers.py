"""An authorization server's answer -> a token, or why there is none (RFC 6749 sections 5.1 and 5.2). Pure.

No text of the server's goes into a reason: it may write anything there, a piece of the secret included.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from credential_injector.oauth import dpop, jwt_claims
from credential_injector.oauth.dates import http_date
from credential_injector.oauth.jwt_claims import JwtClaims
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import LONGEST_LIFETIME, AccessToken, NoToken, is_scope, is_sendable

DEFAULT_LIFETIME = 300.0  # seconds, where neither expires_in nor the token says how long it lives
LONGEST_RETRY_AFTER = 3600.0  # seconds
LARGEST_SKEW = 3600.0  # seconds by which a server's clock may be behind; a JWT of a longer past has expired
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
    "unsupported_response_type",
    "unsupported_token_type",
    "use_dpop_nonce",
}
# RFC 6749 sections 4.1.2.1 and 5.2, RFC 8628 section 3.5: the same request may succeed later, whatever the status.
_PASSING = {"authorization_pending", "server_error", "slow_down", "temporarily_unavailable"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer of an authorization server."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    cookies: tuple[str, ...] = field(default=(), repr=False)
    """Each Set-Cookie header."""


def read_answer(answer: Answer, request: TokenRequest, asked_at: float) -> AccessToken:
    """The token in an answer to a request of `asked_at` (unix seconds). Raises NoToken where it holds none."""
    said = accepted(answer, request, asked_at)
    value, kind = said.get("access_token"), said.get("token_type")
    # RFC 8693 section 2.2.1: an exchange for another kind of token than an access token answers N_A.
    wanted = "dpop" if dpop.is_asked_for(request) else "bearer"
    if kind is not None and (not isinstance(kind, str) or kind.lower() not in (wanted, "n_a")):
        # RFC 9449 section 5: a client that needs a bound token must not use another one.
        code = "no_dpop_token" if wanted == "dpop" else "invalid_response"
        raise NoToken(
            code, f"{request.server_url} answered with a token_type that is not {wanted}", lasting=wanted == "dpop"
        )
    if value is None:
        raise NoToken("invalid_response", f"{request.server_url} answered without an access_token")
    if not isinstance(value, str) or not is_sendable(value):
        raise NoToken(
            "invalid_response", f"{request.server_url} answered with an access_token that cannot stand in a header"
        )
    claims, scope = jwt_claims.read(value), said.get("scope")
    expires_at = _expires_at(claims, said.get("expires_in"), asked_at)
    if expires_at <= asked_at:
        raise NoToken("expired", f"{request.server_url} issued a token that has expired already")
    refresh_token = said.get("refresh_token")
    usable = isinstance(refresh_token, str) and is_sendable(refresh_token)
    return AccessToken(
        value,
        asked_at,
        expires_at,
        refresh_token=refresh_token if usable else None,
        scope=scope if isinstance(scope, str) and is_scope(scope) else None,
        claims=claims,
    )


def accepted(answer: Answer, request: TokenRequest, asked_at: float) -> dict[str, Any]:
    """The JSON object of an answer that is no error. Raises NoToken."""
    said = json_object(answer.body)
    if answer.status != 200 or said is None or "error" in said:
        raise refusal(answer, said, request, asked_at)
    return said


def granted_scope(answer: Answer) -> list[str] | None:
    """The token's scope by the answer; None where the answer does not say: it is the scope that was asked for."""
    scope = (json_object(answer.body) or {}).get("scope")
    return scope.split() if isinstance(scope, str) else None


def token_scope(claims: JwtClaims | None) -> list[str] | None:
    """The scope and the roles in a JWT; None where it names none, or the token is no JWT."""
    if claims is None or (claims.scope is None and not claims.roles):
        return None
    return [*(claims.scope or ()), *claims.roles]


def server_time(answer: Answer) -> float | None:
    """The answer's Date header in unix seconds, without fractions (RFC 9110 section 6.6.1)."""
    return http_date(answer.headers.get("Date", ""))


def refusal(answer: Answer, said: dict[str, Any] | None, request: TokenRequest, asked_at: float) -> NoToken:
    """Why an answer whose JSON says this holds no token."""
    status = answer.status
    code = error_code(said)
    retry_after = _retry_after(answer.headers, asked_at)
    if code is not None or 400 <= status < 500:
        busy = status in (408, 425, 429) or status >= 500 or code in _PASSING
        return NoToken(
            code or f"http_{status}",
            f"{request.server_url} answered {status}",
            lasting=not busy,
            retry_after=retry_after,
        )
    if status >= 500:
        return NoToken(f"http_{status}", f"{request.server_url} answered {status}", retry_after=retry_after)
    if 300 <= status < 400:
        return NoToken(
            "redirect", f"{request.server_url} answered {status}, a redirect, which is never followed", lasting=True
        )
    return NoToken("invalid_response", f"{request.server_url} answered {status} without a token in a JSON object")


def json_object(body: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def error_code(said: Mapping[str, Any] | None) -> str | None:
    """The OAuth error code, if it is a known one."""
    code = said.get("error") if said else None
    return code if isinstance(code, str) and code in OAUTH_ERRORS else None


def _retry_after(headers: Mapping[str, str], asked_at: float) -> float | None:
    """The seconds to wait by the Retry-After header, a number or a date (RFC 9110 section 10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    moment = asked_at + float(text) if re.fullmatch(r"[0-9]{1,10}", text) else http_date(text)
    return None if moment is None else min(max(moment - asked_at, 0.0), LONGEST_RETRY_AFTER)


def _expires_at(claims: JwtClaims | None, expires_in: object, asked_at: float) -> float:
    """In unix seconds. RFC 6749 only recommends expires_in: some servers send a string, some leave it out."""
    return asked_at + min(lifetime_of(claims, asked_at, jwt_claims.number(expires_in)), LONGEST_LIFETIME)


def lifetime_of(claims: JwtClaims | None, asked_at: float, said: float | None = None) -> float:
    """The seconds that a token lives: the less of what is said beside it, if anything, and of what its claims say.

    Claims by which it has expired count only where nothing else is said: a clock may be wrong.
    """
    own = _life(claims, asked_at) if claims is not None else None
    if said is None:
        return DEFAULT_LIFETIME if own is None else own
    return min(said, own) if own is not None and own > 0 else said


def _life(claims: JwtClaims, asked_at: float) -> float | None:
    """The seconds that a JWT has left by its claims `iat` and `exp`; 0 or less if it has expired; None without `exp`.

    The claims go by the server's clock, which may differ from this machine's.
    """
    issued_at, expires_at = claims.issued_at, claims.expires_at
    if expires_at is None:
        return None
    left = expires_at - asked_at
    if issued_at is None or not issued_at < expires_at:
        return left
    whole = expires_at - issued_at
    # Expired by this machine's clock, but issued lately: the server's clock is behind. An older one has expired.
    return whole if left <= 0 and asked_at - issued_at <= LARGEST_SKEW else min(left, whole)

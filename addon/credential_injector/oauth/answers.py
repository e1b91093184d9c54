"""An authorization server's answer -> a token, or why there is none (RFC 6749 sections 5.1 and 5.2). Pure."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import LONGEST_LIFETIME, AccessToken, NoToken, is_sendable

DEFAULT_LIFETIME = 300.0  # seconds, where neither expires_in nor the token says how long it lives
LONGEST_RETRY_AFTER = 3600.0  # seconds
LARGEST_SKEW = 3600.0  # seconds by which a server's clock may be behind; more, and its token is taken for an old one
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
# RFC 6749 sections 4.1.2.1 and 5.2, RFC 8628 section 3.5: whatever the status, the same request may succeed later.
_PASSING = {"authorization_pending", "server_error", "slow_down", "temporarily_unavailable"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the authorization server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def read_answer(answer: Answer, request: TokenRequest, asked_at: float) -> AccessToken:
    """The token of an RFC 6749 section 5.1 answer that was asked for at `asked_at` (unix seconds).

    Raises NoToken for anything else; its text holds nothing of the server's but a well-formed error code.
    """
    said = accepted(answer, request, asked_at)
    value, kind = said.get("access_token"), said.get("token_type")
    # RFC 8693 section 2.2.1: a token that was exchanged for another kind than an access token is N_A.
    if kind is not None and (not isinstance(kind, str) or kind.lower() not in ("bearer", "n_a")):
        raise NoToken("invalid_response", f"{request.server_url} answered with a token_type that is not bearer")
    if value is None:
        raise NoToken("invalid_response", f"{request.server_url} answered without an access_token")
    if not isinstance(value, str) or not is_sendable(value):
        raise NoToken(
            "invalid_response", f"{request.server_url} answered with an access_token that fits into no header"
        )
    expires_at = _expires_at(value, said.get("expires_in"), asked_at)
    if expires_at <= asked_at:
        raise NoToken("expired", f"{request.server_url} issued a token that has expired already")
    refresh_token = said.get("refresh_token")
    usable = isinstance(refresh_token, str) and is_sendable(refresh_token)
    return AccessToken(value, asked_at, expires_at, refresh_token=refresh_token if usable else None)


def accepted(answer: Answer, request: TokenRequest, asked_at: float) -> dict[str, Any]:
    """The JSON object of an answer that is no error. Raises NoToken."""
    said = json_object(answer.body)
    if answer.status != 200 or said is None or "error" in said:
        raise _refusal(answer, said, request, asked_at)
    return said


def granted_scope(answer: Answer) -> list[str] | None:
    """What the answer says of the token's scope; None where it says nothing: it is what was asked for."""
    scope = (json_object(answer.body) or {}).get("scope")
    return scope.split() if isinstance(scope, str) else None


def token_scope(token: str) -> list[str] | None:
    """What a JWT says of its scope (`scope`: RFC 9068 section 2.2.3; `scp` and `roles`: Entra ID, Okta).

    None: it says nothing, or is no JWT.
    """
    claims = _claims(token)
    said = [claims[name] for name in ("scope", "scp", "roles") if isinstance(claims.get(name), str | list)]
    names = [name for one in said for name in (one.split() if isinstance(one, str) else one)]
    return [name for name in names if isinstance(name, str)] if said else None


def server_time(answer: Answer) -> float | None:
    """Unix seconds of the answer's Date header, which tells whole seconds (RFC 9110 section 6.6.1)."""
    return _moment(answer.headers.get("Date", ""))


def _refusal(answer: Answer, said: dict[str, Any] | None, request: TokenRequest, asked_at: float) -> NoToken:
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
    """The OAuth error code, if it is a known one: a server may write anything there, a piece of the secret included."""
    code = said.get("error") if said else None
    return code if isinstance(code, str) and code in OAUTH_ERRORS else None


def _retry_after(headers: Mapping[str, str], asked_at: float) -> float | None:
    """Seconds to wait (RFC 9110 section 10.2.3: a number, or a date)."""
    text = headers.get("Retry-After", "").strip()
    moment = asked_at + float(text) if re.fullmatch(r"[0-9]{1,10}", text) else _moment(text)
    return None if moment is None else min(max(moment - asked_at, 0.0), LONGEST_RETRY_AFTER)


def _moment(text: str) -> float | None:
    """Unix seconds of a date in a header."""
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _expires_at(token: str, expires_in: object, asked_at: float) -> float:
    """Unix seconds. RFC 6749 only recommends expires_in; some servers send it as a string, some leave it out."""
    said, own = _number(expires_in), _life(_claims(token), asked_at)
    if said is None:
        lifetime = DEFAULT_LIFETIME if own is None else own
    else:
        lifetime = said if own is None or own <= 0 else min(said, own)
    return asked_at + min(lifetime, LONGEST_LIFETIME)


def _life(claims: Mapping[str, Any], asked_at: float) -> float | None:
    """Seconds for which a JWT lives by its own claims, `iat` and `exp`; None where they do not say.

    Not positive: it has expired. They are times of the server's clock, which may differ from this machine's.
    """
    issued_at, expires_at = _number(claims.get("iat")), _number(claims.get("exp"))
    if expires_at is None:
        return None
    left = expires_at - asked_at
    if issued_at is None or not issued_at < expires_at:
        return left
    whole = expires_at - issued_at
    # It was just issued, and has expired by this machine's clock: the server's is behind. An old one has expired.
    return whole if left <= 0 and asked_at - issued_at <= LARGEST_SKEW else min(left, whole)


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


def _claims(token: str) -> Mapping[str, Any]:
    """The claims of a JWT (RFC 7519), unverified: they are the API's to verify, ours only to know when to ask again."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        return json_object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))) or {}
    except ValueError:
        return {}

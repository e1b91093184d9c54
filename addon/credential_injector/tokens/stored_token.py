"""A token as stores keep it. Anybody may have written it, so what is not exactly as expected is no token."""

import json
import math

from credential_injector.oauth.request import parse_endpoint
from credential_injector.oauth.token import LONGEST_LIFETIME, AccessToken, is_scope, is_sendable

LATEST = 253402300800.0  # unix seconds: the year 10000, before which a token must expire; dates overflow there


def entry_of(token: AccessToken) -> dict[str, object]:
    entry: dict[str, object] = {
        "access_token": token.value,
        "issued_at": token.issued_at,
        "expires_at": token.expires_at,
    }
    if token.refresh_token:
        entry["refresh_token"] = token.refresh_token
    if token.scope is not None:
        entry["scope"] = token.scope
    if token.endpoints:
        entry["endpoints"] = list(token.endpoints)
    return entry


def kept_until(token: AccessToken) -> float:
    """Unix seconds. Nobody says how long a refresh token lives."""
    return token.issued_at + LONGEST_LIFETIME if token.refresh_token else token.expires_at


def token_of(entry: object) -> AccessToken | None:
    if not isinstance(entry, dict):
        return None
    value, issued_at, expires_at = (entry.get(name) for name in ("access_token", "issued_at", "expires_at"))
    if not isinstance(value, str) or not is_sendable(value):
        return None
    refresh_token = entry.get("refresh_token")
    if refresh_token is not None and (not isinstance(refresh_token, str) or not is_sendable(refresh_token)):
        return None
    scope = entry.get("scope")
    if scope is not None and (not isinstance(scope, str) or not is_scope(scope)):
        return None
    endpoints = _endpoints(entry.get("endpoints", []))
    if endpoints is None:
        return None
    token = AccessToken(
        value,
        _time(issued_at),
        _time(expires_at),
        refresh_token=refresh_token,
        endpoints=endpoints,
        scope=scope,
    )
    # A second more, as the longest lifetime may have been rounded up. NaN is in no range.
    return token if 0 < token.expires_at - token.issued_at <= LONGEST_LIFETIME + 1 else None


def _endpoints(urls: object) -> tuple[str, ...] | None:
    """None where these are no endpoints."""
    if not isinstance(urls, list):
        return None
    try:
        return tuple(parse_endpoint(url if isinstance(url, str) else "") for url in urls)
    except ValueError:
        return None


def _time(moment: object) -> float:
    """Unix seconds; NaN where it is no time."""
    if isinstance(moment, int | float) and not isinstance(moment, bool) and 0 <= moment < LATEST:
        return float(moment)
    return math.nan


def parsed(text: str | bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None

"""A login that is no OAuth2: which request it is, and where its answer holds the token. Pure.

No text of the server's goes into a reason: it may write anything there, a piece of the password included.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from credential_injector.oauth import jwt_claims, login_body
from credential_injector.oauth.answers import Answer, json_object, lifetime_of, refusal
from credential_injector.oauth.dates import http_date
from credential_injector.oauth.login_page import is_refused
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import LONGEST_LIFETIME, AccessToken, NoToken, is_sendable

GRANT = "login"
PLACEHOLDERS = ("USERNAME", "PASSWORD")
"""The keys whose values go into LOGIN_BODY, where it has ${USERNAME} or ${PASSWORD}."""
MILLISECONDS = 1e11  # an EXPIRES_AT that is larger counts those; in seconds it would be the year 5138

_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)+")  # RFC 6901 section 3
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class At(NamedTuple):
    """A place in an answer."""

    where: Literal["body", "header", "cookie"]
    name: str
    """A JSON pointer (RFC 6901), or the name of a header or a cookie."""


class Message(NamedTuple):
    """A request."""

    method: str
    headers: dict[str, str]
    body: str | None


def parse_at(text: str) -> At:
    """Read `/data/token`, `header:X-Token` or `cookie:session`. Raises ValueError."""
    if _POINTER.fullmatch(text):
        return At("body", text)
    kind, _, name = text.partition(":")
    if kind == "header" and _NAME.fullmatch(name):
        return At("header", name)
    if kind == "cookie" and _NAME.fullmatch(name):
        return At("cookie", name)
    raise ValueError("is malformed; expected a JSON pointer such as /data/token, or header:NAME, or cookie:NAME")


def message(request: TokenRequest) -> Message:
    """The request that logs in."""
    template, headers = request.value("LOGIN_BODY"), dict(request.headers)
    method = request.value("LOGIN_METHOD") or "POST"
    if not template:
        return Message(method, headers, None)
    given = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    kind = login_body.media_type(template, given)
    body = login_body.filled(template, kind, request.value)
    return Message(method, headers if given else {"Content-Type": kind, **headers}, body)


def read_login(answer: Answer, request: TokenRequest, asked_at: float) -> AccessToken:
    """The token in an answer to a login of `asked_at` (unix seconds). Raises NoToken."""
    at, status = parse_at(request.value("TOKEN_AT")), answer.status
    # A form's login answers with a redirect, which is never followed, and brings its cookie.
    redirects = 300 <= status < 400 and at.where != "body"
    if not (200 <= status < 300 or redirects):
        raise refusal(answer, json_object(answer.body), request, asked_at)
    if redirects and is_refused(request.endpoint, answer.headers.get("Location", "")):
        # It brings a cookie all the same: that of a session in which nobody has logged in.
        what = f"{request.server_url} answered {status}, a redirect back to LOGIN_URL"
        raise NoToken("no_login_token", f"{what}, as many do where a login is refused", lasting=True)
    value = _found(answer, at, asked_at)
    if value is None:
        what = f"{request.server_url} answered {status} without TOKEN_AT={request.value('TOKEN_AT')}"
        raise NoToken("no_login_token", f"{what}, as many do where a login is refused", lasting=True)
    if not isinstance(value, str) or not is_sendable(value):
        what = (
            f"{request.server_url} answered with a token at {request.value('TOKEN_AT')} that cannot stand in a header"
        )
        raise NoToken("invalid_response", what)
    expires_at = asked_at + min(_lifetime(answer, request, at, value, asked_at), LONGEST_LIFETIME)
    if expires_at <= asked_at:
        raise NoToken("expired", f"{request.server_url} issued a token that has expired already")
    return AccessToken(value, asked_at, expires_at, claims=jwt_claims.read(value))


def _lifetime(answer: Answer, request: TokenRequest, at: At, value: str, asked_at: float) -> float:
    """Seconds: what the answer says where the file tells to look, else LIFETIME, else what cookie and token say.

    A cookie with a JWT lives as long as both: the client drops it when Max-Age is over, and the API takes it until exp.
    """
    if place := request.value("EXPIRES_IN_AT"):
        said = jwt_claims.number(_found(answer, parse_at(place), asked_at))
        if said is not None:
            return said
    if place := request.value("EXPIRES_AT"):
        moment = _moment(_found(answer, parse_at(place), asked_at))
        if moment is not None:
            return moment - asked_at
    if lifetime := request.value("LIFETIME"):
        return float(lifetime)
    cookie = _cookie(answer, at.name, asked_at) if at.where == "cookie" else None
    left = _cookie_lifetime(cookie, asked_at) if cookie is not None else None
    return lifetime_of(jwt_claims.read(value), asked_at, left)


def _moment(value: object) -> float | None:
    """Unix seconds: of a number, also one of milliseconds, of a date in RFC 3339, or of one as in HTTP."""
    if (number := jwt_claims.number(value)) is not None:
        return number / 1000 if number > MILLISECONDS else number
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return http_date(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _found(answer: Answer, at: At, asked_at: float) -> Any:
    if at.where == "header":
        return answer.headers.get(at.name)
    if at.where == "cookie":
        cookie = _cookie(answer, at.name, asked_at)
        return cookie[""] if cookie is not None else None
    try:
        found: Any = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    for step in at.name.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and re.fullmatch(r"0|[1-9][0-9]{0,5}", name):
            found = found[int(name)] if int(name) < len(found) else None
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found


def _cookie(answer: Answer, name: str, asked_at: float) -> dict[str, str] | None:
    """The last cookie of this name that is not taken away; its value is at the key "" (RFC 6265 section 5.2).

    By hand: http.cookies drops a whole header for an attribute that it does not know, such as Partitioned.
    """
    found = None
    for header in answer.cookies:
        pair, *attributes = header.split(";")
        own, _, value = pair.strip().partition("=")
        if own.strip() != name:
            continue
        split = (one.strip().partition("=")[::2] for one in attributes)
        cookie = {**{key.strip().lower(): text.strip() for key, text in split}, "": value.strip().strip('"')}
        left = _cookie_lifetime(cookie, asked_at)
        if cookie[""] and (left is None or left > 0):
            found = cookie
    return found


def _cookie_lifetime(cookie: dict[str, str], asked_at: float) -> float | None:
    """Seconds; None where it says nothing (RFC 6265 section 5.3)."""
    if (seconds := jwt_claims.number(cookie.get("max-age"))) is not None:
        return seconds
    moment = http_date(cookie.get("expires", ""))
    return moment - asked_at if moment is not None else None

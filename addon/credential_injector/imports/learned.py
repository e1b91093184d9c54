"""Token requests that passed a proxy -> drafts. Pure.

Secrets are taken over only where somebody asks for them.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from credential_injector.environments.file_names import printable
from credential_injector.imports.draft import Draft, environment_name
from credential_injector.imports.env_text import is_secret
from credential_injector.imports.settings import BASIC, Settings, origin_of, texts
from credential_injector.imports.variables import Variables
from credential_injector.oauth.answers import json_object
from credential_injector.oauth.grants import GRANTS
from credential_injector.origins.hosts import is_loopback

LARGEST_BODY = 1 << 20  # bytes; no token request and no answer to one is larger
SHORTEST_TOKEN = 8  # characters; a shorter one may stand elsewhere by chance
_OF_ONE_REQUEST = (
    "client_assertion",
    "client_assertion_type",
    "assertion",
    "code",
    "code_verifier",
    "device_code",
    "state",
)
_SOUNDS_SECRET = re.compile(r"secret|pass|token|key|assertion|code|pin|otp", re.IGNORECASE)
_URNS = {grant.urn: name for name, grant in GRANTS.items() if grant.urn}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    status: int = 0
    answer: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class Learned:
    """A token request, and where its tokens went."""

    endpoint: str
    grant: str
    values: dict[str, str] = field(repr=False)
    left_out: list[str]
    notes: dict[str, str]
    tokens: set[str] = field(default_factory=set, repr=False)
    origins: dict[str, None] = field(default_factory=dict)
    place: dict[str, str] = field(default_factory=dict)
    """HEADER and PREFIX, or QUERY, or COOKIE, where they differ from the default."""

    def same(self, other: "Learned") -> bool:
        """Whether another request asks for the same token: refresh tokens and the like differ each time."""
        if "refresh_token" in (self.grant, other.grant) and self.client == other.client:
            return True  # a login, and how it goes on
        own = {key: value for key, value in self.values.items() if not is_secret(key)}
        return own == {key: value for key, value in other.values.items() if not is_secret(key)}

    @property
    def client(self) -> tuple[str, str]:
        """The endpoint and the client's name there."""
        return self.endpoint.partition("?")[0], self.values.get("CLIENT_ID", "")


def token_request(exchange: Exchange) -> Learned | None:
    """What an exchange says, if it is a token request that was answered with a token."""
    if (
        exchange.method != "POST"
        or exchange.status != 200
        or max(len(exchange.body), len(exchange.answer)) > LARGEST_BODY
    ):
        return None
    form: dict[str, str] = {}
    for name, value in parse_qsl(exchange.body.decode("utf-8", "replace"), keep_blank_values=True):
        repeated = name in form and name in ("audience", "resource")
        form[name] = f"{form[name]},{value}" if repeated else value
    token = texts(json_object(exchange.answer)).get("access_token")
    if "grant_type" not in form or not isinstance(token, str) or len(token) < SHORTEST_TOKEN:
        return None
    settings, grant = Settings(Variables({})), form.pop("grant_type")
    grant = _URNS.get(grant, grant)
    if grant not in GRANTS:
        return None
    settings.values["TOKEN_ENDPOINT"] = exchange.url
    _client(settings, form, exchange.headers)
    _grant(settings, grant, form)
    settings.form({name: value for name, value in form.items() if name not in _OF_ONE_REQUEST and value})
    values = {key: value for key, value in settings.values.items() if key.isprintable() and value.isprintable()}
    return Learned(exchange.url, grant, values, settings.left_out, settings.notes, {token})


def _client(settings: Settings, form: dict[str, str], headers: Iterable[tuple[str, str]]) -> None:
    """How the client authenticates."""
    sent = next((value for name, value in headers if name.lower() == "authorization"), "")
    if sent.lower().startswith("basic "):
        try:
            name, colon, secret = base64.b64decode(sent[6:], validate=True).decode().partition(":")
        except ValueError:
            name = colon = secret = ""
        if colon:  # RFC 6749 section 2.3.1
            form |= {"client_id": unquote_plus(name), "client_secret": unquote_plus(secret)}
            settings.values |= BASIC
    elif "client_assertion" in form:
        settings.values |= {"TOKEN_ENDPOINT_AUTH_METHOD": "private_key_jwt"}
        settings.notes["PRIVATE_KEY"] = "the client signs with a private key, which is not in the request"
    elif "client_secret" not in form:
        settings.values |= {"TOKEN_ENDPOINT_AUTH_METHOD": "none"}


def _grant(settings: Settings, grant: str, form: dict[str, str]) -> None:
    redirect = form.pop("redirect_uri", "")
    if grant == "authorization_code":
        settings.notes["AUTHORIZATION_ENDPOINT"] = "a browser opened it; it is not in the token request"
        if is_loopback(urlsplit(redirect).hostname or ""):
            settings.values["REDIRECT_URI"] = redirect
    elif grant == "device_code":
        settings.notes["DEVICE_AUTHORIZATION_ENDPOINT"] = "it is not in the token request"
    elif grant == "jwt_bearer":
        settings.notes["PRIVATE_KEY"] = "a private key signs the assertion, and is not in the request"
    if grant != "client_credentials":
        settings.values["GRANT_TYPE"] = grant


def note_use(learned: Mapping[str, Learned], exchange: Exchange) -> None:
    """Take note where a token goes. `learned` holds who got it, by token."""
    origin = origin_of(exchange.url)
    if not origin:
        return
    if origin.startswith("http://") and not is_loopback(urlsplit(origin).hostname or ""):
        origin = f"in clear: {origin}"
    for name, value in exchange.headers:
        if name.lower() == "cookie":
            for pair in value.split(";"):
                cookie, _, token = pair.strip().partition("=")
                _note(learned.get(token), origin, {"COOKIE": cookie})
            continue
        prefix, _, token = value.rpartition(" ")
        usual = (name.lower(), prefix.lower()) == ("authorization", "bearer")
        place = {} if usual else {"HEADER": name, "PREFIX": prefix}
        _note(learned.get(token), origin, place)
    for name, token in parse_qsl(urlsplit(exchange.url).query):
        _note(learned.get(token), origin, {"QUERY": name})


def _note(one: Learned | None, origin: str, place: dict[str, str]) -> None:
    if one is not None and origin.startswith("in clear: "):
        line = f"{origin.partition(': ')[2]}, to which the token went in clear; write it into HOST if it has to"
        one.left_out += [line] if line not in one.left_out else []
    elif one is not None:
        one.place = place if not one.origins else one.place
        one.origins[origin] = None


def merged(found: Iterable[Learned]) -> list[Learned]:
    """The token requests, each once, with all of its tokens: a client asks again and again."""
    kept: list[Learned] = []
    for one in found:
        earlier = next((each for each in kept if each.same(one)), None)
        if earlier is None:
            kept.append(one)
        else:
            earlier.tokens |= one.tokens
            if one.grant == earlier.grant:
                earlier.values |= one.values  # the last refresh token is the one that counts
            elif earlier.grant == "refresh_token":
                earlier.grant, earlier.values, earlier.notes = one.grant, one.values, one.notes
    return kept


def drafts(learned: Iterable[Learned], source: str, *, name: str = "", secret: bool = False) -> list[Draft]:
    """A draft for each. Without `secret` the secrets are left to be filled in."""
    made: list[Draft] = []
    for one in learned:
        values = {**one.values, **one.place}
        if one.origins:
            values["HOST"] = ", ".join(one.origins)
        notes = dict(one.notes)
        if not secret:
            for key in [key for key in values if _holds_secret(key)]:
                del values[key]
                notes[key] = "the request had it, and it was not to be taken over"
            if "?" in one.endpoint:
                values["TOKEN_ENDPOINT"] = one.endpoint.partition("?")[0]
                notes |= {"TOKEN_ENDPOINT": "its query may hold a secret, and was not taken over"}
        if not one.origins:
            notes["HOST"] = "nothing was seen that used the token"
        called = name or environment_name(next(iter(one.origins), one.endpoint).partition("://")[2].partition("/")[0])
        taken = {draft.name for draft in made}
        unique = next(each for each in (called, *(f"{called}-{n}" for n in range(2, 1000))) if each not in taken)
        where = printable(one.endpoint.partition("?")[0])
        made.append(Draft(unique, values, f"{source}: a token request to {where}", tuple(one.left_out), notes))
    return made


def _holds_secret(key: str) -> bool:
    if key.startswith("TOKEN_PARAM_"):
        return _SOUNDS_SECRET.search(key.removeprefix("TOKEN_PARAM_")) is not None
    return is_secret(key)


def by_token(learned: Iterable[Learned]) -> dict[str, Learned]:
    """Who got each token."""
    return {token: one for one in learned for token in one.tokens}

"""The keys of an environment file: a row each.

What a grant or a client authentication method asks for is one row in `grants.GRANTS` or `client_auth.METHODS`.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from credential_injector.environments import parsers
from credential_injector.oauth import pem
from credential_injector.oauth.client_auth import METHODS
from credential_injector.oauth.grants import FIXED, GRANTS
from credential_injector.oauth.request import parse_proxy


class Key(NamedTuple):
    """One key."""

    field: str
    """The field of TokenRequest, Transport or Environment that it fills."""
    parse: Callable[[str], object]
    secret: bool = False
    """A secret may also come from a file (`_FILE`) or from a command's standard output (`_COMMAND`)."""
    form: tuple[str, ...] = ()
    """The form fields of a token request that it decides: no TOKEN_PARAM_ may replace them."""
    elsewhere: tuple[str, ...] = ()
    """What other programs call it."""
    expected: str = "a value"


KEYS: Mapping[str, Key] = {
    "HOST": Key(
        "origins",
        parsers.origins,
        elsewhere=("API_URL", "BASE_URL", "URL"),
        expected="the API's origin such as https://api.qa.example.com",
    ),
    "TOKEN_ENDPOINT": Key("endpoint", parsers.endpoint, elsewhere=("ACCESS_TOKEN_URL", "TOKEN_URI", "TOKEN_URL")),
    "ISSUER": Key("issuer", parsers.issuer),
    "GRANT_TYPE": Key(
        "grant_type",
        parsers.one_of(*GRANTS, *FIXED, **{grant.urn: name for name, grant in GRANTS.items() if grant.urn}),
        form=("grant_type", "assertion"),
    ),
    "CLIENT_ID": Key("client_id", parsers.line, form=("client_id",)),
    "CLIENT_SECRET": Key("client_secret", parsers.line, secret=True, form=("client_secret",), elsewhere=("SECRET",)),
    "TOKEN_ENDPOINT_AUTH_METHOD": Key(
        "auth_method",
        parsers.one_of(*METHODS),
        form=("client_assertion", "client_assertion_type"),
        elsewhere=("AUTH_METHOD",),
    ),
    "PRIVATE_KEY": Key("values", pem.private_key, secret=True),
    "KEY_ID": Key("values", parsers.line),
    "SIGNING_ALG": Key("values", parsers.one_of(*pem.ALGORITHMS)),
    "CLIENT_CERT": Key("values", pem.certificate, secret=True),
    "CLIENT_KEY": Key("values", pem.private_key, secret=True),
    "USERNAME": Key("values", parsers.line, form=("username",)),
    "PASSWORD": Key("values", parsers.line, secret=True, form=("password",)),
    "REFRESH_TOKEN": Key("values", parsers.line, secret=True, form=("refresh_token",)),
    "JWT_ISSUER": Key("values", parsers.line),
    "JWT_SUBJECT": Key("values", parsers.line),
    "JWT_AUDIENCE": Key("values", parsers.line),
    "JWT_LIFETIME": Key("values", parsers.whole_seconds(86400)),
    "SUBJECT_TOKEN": Key("values", parsers.line, secret=True, form=("subject_token",)),
    "SUBJECT_TOKEN_TYPE": Key("values", parsers.line, form=("subject_token_type",)),
    "ACTOR_TOKEN": Key("values", parsers.line, secret=True, form=("actor_token",)),
    "ACTOR_TOKEN_TYPE": Key("values", parsers.line, form=("actor_token_type",)),
    "DPOP": Key("values", parsers.true_as_text),
    "DPOP_KEY": Key("values", pem.private_key, secret=True),
    "REQUESTED_TOKEN_TYPE": Key("values", parsers.line, form=("requested_token_type",)),
    "AWS_ACCESS_KEY_ID": Key("values", parsers.line),
    "AWS_SECRET_ACCESS_KEY": Key("values", parsers.line, secret=True),
    "AWS_SESSION_TOKEN": Key("values", parsers.header_value, secret=True),
    "AWS_REGION": Key("values", parsers.line),
    "AWS_SERVICE": Key("values", parsers.line),
    "LOGIN_URL": Key("endpoint", parsers.endpoint, expected="the URL that logs in"),
    "LOGIN_METHOD": Key("values", parsers.login_method),
    "LOGIN_BODY": Key("values", parsers.text, secret=True),
    "TOKEN_AT": Key("values", parsers.place_in_answer, expected="where the token is, such as /token or cookie:session"),
    "EXPIRES_IN_AT": Key("values", parsers.place_in_answer),
    "EXPIRES_AT": Key("values", parsers.place_in_answer),
    "LIFETIME": Key("values", parsers.whole_seconds(365 * 86400)),
    "AUTHORIZATION_ENDPOINT": Key("login", parsers.endpoint),
    "DEVICE_AUTHORIZATION_ENDPOINT": Key("login", parsers.endpoint),
    "REDIRECT_URI": Key("login", parsers.redirect_uri),
    "VALUE": Key("values", parsers.header_value, secret=True),
    "SCOPE": Key("scope", str, form=("scope",)),
    "AUDIENCE": Key("audience", parsers.items, form=("audience",)),
    "RESOURCE": Key("resource", parsers.items, form=("resource",)),
    "CA": Key("ca", pem.certificate, secret=True),
    "PROXY": Key("proxy", parse_proxy, secret=True),
    "TIMEOUT": Key("timeout", parsers.seconds(60)),
    "INSECURE_TLS": Key("insecure_tls", parsers.true),
    "HEADER": Key("header", parsers.header_name),
    "PREFIX": Key("prefix", parsers.prefix),
    "QUERY": Key("query", parsers.query_name),
    "COOKIE": Key("cookie", parsers.cookie_name),
    "AS": Key("asked_as", parsers.askers),
    "DEFAULT": Key("default", parsers.true),
    "OVERWRITE": Key("overwrite", parsers.one_of("always", "never", "only")),
    "WITHOUT_TOKEN": Key("without_token", parsers.one_of("block", "pass")),
    "METHODS": Key("methods", parsers.methods),
    "CONFIRM": Key("confirm", parsers.methods),
    "PRODUCTION": Key("production", parsers.true),
    "ORIGINS": Key("page_origins", parsers.page_origins),
}
FAMILIES: Mapping[str, Key] = {
    "TOKEN_PARAM_": Key("params", parsers.text, secret=True),
    "TOKEN_HEADER_": Key("headers", parsers.header_value, secret=True),
    "LOGIN_HEADER_": Key("headers", parsers.header_value, secret=True),
    "HEADER_": Key("extra_headers", parsers.header_value, secret=True),
}
"""Keys that end in a name of the user's: the name is sent as it is written."""

PAIRS = frozenset({"login", "values", *(family.field for family in FAMILIES.values())})
"""The fields that take any number of keys: pairs of a name and a value."""

ALL_NAMES = (
    *KEYS,
    *(name + how for name, key in KEYS.items() if key.secret for how in ("_FILE", "_COMMAND")),
    *FAMILIES,
)
ELSEWHERE = {other: name for name, key in KEYS.items() for other in key.elsewhere}
_FORM = {field: name for name, key in KEYS.items() for field in key.form}
_RESERVED = {
    "TOKEN_HEADER_": parsers.HEADERS_OF_HTTP | {"accept", "accept-encoding", "authorization"},
    "LOGIN_HEADER_": (parsers.HEADERS_OF_HTTP | {"accept-encoding"}) - {"content-type"},
}


def row(name: str) -> Key | None:
    """The row of a canonical name."""
    return FAMILIES.get(family_of(name)) or KEYS.get(name)


def canonical(key: str) -> str:
    """Keys are case-insensitive; the user's own part of a TOKEN_PARAM_ or TOKEN_HEADER_ stays as it is written."""
    name = key.upper()
    family = family_of(name)
    return family + key[len(family) :] if family else name


def family_of(name: str) -> str:
    """The family that a key belongs to; empty for any other key."""
    if name in KEYS:
        return ""
    return next((family for family in FAMILIES if name.startswith(family)), "")


def split_source(name: str) -> tuple[str, str]:
    """`CLIENT_SECRET_FILE` -> `CLIENT_SECRET`, `_FILE`."""
    if name in KEYS:
        return name, ""
    for how in ("_FILE", "_COMMAND"):
        if name.endswith(how) and name[: -len(how) + 1] not in FAMILIES:
            return name[: -len(how)], how
    return name, ""


def name_or_line(key: str, line: int) -> str:
    """The key, or only its line: a pasted secret on a line of its own looks like a key, as does `CLIENT_SECRET:it`."""
    name = canonical(key)
    if name in KEYS:
        return name
    family = family_of(name)
    plain = re.fullmatch(r"[A-Za-z_-]*", name.removeprefix(family)) if family else re.fullmatch(r"[A-Z_]{1,40}", key)
    return name if plain or name in ALL_NAMES else f"line {line}"


def own_part(family: str, name: str) -> str:
    """The user's own part of a key of a family. Raises ValueError where it cannot be sent, or replaces something."""
    own = name.removeprefix(family)
    if not own:
        raise ValueError(f"lacks a name; expected {family}<name>=value")
    if family == "TOKEN_PARAM_":
        if own.lower() in _FORM:
            raise ValueError(f"would replace a standard field; expected {_FORM[own.lower()]} instead")
        return own
    if not parsers.HEADER_NAME.fullmatch(own):
        raise ValueError("does not end in a header's name; expected letters, digits and hyphens")
    if own.lower() in _RESERVED.get(family, parsers.HEADERS_OF_HTTP):
        whose = "the token request" if family == "TOKEN_HEADER_" else "HTTP itself"
        raise ValueError(f"would replace a header that {whose} needs; expected another header")
    return own

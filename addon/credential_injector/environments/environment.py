"""Env file -> Environment: what may stand in an environment file, and what it means."""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from credential_injector.environments import checks
from credential_injector.environments.env_file import Binding, EnvFile
from credential_injector.oauth import pem
from credential_injector.oauth.client_auth import METHODS, possible
from credential_injector.oauth.grants import FIXED, GRANTS
from credential_injector.oauth.request import Fields, TokenRequest, Transport, parse_endpoint, parse_proxy
from credential_injector.origins.destinations import Origin, parse_origin, parse_page_origin

Overwrite = Literal["always", "never", "only"]
WithoutToken = Literal["block", "pass"]


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment file."""

    name: str
    file: str
    """As messages name it: `envs/qa.env`."""
    origins: tuple[Origin, ...]
    token_request: TokenRequest
    transport: Transport = field(default_factory=Transport)
    header: str = "Authorization"
    prefix: str = "Bearer"
    extra_headers: Fields = field(default=(), repr=False)
    """What goes into the request beside the credential."""
    overwrite: Overwrite = "always"
    without_token: WithoutToken = "block"  # noqa: S105 - not a password
    methods: frozenset[str] | None = None
    """The methods that get a token; None: all of them."""
    page_origins: frozenset[str] = frozenset()
    """Whose pages' cross-site requests get a token, too, as a browser writes them into the Origin header."""


# --- The keys ---------------------------------------------------------------------------------------------------------
# A key is one row here. What a grant or a client authentication method asks for is one row in `grants.GRANTS` or
# `client_authentication.METHODS`.


def _text(value: str) -> str:
    if not value:
        raise ValueError("is empty, a value was expected")
    return value


def _line(value: str) -> str:
    if not _text(value).isprintable():
        raise ValueError("holds a line break or a control character, one line was expected")
    return value


def _one_of(*choices: str, **others: str) -> Callable[[str], str]:
    """One of these, in any case; `others` are further names for some of them."""
    known = {choice.lower(): choice for choice in choices} | others

    def parse(value: str) -> str:
        if value.lower() not in known:
            raise ValueError(f"is not a known value, one of {', '.join(choices)} was expected")
        return known[value.lower()]

    return parse


def _true(value: str) -> bool:
    return _one_of("true", "false")(value) == "true"


def _seconds(longest: int) -> Callable[[str], float]:
    def parse(value: str) -> float:
        if not re.fullmatch(r"[0-9]{1,6}", value) or not 1 <= int(value) <= longest:
            raise ValueError(f"is not a number of seconds, 1 to {longest} was expected")
        return float(value)

    return parse


# RFC 8414 section 3.1 and OpenID Connect Discovery section 4.1: before or behind the issuer's path.
_METADATA = re.compile(r"([a-z]+://[^/]+)(/.*)?/\.well-known/(?:oauth-authorization-server|openid-configuration)(/.*)?")


def _issuer(value: str) -> str:
    if "?" in value:
        raise ValueError("holds a query, the issuer exactly as its server writes it was expected")
    if metadata := _METADATA.fullmatch(parse_endpoint(value)):
        issuer = "".join(filter(None, metadata.groups())).rstrip("/")
        raise ValueError(f"is the URL of the metadata; expected the issuer, {issuer}")
    return value


def _redirect_uri(value: str) -> str:
    parts = urlsplit(parse_endpoint(value))
    if parts.scheme != "http" or not parts.port or parts.query:
        raise ValueError("is not of this machine with a port, one such as http://127.0.0.1:8400/callback was expected")
    return value


def _list(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.strip() for item in value.split(",") if item.strip()))


def _origins(value: str) -> tuple[Origin, ...]:
    origins = []
    for number, item in enumerate(_list(_text(value)), start=1):
        try:
            origins.append(parse_origin(item))
        except ValueError as error:
            raise ValueError(f"origin {number} {error}") from None
    if not origins:
        raise ValueError("is empty, one or more origins with commas between them were expected")
    return tuple(origins)


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2


def _header_name(value: str) -> str:
    if not _HEADER_NAME.fullmatch(value):
        raise ValueError("is not a header's name, letters, digits and hyphens were expected")
    if value.lower() in _HEADERS_OF_HTTP:
        raise ValueError("is a header that HTTP itself needs, Authorization or one of the API's own was expected")
    return value


def _header_value(value: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value):
        raise ValueError("cannot stand in a header, visible ASCII was expected")
    return value


def _prefix(value: str) -> str:
    return _header_value(value) if value else ""


def _methods(value: str) -> frozenset[str]:
    items = _list(_text(value))
    if not all(_HEADER_NAME.fullmatch(item) for item in items):
        raise ValueError("is malformed, methods such as GET,HEAD were expected")
    return frozenset(item.upper() for item in items)


def _page_origins(value: str) -> frozenset[str]:
    return frozenset(parse_page_origin(item) for item in _list(_text(value)))


class _Key(NamedTuple):
    field: str
    """The field of TokenRequest, Transport or Environment that it fills. `values` takes any number of keys."""
    parse: Callable[[str], object]
    secret: bool = False
    """A secret may also come from a file (`_FILE`) or from a command's standard output (`_COMMAND`)."""


_HEADERS_OF_HTTP = {
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_STANDARD_FIELDS = {
    "actor_token": "ACTOR_TOKEN",
    "actor_token_type": "ACTOR_TOKEN_TYPE",
    "assertion": "GRANT_TYPE",
    "audience": "AUDIENCE",
    "client_assertion": "TOKEN_ENDPOINT_AUTH_METHOD",
    "client_assertion_type": "TOKEN_ENDPOINT_AUTH_METHOD",
    "client_id": "CLIENT_ID",
    "client_secret": "CLIENT_SECRET",
    "grant_type": "GRANT_TYPE",
    "password": "PASSWORD",
    "refresh_token": "REFRESH_TOKEN",
    "requested_token_type": "REQUESTED_TOKEN_TYPE",
    "resource": "RESOURCE",
    "scope": "SCOPE",
    "subject_token": "SUBJECT_TOKEN",
    "subject_token_type": "SUBJECT_TOKEN_TYPE",
    "username": "USERNAME",
}
_STANDARD_HEADERS = _HEADERS_OF_HTTP | {"accept", "accept-encoding", "authorization"}

_KEYS: Mapping[str, _Key] = {
    "HOST": _Key("origins", _origins),
    "TOKEN_ENDPOINT": _Key("endpoint", parse_endpoint),
    "ISSUER": _Key("issuer", _issuer),
    "GRANT_TYPE": _Key(
        "grant_type", _one_of(*GRANTS, *FIXED, **{grant.urn: name for name, grant in GRANTS.items() if grant.urn})
    ),
    "CLIENT_ID": _Key("client_id", _line),
    "CLIENT_SECRET": _Key("client_secret", _line, secret=True),
    "TOKEN_ENDPOINT_AUTH_METHOD": _Key("auth_method", _one_of(*METHODS)),
    "PRIVATE_KEY": _Key("values", pem.private_key, secret=True),
    "KEY_ID": _Key("values", _line),
    "SIGNING_ALG": _Key("values", _one_of(*pem.ALGORITHMS)),
    "CLIENT_CERT": _Key("values", pem.certificate, secret=True),
    "CLIENT_KEY": _Key("values", pem.private_key, secret=True),
    "USERNAME": _Key("values", _line),
    "PASSWORD": _Key("values", _line, secret=True),
    "REFRESH_TOKEN": _Key("values", _line, secret=True),
    "JWT_ISSUER": _Key("values", _line),
    "JWT_SUBJECT": _Key("values", _line),
    "JWT_AUDIENCE": _Key("values", _line),
    "JWT_LIFETIME": _Key("values", _seconds(86400)),
    "SUBJECT_TOKEN": _Key("values", _line, secret=True),
    "SUBJECT_TOKEN_TYPE": _Key("values", _line),
    "ACTOR_TOKEN": _Key("values", _line, secret=True),
    "ACTOR_TOKEN_TYPE": _Key("values", _line),
    "REQUESTED_TOKEN_TYPE": _Key("values", _line),
    "AUTHORIZATION_ENDPOINT": _Key("values", parse_endpoint),
    "DEVICE_AUTHORIZATION_ENDPOINT": _Key("values", parse_endpoint),
    "REDIRECT_URI": _Key("values", _redirect_uri),
    "VALUE": _Key("values", _header_value, secret=True),
    "SCOPE": _Key("scope", str),
    "AUDIENCE": _Key("audience", _list),
    "RESOURCE": _Key("resource", _list),
    "CA": _Key("ca", pem.certificate, secret=True),
    "PROXY": _Key("proxy", parse_proxy, secret=True),
    "TIMEOUT": _Key("timeout", _seconds(60)),
    "INSECURE_TLS": _Key("insecure_tls", _true),
    "HEADER": _Key("header", _header_name),
    "PREFIX": _Key("prefix", _prefix),
    "OVERWRITE": _Key("overwrite", _one_of("always", "never", "only")),
    "WITHOUT_TOKEN": _Key("without_token", _one_of("block", "pass")),
    "METHODS": _Key("methods", _methods),
    "ORIGINS": _Key("page_origins", _page_origins),
}
# Keys that end in a name of the user's: the name is sent as it is written.
_KEY_FAMILIES: Mapping[str, _Key] = {
    "TOKEN_PARAM_": _Key("params", _text, secret=True),
    "TOKEN_HEADER_": _Key("headers", _header_value, secret=True),
    "HEADER_": _Key("extra_headers", _header_value, secret=True),
}
_OF_GRANTS = {key for grant in GRANTS.values() for key in (*grant.needs, *grant.may)}
_OF_GRANTS |= {key for fixed in FIXED.values() for key in fixed.needs}
_OF_METHODS = {key for method in METHODS.values() for key in (*method.needs, *method.may)}
DEFAULT_TOKEN_PATH = "/oauth2/v2.0/token"  # noqa: S105 - a path, not a password


# --- Reading ----------------------------------------------------------------------------------------------------------


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.75) -> str:
    """`, did you mean CLIENT_SECRET?`, or nothing where no known name is near."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f", did you mean {found[0]}?" if found else ""


def read(file: EnvFile) -> Environment | None:
    """The environment of one file, or None where a mistake was found, which `file.mistakes` then holds."""
    name = file.path.stem
    if not _NAME.fullmatch(name):
        file.wrong("the file's name", "cannot name an environment, letters, digits, '-', '_' and '.' were expected")
        return None
    text = file.text()
    if text is None:
        return None
    values = _values(file, file.bindings(text, _canonical, _shown))
    if file.mistakes:
        return None
    if "prefix" not in values:
        values["prefix"] = _default_prefix(values)
        if not values["prefix"]:
            file.note(
                "PREFIX",
                f"is not given, so {values['header']} gets the credential without Bearer before it; if the API wants"
                " it, write PREFIX=Bearer; if not, write PREFIX= and this line goes",
            )
    if values.get("grant_type") not in FIXED and "issuer" not in values:
        values.setdefault("endpoint", values["origins"][0].base + DEFAULT_TOKEN_PATH)
    values["values"] = tuple(sorted(values.get("values", ())))
    request, transport = (
        {name: values.pop(name) for name in part.__slots__ if name in values} for part in (TokenRequest, Transport)
    )
    return Environment(
        name, file.shown, token_request=TokenRequest(**request), transport=Transport(**transport), **values
    )


def _values(file: EnvFile, bindings: Mapping[str, Binding]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    given: dict[str, str] = {}
    for written, binding in bindings.items():
        name, how = _source(written)
        shown = _shown(binding.written, binding.line)
        if binding.value is None:
            given[name] = shown
            continue
        family = _family(name)
        key = _KEY_FAMILIES.get(family) or _KEYS.get(name)
        if key is None or (how and not key.secret):
            other = _OTHER_NAMES.get(written)
            meant = f", did you mean {other}?" if other else nearest(written, _known_keys())
            given.update({known: written for known in _KEYS if meant.startswith(f", did you mean {known}?")})
            meant = meant or f", one of {', '.join(_KEYS)} was expected"
            file.wrong(shown, f"unknown key (line {binding.line}){meant}")
            continue
        if name in given:
            file.wrong(name, f"is given by {given[name]} and by {shown}, one of them was expected")
            continue
        given[name] = shown
        try:
            extra = _extra_name(family, name) if family else ""
            value = key.parse(file.value(shown, how, binding, secret=key.secret))
            if family or key.field == "values":
                value = (*values.get(key.field, ()), (extra or name, value))
            values[key.field] = value
        except ValueError as error:
            file.wrong(shown, str(error))
    for family in ("TOKEN_HEADER_", "HEADER_"):
        names = [name.lower() for name, _ in values.get(_KEY_FAMILIES[family].field, ())]
        if len(names) != len(set(names)):
            file.wrong(family, "names a header twice, and header names have no case; once was expected")
        if family == "HEADER_" and (header := values.get("header", "Authorization")).lower() in names:
            file.wrong(f"HEADER_{header}", "would replace the credential, another header was expected")
    _complete(file, values, given)
    return values


def _default_prefix(values: Mapping[str, Any]) -> str:
    """Bearer is for Authorization. GRANT_TYPE=basic names its scheme, for any header."""
    fixed = FIXED.get(values.get("grant_type", ""))
    if fixed is not None and fixed.prefix:
        return fixed.prefix
    return "Bearer" if values.get("header", "Authorization").lower() == "authorization" else ""


def _complete(file: EnvFile, values: dict[str, Any], given: Mapping[str, str]) -> None:
    """Missing keys, and keys that the grant or the method does not use. A key that was given wrongly is not missing.

    Settles the client authentication method, where the file does not name it.
    """
    name = values.get("grant_type", "client_credentials")
    needed: tuple[str, ...] = ()
    unused: dict[str, list[str]] = {}
    if any(key in given and _KEYS[key].field not in values for key in ("GRANT_TYPE", "TOKEN_ENDPOINT_AUTH_METHOD")):
        pass  # which keys go with it is anybody's guess
    elif name in FIXED:
        needed = FIXED[name].needs
        unused = {key: [f"GRANT_TYPE={name}"] for key in given if _is_asked_for(key) and key not in needed}
    else:
        method = values.setdefault("auth_method", _method(GRANTS[name].public, given))
        needed = (*GRANTS[name].needs, *(METHODS[method].needs if method else ()))
        unused = _unused(name, [method] if method else possible(given), given)
        for where, what in checks.check_endpoints(values, given, GRANTS[name].login_endpoint):
            file.wrong(where, what)
    for key in dict.fromkeys(("HOST", *needed)):
        if key not in given:
            secret = f"{key}, {key}_FILE or {key}_COMMAND" if _KEYS[key].secret else "a value"
            file.wrong(key, f"is missing, {_EXPECTED.get(key, secret)} was expected")
    for key, reasons in unused.items():
        file.wrong(given[key], f"is not used with {' and '.join(reasons)}, the one or the other was expected")
    for where, what in checks.check_pairs(values, given, name, values.get("prefix", _default_prefix(values))):
        file.wrong(where, what)


def _method(public: bool, given: Collection[str]) -> str:
    """The client authentication method of a file that names none; empty where the server's metadata decides."""
    if "ISSUER" in given and possible(given):
        return ""
    return "none" if public and "CLIENT_SECRET" not in given else "client_secret_post"


def _unused(grant: str, methods: Iterable[str], given: Iterable[str]) -> dict[str, list[str]]:
    """The keys that are of another grant or client authentication method, with the lines that do not go with them."""
    used = {*GRANTS[grant].needs, *GRANTS[grant].may}
    used |= {key for method in methods for key in (*METHODS[method].needs, *METHODS[method].may)}
    of_methods = f"TOKEN_ENDPOINT_AUTH_METHOD={' or '.join(methods)}"
    return {
        key: [f"GRANT_TYPE={grant}"] * (key in _OF_GRANTS) + [of_methods] * (key in _OF_METHODS)
        for key in given
        if key in _OF_GRANTS | _OF_METHODS and key not in used
    }


def _is_asked_for(key: str) -> bool:
    """Whether a key is about token requests."""
    row = _KEY_FAMILIES.get(_family(key)) or _KEYS.get(key)
    fields = (*TokenRequest.__slots__, *Transport.__slots__)
    return row is not None and row.field in fields and key != "GRANT_TYPE"


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OTHER_NAMES = {
    "ACCESS_TOKEN_URL": "TOKEN_ENDPOINT",
    "API_URL": "HOST",
    "AUTH_METHOD": "TOKEN_ENDPOINT_AUTH_METHOD",
    "BASE_URL": "HOST",
    "SECRET": "CLIENT_SECRET",
    "TOKEN_URI": "TOKEN_ENDPOINT",
    "TOKEN_URL": "TOKEN_ENDPOINT",
    "URL": "HOST",
}
_EXPECTED = {
    "HOST": "the API's origin such as https://api.qa.example.com",
}


def _canonical(key: str) -> str:
    """Keys are case-insensitive; the user's own part of a TOKEN_PARAM_ or TOKEN_HEADER_ stays as it is written."""
    name = key.upper()
    family = _family(name)
    return family + key[len(family) :] if family else name


def _family(key: str) -> str:
    """The family that a key belongs to; empty for any other key."""
    if key in _KEYS:
        return ""
    return next((family for family in _KEY_FAMILIES if key.startswith(family)), "")


def _shown(key: str, line: int) -> str:
    """The key, or only its line: a pasted secret on a line of its own looks like a key, as does `CLIENT_SECRET:it`."""
    name = _canonical(key)
    if name in _KEYS:
        return name
    family = _family(name)
    plain = re.fullmatch(r"[A-Za-z_-]*", name.removeprefix(family)) if family else re.fullmatch(r"[A-Z_]{1,40}", key)
    return name if plain or name in _known_keys() else f"line {line}"


def _source(key: str) -> tuple[str, str]:
    """`CLIENT_SECRET_FILE` -> `CLIENT_SECRET`, `_FILE`."""
    if key in _KEYS:
        return key, ""
    for how in ("_FILE", "_COMMAND"):
        if key.endswith(how) and key[: -len(how) + 1] not in _KEY_FAMILIES:
            return key[: -len(how)], how
    return key, ""


def _known_keys() -> list[str]:
    secrets = [name + how for name, key in _KEYS.items() if key.secret for how in ("_FILE", "_COMMAND")]
    return [*_KEYS, *secrets, *_KEY_FAMILIES]


def _extra_name(family: str, name: str) -> str:
    extra = name.removeprefix(family)
    if not extra:
        raise ValueError(f"lacks a name, {family}<name>=value was expected")
    if family == "TOKEN_PARAM_":
        if extra.lower() in _STANDARD_FIELDS:
            raise ValueError(f"would replace a standard field, {_STANDARD_FIELDS[extra.lower()]} was expected")
        return extra
    if not _HEADER_NAME.fullmatch(extra):
        raise ValueError("does not end in a header's name, letters, digits and hyphens were expected")
    if extra.lower() in (_STANDARD_HEADERS if family == "TOKEN_HEADER_" else _HEADERS_OF_HTTP):
        whose = "the token request" if family == "TOKEN_HEADER_" else "HTTP itself"
        raise ValueError(f"would replace a header that {whose} needs, another header was expected")
    return extra

"""Env file -> Environment: what may stand in an environment file, and what it means."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from credential_injector.client_authentication import METHODS
from credential_injector.destinations import Origin, is_loopback, parse_origin
from credential_injector.env_file import Binding, EnvFile
from credential_injector.grants import GRANTS
from credential_injector.token_request import TokenRequest, parse_endpoint

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
    header: str = "Authorization"
    prefix: str = "Bearer"
    overwrite: Overwrite = "always"
    without_token: WithoutToken = "block"  # noqa: S105 - not a password
    methods: frozenset[str] | None = None
    """The methods that get a token; None: all of them."""


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


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in choices:
            raise ValueError(f"is not a known value, one of {', '.join(choices)} was expected")
        return value.lower()

    return parse


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


class _Key(NamedTuple):
    field: str
    """The field of TokenRequest or Environment that it fills."""
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
    "audience": "AUDIENCE",
    "client_assertion": "TOKEN_ENDPOINT_AUTH_METHOD",
    "client_assertion_type": "TOKEN_ENDPOINT_AUTH_METHOD",
    "client_id": "CLIENT_ID",
    "client_secret": "CLIENT_SECRET",
    "grant_type": "GRANT_TYPE",
    "resource": "RESOURCE",
    "scope": "SCOPE",
}
_STANDARD_HEADERS = _HEADERS_OF_HTTP | {"accept", "accept-encoding", "authorization"}

_KEYS: Mapping[str, _Key] = {
    "HOST": _Key("origins", _origins),
    "TOKEN_ENDPOINT": _Key("endpoint", parse_endpoint),
    "GRANT_TYPE": _Key("grant_type", _one_of(*GRANTS)),
    "CLIENT_ID": _Key("client_id", _line),
    "CLIENT_SECRET": _Key("client_secret", _line, secret=True),
    "TOKEN_ENDPOINT_AUTH_METHOD": _Key("auth_method", _one_of(*METHODS)),
    "SCOPE": _Key("scope", str),
    "AUDIENCE": _Key("audience", _list),
    "RESOURCE": _Key("resource", _list),
    "HEADER": _Key("header", _header_name),
    "PREFIX": _Key("prefix", _prefix),
    "OVERWRITE": _Key("overwrite", _one_of("always", "never", "only")),
    "WITHOUT_TOKEN": _Key("without_token", _one_of("block", "pass")),
    "METHODS": _Key("methods", _methods),
}
# Keys that end in a name of the user's: the name is sent as it is written.
_KEY_FAMILIES: Mapping[str, _Key] = {
    "TOKEN_PARAM_": _Key("params", _text, secret=True),
    "TOKEN_HEADER_": _Key("headers", _header_value, secret=True),
}
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
    values.setdefault("endpoint", values["origins"][0].base + DEFAULT_TOKEN_PATH)
    of_request = {name: values.pop(name) for name in TokenRequest.__slots__ if name in values}
    return Environment(name, file.shown, token_request=TokenRequest(**of_request), **values)


def _values(file: EnvFile, bindings: Mapping[str, Binding]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    given: dict[str, str] = {}
    for written, binding in bindings.items():
        name, how = _source(written)
        if binding.value is None:
            given[name] = written
            continue
        family = next((family for family in _KEY_FAMILIES if name.startswith(family)), "")
        key = _KEY_FAMILIES[family] if family else _KEYS.get(name)
        if key is None or (how and not key.secret):
            other = _OTHER_NAMES.get(written)
            meant = f", did you mean {other}?" if other else nearest(written, _known_keys())
            given.update({known: written for known in _KEYS if meant.startswith(f", did you mean {known}?")})
            meant = meant or f", one of {', '.join(_KEYS)} was expected"
            file.wrong(_shown(binding.written, binding.line), f"unknown key (line {binding.line}){meant}")
            continue
        if name in given:
            file.wrong(name, f"is given by {given[name]} and by {written}, one of them was expected")
            continue
        given[name] = written
        try:
            extra = _extra_name(family, name) if family else ""
            value = key.parse(file.secret(written, how, binding.value))
            values[key.field] = (*values.get(key.field, ()), (extra, value)) if family else value
        except ValueError as error:
            file.wrong(written, str(error))
    names = [name.lower() for name, _ in values.get("headers", ())]
    if len(names) != len(set(names)):
        file.wrong("TOKEN_HEADER_", "names a header twice, and header names have no case; once was expected")
    _complete(file, values, given)
    return values


def _complete(file: EnvFile, values: Mapping[str, Any], given: Mapping[str, str]) -> None:
    """Missing keys, and keys that the chosen method does not use. A key that was given wrongly is not missing."""
    method = values.get("auth_method", "client_secret_post")
    needed = ("HOST", *GRANTS[values.get("grant_type", "client_credentials")].needs, *METHODS[method].needs)
    for key in needed:
        if key not in given:
            file.wrong(key, f"is missing, {_EXPECTED.get(key, 'a value')} was expected")
    for key in {key for other in METHODS.values() for key in other.needs}.difference(needed):
        if key in given:
            file.wrong(key, f"is not used with TOKEN_ENDPOINT_AUTH_METHOD={method}, one of the two was expected")
    if "TOKEN_ENDPOINT" not in given and (origins := values.get("origins")):
        if origins[0].wildcard:
            file.wrong(
                "TOKEN_ENDPOINT",
                "is missing and HOST begins with a wildcard, so it has no default; a URL was expected",
            )
        elif origins[0].scheme == "http" and not is_loopback(origins[0].host):
            file.wrong("TOKEN_ENDPOINT", "is missing and HOST begins with plain http; an https URL was expected")


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
    "CLIENT_SECRET": "CLIENT_SECRET, CLIENT_SECRET_FILE or CLIENT_SECRET_COMMAND",
}


def _canonical(key: str) -> str:
    """Keys are case-insensitive; the user's own part of a TOKEN_PARAM_ or TOKEN_HEADER_ stays as it is written."""
    for family in _KEY_FAMILIES:
        if key.upper().startswith(family):
            return family + key[len(family) :]
    return key.upper()


def _shown(key: str, line: int) -> str:
    """The key, or only its line: a stray line of a pasted secret looks like a key, too."""
    name = _canonical(key)
    known = (
        name in _KEYS or name in _OTHER_NAMES or nearest(name, _known_keys()) or name.startswith(tuple(_KEY_FAMILIES))
    )
    return name if known or re.fullmatch(r"[A-Z_]{1,40}", key) else f"line {line}"


def _source(key: str) -> tuple[str, str]:
    """`CLIENT_SECRET_FILE` -> `CLIENT_SECRET`, `_FILE`."""
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
    if family == "TOKEN_PARAM_" and extra.lower() in _STANDARD_FIELDS:
        raise ValueError(f"would replace a standard field, {_STANDARD_FIELDS[extra.lower()]} was expected")
    if family == "TOKEN_HEADER_" and not _HEADER_NAME.fullmatch(extra):
        raise ValueError("does not end in a header's name, letters, digits and hyphens were expected")
    if family == "TOKEN_HEADER_" and extra.lower() in _STANDARD_HEADERS:
        raise ValueError("would replace a header that the token request needs, another header was expected")
    return extra

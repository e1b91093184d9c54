"""Env file -> Environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from credential_injector.environments import checks, keys
from credential_injector.environments.env_file import Binding, EnvFile
from credential_injector.environments.spelling import closest
from credential_injector.oauth import dpop
from credential_injector.oauth.grants import FIXED
from credential_injector.oauth.request import Fields, TokenRequest, Transport
from credential_injector.origins.methods import SAFE, Methods
from credential_injector.origins.origin import Origin

Overwrite = Literal["always", "never", "only"]
WithoutToken = Literal["block", "pass"]

DEFAULT_TOKEN_PATH = "/oauth2/v2.0/token"  # noqa: S105 - a path, not a password
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
    """Empty: the credential goes into `query` or `cookie`."""
    prefix: str = "Bearer"
    query: str = ""
    """The query parameter in which the credential goes."""
    cookie: str = ""
    """The cookie in which it goes."""
    extra_headers: Fields = field(default=(), repr=False)
    """Further headers that go into the request with the credential."""
    overwrite: Overwrite = "always"
    without_token: WithoutToken = "block"  # noqa: S105 - not a password
    methods: Methods | None = None
    """The methods that get a token; None: all of them."""
    confirm: Methods | None = None
    """The methods for which a person has to agree."""
    asked_as: tuple[str, ...] = ()
    """Who gets this environment's token where several files name the same origin."""
    default: bool = False
    """It serves whoever is named in none of those files."""
    production: bool = False
    """Every flow says so, and without METHODS only safe methods get a token."""
    page_origins: frozenset[str] = frozenset()
    """Origins whose pages get a token for cross-site requests, too, as a browser writes them into the Origin header."""

    @property
    def title(self) -> str:
        """Its name, with a sign for production."""
        return title(self.name, production=self.production)

    @property
    def is_guarded(self) -> bool:
        """Whether some of its requests must not leave, or not without a person."""
        return self.methods is not None or self.confirm is not None

    @property
    def place(self) -> tuple[str, str]:
        """Where the credential goes, as messages name it, and the key that says so."""
        if self.query:
            return f"query parameter {self.query}", "QUERY"
        return (f"cookie {self.cookie}", "COOKIE") if self.cookie else (self.header, "HEADER")


def title(name: str, *, production: bool) -> str:
    """An environment's name, with a sign for production."""
    return f"\N{HEAVY EXCLAMATION MARK SYMBOL}{name}" if production else name


def read(file: EnvFile) -> Environment | None:
    """The environment of one file, or None if there are mistakes, which `file.mistakes` holds."""
    text = file.text() if _is_named(file) else None
    return None if text is None else parse(file, text)


def parse(file: EnvFile, text: str) -> Environment | None:
    """As `read`, of a text that is not, or not yet, in the file."""
    if not _is_named(file):
        return None
    values, given = _values(file, file.bindings(text, keys.canonical, keys.name_or_line))
    for where, what in checks.check(values, given):
        file.wrong(where, what)
    if file.mistakes:
        return None
    try:
        _set_defaults(file, values, given)
    except ValueError as error:
        file.wrong("DPOP", str(error))
        return None
    request, transport = (
        {name: values.pop(name) for name in part.__slots__ if name in values} for part in (TokenRequest, Transport)
    )
    return Environment(
        file.path.stem, file.shown, token_request=TokenRequest(**request), transport=Transport(**transport), **values
    )


def _is_named(file: EnvFile) -> bool:
    named = _NAME.fullmatch(file.path.stem) is not None
    if not named:
        file.wrong("the file's name", "cannot name an environment; expected letters, digits, '-', '_' and '.'")
    return named


def _values(file: EnvFile, bindings: Mapping[str, Binding]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values by the names of their fields; and the keys that are given, rightly or not, as messages name them."""
    values: dict[str, Any] = {}
    given: dict[str, str] = {}
    for written, binding in bindings.items():
        name, how = keys.split_source(written)
        shown = keys.name_or_line(binding.written, binding.line)
        if binding.value is None:
            given[name] = shown
            continue
        key = keys.row(name)
        if key is None or (how and not key.secret):
            meant = keys.ELSEWHERE.get(written) or closest(written, keys.ALL_NAMES)
            if meant in keys.KEYS:
                given[meant] = written
            advice = f", did you mean {meant}?" if meant else f"; expected one of {', '.join(keys.KEYS)}"
            file.wrong(shown, f"unknown key (line {binding.line}){advice}")
            continue
        if name in given:
            file.wrong(name, f"is given by {given[name]} and by {shown}; expected one of them")
            continue
        given[name] = shown
        try:
            family = keys.family_of(name)
            own = keys.own_part(family, name) if family else name
            value = key.parse(file.value(shown, how, binding, secret=key.secret))
            values[key.field] = (*values.get(key.field, ()), (own, value)) if key.field in keys.PAIRS else value
        except ValueError as error:
            file.wrong(shown, str(error))
    return values, given


def _set_defaults(file: EnvFile, values: dict[str, Any], given: Mapping[str, str]) -> None:
    """Fill in the keys that the file leaves out and others decide."""
    grant = values.get("grant_type", checks.DEFAULT_GRANT)
    if grant not in FIXED:
        values.setdefault("auth_method", checks.default_method(grant, given))
        if "issuer" not in values:
            values.setdefault("endpoint", values["origins"][0].base + DEFAULT_TOKEN_PATH)
    if values.get("production"):
        values.setdefault("methods", SAFE)
    if "query" in values or "cookie" in values:
        values["header"] = values["prefix"] = ""
    if "prefix" not in values:
        values["prefix"] = checks.default_prefix(values)
        if not values["prefix"]:
            file.note("PREFIX", _no_prefix(values))
    of_grant = dict(values.get("values", ()))
    if of_grant.get("DPOP") and "DPOP_KEY" not in of_grant:
        # Part of the identity: a token that is bound to another key is of no use.
        values["values"] = (*values["values"], ("DPOP_KEY", dpop.own_key()))
    values |= {name: tuple(sorted(values.get(name, ()))) for name in ("values", "login")}


def _no_prefix(values: Mapping[str, Any]) -> str:
    header = values["header"]
    if scheme := checks.scheme_of(dict(values.get("values", ())).get("VALUE", "")):
        return (
            f"is not given, so {header} gets VALUE as it stands, which begins with {scheme}; if the API wants that,"
            f" write PREFIX= and this line goes; if not, take {scheme} out of VALUE"
        )
    return (
        f"is not given, so {header} gets the credential without Bearer before it; if the API wants it, write"
        " PREFIX=Bearer; if not, write PREFIX= and this line goes"
    )

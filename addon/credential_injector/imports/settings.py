"""What every format says of OAuth2 and of other credentials, in its own words -> keys of an environment file. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from credential_injector.imports.variables import LONGEST, Variables, text_of
from credential_injector.origins.origin import parse_origin

MOST_HOSTS = 50
MOST_KEYS = 200
LONGEST_HOST = 2000  # characters in which a URL's host ends
_GRANTS = {
    "": "client_credentials",
    "authorization_code": "authorization_code",
    "authorization_code_with_pkce": "authorization_code",
    "authorization code": "authorization_code",
    "client_credentials": "client_credentials",
    "client credentials": "client_credentials",
    "clientcredentials": "client_credentials",
    "application": "client_credentials",
    "device authorization": "device_code",
    "device_code": "device_code",
    "password": "password",
    "password_credentials": "password",
    "urn:ietf:params:oauth:grant-type:device_code": "device_code",
}


_OF_GRANTS = {
    "USERNAME": "password",
    "PASSWORD": "password",
    "AUTHORIZATION_ENDPOINT": "authorization_code",
    "DEVICE_AUTHORIZATION_ENDPOINT": "device_code",
}
BASIC = {"TOKEN_ENDPOINT_AUTH_METHOD": "client_secret_basic"}


FORM_FIELDS = (
    "client_id",
    "client_secret",
    "scope",
    "audience",
    "resource",
    "username",
    "password",
    "refresh_token",
    "subject_token",
    "subject_token_type",
    "requested_token_type",
)


class TooMuch(ValueError):
    """What an auth has more of than anybody uses."""


class Settings:
    """Gathers the values of one environment file, with the variables that have no value."""

    def __init__(self, variables: Variables, left_out: Iterable[str] = ()) -> None:
        self.variables = variables
        self.values: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.left_out = list(left_out)

    def set(self, key: str, text: Any) -> None:
        """Take a value; nothing of it where a variable has none, but a note."""
        if len({*self.values, *self.notes}) >= MOST_KEYS:
            raise TooMuch(f"an auth has more than {MOST_KEYS} settings; expected a few")
        if len(text_of(text)) > LONGEST:
            self.notes[key] = f"it is longer than {LONGEST} characters; write it to a file, and name that in {key}_FILE"
        elif value := self.variables.value(text):
            self.values[key] = value
        elif missing := self.variables.without(text):
            self.notes[key] = f"it is the variable {missing}, to which no file gives a value"

    def grant(self, name: Any) -> str | None:
        """Take a grant. None where it has no equal here."""
        written = self.variables.resolved(name)
        grant = _GRANTS.get(written.lower())
        if grant is None:
            self.left_out.append(f"the grant {written[:40]!r}: there is no equal; choose GRANT_TYPE by hand")
            self.notes["GRANT_TYPE"] = "there is no equal of the one in the file"
        elif grant != "client_credentials":
            self.values["GRANT_TYPE"] = grant
        return grant

    def form(self, form: Mapping[str, Any]) -> None:
        """The fields of a token request, but for grant_type."""
        for name, value in form.items():
            self.set(name.upper() if name in FORM_FIELDS else f"TOKEN_PARAM_{name}", value)

    def oauth2(self, grant: Any, said: Mapping[str, Any], *, basic: bool, prefix: Any = "Bearer") -> None:
        """A token request: what is said for each key. `basic`: the client's secret goes in a header."""
        name = self.grant(grant)
        for key, text in said.items():
            if _OF_GRANTS.get(key, name) == name:
                self.set(key, text)
        if basic and "CLIENT_SECRET" in {*self.values, *self.notes}:
            self.values |= BASIC
        if (shown := text_of(prefix).strip()) != "Bearer":
            self.values["PREFIX"] = shown

    def basic(self, username: Any, password: Any) -> None:
        """A name and a password (RFC 7617)."""
        self.values["GRANT_TYPE"] = "basic"
        self.set("USERNAME", username)
        self.set("PASSWORD", password)

    def bearer(self, token: Any, prefix: str = "Bearer") -> None:
        """A token that stands in the file."""
        self.values["GRANT_TYPE"] = "static"
        self.set("VALUE", token)
        if prefix != "Bearer":
            self.values["PREFIX"] = prefix

    def api_key(self, name: Any, value: Any, where: str) -> None:
        """A key in a header, in the query or in a cookie."""
        self.values["GRANT_TYPE"] = "static"
        self.set("VALUE", value)
        key = {"query": "QUERY", "queryparams": "QUERY", "cookie": "COOKIE"}.get(where.lower(), "HEADER")
        self.set(key, name)
        if key == "HEADER":
            self.values["PREFIX"] = ""

    def hosts(self, urls: Iterable[Any]) -> None:
        """HOST, from URLs to which the credential goes."""
        origins: dict[str, None] = {}
        for url in urls:
            # What follows the host may have variables of a request's own.
            resolved = self.variables.resolved(text_of(url)[:LONGEST_HOST])
            start = resolved.find("://") + 3 if "://" in resolved else 0
            host = resolved[: start + len(re.split(r"[/?#]", resolved[start:])[0])]
            if "{{" not in host and (origin := origin_of(host)):
                origins[origin] = None
            elif missing := self.variables.without(host):
                self.notes.setdefault(
                    "HOST", f"a URL begins with the variable {missing}, to which no file gives a value"
                )
        if origins:
            self.values["HOST"] = ", ".join(list(origins)[:MOST_HOSTS])
        if len(origins) > MOST_HOSTS:
            self.left_out.append(f"{len(origins) - MOST_HOSTS} more hosts; add those that you need to HOST")


def origin_of(url: str) -> str:
    """The origin of a URL as HOST has it; empty where it has none that can stand there."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        if not parts.hostname:
            return ""
        # A name without dots may be a host of a container's network, where a scheme says that it is a URL.
        if "://" not in url and not re.search(r"[.:]|^localhost$", parts.hostname):
            return ""
        return str(parse_origin(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"))
    except ValueError:
        return ""


def texts(value: Any) -> Mapping[str, Any]:
    """A mapping, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """A list, or an empty one."""
    return value if isinstance(value, list) else []

"""JetBrains' http-client.env.json with its private file, as Kulala and httpYac read it, too -> drafts."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from credential_injector.imports.draft import LONGEST_NAME, Draft, environment_name
from credential_injector.imports.no_equal import settings_without_equal
from credential_injector.imports.settings import MOST_HOSTS, Settings, texts
from credential_injector.imports.source import Source
from credential_injector.imports.variables import Variables, text_of

PUBLIC, PRIVATE = "http-client.env.json", "http-client.private.env.json"
SHARED = "$shared"
_TAKEN = {
    *(
        "Type",
        "Grant Type",
        "Token URL",
        "Auth URL",
        "Device Auth URL",
        "Client ID",
        "Client Secret",
        "Scope",
        "Audience",
    ),
    *("Username", "Password", "Client Credentials", "Custom Request Parameters"),
    *("Acquire Automatically", "Start Page", "Token"),
}
_HOSTS = {"api", "base", "baseurl", "apiurl", "host", "server", "url"}
_NO_HOSTS = {"auth", "callback", "key", "login", "password", "redirect", "secret", "token"}


def is_jetbrains(source: Source) -> bool:
    """Whether it is one of the two files."""
    document = source.document
    if not isinstance(document, Mapping) or not all(isinstance(one, Mapping) for one in document.values()):
        return False
    return source.path.name in (PUBLIC, PRIVATE) or any("Security" in one for one in document.values())


def drafts_of_jetbrains(source: Source, others: Sequence[Source]) -> list[Draft]:
    """A draft for each environment and each auth in it. Raises NotImportable."""
    files = [source, *others]
    beside = {PUBLIC: PRIVATE, PRIVATE: PUBLIC}.get(source.path.name, "")
    if not others and beside and (other := source.beside(beside)) is not None:
        files.append(other)
    files.sort(key=lambda one: "private" in one.path.name)  # what is private counts more
    merged: Mapping[str, Any] = {}
    for file in files:
        if not isinstance(file.document, Mapping):
            raise file.wrong("", 'is no object of environments; expected such as {"dev": {...}}')
        merged = _merged(merged, file.document)
    shared = texts(merged.get(SHARED))
    source.check_size(environments=len(merged))
    auths = {len(texts(texts(_merged(shared, texts(own)).get("Security")).get("Auth"))) for own in merged.values()}
    source.check_size(environments=len(merged), auths=max(auths, default=0))
    drafts = []
    for name, own in merged.items():
        if name != SHARED:
            said = _merged(shared, texts(own))
            drafts += _drafts(str(name), said, " and ".join(file.name for file in files))
    return drafts


def _drafts(name: str, said: Mapping[str, Any], files: str) -> list[Draft]:
    auths = texts(texts(said.get("Security")).get("Auth"))
    variables = Variables({key: value for key, value in said.items() if key != "Security"})
    api_urls = [value for key, value in said.items() if isinstance(value, str) and _names_api(key)][:MOST_HOSTS]
    drafts = []
    for number, (called, auth) in enumerate(auths.items()):
        settings = Settings(variables)
        _take(settings, texts(auth))
        used = {settings.values.get("TOKEN_ENDPOINT", ""), settings.values.get("AUTHORIZATION_ENDPOINT", "")}
        # The login's server is the API's only where no other one is named.
        others = [url for url in api_urls if not any(one.startswith(variables.resolved(url)) for one in used)]
        settings.hosts(others or api_urls)
        if "HOST" not in settings.values:
            settings.notes["HOST"] = "no variable of the environment looks like the API's URL"
        own = environment_name(name)
        drafts.append(
            Draft(
                own if number == 0 else f"{own}-{environment_name(str(called), str(number + 1))}",
                settings.values,
                f"{files}: {called} of {name}",
                tuple(settings.left_out),
                settings.notes,
            )
        )
    return drafts


def _names_api(key: str) -> bool:
    """Whether a variable's name says that its value is the API's URL: `api_url`, `baseUrl`, `host`."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", key[:LONGEST_NAME])}
    return bool(words & _HOSTS) and not words & _NO_HOSTS


def _take(settings: Settings, auth: Mapping[str, Any]) -> None:
    kind = text_of(auth.get("Type")).lower()
    if kind in ("mock", "static", "bearer"):
        settings.bearer(auth.get("Token"))
        return
    if kind == "basic":
        settings.basic(auth.get("Username"), auth.get("Password"))
        return
    if kind != "oauth2":
        settings.left_out.append(f"the type {kind[:40]!r}: there is no equal")
        return
    said = {
        "TOKEN_ENDPOINT": auth.get("Token URL"),
        "AUTHORIZATION_ENDPOINT": auth.get("Auth URL"),
        "DEVICE_AUTHORIZATION_ENDPOINT": auth.get("Device Auth URL"),
        "CLIENT_ID": auth.get("Client ID"),
        "CLIENT_SECRET": auth.get("Client Secret"),
        "SCOPE": auth.get("Scope"),
        "AUDIENCE": auth.get("Audience"),
        "USERNAME": auth.get("Username"),
        "PASSWORD": auth.get("Password"),
    }
    # "basic" is the default; the others are "in body" and "none".
    basic = text_of(auth.get("Client Credentials")).lower() in ("", "basic")
    settings.oauth2(auth.get("Grant Type"), said, basic=basic)
    for name, one in texts(auth.get("Custom Request Parameters")).items():
        use = text_of(texts(one).get("Use")).lower()
        value = texts(one).get("Value", "") if isinstance(one, Mapping) else one
        if use in ("", "everywhere", "in token request"):
            values = value if isinstance(value, list) else [value]
            known = name.lower() in ("audience", "resource")
            settings.set(name.upper() if known else f"TOKEN_PARAM_{name}", ",".join(map(text_of, values)))
        else:
            place = "in auth request" if use == "in auth request" else "elsewhere"
            settings.left_out.append(f"the parameter {name[:80]} {place}: only the token request has parameters here")
    # PKCE is used here always, as with `true` or S256.
    pkce = {"PKCE": auth["PKCE"]} if texts(auth.get("PKCE")) else {}
    settings.left_out += settings_without_equal({**auth, "PKCE": "", **pkce}, _TAKEN)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, with what is above in the place of what is below."""
    made = dict(below)
    for key, value in above.items():
        before = made.get(key)
        made[key] = _merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return made

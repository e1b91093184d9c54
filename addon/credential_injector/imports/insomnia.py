"""Insomnia's exports, version 4 (JSON) and 5 (YAML) -> drafts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from credential_injector.imports.draft import Draft, environment_name
from credential_injector.imports.settings import Settings, listed, texts
from credential_injector.imports.source import Source
from credential_injector.imports.variables import Variables, text_of

_NO_EQUAL = ("asap", "digest", "hawk", "netrc", "ntlm", "oauth1", "singletoken")


class _Export(NamedTuple):
    """What both versions say."""

    name: str
    environments: list[tuple[str, dict[str, Any]]]
    auths: list[tuple[str, Mapping[str, Any], list[str]]]
    """Where an auth is, what it says, and the URLs of the requests that it counts for."""


def is_insomnia(source: Source) -> bool:
    """Whether it is one."""
    document = texts(source.document)
    return document.get("_type") == "export" or str(document.get("type", "")).startswith("collection.insomnia.rest/")


def drafts_of_insomnia(source: Source, others: Sequence[Source]) -> list[Draft]:
    """A draft for each environment and each auth. Raises NotImportable."""
    if others:
        raise others[0].wrong("", "is given beside an export of Insomnia's; expected the export alone, which has all")
    document = texts(source.document)
    workspaces = [one for one in listed(document.get("resources")) if texts(one).get("_type") == "workspace"]
    if len(workspaces) > 1:  # one's variables must not fill in another's auth
        raise source.wrong("resources", "has several workspaces; expected an export of one")
    export = _version_4(document) if document.get("_type") == "export" else _version_5(document)
    drafts = []
    for called, values in export.environments or [(export.name, {})]:
        name = environment_name(called)
        for number, (where, said, urls) in enumerate(export.auths):
            settings = Settings(Variables(_flat(values)))
            _take(settings, said, where)
            settings.hosts(urls)
            drafts.append(
                Draft(
                    name if number == 0 else f"{name}-{environment_name(where, str(number + 1))}",
                    settings.values,
                    f"{source.name}: {where} with environment {called}",
                    tuple(settings.left_out),
                    settings.notes,
                )
            )
    return drafts


def _version_4(document: Mapping[str, Any]) -> _Export:
    resources = [one for one in listed(document.get("resources")) if isinstance(one, dict)]
    by_id = {text_of(one.get("_id")): one for one in resources}
    bases = [one for one in resources if one.get("_type") == "environment"]
    roots = [one for one in bases if texts(by_id.get(text_of(one.get("parentId")))).get("_type") != "environment"]
    environments = []
    for base in roots:
        own = dict(texts(base.get("data")))
        below = [one for one in bases if one.get("parentId") == base.get("_id")]
        environments += [(text_of(one.get("name")), {**own, **texts(one.get("data"))}) for one in below] or [
            (text_of(base.get("name")), own)
        ]
    found: dict[str, tuple[str, Mapping[str, Any], list[str]]] = {}
    for one in resources:
        if one.get("_type") == "request":
            where, said = _inherited(one, by_id)
            _cover(found, where, said, text_of(one.get("url")))
    workspace = next((one for one in resources if one.get("_type") == "workspace"), {})
    return _Export(text_of(workspace.get("name")), environments, list(found.values()))


def _inherited(one: Mapping[str, Any], by_id: Mapping[Any, Mapping[str, Any]]) -> tuple[str, Mapping[str, Any]]:
    """The auth of a request, its own or that of the nearest folder."""
    for _ in range(100):  # a file may name its own child as its parent
        said = texts(one.get("authentication"))
        if _is_used(said):
            return text_of(one.get("name")), said
        parent = by_id.get(text_of(one.get("parentId")))
        if parent is None:
            break
        one = parent
    return "", {}


def _version_5(document: Mapping[str, Any]) -> _Export:
    base = texts(document.get("environments"))
    own = dict(texts(base.get("data")))
    below = [one for one in listed(base.get("subEnvironments")) if isinstance(one, dict)]
    environments = [(text_of(one.get("name")), {**own, **texts(one.get("data"))}) for one in below]
    found: dict[str, tuple[str, Mapping[str, Any], list[str]]] = {}
    for url, where, said in _requests(listed(document.get("collection")), "", {}):
        _cover(found, where, said, url)
    name = text_of(document.get("name"))
    return _Export(name, environments or [(text_of(base.get("name")) or name, own)], list(found.values()))


def _requests(items: list[Any], where: str, said: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for item in items:
        one = texts(item)
        own = texts(one.get("authentication"))
        place, auth = (text_of(one.get("name")), own) if _is_used(own) else (where, said)
        if "url" in one:
            yield text_of(one.get("url")), place, auth
        yield from _requests(listed(one.get("children")), place, auth)


def _cover(found: dict[str, tuple[str, Mapping[str, Any], list[str]]], where: str, said: Any, url: str) -> None:
    if said and said.get("type") != "none":
        found.setdefault(repr(said), (where, said, []))[2].append(url)


def _is_used(said: Mapping[str, Any]) -> bool:
    """Whether it counts for what is below: `none` does, an empty or a disabled one inherits."""
    return text_of(said.get("type")) != "" and said.get("disabled") is not True


def _flat(values: Mapping[str, Any], before: str = "", depth: int = 0) -> dict[str, Any]:
    """Variables within objects, as `_.login.host` names them."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and depth < 10:
            flat |= _flat(value, f"{before}{name}.", depth + 1)
        else:
            flat[f"{before}{name}"] = value
    return flat


def _take(settings: Settings, said: Mapping[str, Any], where: str) -> None:
    match text_of(said.get("type")).lower():
        case "oauth2":
            _oauth2(settings, said)
        case "basic":
            settings.basic(said.get("username"), said.get("password"))
        case "bearer":
            settings.bearer(said.get("token"), text_of(said.get("prefix")) or "Bearer")
        case "apikey":
            settings.api_key(said.get("key"), said.get("value"), text_of(said.get("addTo")) or "header")
        case kind:
            known = kind if kind in _NO_EQUAL else "its auth"
            settings.left_out.append(f"{where}: {known} has no equal here; leave it to the client")


def _oauth2(settings: Settings, said: Mapping[str, Any]) -> None:
    given = {
        "TOKEN_ENDPOINT": said.get("accessTokenUrl"),
        "AUTHORIZATION_ENDPOINT": said.get("authorizationUrl"),
        "CLIENT_ID": said.get("clientId"),
        "CLIENT_SECRET": said.get("clientSecret"),
        "SCOPE": said.get("scope"),
        "AUDIENCE": said.get("audience"),
        "RESOURCE": said.get("resource"),
        "USERNAME": said.get("username"),
        "PASSWORD": said.get("password"),
    }
    in_header = said.get("credentialsInBody") is not True
    prefix = text_of(said.get("tokenPrefix")) or "Bearer"
    settings.oauth2(said.get("grantType"), given, basic=in_header, prefix="" if prefix == "NO_PREFIX" else prefix)

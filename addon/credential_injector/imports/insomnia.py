"""Insomnia's exports, version 4 (JSON) and 5 (YAML) -> drafts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from credential_injector.imports.draft import Draft, environment_name
from credential_injector.imports.no_equal import auth_without_equal, settings_without_equal
from credential_injector.imports.openapi import drafts_of_openapi, is_openapi
from credential_injector.imports.settings import LONGEST_HOST, MOST_KEYS, Settings, TooMuch, listed, texts
from credential_injector.imports.source import MOST_ENVIRONMENTS, Source, document_of
from credential_injector.imports.variables import Variables, text_of

_TAKEN = {
    *("type", "grantType", "accessTokenUrl", "authorizationUrl", "clientId", "clientSecret", "scope", "audience"),
    *("resource", "username", "password", "credentialsInBody", "tokenPrefix"),
    *("disabled", "usePkce", "useDefaultBrowser"),  # both are so here
}
MOST_FOLDERS = 100  # in one another


class _Folders(NamedTuple):
    """The variables of the folders that a request is in."""

    own: Mapping[str, Any]
    """Those of the nearest one; they count before those above."""
    above: "_Folders | None"


class _Request(NamedTuple):
    """A request with the auth that counts for it."""

    url: str
    where: str
    """Where the auth stands: `the collection`, a folder's or a request's name."""
    auth: Mapping[str, Any]
    folders: _Folders | None


class _Export(NamedTuple):
    """What both versions say."""

    name: str
    environments: list[tuple[str, dict[str, Any]]]
    requests: list[_Request]


class _Covered(NamedTuple):
    """Requests with the same auth."""

    where: str
    auth: Mapping[str, Any]
    variables: Variables
    urls: list[str]
    """With the values of their variables."""


def is_insomnia(source: Source) -> bool:
    """Whether it is one."""
    document = texts(source.document)
    return document.get("_type") == "export" or text_of(document.get("type")).startswith(
        ("collection.insomnia.rest/", "spec.insomnia.rest/")
    )


def drafts_of_insomnia(source: Source, others: Sequence[Source]) -> list[Draft]:
    """A draft for each environment and each auth. Raises NotImportable."""
    if others:
        raise others[0].wrong("", "is given beside an export of Insomnia's; expected the export alone, which has all")
    document = texts(source.document)
    workspaces = [one for one in listed(document.get("resources")) if texts(one).get("_type") == "workspace"]
    if len(workspaces) > 1:  # one's variables must not fill in another's auth
        raise source.wrong("resources", "has several workspaces; expected an export of one")
    export = _version_4(document) if document.get("_type") == "export" else _version_5(source)
    environments = export.environments or [(export.name, {})]
    source.check_size(requests=len(export.requests), environments=len(environments))
    drafts = []
    for called, values in environments:
        name = environment_name(called)
        covered = _covered(export.requests, Variables(_flat(values)))
        source.check_size(environments=len(environments), auths=len(covered))
        for number, (where, auth, variables, urls) in enumerate(covered):
            settings = Settings(variables)
            _take(settings, auth, where)
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
    if not drafts and (api := _api(source)) is not None:
        return drafts_of_openapi(api, [])
    return drafts


def _api(source: Source) -> Source | None:
    """The OpenAPI document of a design document; None where there is none."""
    contents = texts(texts(source.document).get("spec")).get("contents")
    api = source._replace(document=document_of(source.path, contents) if isinstance(contents, str) else contents)
    return api if is_openapi(api) else None


def _covered(requests: Sequence[_Request], variables: Variables) -> list[_Covered]:
    """Requests by their auth, as it is with the variables of their folders."""
    found: dict[str, _Covered] = {}
    known: dict[tuple[int, int], _Covered] = {}
    layers: dict[int, Variables] = {id(None): variables}

    def within(folders: _Folders | None) -> Variables:
        if folders is None:
            return variables
        if id(folders) not in layers:
            layers[id(folders)] = within(folders.above).over(folders.own)
        return layers[id(folders)]

    for one in requests:
        own, pair = within(one.folders), (id(one.auth), id(one.folders))
        if pair not in known:
            if len(one.auth) > MOST_KEYS:
                raise TooMuch(f"an auth has more than {MOST_KEYS} settings; expected a few")
            said = {name: own.resolved(value) for name, value in one.auth.items()}
            known[pair] = found.setdefault(repr(said), _Covered(one.where, one.auth, own, []))
        known[pair].urls.append(own.resolved(one.url[:LONGEST_HOST]))
    return list(found.values())


def _version_4(document: Mapping[str, Any]) -> _Export:
    resources = [one for one in listed(document.get("resources")) if isinstance(one, dict)]
    by_id = {text_of(one.get("_id")): one for one in resources}
    bases = [one for one in resources if one.get("_type") == "environment"]
    roots = [one for one in bases if texts(by_id.get(text_of(one.get("parentId")))).get("_type") != "environment"]
    children: dict[str, list[dict[str, Any]]] = {}
    for one in bases:
        children.setdefault(text_of(one.get("parentId")), []).append(one)
    environments = []
    for base in roots[: MOST_ENVIRONMENTS + 1]:
        own = dict(texts(base.get("data")))
        below = children.get(text_of(base.get("_id")), [])[: MOST_ENVIRONMENTS + 1]
        environments += [(text_of(one.get("name")), {**own, **texts(one.get("data"))}) for one in below] or [
            (text_of(base.get("name")), own)
        ]
    known: dict[str, _Folders | None] = {"": None}
    requests = []
    for one in resources:
        if one.get("_type") == "request":
            where, auth = _inherited(one, by_id)
            if _counts(auth):
                folders = _folders(text_of(one.get("parentId")), by_id, known)
                requests.append(_Request(text_of(one.get("url")), where, auth, folders))
    workspace = next((one for one in resources if one.get("_type") == "workspace"), {})
    return _Export(text_of(workspace.get("name")), environments, requests)


def _inherited(one: Mapping[str, Any], by_id: Mapping[Any, Mapping[str, Any]]) -> tuple[str, Mapping[str, Any]]:
    """The auth of a request, its own or that of the nearest folder."""
    for _ in range(MOST_FOLDERS):  # a file may name its own child as its parent
        said = texts(one.get("authentication"))
        if _is_used(said):
            return text_of(one.get("name")), said
        parent = by_id.get(text_of(one.get("parentId")))
        if parent is None:
            break
        one = parent
    return "", {}


def _folders(
    folder: str, by_id: Mapping[Any, Mapping[str, Any]], known: dict[str, _Folders | None], depth: int = 0
) -> _Folders | None:
    """The variables of this folder and of those above it."""
    if folder not in known:
        one = texts(by_id.get(folder))
        if one.get("_type") != "request_group" or depth >= MOST_FOLDERS:
            return None
        above = _folders(text_of(one.get("parentId")), by_id, known, depth + 1)
        own = texts(one.get("environment"))
        known[folder] = _Folders(_flat(own), above) if own else above
    return known[folder]


def _version_5(source: Source) -> _Export:
    document = texts(source.document)
    base = texts(document.get("environments"))
    own = dict(texts(base.get("data")))
    below = [one for one in listed(base.get("subEnvironments")) if isinstance(one, dict)]
    source.check_size(environments=len(below))
    environments = [(text_of(one.get("name")), {**own, **texts(one.get("data"))}) for one in below]
    requests = [one for one in _requests(listed(document.get("collection")), "", {}, None) if _counts(one.auth)]
    name = text_of(document.get("name"))
    return _Export(name, environments or [(text_of(base.get("name")) or name, own)], requests)


def _requests(items: list[Any], where: str, said: Mapping[str, Any], folders: _Folders | None) -> Iterator[_Request]:
    for item in items:
        one = texts(item)
        auth = texts(one.get("authentication"))
        place, auth = (text_of(one.get("name")), auth) if _is_used(auth) else (where, said)
        if "url" in one:
            yield _Request(text_of(one.get("url")), place, auth, folders)
        own = texts(one.get("environment"))
        within = _Folders(_flat(own), folders) if own else folders
        yield from _requests(listed(one.get("children")), place, auth, within)


def _counts(auth: Mapping[str, Any]) -> bool:
    return bool(auth) and auth.get("type") != "none"


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
            settings.left_out.append(f"{where}: {auth_without_equal(kind)}")


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
    others = {
        name: value
        for name, value in said.items()
        if (name, value) not in (("pkceMethod", "S256"), ("responseType", "code"))
    }
    settings.left_out += settings_without_equal(others, _TAKEN)

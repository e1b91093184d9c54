"""Postman's collections (v2.0 and v2.1) and environments -> drafts."""

from collections.abc import Container, Iterator, Sequence
from typing import Any, NamedTuple

from credential_injector.imports.draft import Draft, environment_name
from credential_injector.imports.no_equal import auth_without_equal, settings_without_equal
from credential_injector.imports.postman_script import ScriptedRequest, read_script
from credential_injector.imports.settings import BASIC, Settings, listed, texts
from credential_injector.imports.source import Source
from credential_injector.imports.variables import LONGEST, Variables, names_in, text_of

_TAKEN = {
    *("accessTokenUrl", "authUrl", "clientId", "clientSecret", "scope", "audience", "resource", "username", "password"),
    *("client_authentication", "grant_type", "headerPrefix", "addTokenTo", "tokenRequestParams"),
    *("tokenName", "useBrowser"),  # for the person, and the browser is used here always
}


class _Covered(NamedTuple):
    """Requests with the same auth."""

    where: str
    """The level that says it: `the collection`, `folder Orders`."""
    auth: dict[str, Any]
    script: ScriptedRequest | None
    urls: list[str]


def is_collection(source: Source) -> bool:
    """Whether it is a collection."""
    info = texts(texts(source.document).get("info"))
    return "getpostman.com" in str(info.get("schema", "")) or ("_postman_id" in info and "item" in source.document)


def is_environment(source: Source) -> bool:
    """Whether it is an environment, or globals."""
    return isinstance(texts(source.document).get("values"), list) and "info" not in texts(source.document)


def drafts_of_collection(source: Source, others: Sequence[Source]) -> list[Draft]:
    """A draft for each credential in the collection, and for each environment that is given with it."""
    document = source.document
    collection = _variables(document.get("variable"))
    environments: list[tuple[Source | None, dict[str, Any]]] = [
        (one, _variables(texts(one.document).get("values"))) for one in others if is_environment(one)
    ]
    wrong = next((one for one in others if not is_environment(one)), None)
    if wrong is not None:
        raise wrong.wrong("", "is no environment of Postman's; expected one beside the collection")
    source.check_size(environments=len(environments))
    covered = [one for one in _covered(source) if one.auth.get("type") not in (None, "noauth") or one.script]
    source.check_size(environments=len(environments), auths=len(covered))
    drafts = []
    for environment, values in environments or [(None, {})]:
        variables = Variables({**collection, **values})
        whose = environment.document.get("name") if environment is not None else texts(document["info"]).get("name")
        name = environment_name(str(whose or ""))
        for number, one in enumerate(covered):
            settings = _settings(one, variables)
            given = f" and {environment.name}" if environment is not None else ""
            drafts.append(
                Draft(
                    name if number == 0 else f"{name}-{environment_name(one.where.partition(' ')[2], str(number + 1))}",
                    settings.values,
                    f"{source.name}{given}: auth of {one.where}",
                    tuple(settings.left_out),
                    settings.notes,
                )
            )
    return [draft for draft in drafts if {*draft.values, *draft.notes} - {"HOST"} or draft.left_out]


def drafts_of_environment(source: Source, others: Sequence[Source]) -> list[Draft]:
    """What an environment alone says, by the names that people give its variables."""
    if others:
        raise others[0].wrong(
            "", "is given beside an environment; expected the collection first, then its environments"
        )
    values = _variables(source.document.get("values"))
    by_name = {name.lower().replace("-", "_").replace(" ", "_"): name for name in values}
    settings = Settings(Variables(values))

    def find(*names: str) -> str:
        return next((f"{{{{{by_name[name]}}}}}" for name in names if name in by_name), "")

    for key, *names in (
        ("CLIENT_ID", "client_id", "clientid"),
        ("CLIENT_SECRET", "client_secret", "clientsecret"),
        ("SCOPE", "scope", "scopes"),
        ("AUDIENCE", "audience"),
        ("USERNAME", "username"),
        ("PASSWORD", "password"),
    ):
        settings.set(key, find(*names))
    if settings.values.get("USERNAME") and settings.values.get("PASSWORD"):
        settings.values["GRANT_TYPE"] = "password" if settings.values.get("CLIENT_ID") else "basic"
    else:
        settings.values.pop("USERNAME", None)
        settings.values.pop("PASSWORD", None)
    endpoint = find("token_endpoint", "token_url", "access_token_url", "accesstokenurl", "tokenurl", "auth_url")
    host = find("host", "base_url", "baseurl", "login_host", "auth_host")
    settings.set("TOKEN_ENDPOINT", endpoint or (f"{host}/oauth2/v2.0/token" if host else ""))
    settings.hosts(filter(None, [find("api", "api_url", "api_host", "base_url", "baseurl", "url", "host")]))
    return [
        Draft(
            environment_name(str(source.document.get("name") or "")),
            settings.values,
            f"{source.name}: its variables",
            ("how its requests log in is in the collection; import that and this file together to take it over",),
            settings.notes,
        )
    ]


def _variables(values: Any) -> dict[str, Any]:
    return {
        str(one.get("key", one.get("id", ""))): one.get("value")
        for one in listed(values)
        if isinstance(one, dict) and one.get("enabled") is not False and not one.get("disabled")
    }


def _covered(source: Source) -> Iterator[_Covered]:
    """The requests of a collection, by the auth that counts for them. Raises NotImportable."""
    found: dict[str, _Covered] = {}
    known: dict[tuple[int, int], tuple[Any, Any, _Covered]] = {}
    document, requests = source.document, 0

    def walk(item: dict[str, Any], where: str, auth: dict[str, Any], script: ScriptedRequest | None) -> None:
        nonlocal requests
        own = item.get("auth", texts(item.get("request")).get("auth"))
        if isinstance(own, dict) and own.get("type"):
            auth = own
            where = (
                f"{'folder' if 'item' in item else 'request'} {item.get('name', '')}" if item is not document else where
            )
        script = _script(item) or script
        for inner in listed(item.get("item")):
            if isinstance(inner, dict):
                walk(inner, where, auth, script)
        if "request" in item:
            requests += 1
            source.check_size(requests=requests)
            request = item["request"]
            url = request if isinstance(request, str) else texts(request).get("url")
            token = _bearer_variable(auth, request)
            used = script if token and script and (token in script.sets or not script.sets) else None
            pair = (id(auth), id(used))
            if pair not in known:  # to write out a long auth for each of many requests would take long
                kind = auth if used is None else {}
                one = found.setdefault(f"{kind!r}{used!r}", _Covered(where, dict(kind), used, []))
                known[pair] = auth, used, one
            known[pair][2].urls.append(_text_of_url(url))

    walk(document, "the collection", {}, None)
    yield from found.values()


def _text_of_url(url: Any) -> str:
    """A URL is a text, or an object that may have the text, or only its parts."""
    if isinstance(url, str):
        return url
    said = texts(url)
    scheme = f"{said['protocol']}://" if said.get("protocol") else ""
    host = ".".join(map(str, listed(said.get("host")))) or str(said.get("host", ""))
    port = f":{said['port']}" if said.get("port") else ""
    return str(said.get("raw") or f"{scheme}{host}{port}/")


def _script(item: dict[str, Any]) -> ScriptedRequest | None:
    for event in listed(item.get("event")):
        if texts(event).get("listen") == "prerequest":
            lines = texts(event.get("script")).get("exec")
            text = "\n".join(map(str, lines)) if isinstance(lines, list) else str(lines or "")
            if (found := read_script(text)) is not None:
                return found
    return None


def _bearer_variable(auth: dict[str, Any], request: Any) -> str:
    """The variable that stands in the request's Authorization header."""
    sent = [text_of(_fields(auth).get("token"))] if auth.get("type") == "bearer" else []
    sent += [
        text_of(header.get("value"))
        for header in listed(texts(request).get("header"))
        if isinstance(header, dict) and str(header.get("key", "")).lower() == "authorization"
    ]
    return next((name for value in sent if len(value) <= LONGEST for name in names_in(value)), "")


def _fields(auth: dict[str, Any]) -> dict[str, Any]:
    """The settings of an auth: a list in v2.1, an object in v2.0."""
    settings = auth.get(str(auth.get("type")))
    if isinstance(settings, list):
        return {str(one.get("key")): one.get("value") for one in settings if isinstance(one, dict)}
    return dict(texts(settings))


def _settings(one: _Covered, variables: Variables) -> Settings:
    settings, kind, fields = Settings(variables), one.auth.get("type"), _fields(one.auth)
    if one.script is not None:
        _from_script(settings, one.script)
    elif kind == "oauth2":
        _from_oauth2(settings, fields)
    elif kind == "bearer":
        settings.bearer(fields.get("token"))
    elif kind == "basic":
        settings.basic(fields.get("username"), fields.get("password"))
    elif kind == "apikey":
        settings.api_key(fields.get("key"), fields.get("value"), str(fields.get("in", "header")))
    else:
        settings.left_out.append(f"{one.where}: {auth_without_equal(str(kind))}")
        return settings
    settings.hosts(one.urls)
    return settings


def _from_script(settings: Settings, script: ScriptedRequest) -> None:
    form = dict(script.form)
    settings.grant(form.pop("grant_type"))
    settings.set("TOKEN_ENDPOINT", script.url)
    if script.basic is not None:
        settings.values |= BASIC
        form.setdefault("client_id", script.basic[0])
        form.setdefault("client_secret", script.basic[1])
    settings.form(form)


def _from_oauth2(settings: Settings, fields: dict[str, Any]) -> None:
    if not fields.get("accessTokenUrl") and fields.get("accessToken"):
        settings.bearer(fields["accessToken"], str(fields.get("headerPrefix", "Bearer")).strip())
        _left_out(settings, fields, {*_TAKEN, "accessToken"})
        return
    in_query = fields.get("addTokenTo") == "queryParams"
    said = {
        "TOKEN_ENDPOINT": fields.get("accessTokenUrl"),
        "AUTHORIZATION_ENDPOINT": fields.get("authUrl"),
        "CLIENT_ID": fields.get("clientId"),
        "CLIENT_SECRET": fields.get("clientSecret"),
        "SCOPE": fields.get("scope"),
        "AUDIENCE": fields.get("audience"),
        "RESOURCE": fields.get("resource"),
        "USERNAME": fields.get("username"),
        "PASSWORD": fields.get("password"),
    }
    in_header = fields.get("client_authentication") == "header"
    prefix = "Bearer" if in_query else fields.get("headerPrefix", "Bearer")
    settings.oauth2(fields.get("grant_type"), said, basic=in_header, prefix=prefix)
    if in_query:
        settings.values["QUERY"] = "access_token"  # RFC 6750 section 2.3, as Postman sends it
    _left_out(
        settings,
        fields,
        _TAKEN if isinstance(fields.get("tokenRequestParams"), list) else _TAKEN - {"tokenRequestParams"},
    )
    for one in listed(fields.get("tokenRequestParams")):
        if isinstance(one, dict) and one.get("enabled") is not False and one.get("key"):
            _token_parameter(settings, str(one["key"]), one)


def _left_out(settings: Settings, fields: dict[str, Any], taken: Container[str]) -> None:
    """Tell what has no equal."""
    same = {
        "challengeAlgorithm": fields.get("challengeAlgorithm") == "S256",
        "refreshTokenUrl": fields.get("refreshTokenUrl") == fields.get("accessTokenUrl"),
        "tokenType": str(fields.get("tokenType", "")).lower().replace(" ", "_") in ("access_token", "bearer"),
    }
    others = {name: value for name, value in fields.items() if not same.get(name)}
    for name in ("authRequestParams", "refreshRequestParams"):
        if isinstance(others.get(name), list):
            others[name] = [one for one in others[name] if texts(one).get("enabled") is not False]
    settings.left_out += settings_without_equal(others, taken)


def _token_parameter(settings: Settings, name: str, one: dict[str, Any]) -> None:
    where = one.get("send_as", "request_body")
    if where == "request_header":
        settings.set(f"TOKEN_HEADER_{name}", one.get("value"))
    elif where == "request_url":
        settings.left_out.append(f"{name} in the URL of the token request: write it into TOKEN_ENDPOINT")
    elif name.lower() in ("audience", "resource"):
        settings.set(name.upper(), one.get("value"))
    else:
        settings.set(f"TOKEN_PARAM_{name}", one.get("value"))

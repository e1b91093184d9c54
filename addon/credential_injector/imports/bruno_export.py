"""A collection that Bruno exported into one file, as OpenCollection (YAML, JSON) or as its own JSON -> drafts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from credential_injector.imports.bru import Block
from credential_injector.imports.bruno import Covered, take
from credential_injector.imports.draft import Draft, environment_name
from credential_injector.imports.settings import Settings, listed, texts
from credential_injector.imports.source import Source
from credential_injector.imports.variables import Variables, text_of

_ADDITIONAL = {
    "accessTokenRequest": "access_token_req",
    "authorization": "auth_req",
    "authorizationRequest": "auth_req",
    "refresh": "refresh_token_req",
    "refreshTokenRequest": "refresh_token_req",
    "token": "access_token_req",
}
_PLACES = {"body": "body", "header": "headers", "headers": "headers", "query": "queryparams"}
TOP = "the collection"
_Auth = dict[str, Block]
"""The blocks that a .bru file has of an auth. Empty: it is inherited."""
NONE: _Auth = {"auth": {"mode": "none"}}


def is_bruno_export(source: Source) -> bool:
    """Whether it is one."""
    document = texts(source.document)
    return "opencollection" in document or ("brunoConfig" in document and "items" in document)


def drafts_of_bruno_export(source: Source, others: Sequence[Source]) -> list[Draft]:
    """A draft for each environment of the collection and each auth in it. Raises NotImportable."""
    if others:
        raise others[0].wrong(
            "", "is given beside a collection that Bruno exported; expected that alone, which has all"
        )
    document = texts(source.document)
    if not listed(document.get("items")):  # as in opencollection.yml of a folder, whose requests are files
        raise source.wrong("items", "is missing or empty; expected a collection that Bruno exported into one file")
    top = texts(document.get("request")) or texts(texts(document.get("root")).get("request"))
    name = text_of(texts(document.get("info")).get("name")) or text_of(document.get("name"))
    said = listed(texts(document.get("config")).get("environments")) or listed(document.get("environments"))
    environments = [(text_of(texts(one).get("name")), _variables(texts(one).get("variables"))) for one in said]
    covered = _covered(source, _auth(top.get("auth")) or NONE)
    source.check_size(environments=len(environments), auths=len(covered))
    variables = _variables(top.get("variables")) | _variables(texts(top.get("vars")).get("req"))
    drafts = []
    for called, own in environments or [(name, {})]:
        for number, (where, blocks, urls) in enumerate(covered):
            settings = Settings(Variables({**variables, **own}))
            take(settings, blocks, where)
            settings.hosts(urls)
            short = environment_name(called)
            drafts.append(
                Draft(
                    short if number == 0 else f"{short}-{environment_name(where, str(number + 1))}",
                    settings.values,
                    f"{source.name}: auth of {where} with environment {called}",
                    tuple(settings.left_out),
                    settings.notes,
                )
            )
    return drafts


def _covered(source: Source, auth: _Auth) -> list[Covered]:
    found: dict[str, Covered] = {}
    known: dict[int, tuple[_Auth, Covered]] = {}  # an auth is long, or it counts for many requests; never both
    for number, (where, blocks, url) in enumerate(_requests(listed(source.document.get("items")), TOP, auth), 1):
        source.check_size(requests=number)
        if blocks["auth"]["mode"] == "none":
            continue
        if id(blocks) not in known:
            known[id(blocks)] = blocks, found.setdefault(repr(blocks), Covered(where, blocks, []))
        known[id(blocks)][1].urls.append(url)
    return list(found.values())


def _requests(items: list[Any], where: str, auth: _Auth) -> Iterator[tuple[str, _Auth, str]]:
    """Each request's auth, where it stands, and the request's URL."""
    for item in map(texts, items):
        name = text_of(texts(item.get("info")).get("name")) or text_of(item.get("name"))
        if isinstance(item.get("items"), list):
            above = texts(item.get("request")) or texts(texts(item.get("root")).get("request"))
            own = _auth(above.get("auth"))
            yield from _requests(item["items"], f"folder {name}" if own else where, own or auth)
            continue
        request = next((texts(item[kind]) for kind in ("http", "graphql", "request") if kind in item), None)
        if request is not None:
            said = request.get("auth")
            own = NONE if said is None else _auth(said)
            yield f"request {name}" if own else where, own or auth, text_of(request.get("url"))


def _auth(said: Any) -> _Auth:
    """The blocks of an auth: OpenCollection's has a type, Bruno's a mode and an object for each."""
    if said == "inherit" or not isinstance(said, Mapping):
        return {}
    mode = text_of(said.get("type")) or text_of(said.get("mode"))
    if mode in ("", "inherit"):
        return {}
    fields = said if "type" in said else texts(said.get(mode))
    block = {_snake(name): text_of(value) for name, value in fields.items() if name not in ("type", "flow", "mode")}
    blocks: _Auth = {"auth": {"mode": mode}, f"auth:{mode}": block}
    if mode == "oauth2":
        block |= _oauth2(fields)
        for kind, parameters in texts(fields.get("additionalParameters")).items():
            for one in map(texts, listed(parameters)):
                if one.get("enabled") is not False and one.get("name"):
                    place = text_of(one.get("placement")) or text_of(one.get("sendIn"))
                    of = f"{_ADDITIONAL.get(kind, 'another')}:{_PLACES.get(place, place)}"
                    into = blocks.setdefault(f"auth:oauth2:additional_params:{of}", {})
                    into[text_of(one.get("name"))] = text_of(one.get("value"))
    return blocks


def _oauth2(fields: Mapping[str, Any]) -> Block:
    """What OpenCollection has in objects of their own."""
    block: Block = {}
    if flow := text_of(fields.get("flow")):
        block["grant_type"] = "password" if flow == "resource_owner_password_credentials" else flow
    credentials, owner = texts(fields.get("credentials")), texts(fields.get("resourceOwner"))
    token = texts(fields.get("tokenConfig"))
    placement = texts(token.get("placement"))
    for key, value in (
        ("client_id", credentials.get("clientId")),
        ("client_secret", credentials.get("clientSecret")),
        ("credentials_placement", credentials.get("placement")),
        ("username", owner.get("username")),
        ("password", owner.get("password")),
        ("token_source", token.get("source")),
        ("token_header_prefix", placement.get("header")),
        ("token_query_key", placement.get("query")),
        ("token_placement", "query" if "query" in placement else None),
    ):
        if value is not None:
            block[key] = text_of(value)
    return block


def _variables(said: Any) -> dict[str, Any]:
    """Variables that are switched on, with the choice that counts. Secrets are not in an export."""
    found: dict[str, Any] = {}
    for one in map(texts, listed(said)):
        if one.get("disabled") is True or one.get("enabled") is False:
            continue
        value = (one.get("value") or None) if one.get("secret") is True else one.get("value")
        if isinstance(value, list):
            value = next((texts(each).get("value") for each in value if texts(each).get("selected") is True), None)
        found[text_of(one.get("name"))] = value.get("data") if isinstance(value, Mapping) else value
    return {name: value for name, value in found.items() if name and value is not None}


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", lambda match: f"_{match[1].lower()}", name[:100])

"""Bruno's collections, with their environments -> drafts."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from credential_injector.imports.bru import Block
from credential_injector.imports.bruno_folder import BrunoFolder
from credential_injector.imports.draft import Draft, environment_name
from credential_injector.imports.no_equal import auth_without_equal, settings_without_equal
from credential_injector.imports.settings import Settings
from credential_injector.imports.source import Source
from credential_injector.imports.variables import Variables

_TAKEN = {
    *("grant_type", "access_token_url", "authorization_url", "client_id", "client_secret", "scope", "username"),
    *("password", "credentials_placement", "token_placement", "token_header_prefix", "token_query_key"),
    *("credentials_id", "auto_fetch_token", "auto_refresh_token", "pkce"),  # as here
}
_PARAMETERS = "auth:oauth2:additional_params:"
_METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "http")


class Covered(NamedTuple):
    """Requests with the same auth."""

    where: str
    """Where it stands: `the collection`, `folder orders`."""
    blocks: dict[str, Block]
    urls: list[str]


def is_bruno(source: Source) -> bool:
    """Whether it is a collection's bruno.json, or any .bru file of one."""
    return source.path.name == "bruno.json" or source.path.suffix == ".bru"


def drafts_of_bruno(source: Source, others: Sequence[Source]) -> list[Draft]:
    """A draft for each environment of the collection and each auth in it. Raises NotImportable."""
    folder = BrunoFolder([source, *others])
    root = folder.root
    only = [one.path for one in (source, *others) if one.path.parent.name == "environments"]
    environments = only or folder.environments()
    collection = folder.blocks(root / "collection.bru", keep=True)
    auths = list(_auths(folder, collection))
    source.check_size(environments=len(environments), auths=len(auths))
    drafts = []
    for path in (*environments, *([] if environments else [None])):
        own = folder.blocks(path) if path is not None else {}
        variables = Variables({**collection.get("vars:pre-request", {}), **own.get("vars", {})})
        name = environment_name(path.stem if path is not None else root.name)
        for number, (where, blocks, urls) in enumerate(auths):
            settings = Settings(variables)
            take(settings, blocks, where)
            settings.hosts(urls)
            drafts.append(
                Draft(
                    name if number == 0 else f"{name}-{environment_name(where, str(number + 1))}",
                    settings.values,
                    f"{root.name}{f'/environments/{path.name}' if path is not None else ''}: auth of {where}",
                    tuple(settings.left_out),
                    settings.notes,
                )
            )
    return drafts


def _auths(folder: BrunoFolder, collection: dict[str, Block]) -> Iterator[Covered]:
    inherited: list[str] = []
    found: dict[str, Covered] = {}
    known: dict[int, Covered] = {}  # of folders, whose blocks are kept
    for path in folder.requests():
        blocks = folder.blocks(path)
        request = next((blocks[method] for method in _METHODS if method in blocks), None)
        if request is None:
            continue
        mode, url = request.get("auth", "none"), request.get("url", "")
        if mode == "inherit":
            called, blocks = _of_folder(folder, path.parent)
            if not called:
                inherited.append(url)
                continue
            where, mode = f"folder {called}", blocks["auth"]["mode"]
        else:
            where = f"request {path.stem}"
        if mode == "none":
            continue
        one = known.get(id(blocks))
        if one is None:
            auth = {name: block for name, block in blocks.items() if name.startswith("auth:")}
            one = Covered(where, {**auth, "auth": {"mode": mode}}, [])
            one = found.setdefault(repr(one.blocks), one)
            if where.startswith("folder "):
                known[id(blocks)] = one
        one.urls.append(url)
    if collection.get("auth", {}).get("mode", "none") not in ("none", "inherit"):
        yield Covered("the collection", collection, inherited)
    yield from found.values()


def _of_folder(folder: BrunoFolder, below: Path) -> tuple[str, dict[str, Block]]:
    """The nearest folder below the collection's that says an auth, and its blocks."""
    while below not in (folder.root, below.parent):
        blocks = folder.blocks(below / "folder.bru", keep=True)
        if blocks.get("auth", {}).get("mode", "inherit") != "inherit":
            return below.name, blocks
        below = below.parent
    return "", {}


def take(settings: Settings, blocks: dict[str, Block], where: str) -> None:
    """Take the auth of these blocks."""
    mode = blocks["auth"]["mode"]
    said = blocks.get(f"auth:{mode}", {})
    match mode:
        case "oauth2":
            _oauth2(settings, said, blocks)
        case "basic":
            settings.basic(said.get("username"), said.get("password"))
        case "bearer":
            settings.bearer(said.get("token"))
        case "apikey":
            settings.api_key(said.get("key"), said.get("value"), said.get("placement", "header"))
        case _:
            settings.left_out.append(f"{where}: {auth_without_equal(mode)}")


def _oauth2(settings: Settings, said: Block, blocks: dict[str, Block]) -> None:
    in_query = said.get("token_placement") in ("url", "query")
    given = {
        "TOKEN_ENDPOINT": said.get("access_token_url"),
        "AUTHORIZATION_ENDPOINT": said.get("authorization_url"),
        "CLIENT_ID": said.get("client_id"),
        "CLIENT_SECRET": said.get("client_secret"),
        "SCOPE": said.get("scope"),
        "USERNAME": said.get("username"),
        "PASSWORD": said.get("password"),
    }
    in_header = said.get("credentials_placement") == "basic_auth_header"
    prefix = "Bearer" if in_query else said.get("token_header_prefix", "Bearer")
    settings.oauth2(said.get("grant_type"), given, basic=in_header, prefix=prefix)
    if in_query:
        settings.set("QUERY", said.get("token_query_key") or "access_token")
    same = {"token_source": "access_token", "refresh_token_url": said.get("access_token_url", "")}
    others = {name: value for name, value in said.items() if same.get(name) != value}
    settings.left_out += settings_without_equal(others, _TAKEN)
    kinds = {"body": "TOKEN_PARAM_", "headers": "TOKEN_HEADER_"}
    for block in (block for block in blocks if block.startswith(_PARAMETERS)):
        of, _, kind = block.removeprefix(_PARAMETERS).partition(":")
        for name, value in blocks[block].items():
            if of == "access_token_req" and kind in kinds:
                known = kind == "body" and name.lower() in ("audience", "resource")
                settings.set(name.upper() if known else f"{kinds[kind]}{name}", value)
            else:
                settings.left_out.append(
                    f"the parameter {name[:80]} of {of[:40]} in {kind[:40]}: only the token request has parameters,"
                    " in its form and headers"
                )

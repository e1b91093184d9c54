"""Bruno's collections, with their environments -> drafts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from credential_injector.imports.bru import Block, read_bru
from credential_injector.imports.draft import Draft, environment_name
from credential_injector.imports.settings import Settings
from credential_injector.imports.source import Source, open_source
from credential_injector.imports.variables import Variables

MOST_FILES = 2000
_METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "http")


def is_bruno(source: Source) -> bool:
    """Whether it is a collection's bruno.json, or any .bru file of one."""
    return source.path.name == "bruno.json" or source.path.suffix == ".bru"


def drafts_of_bruno(source: Source, others: Sequence[Source]) -> list[Draft]:
    """A draft for each environment of the collection and each auth in it. Raises NotImportable."""
    root = _root(source.path.parent)
    only = [one.path for one in (source, *others) if one.path.parent.name == "environments"]
    environments = only or sorted((root / "environments").glob("*.bru"))[:MOST_FILES]
    collection = _blocks(root / "collection.bru")
    auths = list(_auths(root, collection))
    drafts = []
    for path in (*environments, *([] if environments else [None])):
        own = _blocks(path) if path is not None else {}
        variables = Variables({**collection.get("vars:pre-request", {}), **own.get("vars", {})})
        name = environment_name(path.stem if path is not None else root.name)
        for number, (where, blocks, urls) in enumerate(auths):
            settings = Settings(variables)
            _take(settings, blocks, where)
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


def _root(folder: Path) -> Path:
    """The collection's folder."""
    for one in (folder, *folder.absolute().parents):
        if (one / "bruno.json").is_file() or (one / "collection.bru").is_file():
            return one
    return folder


def _blocks(path: Path) -> dict[str, Block]:
    """The blocks of a file; none where there is no file. Raises NotImportable."""
    if not path.is_file():
        return {}
    source = open_source(path)
    try:
        return read_bru(source.text)
    except ValueError as error:
        place, _, what = str(error).partition(": ")
        raise source.wrong(place, what) from None


def _auths(root: Path, collection: dict[str, Block]) -> Iterator[tuple[str, dict[str, Block], list[str]]]:
    """Where an auth is, the blocks in which it stands, and the URLs of the requests that it counts for."""
    inherited: list[str] = []
    own: list[tuple[str, dict[str, Block], list[str]]] = []
    for path in sorted(root.rglob("*.bru"))[:MOST_FILES]:
        if path.name in ("collection.bru", "folder.bru") or path.parent.name == "environments":
            continue
        blocks = _blocks(path)
        request = next((blocks[method] for method in _METHODS if method in blocks), None)
        if request is None:
            continue
        mode, url = request.get("auth", "none"), request.get("url", "")
        if mode == "inherit":
            folder, said = _of_folder(root, path.parent)
            if folder:
                own.append((f"folder {folder}", said, [url]))
            else:
                inherited.append(url)
        elif mode != "none":
            own.append((f"request {path.stem}", {**blocks, "auth": {"mode": mode}}, [url]))
    if collection.get("auth", {}).get("mode", "none") not in ("none", "inherit"):
        yield "the collection", collection, inherited
    found: dict[str, tuple[str, dict[str, Block], list[str]]] = {}
    for where, blocks, urls in own:
        mode = blocks["auth"]["mode"]
        if mode != "none":
            found.setdefault(repr((mode, blocks.get(f"auth:{mode}"))), (where, blocks, []))[2].extend(urls)
    yield from found.values()


def _of_folder(root: Path, folder: Path) -> tuple[str, dict[str, Block]]:
    """The nearest folder below the collection's that says an auth, and its blocks."""
    while folder not in (root, folder.parent):
        blocks = _blocks(folder / "folder.bru")
        if blocks.get("auth", {}).get("mode", "inherit") != "inherit":
            return folder.name, blocks
        folder = folder.parent
    return "", {}


def _take(settings: Settings, blocks: dict[str, Block], where: str) -> None:
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
            settings.left_out.append(f"{where}: the auth {mode[:40]} has no equal here; leave it to the client")


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
    for kind, key in (("body", "TOKEN_PARAM_"), ("headers", "TOKEN_HEADER_")):
        for name, value in blocks.get(f"auth:oauth2:additional_params:access_token_req:{kind}", {}).items():
            known = kind == "body" and name.lower() in ("audience", "resource")
            settings.set(name.upper() if known else f"{key}{name}", value)

"""An OpenAPI document (3.x), or one of Swagger 2.0 -> a draft for each server."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from credential_injector.environments.file_names import printable
from credential_injector.imports.draft import Draft, environment_name
from credential_injector.imports.settings import LONGEST_HOST, Settings, listed, origin_of, texts
from credential_injector.imports.source import Source
from credential_injector.imports.variables import Variables, text_of

MOST_SERVERS = 20
MOST_REFERENCES = 10  # one after another
_VARIABLE = re.compile(r"\{([^{}]+)\}")


def is_openapi(source: Source) -> bool:
    """Whether it is one."""
    document = texts(source.document)
    return "openapi" in document or str(document.get("swagger")) == "2.0"


def drafts_of_openapi(source: Source, others: Sequence[Source]) -> list[Draft]:
    """A draft for each server and each flow for machines; without one, for another scheme. Raises NotImportable."""
    if others:
        raise others[0].wrong("", "is given beside an OpenAPI document; expected the document alone")
    document = texts(source.document)
    schemes = _schemes(document)
    if not schemes:
        raise source.wrong("securitySchemes", "is missing or empty; expected how clients authenticate")
    title = text_of(texts(document.get("info")).get("title"))
    servers = list(islice(_servers(document), MOST_SERVERS)) or [("", title)]
    machines = {name: one for name, one in schemes.items() if _client_credentials(one) is not None}
    source.check_size(environments=len(servers), auths=len(machines))
    unused = [f"the scheme {name[:40]}" for name in schemes if name not in machines]
    drafts, names = [], set[str]()
    for server, called in servers:
        for scheme, said in (machines or dict(list(schemes.items())[:1])).items():
            settings = Settings(Variables({}))
            _take(settings, scheme, said, server)
            settings.hosts([server])
            if "HOST" not in settings.values:
                settings.notes["HOST"] = "the document names no server with a host"
            elif path := urlsplit(server).path.rstrip("/"):
                settings.notes["HOST"] = f"the document's server has the path {path[:80]}"
            name = environment_name(called)
            name = name if name not in names else f"{name}-{environment_name(scheme)}"
            names.add(name)
            settings.left_out += unused if machines else unused[1:]
            what = f"{source.name}: {scheme}{f' at {origin_of(server)}' if server else ''}"
            drafts.append(Draft(name, settings.values, what, tuple(settings.left_out), settings.notes))
    return drafts


def _schemes(document: Any) -> dict[str, Any]:
    found = texts(texts(document.get("components")).get("securitySchemes")) or texts(
        document.get("securityDefinitions")
    )
    said = {str(name): _resolved(document, one) for name, one in found.items()}
    return {name: one for name, one in said.items() if "type" in one or "$ref" in one}


def _resolved(document: Any, said: Any) -> Mapping[str, Any]:
    """What a reference within the document leads to (RFC 6901), or the reference where that is nothing."""
    for _ in range(MOST_REFERENCES):
        reference = text_of(texts(said).get("$ref"))
        if not reference.startswith("#/"):
            break
        target = document
        for part in reference[2:LONGEST_HOST].split("/"):
            target = texts(target).get(unquote(part).replace("~1", "/").replace("~0", "~"))
        if not isinstance(target, Mapping):
            break
        said = target
    return texts(said)


def _servers(document: Any) -> Iterator[tuple[str, str]]:
    """Each server's URL, and what to call it."""
    for server in listed(document.get("servers")):
        said = texts(server)
        description = text_of(said.get("description"))
        for url, chosen in _urls(text_of(said.get("url"))[:LONGEST_HOST], texts(said.get("variables"))):
            if origin_of(url):
                yield url, f"{description} {chosen}".strip() if description else (urlsplit(url).hostname or "")
    if isinstance(document.get("host"), str):  # Swagger 2.0
        scheme = next((one for one in ("https", "http") if one in listed(document.get("schemes"))), "https")
        url = f"{scheme}://{document['host']}{text_of(document.get('basePath'))}"
        if origin_of(url):
            yield url, urlsplit(url).hostname or ""


def _urls(url: str, variables: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A server's URL with each choice of the variables in its host, and what is chosen besides the defaults."""
    start = url.find("://") + 3 if "://" in url else 0
    end = next((place for place in range(start, len(url)) if url[place] == "/"), len(url))
    names = list(dict.fromkeys(_VARIABLE.findall(url)))[:MOST_SERVERS]
    choices: list[list[str]] = []
    for name in names:
        said = texts(variables.get(name))
        default = text_of(said.get("default"))[:LONGEST_HOST]
        enum = [text_of(one)[:LONGEST_HOST] for one in listed(said.get("enum"))[:MOST_SERVERS]]
        in_host = f"{{{name}}}" in url[:end]
        first = default or next(iter(enum), "") if name in variables else f"{{{name}}}"
        choices.append(list(dict.fromkeys([first, *(enum if in_host else [])])))
    for chosen in islice(product(*choices), MOST_SERVERS):
        values = dict(zip(names, chosen, strict=True))
        others = [one for one, choice in zip(chosen, choices, strict=True) if one != choice[0]]
        yield _VARIABLE.sub(lambda match: values.get(match[1], match[0]), url), " ".join(others)  # noqa: B023


def _client_credentials(said: Any) -> Any:
    if said.get("type") != "oauth2":
        return None
    if said.get("flow") in ("application", "accessCode", "password", "implicit"):
        return said if said["flow"] == "application" else None
    return texts(said.get("flows")).get("clientCredentials")


def _take(settings: Settings, scheme: str, said: Any, server: str) -> None:
    kind = said.get("type")
    if (flow := _client_credentials(said)) is not None:
        _set_url(settings, "TOKEN_ENDPOINT", server, texts(flow).get("tokenUrl"))
        settings.set("SCOPE", " ".join(map(str, texts(texts(flow).get("scopes")))))
        settings.notes["SCOPE"] = "all scopes of the document; keep those that you need"
    elif kind == "oauth2":
        flows = texts(said.get("flows")) or {text_of(said.get("flow")): said}
        name, flow = next(iter(flows.items()), ("", {}))
        settings.grant({"authorizationCode": "authorization_code", "accessCode": "authorization_code"}.get(name, name))
        _set_url(settings, "TOKEN_ENDPOINT", server, texts(flow).get("tokenUrl"))
        _set_url(settings, "AUTHORIZATION_ENDPOINT", server, texts(flow).get("authorizationUrl"))
        settings.set("SCOPE", " ".join(map(str, texts(texts(flow).get("scopes")))))
    elif kind == "openIdConnect":
        url = text_of(said.get("openIdConnectUrl"))
        settings.set("ISSUER", url.removesuffix("/").removesuffix("/.well-known/openid-configuration"))
    elif kind == "apiKey":
        settings.api_key(said.get("name"), "", text_of(said.get("in")))
    elif kind == "basic" or (kind == "http" and text_of(said.get("scheme")).lower() == "basic"):
        settings.basic("", "")
    elif kind == "http" and text_of(said.get("scheme")).lower() == "bearer":
        settings.bearer("")
    elif "$ref" in said:
        settings.left_out.append(f"the scheme {scheme[:40]} is in another file, or nowhere; bundle the document first")
    else:
        settings.left_out.append(f"the scheme {scheme[:40]} is of a kind that has no equal here")


def _set_url(settings: Settings, key: str, server: str, url: Any) -> None:
    """A URL, which may be relative to the server's."""
    written = text_of(url)[:LONGEST_HOST]
    if not written:
        return
    try:
        joined = urljoin(server, written)
    except ValueError:  # [ without ]
        joined = written
    if "://" in joined:
        settings.set(key, joined)
    else:
        settings.notes[key] = (
            f"the document has {printable(written)[:80]}, which begins at a server that it does not name"
        )

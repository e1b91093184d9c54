"""An OpenAPI document (3.x), or one of Swagger 2.0 -> a draft for each server."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

from credential_injector.imports.draft import Draft, environment_name
from credential_injector.imports.settings import Settings, listed, origin_of, texts
from credential_injector.imports.source import Source
from credential_injector.imports.variables import Variables, text_of

MOST_SERVERS = 20


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
    servers = list(_servers(document))[:MOST_SERVERS]
    if not servers:
        raise source.wrong("servers", "names no server with a host; expected a URL such as https://api.example.com")
    machines = {name: one for name, one in schemes.items() if _client_credentials(one) is not None}
    drafts, names = [], set[str]()
    for server, called in servers:
        for scheme, said in (machines or dict(list(schemes.items())[:1])).items():
            settings = Settings(Variables({}))
            _take(settings, scheme, said, server)
            settings.hosts([server])
            if "HOST" in settings.values and (path := urlsplit(server).path.rstrip("/")):
                settings.notes["HOST"] = f"the document's server has the path {path[:80]}"
            name = environment_name(called)
            name = name if name not in names else f"{name}-{environment_name(scheme)}"
            names.add(name)
            settings.left_out += [f"the scheme {other[:40]}" for other in schemes if other not in {scheme, *machines}]
            what = f"{source.name}: {scheme} at {origin_of(server)}"
            drafts.append(Draft(name, settings.values, what, tuple(settings.left_out), settings.notes))
    return drafts


def _schemes(document: Any) -> dict[str, Any]:
    found = texts(texts(document.get("components")).get("securitySchemes")) or texts(
        document.get("securityDefinitions")
    )
    return {str(name): said for name, said in found.items() if isinstance(said, dict) and "type" in said}


def _servers(document: Any) -> Iterator[tuple[str, str]]:
    """Each server's URL, and what to call it."""
    for server in listed(document.get("servers")):
        said = texts(server)
        url = text_of(said.get("url"))
        for name, variable in texts(said.get("variables")).items():
            url = url.replace(f"{{{name}}}", text_of(texts(variable).get("default")))
        if origin_of(url):
            yield url, text_of(said.get("description")) or (urlsplit(url).hostname or "")
    if isinstance(document.get("host"), str):  # Swagger 2.0
        scheme = next((one for one in ("https", "http") if one in listed(document.get("schemes"))), "https")
        url = f"{scheme}://{document['host']}{text_of(document.get('basePath'))}"
        if origin_of(url):
            yield url, urlsplit(url).hostname or ""


def _client_credentials(said: Any) -> Any:
    if said.get("type") != "oauth2":
        return None
    if said.get("flow") in ("application", "accessCode", "password", "implicit"):
        return said if said["flow"] == "application" else None
    return texts(said.get("flows")).get("clientCredentials")


def _take(settings: Settings, scheme: str, said: Any, server: str) -> None:
    kind = said.get("type")
    if (flow := _client_credentials(said)) is not None:
        url = text_of(texts(flow).get("tokenUrl"))
        settings.set("TOKEN_ENDPOINT", urljoin(server, url) if url else "")
        settings.set("SCOPE", " ".join(map(str, texts(texts(flow).get("scopes")))))
        settings.notes["SCOPE"] = "all scopes of the document; keep those that you need"
    elif kind == "oauth2":
        flows = texts(said.get("flows")) or {text_of(said.get("flow")): said}
        name, flow = next(iter(flows.items()), ("", {}))
        settings.grant({"authorizationCode": "authorization_code", "accessCode": "authorization_code"}.get(name, name))
        settings.set("TOKEN_ENDPOINT", urljoin(server, text_of(texts(flow).get("tokenUrl"))))
        if "AUTHORIZATION_ENDPOINT" not in settings.values and texts(flow).get("authorizationUrl"):
            settings.set("AUTHORIZATION_ENDPOINT", urljoin(server, text_of(texts(flow).get("authorizationUrl"))))
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
    else:
        settings.left_out.append(f"the scheme {scheme[:40]} is of a kind that has no equal here")

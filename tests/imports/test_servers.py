"""Hosts, servers and variables as other programs write them."""

from pathlib import Path
from typing import Any

import pytest

from credential_injector.imports.settings import origin_of
from tests.imports.test_formats import drafts, listed, postman, read, written
from tests.imports.test_hostile import API, LOGIN, run

BEARER = {"type": "bearer", "token": "t"}
SCHEME = {"type": "http", "scheme": "bearer"}


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://api:8080/orders", "http://api:8080"),
        ("https://api", "https://api"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("localhost/a", "https://localhost"),
        ("api.example.com/a", "https://api.example.com"),
        ("api:8080/a", ""),
        ("word", ""),
        ("", ""),
        ("ftp://api", ""),
        ("http://[::1", ""),
        ("/relative", ""),
    ],
)
def test_origin(url: str, origin: str) -> None:
    """A name without dots is a host where a scheme says so."""
    assert origin_of(url) == origin


def test_single_label(tmp_path: Path) -> None:
    """Containers call each other by such names."""
    (draft,) = drafts(postman(tmp_path, listed("bearer", token="t"), url="http://api:8080/orders"))
    assert draft.values["HOST"] == "http://api:8080"


def document(schemes: dict[str, Any], servers: Any = None, **more: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"openapi": "3.0.0", "info": {"title": "Orders"}, "components": {"securitySchemes": schemes}}
    return {**said, **({"servers": servers} if servers is not None else {}), **more}


@pytest.mark.parametrize("servers", [None, [], [{"url": "/v1"}], [{"url": "https://{tenant}.example.com"}]])
def test_without_servers(tmp_path: Path, servers: Any) -> None:
    """A document may leave its servers out: HOST is to be filled in."""
    flow = {"tokenUrl": f"{LOGIN}/t", "scopes": {}}
    oauth2 = {"type": "oauth2", "flows": {"clientCredentials": flow}}
    path = written(tmp_path, "api.json", document({"k": oauth2}, servers))
    (draft,) = drafts(path)
    assert (draft.name, draft.values["TOKEN_ENDPOINT"]) == ("orders", f"{LOGIN}/t")
    assert "HOST" not in draft.values
    assert "names no server with a host" in draft.notes["HOST"]
    assert "fill in HOST, CLIENT_ID" in (result := run(tmp_path, str(path))).output, result.output


def test_relative_without_servers(tmp_path: Path) -> None:
    """A token endpoint that begins at such a server is told."""
    oauth2 = {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "/t", "scopes": {}}}}
    path = written(tmp_path, "api.json", document({"k": oauth2}))
    (draft,) = drafts(path)
    assert "TOKEN_ENDPOINT" not in draft.values
    assert "/t, which begins at a server" in draft.notes["TOKEN_ENDPOINT"]
    assert run(tmp_path, str(path)).exit_code == 0


@pytest.mark.parametrize(
    ("server", "made"),
    [
        (
            {
                "url": "https://{env}.example.com/{version}",
                "variables": {"env": {"default": "dev", "enum": ["dev", "qa"]}, "version": {"enum": ["1", "2"]}},
            },
            {"dev-example-com": "https://dev.example.com", "qa-example-com": "https://qa.example.com"},
        ),
        (
            {
                "url": "https://{env}.example.com:{port}",
                "description": "EU",
                "variables": {
                    "env": {"enum": ["qa", "uat"], "default": "uat"},
                    "port": {"default": "8443", "enum": ["8443", 443]},
                },
            },
            {
                "eu": "https://uat.example.com:8443",
                "eu-443": "https://uat.example.com",
                "eu-qa": "https://qa.example.com:8443",
                "eu-qa-443": "https://qa.example.com",
            },
        ),
        (
            {"url": "{protocol}://a.example.com", "variables": {"protocol": {"enum": ["https"], "default": "https"}}},
            {"a-example-com": "https://a.example.com"},
        ),
    ],
)
def test_enumerated(tmp_path: Path, server: dict[str, Any], made: dict[str, str]) -> None:
    """A server whose host has a choice is one for each."""
    found = drafts(written(tmp_path, "api.json", document({"k": SCHEME}, [server])))
    assert {draft.name: draft.values["HOST"] for draft in found} == made


@pytest.mark.parametrize(
    ("schemes", "values", "told"),
    [
        ({"a": {"$ref": "#/components/x~1y/it%20em"}}, {"GRANT_TYPE": "basic"}, ""),
        ({"a": {"$ref": "#/components/securitySchemes/b"}, "b": SCHEME}, {"GRANT_TYPE": "static"}, "the scheme b"),
        ({"a": {"$ref": "#/components/securitySchemes/a"}}, {}, "in another file, or nowhere"),
        ({"a": {"$ref": "other.yaml#/b"}}, {}, "in another file, or nowhere"),
        ({"a": {"$ref": "#/nowhere"}}, {}, "in another file, or nowhere"),
        ({"a": {"$ref": ["#/"]}}, {}, "in another file, or nowhere"),
    ],
)
def test_reference(tmp_path: Path, schemes: dict[str, Any], values: dict[str, str], told: str) -> None:
    """A scheme may be a reference within the document; another one is told."""
    said = document(schemes, [{"url": API}])
    said["components"]["x/y"] = {"it em": {"type": "http", "scheme": "basic"}}
    (draft,) = drafts(written(tmp_path, "api.json", said))
    assert values.items() <= draft.values.items()
    assert told in "".join(draft.left_out)
    assert draft.values["HOST"] == API


def insomnia(version: int, folder: dict[str, Any], auth: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """A request in a folder that has variables, and one beside it, with the auth of the folder above both."""
    if version == 5:
        inner = {"name": "inner", "environment": folder, "children": [{"url": "{{ _.api }}/a", "name": "a"}]}
        outer = {"name": "outer", "authentication": auth, "children": [inner, {"url": "{{ _.api }}/b", "name": "b"}]}
        environments = {"name": "Base", "data": base}
        return {"type": "collection.insomnia.rest/5.0", "collection": [outer], "environments": environments}
    resources = [
        {"_id": "w", "_type": "workspace", "name": "x"},
        {"_id": "o", "_type": "request_group", "name": "outer", "parentId": "w", "authentication": auth},
        {"_id": "i", "_type": "request_group", "name": "inner", "parentId": "o", "environment": folder},
        {"_id": "a", "_type": "request", "name": "a", "url": "{{ _.api }}/a", "parentId": "i"},
        {"_id": "b", "_type": "request", "name": "b", "url": "{{ _.api }}/b", "parentId": "o"},
        {"_id": "e", "_type": "environment", "name": "Base", "parentId": "w", "data": base},
    ]
    return {"_type": "export", "__export_format": 4, "resources": resources}


@pytest.mark.parametrize("version", [4, 5])
def test_folder_environment(tmp_path: Path, version: int) -> None:
    """A folder's variables count before the environment's: for the URLs in it, and for the auth."""
    base = {"api": API, "keys": {"token": "of-base"}}
    said = insomnia(version, {"api": "https://inner.test"}, BEARER, base)
    (draft,) = drafts(written(tmp_path, "insomnia.json", said))
    assert draft.values["HOST"] == f"https://inner.test, {API}"
    said = insomnia(version, {"keys": {"token": "of-folder"}}, {**BEARER, "token": "{{ _.keys.token }}"}, base)
    made = {draft.values["VALUE"]: draft.values["HOST"] for draft in drafts(written(tmp_path, "insomnia.json", said))}
    assert made == {"of-folder": API, "of-base": API}


@pytest.mark.parametrize("contents", ["object", "text"])
def test_design_document(tmp_path: Path, contents: str) -> None:
    """An Insomnia design document's collection is read; without an auth in it, its OpenAPI document."""
    request = {"url": f"{API}/a", "name": "a", "authentication": BEARER}
    api = document({"k": {"type": "http", "scheme": "basic"}}, [{"url": API}])
    said: dict[str, Any] = {"type": "spec.insomnia.rest/5.0", "name": "x", "collection": [request]}
    text = '{"openapi": "3.0.0", "components": {"securitySchemes": {"k": {"type": "http", "scheme": "basic"}}}}'
    said["spec"] = {"contents": api if contents == "object" else text}
    (draft,) = drafts(written(tmp_path, "insomnia.json", said))
    assert read(draft).origins[0].host == "api.example.com"
    assert draft.values["VALUE"] == "t"
    del request["authentication"]
    (draft,) = drafts(written(tmp_path, "insomnia.json", said))
    assert draft.values["GRANT_TYPE"] == "basic"

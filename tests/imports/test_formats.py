"""What each format says becomes the right keys."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from credential_injector.cli.main import main
from credential_injector.environments.env_file import EnvFile
from credential_injector.environments.environment import Environment, parse
from credential_injector.imports.draft import Draft
from credential_injector.imports.env_text import env_text
from credential_injector.imports.formats import drafts_of
from credential_injector.imports.postman_script import read_script
from credential_injector.imports.source import NotImportable, open_source
from tests.imports.fixtures import CLIENT, FORMATS, GIVES_NO_HOST, GIVES_NO_SECRET, SCHEMA
from tests.imports.test_hostile import API, LOGIN, made


def drafts(*paths: str | Path) -> list[Draft]:
    return drafts_of([open_source(Path(path)) for path in paths])


def written(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def read(draft: Draft) -> Environment:
    file = EnvFile(Path("qa.env"), "qa.env")
    environment = parse(file, env_text(draft))
    assert environment is not None, file.mistakes
    return environment


@pytest.mark.parametrize("name", FORMATS)
def test_fixture(tmp_path: Path, name: str) -> None:
    """Each fixture gives one environment, which works but for what the format does not hold."""
    (draft,) = drafts(*made(name, tmp_path))
    assert "canary" not in repr(draft)
    if name in GIVES_NO_HOST:
        assert "HOST" not in draft.values
    elif name in GIVES_NO_SECRET:
        assert (draft.values["TOKEN_ENDPOINT"], draft.values["SCOPE"]) == (f"{LOGIN}/oauth2/v2.0/token", "read")
        assert draft.values["HOST"].startswith(API)
    else:
        environment = read(draft)
        assert environment.token_request.client_id == CLIENT
        assert environment.token_request.endpoint == f"{LOGIN}/oauth2/v2.0/token"
        assert str(environment.origins[0]) == API


def postman(folder: Path, auth: Any, **item: Any) -> Path:
    request = {"request": {"url": f"{API}/orders", **item}}
    return written(folder, "c.json", {"info": {"name": "x", "schema": SCHEMA}, "auth": auth, "item": [request]})


def listed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, kind: [{"key": key, "value": value} for key, value in fields.items()]}


OAUTH = {"accessTokenUrl": f"{LOGIN}/t", "clientId": "me", "clientSecret": "s"}


@pytest.mark.parametrize(
    ("auth", "values"),
    [
        (listed("bearer", token="tok"), {"GRANT_TYPE": "static", "VALUE": "tok"}),
        (listed("basic", username="u", password="p"), {"GRANT_TYPE": "basic", "USERNAME": "u", "PASSWORD": "p"}),
        (listed("apikey", key="X-Key", value="v"), {"HEADER": "X-Key", "PREFIX": "", "VALUE": "v"}),
        (listed("apikey", key="k", value="v", **{"in": "query"}), {"QUERY": "k", "VALUE": "v"}),
        (listed("oauth2", accessToken="tok", headerPrefix="Token"), {"VALUE": "tok", "PREFIX": "Token"}),
        (
            listed("oauth2", **OAUTH, grant_type="password_credentials", username="u", password="p"),
            {"GRANT_TYPE": "password", "USERNAME": "u", "PASSWORD": "p"},
        ),
        (
            listed("oauth2", **OAUTH, grant_type="authorization_code_with_pkce", authUrl=f"{LOGIN}/a"),
            {"GRANT_TYPE": "authorization_code", "AUTHORIZATION_ENDPOINT": f"{LOGIN}/a"},
        ),
        (listed("oauth2", **OAUTH, addTokenTo="queryParams"), {"QUERY": "access_token", "CLIENT_ID": "me"}),
        ({"type": "oauth2", "oauth2": OAUTH}, {"CLIENT_ID": "me", "HOST": API}),
        (
            listed(
                "oauth2",
                **OAUTH,
                tokenRequestParams=[
                    {"key": "audience", "value": "a", "enabled": True},
                    {"key": "org", "value": "b", "enabled": True},
                    {"key": "X-T", "value": "c", "send_as": "request_header"},
                    {"key": "off", "value": "d", "enabled": False},
                    {"key": "u", "value": "e", "send_as": "request_url"},
                ],
            ),
            {"AUDIENCE": "a", "TOKEN_PARAM_org": "b", "TOKEN_HEADER_X-T": "c"},
        ),
    ],
)
def test_postman(tmp_path: Path, auth: dict[str, Any], values: dict[str, str]) -> None:
    """Each kind of auth has its keys, in the list of v2.1 and in the object of v2.0."""
    (draft,) = drafts(postman(tmp_path, auth))
    assert values.items() <= draft.values.items()


@pytest.mark.parametrize("kind", ["digest", "hawk", "ntlm", "awsv4", "oauth1", "unknown"])
def test_no_equal(tmp_path: Path, kind: str) -> None:
    """What has no equal here is told."""
    (draft,) = drafts(postman(tmp_path, listed(kind, username="u")))
    assert draft.left_out
    assert CliRunner().invoke(main, ["import", str(tmp_path / "c.json"), "--envs", str(tmp_path / "e")]).exit_code == 0


def test_levels(tmp_path: Path) -> None:
    """A folder and a request may have an auth of their own, and a request may have none."""
    items = [
        {"name": "A", "auth": listed("bearer", token="a"), "item": [{"request": {"url": "https://a.test/"}}]},
        {"name": "B", "request": {"url": {"host": ["b", "test"]}, "auth": listed("bearer", token="b")}},
        {"request": "https://c.test/"},
        {"request": {"url": "https://d.test/", "auth": {"type": "noauth"}}},
    ]
    document = {"info": {"name": "x", "schema": SCHEMA}, "auth": listed("bearer", token="c"), "item": items}
    made_of = {draft.values["VALUE"]: draft.values["HOST"] for draft in drafts(written(tmp_path, "c.json", document))}
    assert made_of == {"a": "https://a.test", "b": "https://b.test", "c": "https://c.test"}


@pytest.mark.parametrize(
    ("script", "url", "form", "basic"),
    [
        (
            "const u = pm.variables.get('host') + '/t';\npm.sendRequest({ url: u,\n body: { mode: 'raw',"
            " raw: 'grant_type=client_credentials&client_id=' + pm.globals.get('id') }\n})",
            "{{host}}/t",
            {"grant_type": "client_credentials", "client_id": "{{id}}"},
            None,
        ),
        (
            "pm.sendRequest({url: `${pm.environment.get('h')}/t`,\n header: {'Authorization': 'Basic ' +"
            " btoa(pm.environment.get('i') + ':' + pm.environment.get('s'))},\n body: {urlencoded:"
            " [{key: 'grant_type', value: 'client_credentials'}]}})",
            "{{h}}/t",
            {"grant_type": "client_credentials"},
            ("{{i}}", "{{s}}"),
        ),
        (
            "pm.sendRequest({url: pm.variables.replaceIn('{{h}}/t'),\n body: {urlencoded:"
            ' [{key: "grant_type", value: "password"}, {key: \'x\', value: f()}]}})',
            "{{h}}/t",
            {"grant_type": "password"},
            None,
        ),
    ],
)
def test_script(script: str, url: str, form: dict[str, str], basic: tuple[str, str] | None) -> None:
    """Texts, variables and constants with plus signs between them are read; nothing is run."""
    found = read_script(script)
    assert found is not None
    assert (found.url, found.form, found.basic) == (url, form, basic)


@pytest.mark.parametrize(
    "script", ["", "pm.sendRequest('https://x.test/')", "pm.sendRequest({url: f()})", "x" * 300_000]
)
def test_no_script(script: str) -> None:
    """Anything else is no token request that can be read."""
    assert read_script(script) is None


def document(**schemes: Any) -> dict[str, Any]:
    servers = [{"url": API, "description": "QA"}]
    return {"openapi": "3.0.0", "servers": servers, "components": {"securitySchemes": schemes}}


@pytest.mark.parametrize(
    ("said", "values"),
    [
        (document(k={"type": "apiKey", "in": "query", "name": "key"}), {"QUERY": "key"}),
        (document(k={"type": "apiKey", "in": "cookie", "name": "sid"}), {"COOKIE": "sid"}),
        (document(k={"type": "apiKey", "in": "header", "name": "X-Key"}), {"HEADER": "X-Key", "PREFIX": ""}),
        (document(k={"type": "http", "scheme": "basic"}), {"GRANT_TYPE": "basic"}),
        (document(k={"type": "http", "scheme": "Bearer"}), {"GRANT_TYPE": "static"}),
        (
            document(k={"type": "openIdConnect", "openIdConnectUrl": f"{LOGIN}/.well-known/openid-configuration"}),
            {"ISSUER": LOGIN},
        ),
        (
            document(
                k={"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "/t", "scopes": {"a": "", "b": ""}}}}
            ),
            {"TOKEN_ENDPOINT": f"{API}/t", "SCOPE": "a b"},
        ),
        (
            document(
                k={
                    "type": "oauth2",
                    "flows": {"authorizationCode": {"tokenUrl": "/t", "authorizationUrl": f"{LOGIN}/a", "scopes": {}}},
                }
            ),
            {"GRANT_TYPE": "authorization_code", "AUTHORIZATION_ENDPOINT": f"{LOGIN}/a"},
        ),
        (
            {
                "swagger": "2.0",
                "host": "api.example.com",
                "basePath": "/v1",
                "securityDefinitions": {
                    "k": {"type": "oauth2", "flow": "application", "tokenUrl": f"{LOGIN}/t", "scopes": {}}
                },
            },
            {"TOKEN_ENDPOINT": f"{LOGIN}/t"},
        ),
    ],
)
def test_openapi(tmp_path: Path, said: dict[str, Any], values: dict[str, str]) -> None:
    """Flows for machines, else another scheme."""
    (draft,) = drafts(written(tmp_path, "api.json", said))
    assert values.items() <= draft.values.items()
    assert draft.values["HOST"].startswith(API)


def test_openapi_servers(tmp_path: Path) -> None:
    """A file for each server, named as it is described."""
    said = document(k={"type": "http", "scheme": "bearer"})
    said["servers"] = [{"url": API, "description": "QA"}, {"url": "https://prod.example.com"}, {"url": "/relative"}]
    assert [draft.name for draft in drafts(written(tmp_path, "api.json", said))] == ["qa", "prod-example-com"]


@pytest.mark.parametrize(
    ("auth", "values"),
    [
        ({"Type": "Mock", "Token": "tok"}, {"GRANT_TYPE": "static", "VALUE": "tok"}),
        ({"Type": "Basic", "Username": "u", "Password": "p"}, {"GRANT_TYPE": "basic", "USERNAME": "u"}),
        (
            {"Type": "OAuth2", "Grant Type": "Password", "Token URL": f"{LOGIN}/t", "Username": "u", "Password": "p"},
            {"GRANT_TYPE": "password", "USERNAME": "u"},
        ),
        (
            {"Type": "OAuth2", "Grant Type": "Device Authorization", "Device Auth URL": f"{LOGIN}/d"},
            {"GRANT_TYPE": "device_code", "DEVICE_AUTHORIZATION_ENDPOINT": f"{LOGIN}/d"},
        ),
        (
            {
                "Type": "OAuth2",
                "Grant Type": "Client Credentials",
                "Client ID": "me",
                "Client Secret": "s",
                "Custom Request Parameters": {
                    "audience": {"Value": "a", "Use": "In Token Request"},
                    "org": "b",
                    "resource": {"Value": ["x", "y"]},
                },
            },
            {
                "AUDIENCE": "a",
                "TOKEN_PARAM_org": "b",
                "RESOURCE": "x,y",
                "TOKEN_ENDPOINT_AUTH_METHOD": "client_secret_basic",
            },
        ),
        ({"Type": "Other"}, {}),
    ],
)
def test_jetbrains(tmp_path: Path, auth: dict[str, Any], values: dict[str, str]) -> None:
    """Each kind of auth has its keys."""
    said = {"dev": {"api": API, "Security": {"Auth": {"one": auth}}}}
    (draft,) = drafts(written(tmp_path, "http-client.env.json", said))
    assert values.items() <= draft.values.items()
    assert bool(draft.left_out) == (not values)


def bruno(folder: Path, mode: str, block: str, more: str = "") -> list[Draft]:
    written(folder, "bruno.json", {"name": "x"})
    written(folder, "list.bru", f"get {{\n  url: {API}/orders\n  auth: inherit\n}}\n")
    text = f"auth {{\n  mode: {mode}\n}}\n\nauth:{mode} {{\n{block}\n}}\n{more}"
    return drafts(written(folder, "collection.bru", text))


@pytest.mark.parametrize(
    ("mode", "block", "values"),
    [
        ("basic", "  username: u\n  password: p", {"GRANT_TYPE": "basic", "USERNAME": "u"}),
        ("bearer", "  token: tok", {"GRANT_TYPE": "static", "VALUE": "tok"}),
        ("apikey", "  key: k\n  value: v\n  placement: queryparams", {"QUERY": "k", "VALUE": "v"}),
        (
            "oauth2",
            f"  grant_type: password\n  access_token_url: {LOGIN}/t\n  client_id: me\n  client_secret: s\n"
            "  username: u\n"
            "  credentials_placement: basic_auth_header\n  token_placement: url\n  token_query_key: t",
            {"GRANT_TYPE": "password", "QUERY": "t", "TOKEN_ENDPOINT_AUTH_METHOD": "client_secret_basic"},
        ),
        (
            "oauth2",
            f"  grant_type: authorization_code\n  authorization_url: {LOGIN}/a\n  token_header_prefix: Token",
            {"GRANT_TYPE": "authorization_code", "AUTHORIZATION_ENDPOINT": f"{LOGIN}/a", "PREFIX": "Token"},
        ),
        ("digest", "  username: u", {}),
    ],
)
def test_bruno(tmp_path: Path, mode: str, block: str, values: dict[str, str]) -> None:
    """Each kind of auth has its keys."""
    more = "\nauth:oauth2:additional_params:access_token_req:body {\n  audience: a\n  ~off: b\n}\n"
    more += "\nscript:pre-request {\n  x\n}\n"
    (draft,) = bruno(tmp_path, mode, block, more)
    assert values.items() <= draft.values.items()
    assert bool(draft.left_out) == (not values)


def test_bruno_request(tmp_path: Path) -> None:
    """A request may have an auth of its own."""
    text = "post {\n  url: https://b.test/\n  auth: bearer\n}\n\nauth:bearer {\n  token: own\n}\n"
    written(tmp_path, "own.bru", text)
    made_of = bruno(tmp_path, "bearer", "  token: tok", "\nvars:secret [\n  a,\n  b\n]\n")
    assert {draft.values["VALUE"]: draft.values["HOST"] for draft in made_of} == {"tok": API, "own": "https://b.test"}


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    ("auth", "values"),
    [
        ({"type": "basic", "username": "u", "password": "p"}, {"GRANT_TYPE": "basic", "USERNAME": "u"}),
        ({"type": "bearer", "token": "tok", "prefix": "Token"}, {"VALUE": "tok", "PREFIX": "Token"}),
        ({"type": "apikey", "key": "k", "value": "v", "addTo": "queryParams"}, {"QUERY": "k"}),
        ({"type": "apikey", "key": "k", "value": "v", "addTo": "cookie"}, {"COOKIE": "k"}),
        (
            {
                "type": "oauth2",
                "grantType": "password",
                "accessTokenUrl": f"{LOGIN}/t",
                "username": "u",
                "tokenPrefix": "NO_PREFIX",
            },
            {"GRANT_TYPE": "password", "USERNAME": "u", "PREFIX": ""},
        ),
        ({"type": "digest", "username": "u"}, {}),
    ],
)
def test_insomnia(tmp_path: Path, version: int, auth: dict[str, Any], values: dict[str, str]) -> None:
    """Each kind of auth has its keys, in both versions."""
    said: dict[str, Any]
    if version == 4:
        resources = [
            {"_id": "w", "_type": "workspace", "name": "x"},
            {"_id": "r", "_type": "request", "url": f"{API}/a", "parentId": "w", "authentication": auth},
            {"_id": "e", "_type": "environment", "name": "Base", "parentId": "w", "data": {}},
        ]
        said = {"_type": "export", "__export_format": 4, "resources": resources}
    else:
        item = {"url": f"{API}/a", "name": "a", "authentication": auth}
        said = {
            "type": "collection.insomnia.rest/5.0",
            "name": "x",
            "collection": [item],
            "environments": {"name": "Base"},
        }
    (draft,) = drafts(written(tmp_path, "insomnia.json", said))
    assert values.items() <= draft.values.items()
    assert bool(draft.left_out) == (not values)


@pytest.mark.parametrize(
    ("command", "values"),
    [
        (
            f"curl '{LOGIN}/t' -H $'Authorization: Basic bWU6c2VjcmV0' "
            "--data 'grant_type=client_credentials&scope=a%20b'",
            {"CLIENT_ID": "me", "CLIENT_SECRET": "secret", "SCOPE": "a b"},
        ),
        (
            f"curl --url {LOGIN}/t -dgrant_type=password -F username=u --form password=p "
            "--data=client_id=me -H 'X-T: 1'",
            {"GRANT_TYPE": "password", "USERNAME": "u", "TOKEN_HEADER_X-T": "1"},
        ),
        (
            f"curl -s {LOGIN}/t \\\n -d grant_type=urn:ietf:params:oauth:grant-type:token-exchange"
            " -d subject_token=x -d org=y",
            {"GRANT_TYPE": "token_exchange", "SUBJECT_TOKEN": "x", "TOKEN_PARAM_org": "y"},
        ),
        (
            f"curl {LOGIN}/t -d grant_type=client_credentials -d client_id=me --cacert ca.pem --cert c.pem",
            {"CLIENT_ID": "me"},
        ),
    ],
)
def test_curl(tmp_path: Path, command: str, values: dict[str, str]) -> None:
    """The options of curl's that token requests need."""
    (draft,) = drafts(written(tmp_path, "curl.txt", command))
    assert values.items() <= draft.values.items()
    assert draft.values["TOKEN_ENDPOINT"] == f"{LOGIN}/t"
    assert len(draft.left_out) == (2 if "--cacert" in command else 0)


@pytest.mark.parametrize(("name", "status"), [("qa", 0), ("prod", 0), ("nobody", 2)])
def test_name(tmp_path: Path, name: str, status: int) -> None:
    """--name chooses one of several."""
    auth = {"Type": "Mock", "Token": "tok"}
    said = {one: {"api": f"https://{one}.test", "Security": {"Auth": {"x": auth}}} for one in ("qa", "prod")}
    path = written(tmp_path, "http-client.env.json", said)
    words = ["import", str(path), "--name", name, "--envs", str(tmp_path / "envs"), "--secrets", "env"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == status, result.output
    assert [one.stem for one in (tmp_path / "envs").glob("*")] == ([name] if status == 0 else [])


def test_same_host(tmp_path: Path) -> None:
    """Files of one host that are written together have AS, so that mitmproxy starts."""
    auth = {"a": {"Type": "Mock", "Token": "x"}, "b": {"Type": "Mock", "Token": "y"}}
    path = written(tmp_path, "http-client.env.json", {"qa": {"api": API, "Security": {"Auth": auth}}})
    result = CliRunner().invoke(main, ["import", str(path), "--envs", str(tmp_path / "envs")])
    assert result.exit_code == 0, result.output
    texts = [one.read_text() for one in sorted((tmp_path / "envs").glob("*"))]
    assert [("AS=" in text, "\nDEFAULT=true" in text) for text in texts].count((True, True)) == 1
    assert all("AS=" in text for text in texts)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("{{api}}/orders/{{id}}", API),
        ("{{api}}/o?since={{since}}", API),
        ("https://{{tenant}}.example.com/", None),
        ("{{unset}}/orders", None),
    ],
)
def test_variables_behind_the_host(tmp_path: Path, url: str, host: str | None) -> None:
    """What follows the host may have variables of its own."""
    item = {"request": {"url": url}}
    said = {"info": {"name": "x", "schema": SCHEMA}, "auth": listed("bearer", token="t"), "item": [item]}
    (draft,) = drafts(written(tmp_path, "c.json", said | {"variable": [{"key": "api", "value": API}]}))
    assert draft.values.get("HOST") == host
    assert ("HOST" in draft.notes) == (host is None)


def test_template(tmp_path: Path) -> None:
    """A prompt or a filter of a template language is no value."""
    (draft,) = drafts(postman(tmp_path, listed("basic", username="{% prompt 'x' %}", password="{{ _.x | upper }}")))
    assert draft.values == {"GRANT_TYPE": "basic", "HOST": API}
    assert {"USERNAME", "PASSWORD"} <= draft.notes.keys()


def test_no_auth_below(tmp_path: Path) -> None:
    """A request that says `none` is not covered by its folder's auth."""
    auth = {"type": "bearer", "token": "t"}
    resources = [
        {"_id": "w", "_type": "workspace", "name": "x"},
        {"_id": "f", "_type": "request_group", "parentId": "w", "authentication": auth},
        {"_id": "a", "_type": "request", "url": API, "parentId": "f", "authentication": {}},
        {"_id": "b", "_type": "request", "url": "https://b.test", "parentId": "f", "authentication": {"type": "none"}},
        {"_id": [], "_type": "environment", "name": "e", "parentId": "w", "data": {}},
    ]
    said = {"_type": "export", "__export_format": 4, "resources": resources}
    (draft,) = drafts(written(tmp_path, "insomnia.json", said))
    assert draft.values["HOST"] == API
    said["resources"] = [*resources, {"_id": "v", "_type": "workspace", "name": "y"}]
    with pytest.raises(NotImportable, match="has several workspaces"):
        drafts(written(tmp_path, "insomnia.json", said))


def test_bruno_folders(tmp_path: Path) -> None:
    """A folder's auth counts for what is in it, and a request without a word about auth has none."""
    bearer = "auth {{\n  mode: bearer\n}}\n\nauth:bearer {{\n  token: {}\n}}\n"
    written(tmp_path, "a/folder.bru", bearer.format("of-a"))
    written(tmp_path, "a/one.bru", "get {\n  url: https://a.test/\n  auth: inherit\n}\n")
    written(tmp_path, "a/two.bru", "get {\n  url: https://two.test/\n  auth: inherit\n}\n")
    written(tmp_path, "silent.bru", "get {\n  url: https://silent.test/\n}\n")
    made_of = {one.values["VALUE"]: one.values["HOST"] for one in bruno(tmp_path, "bearer", "  token: top")}
    assert made_of == {"top": API, "of-a": "https://a.test, https://two.test"}


def test_bruno_lines(tmp_path: Path) -> None:
    """The lines of a long text are no keys."""
    block = "  note: '''\n    token: evil\n  '''\n  token: good"
    (draft,) = bruno(tmp_path, "bearer", block)
    assert draft.values["VALUE"] == "good"


def test_jetbrains_hosts(tmp_path: Path) -> None:
    """Only what is called like the API's URL is one."""
    said = {
        "api_key": "ab.cd",
        "database": "db.internal.test",
        "redirect_url": "https://r.test/",
        "baseUrl": API,
        "Security": {"Auth": {"x": {"Type": "Mock", "Token": "t"}}},
    }
    (draft,) = drafts(written(tmp_path, "http-client.env.json", {"dev": said}))
    assert draft.values["HOST"] == API
    assert "canary" not in repr(open_source(written(tmp_path, "c.json", {"a": "canary"})))


ADVICE = ("REDIRECT_URI", "each login here makes a new one", "access token", "no parameters of one's own")


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ("postman", ["redirect_uri", "state", "useIdToken", "authRequestParams", "code_verifier", "invented"]),
        ("postman object", ["redirect_uri", "tokenRequestParams"]),
        ("postman token", ["redirect_uri", "state"]),
        (
            "jetbrains",
            ["Redirect URL", "Use ID Token", "Revoke URL", "State", "parameter nonce in auth request", "Invented"],
        ),
        ("bruno", ["callback_url", "state", "token_source", "parameter nonce of auth_req in queryparams", "invented"]),
        ("insomnia", ["redirectUrl", "state", "pkceMethod", "invented"]),
    ],
)
def test_settings_without_equal(tmp_path: Path, program: str, names: list[str]) -> None:
    """A setting that is not taken over is told, by its name and not by its value; what was not set is not."""
    values = {name: "canary" for name in names if not name.startswith("parameter")}
    unset: dict[str, Any] = {"u1": "", "u2": None, "u3": False, "u4": []}
    grant = {"grant_type": "authorization_code", "authUrl": f"{LOGIN}/a"}
    if program == "postman":
        extra: Any = {"useIdToken": True, "authRequestParams": [{"key": "prompt", "value": "canary"}]}
        extra |= {"challengeAlgorithm": "S256", "refreshTokenUrl": OAUTH["accessTokenUrl"], "tokenName": "x"}
        path = postman(tmp_path, listed("oauth2", **{**OAUTH, **grant, **values, **extra, **unset}))
    elif program == "postman object":
        params = {"tokenRequestParams": {"a": "canary"}}
        path = postman(tmp_path, {"type": "oauth2", "oauth2": {**OAUTH, **grant, **values, **params, **unset}})
    elif program == "postman token":
        path = postman(tmp_path, listed("oauth2", accessToken="t", **values, **unset))
    elif program == "jetbrains":
        auth = {"Type": "OAuth2", "Grant Type": "Authorization Code", "PKCE": True, **values, **unset}
        auth["Custom Request Parameters"] = {"nonce": {"Value": "canary", "Use": "In Auth Request"}}
        path = written(tmp_path, "http-client.env.json", {"dev": {"api": API, "Security": {"Auth": {"x": auth}}}})
    elif program == "bruno":
        lines = "\n".join(f"  {name}: {value}" for name, value in values.items())
        more = "\nauth:oauth2:additional_params:auth_req:queryparams {\n  nonce: canary\n}\n"
        block = f"  grant_type: authorization_code\n{lines}\n  u1:\n  u2: false\n  refresh_token_url: \n  pkce: true"
        (draft,) = bruno(tmp_path, "oauth2", block, more)
        path = tmp_path / "bruno.json"
    else:
        auth = {"type": "oauth2", "grantType": "authorization_code", "usePkce": True, **values, **unset}
        item = {"url": f"{API}/a", "name": "a", "authentication": auth}
        path = written(tmp_path, "insomnia.json", {"type": "collection.insomnia.rest/5.0", "collection": [item]})
    (draft,) = drafts(path)
    told = [line.partition(":")[0].removeprefix("the setting ").removeprefix("the ") for line in draft.left_out]
    assert {name.split(" in ")[0] for name in names} <= {one.split(" in ")[0] for one in told}
    assert len(told) == len(names), told
    assert "canary" not in "".join(draft.left_out)
    assert sum(any(one in line for one in ADVICE) for line in draft.left_out) >= 1


@pytest.mark.parametrize("program", ["postman", "insomnia", "bruno"])
def test_aws(tmp_path: Path, program: str) -> None:
    """AWS signatures have an equal, which is named."""
    if program == "postman":
        (draft,) = drafts(postman(tmp_path, listed("awsv4", accessKey="a")))
    elif program == "bruno":
        (draft,) = bruno(tmp_path, "awsv4", "  accessKeyId: a")
    else:
        item = {"url": f"{API}/a", "name": "a", "authentication": {"type": "iam", "accessKeyId": "a"}}
        said = {"type": "collection.insomnia.rest/5.0", "collection": [item]}
        (draft,) = drafts(written(tmp_path, "insomnia.json", said))
    assert any("GRANT_TYPE=aws_sigv4" in line for line in draft.left_out)

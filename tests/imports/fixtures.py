"""Files of other programs, in their published formats, for a server and an API of the test's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECRET = "canary-secret"
CLIENT = "e2e-client"
SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"

SCRIPT = [
    "const expiry = Number(pm.environment.get('expiry') || 0);",
    "if (!pm.environment.get('jwt') || expiry < new Date().getTime()) {",
    "  pm.sendRequest({",
    "    url: pm.environment.get('host') + '/oauth2/v2.0/token', method: 'POST',",
    "    header: { 'Content-Type': 'application/x-www-form-urlencoded' },",
    "    body: { mode: 'urlencoded', urlencoded: [",
    "      { key: 'grant_type', value: 'client_credentials' },",
    "      { key: 'scope', value: pm.environment.get('scope') },",
    "      { key: 'client_id', value: pm.environment.get('client_id') },",
    "      { key: 'client_secret', value: pm.environment.get('client_secret') } ] }",
    "  }, (err, res) => {",
    "    const j = res.json();",
    "    pm.environment.set('jwt', j.access_token);",
    "    pm.environment.set('expiry', new Date().getTime() + j.expires_in * 1000);",
    "  });",
    "}",
]


def _postman(auth: Any, script: list[str] | None = None) -> dict[str, Any]:
    test = {"listen": "test", "script": {"exec": ["pm.test('is 200', () => pm.response.to.have.status(200));"]}}
    events: list[Any] = [test]
    if script is not None:
        events.append({"listen": "prerequest", "script": {"type": "text/javascript", "exec": script}})
    collection = {
        "info": {"name": "Orders (QA)", "schema": SCHEMA},
        "event": events,
        "item": [
            {"name": "list", "request": {"method": "GET", "url": "{{api}}/orders"}},
            {
                "name": "Folder",
                "item": [
                    {
                        "name": "create",
                        "request": {
                            "method": "POST",
                            "url": {"raw": "{{api}}/orders?a=1", "host": ["{{api}}"], "path": ["orders"]},
                            "body": {"mode": "raw", "raw": "{}"},
                        },
                    }
                ],
            },
        ],
    }
    return {**collection, "auth": auth} if auth is not None else collection


def postman_environment(login: str, api: str) -> dict[str, Any]:
    values = {"host": login, "api": api, "client_id": CLIENT, "scope": "read"}
    made: list[dict[str, Any]] = [{"key": key, "value": value, "enabled": True} for key, value in values.items()]
    made.append({"key": "client_secret", "value": SECRET, "type": "secret", "enabled": True})
    made.append({"key": "password", "value": "switched-off", "enabled": False})
    return {"name": "QA", "values": made, "_postman_variable_scope": "environment"}


def _write(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def postman_script(folder: Path, login: str, api: str) -> list[str]:
    bearer = {"type": "bearer", "bearer": [{"key": "token", "value": "{{jwt}}", "type": "string"}]}
    return [
        _write(folder, "collection.json", _postman(bearer, SCRIPT)),
        _write(folder, "environment.json", postman_environment(login, api)),
    ]


def postman_without_auth(folder: Path) -> str:
    return _write(folder, "without-auth.json", _postman(None))


def postman_oauth2(folder: Path, login: str, api: str) -> list[str]:
    fields = {
        "grant_type": "client_credentials",
        "accessTokenUrl": "{{host}}/oauth2/v2.0/token",
        "clientId": "{{client_id}}",
        "clientSecret": "{{client_secret}}",
        "scope": "{{scope}}",
        "client_authentication": "header",
        "addTokenTo": "header",
    }
    auth = {"type": "oauth2", "oauth2": [{"key": key, "value": value} for key, value in fields.items()]}
    return [
        _write(folder, "collection.json", _postman(auth)),
        _write(folder, "environment.json", postman_environment(login, api)),
    ]


def postman_alone(folder: Path, login: str, api: str) -> list[str]:
    return [_write(folder, "environment.json", postman_environment(login, api))]


def jetbrains(folder: Path, login: str, api: str) -> list[str]:
    auth = {
        "Type": "OAuth2",
        "Grant Type": "Client Credentials",
        "Token URL": "{{login}}/oauth2/v2.0/token",
        "Client ID": CLIENT,
        "Client Secret": "{{secret}}",
        "Client Credentials": "in body",
        "Scope": "read",
    }
    public = {"$shared": {"login": login}, "qa": {"api_url": api, "Security": {"Auth": {"orders": auth}}}}
    _write(folder, "http-client.private.env.json", {"qa": {"secret": SECRET}})
    return [_write(folder, "http-client.env.json", public)]


def bruno(folder: Path, login: str, api: str) -> list[str]:
    _write(folder, "bruno/bruno.json", {"version": "1", "name": "orders", "type": "collection"})
    _write(
        folder,
        "bruno/collection.bru",
        "auth {\n  mode: oauth2\n}\n\nauth:oauth2 {\n  grant_type: client_credentials\n"
        "  access_token_url: {{host}}/oauth2/v2.0/token\n  refresh_token_url: \n  client_id: {{client_id}}\n"
        "  client_secret: {{client_secret}}\n  scope: {{scope}}\n  credentials_placement: body\n"
        "  credentials_id: credentials\n  token_placement: header\n  token_header_prefix: Bearer\n"
        "  auto_fetch_token: true\n  auto_refresh_token: false\n}\n",
    )
    for name, method in (("list", "get"), ("create", "post")):
        _write(
            folder,
            f"bruno/{name}.bru",
            f"meta {{\n  name: {name}\n  type: http\n  seq: 1\n}}\n\n{method} {{\n  url: {{{{api}}}}/orders\n"
            "  body: none\n  auth: inherit\n}\n\nassert {\n  res.status: eq 200\n}\n",
        )
    _write(
        folder,
        "bruno/environments/qa.bru",
        f"vars {{\n  host: {login}\n  api: {api}\n  client_id: {CLIENT}\n  client_secret: {SECRET}\n  scope: read\n"
        "  ~scope: switched-off\n}\n",
    )
    return [str(folder / "bruno")]


def opencollection(folder: Path, login: str, api: str) -> list[str]:
    text = f"""\
opencollection: 1.0.0
info:
  name: orders
config:
  environments:
    - name: QA
      variables:
        - name: host
          value: {login}
        - name: api
          value:
            - title: one
              value: https://other.example.com
            - title: two
              selected: true
              value: {{type: string, data: "{api}"}}
        - name: client_secret
          value: {SECRET}
        - name: scope
          value: read
        - name: scope
          value: switched-off
          disabled: true
        - secret: true
          name: unused
request:
  auth:
    type: oauth2
    flow: client_credentials
    accessTokenUrl: "{{{{host}}}}/oauth2/v2.0/token"
    credentials:
      clientId: {CLIENT}
      clientSecret: "{{{{client_secret}}}}"
      placement: body
    scope: "{{{{scope}}}}"
    tokenConfig:
      id: credentials
      placement: {{header: Bearer}}
    settings: {{autoFetchToken: true, autoRefreshToken: false}}
items:
  - info: {{name: all, type: folder}}
    items:
      - info: {{name: list, type: http}}
        http: {{method: GET, url: "{{{{api}}}}/orders", auth: inherit}}
      - info: {{name: health, type: http}}
        http: {{method: GET, url: "https://without.example.com/health"}}
bundled: true
"""
    return [_write(folder, "orders.yml", text)]


def bruno_json(folder: Path, login: str, api: str) -> list[str]:
    oauth2 = {
        "grantType": "client_credentials",
        "accessTokenUrl": "{{host}}/oauth2/v2.0/token",
        "refreshTokenUrl": "",
        "clientId": CLIENT,
        "clientSecret": "{{client_secret}}",
        "scope": "read",
        "credentialsPlacement": "body",
        "credentialsId": "credentials",
        "tokenPlacement": "header",
        "tokenHeaderPrefix": "Bearer",
        "autoFetchToken": True,
    }
    request = {"url": "{{api}}/orders", "method": "GET", "auth": {"mode": "inherit"}}
    values = {"host": login, "api": api, "client_secret": SECRET}
    document = {
        "name": "orders",
        "version": "1",
        "items": [{"type": "folder", "name": "all", "items": [{"type": "http", "name": "list", "request": request}]}],
        "environments": [
            {"name": "QA", "variables": [{"name": name, "value": one, "enabled": True} for name, one in values.items()]}
        ],
        "root": {"request": {"auth": {"mode": "oauth2", "oauth2": oauth2, "basic": None}}},
        "brunoConfig": {"version": "1", "name": "orders", "type": "collection"},
    }
    return [_write(folder, "bruno.json", document)]


def insomnia_4(folder: Path, login: str, api: str) -> list[str]:
    auth = {
        "type": "oauth2",
        "grantType": "client_credentials",
        "accessTokenUrl": "{{ _.login }}/oauth2/v2.0/token",
        "clientId": CLIENT,
        "clientSecret": "{{ _.keys.secret }}",
        "scope": "read",
        "credentialsInBody": True,
    }
    resources = [
        {"_id": "wrk_1", "_type": "workspace", "name": "orders", "parentId": None},
        {"_id": "fld_1", "_type": "request_group", "name": "all", "parentId": "wrk_1", "authentication": auth},
        {"_id": "req_1", "_type": "request", "url": "{{ _.api }}/orders", "parentId": "fld_1", "authentication": {}},
        {"_id": "env_1", "_type": "environment", "name": "Base", "parentId": "wrk_1", "data": {"login": login}},
        {
            "_id": "env_2",
            "_type": "environment",
            "name": "QA",
            "parentId": "env_1",
            "data": {"api": api, "keys": {"secret": SECRET}},
        },
    ]
    return [_write(folder, "insomnia.json", {"_type": "export", "__export_format": 4, "resources": resources})]


def insomnia_5(folder: Path, login: str, api: str) -> list[str]:
    text = f"""\
type: collection.insomnia.rest/5.0
name: orders
collection:
  - name: all
    authentication:
      type: oauth2
      grantType: client_credentials
      accessTokenUrl: "{{{{ _.login }}}}/oauth2/v2.0/token"
      clientId: {CLIENT}
      clientSecret: "{{{{ _.secret }}}}"
      scope: read
      credentialsInBody: false
    children:
      - url: "{{{{ _.api }}}}/orders"
        name: list
        method: GET
environments:
  name: Base
  data:
    login: {login}
  subEnvironments:
    - name: QA
      data:
        api: {api}
        secret: {SECRET}
"""
    return [_write(folder, "insomnia.yaml", text)]


def openapi(folder: Path, login: str, api: str) -> list[str]:
    flow = {"tokenUrl": f"{login}/oauth2/v2.0/token", "scopes": {"read": "to read"}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "orders", "version": "1"},
        "servers": [{"url": f"{api}/{{version}}", "description": "QA", "variables": {"version": {"default": "v1"}}}],
        "components": {"securitySchemes": {"machines": {"type": "oauth2", "flows": {"clientCredentials": flow}}}},
        "paths": {},
    }
    return [_write(folder, "openapi.json", document)]


def curl(folder: Path, login: str, _: str) -> list[str]:
    command = (
        f"$ curl -X POST '{login}/oauth2/v2.0/token' \\\n  -H 'Content-Type: application/x-www-form-urlencoded' \\\n"
        f"  -d grant_type=client_credentials --data-urlencode 'scope=read' \\\n  -u {CLIENT}:{SECRET} | jq .\n"
    )
    return [_write(folder, "curl.txt", command)]


FORMATS: dict[str, Callable[[Path, str, str], list[str]]] = {
    "postman_script": postman_script,
    "postman_oauth2": postman_oauth2,
    "postman_alone": postman_alone,
    "jetbrains": jetbrains,
    "bruno": bruno,
    "opencollection": opencollection,
    "bruno_json": bruno_json,
    "insomnia_4": insomnia_4,
    "insomnia_5": insomnia_5,
    "openapi": openapi,
    "curl": curl,
}
"""Each writes its files, for a server that issues tokens and an API, and returns what `import` is called with."""
GIVES_NO_SECRET = ("openapi",)
GIVES_NO_HOST = ("curl",)

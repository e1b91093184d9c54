"""The hooks, with mitmproxy's own test helpers."""

import asyncio
import gc
import logging
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy import exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Server
from mitmproxy.proxy.commands import StartHook
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._hooks import (
    HttpErrorHook,
    HttpRequestHeadersHook,
    HttpRequestHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
)
from mitmproxy.proxy.layers.quic import QuicStartServerHook
from mitmproxy.proxy.layers.tls import TlsStartServerHook
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow
from mitmproxy.tls import TlsData

from credential_injector.environments.folder import open_folder
from credential_injector.oauth.fingerprints import fingerprint
from credential_injector.oauth.refresh_token import RefreshToken
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.proxy import record, routes
from credential_injector.proxy.addon import CredentialInjector
from credential_injector.proxy.routes import Asking
from credential_injector.tokens import file_store
from credential_injector.tokens import source as token_source
from credential_injector.tokens import store as token_store
from tests.fakes import answering
from tests.fakes import http as http_answer

SECRET = "canary-secret"


class Endpoint:
    """In place of the token endpoint."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ways: list[Transport] = []
        self.error: Exception | None = None

    async def __call__(self, name: str, asking: Asking, asked_at: float) -> AccessToken:
        request = asking.request
        self.asked.append(request.client_id)
        self.ways.append(asking.transport)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return AccessToken(f"token-{request.client_id}-{len(self.asked)}", asked_at, asked_at + 3600)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    endpoint = Endpoint()
    monkeypatch.setattr(routes, "_request_token", endpoint)
    return endpoint


class Proxy:
    """The add-on in mitmproxy's test context."""

    def __init__(self, folder: Path, context: Any, injector: Any) -> None:
        self.folder = folder
        self.context = context
        self.addon = injector

    def env(self, text: str = "", *, name: str = "qa", host: str = "https://api.example.com") -> "Proxy":
        lines = f"HOST={host}\nCLIENT_ID={name}\nCLIENT_SECRET={SECRET}\n"
        if "TOKEN_ENDPOINT" not in text:
            lines += "TOKEN_ENDPOINT=https://login.example.com/t\n"
        (self.folder / f"{name}.env").write_text(f"{lines}{text}\n")
        self.set(inject_envs=str(self.folder))
        return self

    def set(self, **options: Any) -> None:
        self.context.configure(self.addon, **options)

    async def send(self, flow: http.HTTPFlow | None = None) -> http.HTTPFlow:
        flow = flow if flow is not None else request()
        await self.context.master.addons.handle_lifecycle(HttpRequestHeadersHook(flow))
        return flow


@pytest.fixture
async def proxy(tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    monkeypatch.chdir(tmp_path)
    injector = CredentialInjector()
    with taddons.context(injector) as context:  # type: ignore[no-untyped-call]
        context.options.add_option("stream_large_bodies", str | None, None, "")
        context.options.add_option("keep_host_header", bool, False, "")
        context.options.add_option("upstream_auth", str | None, None, "")
        folder = tmp_path / "envs"
        folder.mkdir()
        injector.configure(set(context.options.keys()))  # mitmproxy does this with every option when it loads a script
        injector.running()
        yield Proxy(folder, context, injector)
        injector.done()


def request(
    url: str = "https://api.example.com/orders", *, method: str = "GET", mode: str = "regular", **headers: str
) -> http.HTTPFlow:
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    flow = tflow.tflow(req=http.Request.make(method, url, headers=fields))
    flow.live = True
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    flow.client_conn.peername = ("127.0.0.1", 50000)
    flow.client_conn.sni = flow.request.host if flow.request.scheme == "https" else None
    flow.server_conn.sni = None
    return flow


def token(flow: http.HTTPFlow) -> str | None:
    return flow.request.headers.get("Authorization")


def action(flow: http.HTTPFlow) -> str:
    return str(flow.metadata["inject"]["action"])


async def test_a_request_to_a_configured_host_gets_the_token(proxy: Proxy, endpoint: Endpoint) -> None:
    proxy.env()
    first, second = await proxy.send(), await proxy.send()
    assert token(first) == token(second) == "Bearer token-qa-1"
    assert [flow.metadata["inject"]["source"] for flow in (first, second)] == ["fetched", "cached"]
    assert first.marked == ":key:"
    assert second.comment.startswith("qa: token injected (cached, ")
    assert endpoint.asked == ["qa"]


async def test_with_the_token_at_hand_the_hook_awaits_nothing(proxy: Proxy) -> None:
    proxy.env()
    await proxy.send()
    flow = request()
    assert proxy.addon.requestheaders(flow) is None
    assert token(flow) == "Bearer token-qa-1"


async def test_a_request_to_another_host_carries_nothing(proxy: Proxy, endpoint: Endpoint) -> None:
    proxy.env()
    flow = await proxy.send(request("https://other.example.com/", Authorization="Basic eA=="))
    assert token(flow) == "Basic eA=="
    assert (flow.metadata, flow.comment, flow.marked) == ({}, "", "")
    assert endpoint.asked == []


@pytest.mark.parametrize("state", ["answered", "failed", "read from a file"])
async def test_a_flow_that_is_not_about_to_be_sent_is_left_alone(proxy: Proxy, state: str) -> None:
    proxy.env()
    flow = request()
    if state == "answered":
        flow.response = http.Response.make(407)
    elif state == "failed":
        flow.error = tflow.terr()
    else:
        flow.live = False
    await proxy.send(flow)
    assert token(flow) is None
    assert flow.metadata == {}


async def test_300_requests_at_once_cost_one_token_request(proxy: Proxy, endpoint: Endpoint) -> None:
    proxy.env()
    flows = await asyncio.gather(*(proxy.send() for _ in range(300)))
    assert {token(flow) for flow in flows} == {"Bearer token-qa-1"}
    assert endpoint.asked == ["qa"]


async def test_each_environment_gets_its_own_token_and_equal_ones_share_it(proxy: Proxy, endpoint: Endpoint) -> None:
    proxy.env(name="qa").env(name="dev", host="https://dev.example.com")
    twin = proxy.folder / "twin.env"
    twin.write_text((proxy.folder / "qa.env").read_text().replace("api.", "twin."))
    proxy.set(inject_envs=str(proxy.folder), inject_env="")
    hosts = ("api", "dev", "twin")
    flows = [await proxy.send(request(f"https://{host}.example.com/")) for host in hosts]
    assert [token(flow) for flow in flows] == ["Bearer token-qa-1", "Bearer token-dev-2", "Bearer token-qa-1"]


@pytest.mark.parametrize(
    ("overwrite", "sent", "arrives", "did", "replaced"),
    [
        ("always", None, "Bearer token-qa-1", "injected", None),
        ("always", "Basic eA==", "Bearer token-qa-1", "injected", "Basic"),
        ("always", "canary", "Bearer token-qa-1", "injected", "another value"),
        ("never", None, "Bearer token-qa-1", "injected", None),
        ("never", "Basic eA==", "Basic eA==", "kept", None),
        ("only", None, None, "skipped", None),
        ("only", "Basic eA==", "Bearer token-qa-1", "injected", "Basic"),
    ],
)
async def test_overwrite_decides_about_a_credential_of_the_clients(
    proxy: Proxy, overwrite: str, sent: str | None, arrives: str | None, did: str, replaced: str | None
) -> None:
    proxy.env(f"OVERWRITE={overwrite}")
    flow = await proxy.send(request(**({"Authorization": sent} if sent else {})))
    assert token(flow) == arrives
    assert action(flow) == did
    assert flow.metadata["inject"]["replaced"] == replaced
    assert "canary" not in flow.comment


async def test_every_credential_that_the_client_sent_is_replaced(proxy: Proxy) -> None:
    proxy.env()
    flow = request()
    flow.request.headers.set_all("authorization", ["Basic eA==", "Bearer old"])
    await proxy.send(flow)
    assert flow.request.headers.get_all("Authorization") == ["Bearer token-qa-1"]


async def test_header_and_prefix_are_the_files(proxy: Proxy) -> None:
    proxy.env("HEADER=X-Api-Token\nPREFIX=")
    flow = await proxy.send(request(Authorization="Basic eA=="))
    assert flow.request.headers["X-Api-Token"] == "token-qa-1"
    assert token(flow) == "Basic eA=="


async def test_the_headers_name_is_lower_case_in_http2(proxy: Proxy) -> None:
    proxy.env()
    flow = request()
    flow.request.http_version = "HTTP/2.0"
    await proxy.send(flow)
    assert flow.request.headers.fields[-1] == (b"authorization", b"Bearer token-qa-1")


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2.0"])
async def test_further_headers_go_where_the_token_goes(proxy: Proxy, version: str) -> None:
    proxy.env(f"HEADER_X-Tenant={SECRET}\nHEADER_X-Key=x")
    flow = request(**{"x-tenant": "mine"})
    flow.request.http_version = version
    await proxy.send(flow)
    names = (b"x-tenant", b"x-key", b"authorization")
    sent = {name: value for name, value in flow.request.headers.fields if name.lower() in names}
    assert set(sent.values()) == {SECRET.encode(), b"x", b"Bearer token-qa-1"}
    assert version == "HTTP/1.1" or set(sent) == set(names)
    assert "- X-Tenant: <secret>\n- X-Key: <secret>" in flow.comment
    assert SECRET not in f"{flow.comment} {flow.metadata}"
    stranger = request()
    stranger.client_conn.peername = ("203.0.113.9", 50000)
    assert "x-tenant" not in (await proxy.send(stranger)).request.headers


@pytest.mark.parametrize(
    ("lines", "header", "value"),
    [
        (f"GRANT_TYPE=static\nVALUE={SECRET}", "Authorization", f"Bearer {SECRET}"),
        (f"GRANT_TYPE=static\nVALUE={SECRET}\nHEADER=X-Api-Key\nPREFIX=", "X-Api-Key", SECRET),
        ("GRANT_TYPE=basic\nUSERNAME=mé\nPASSWORD=p:w", "Authorization", "Basic bcOpOnA6dw=="),
    ],
)
async def test_a_credential_of_the_files_own_is_asked_of_nobody(
    proxy: Proxy, endpoint: Endpoint, caplog: pytest.LogCaptureFixture, lines: str, header: str, value: str
) -> None:
    caplog.set_level(logging.INFO)
    (proxy.folder / "qa.env").write_text(f"HOST=https://api.example.com\n{lines}\n")
    proxy.set(inject_envs=str(proxy.folder), inject_tokens=str(proxy.folder / "tokens"))
    kind = lines.partition("\n")[0].removeprefix("GRANT_TYPE=")
    for _ in range(2):
        flow = await proxy.send(request(**{header: "Basic eA=="}))
        assert flow.request.headers[header] == value
        assert flow.comment.startswith(f"qa: {kind} credential injected, replaced Basic\n- {header}: ")
        assert flow.metadata["inject"]["expires_at"] is flow.metadata["inject"]["token"] is None
    assert endpoint.asked == []
    assert not (proxy.folder / "tokens").exists()
    (status,) = proxy.context.master.commands.call("inject.status")
    assert f": {kind} credential; " in status
    assert "0 token requests" in status
    assert f"qa: https://api.example.com with the credential in {proxy.folder / 'qa.env'}" in caplog.messages
    told = f"{flow.comment} {flow.metadata} {status} {caplog.text}"
    assert SECRET not in told
    assert "sha256" not in told


async def test_a_flow_tells_that_nobody_verified_the_authorization_server(proxy: Proxy) -> None:
    proxy.env()
    assert "INSECURE_TLS" not in (await proxy.send()).comment
    proxy.env("INSECURE_TLS=true\nMETHODS=GET")
    for method in ("GET", "POST"):
        flow = await proxy.send(request(method=method))
        assert flow.comment.endswith("\n- INSECURE_TLS: nobody verifies which server issues the tokens")


async def test_the_authorization_server_is_reached_as_mitmproxy_reaches_others(
    proxy: Proxy, endpoint: Endpoint
) -> None:
    proxy.env()
    await proxy.send()
    proxy.set(ssl_verify_upstream_trusted_ca="ca.pem", mode=["socks5", "upstream:https://[::1]:3128"])
    await proxy.send()
    proxy.set(upstream_auth="me:p@ss:w")
    await proxy.send()
    proxy.env("PROXY=direct")
    await proxy.send()
    proxy.set(mode=["regular"])
    await proxy.send()
    way = Transport(ca_file="ca.pem", proxy="https://[::1]:3128")
    login = Transport(ca_file="ca.pem", proxy="https://me:p%40ss%3Aw@[::1]:3128")
    assert endpoint.ways == [Transport(proxy=""), way, login, Transport(ca_file="ca.pem", proxy="")]


async def test_a_refresh_token_that_memory_will_lose_is_told_once(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.undo()

    class TokenEndpoint:
        asked = 0
        published = ()

        def __init__(self, request: TokenRequest, transport: Transport, network: object) -> None:
            pass

        async def token(self, asked_at: float, refresh_token: str) -> AccessToken:
            TokenEndpoint.asked += 1
            # The first answer brings no other refresh token, all further ones do.
            came = f"refresh-{TokenEndpoint.asked}" if TokenEndpoint.asked > 1 else SECRET
            assert refresh_token == [SECRET, SECRET, "refresh-2", "refresh-3"][TokenEndpoint.asked - 1]
            return AccessToken(f"{TokenEndpoint.asked}", asked_at, asked_at + 60, refresh_token=came)

    monkeypatch.setattr(routes._import_token_endpoint(), "TokenEndpoint", TokenEndpoint)
    proxy.env(f"GRANT_TYPE=refresh_token\nREFRESH_TOKEN={SECRET}")
    said: list[int] = []
    for _ in range(4):
        proxy.context.master.commands.call("inject.refresh", "qa")
        while TokenEndpoint.asked == len(said):  # noqa: ASYNC110 - it runs beside this
            await asyncio.sleep(0)
        await proxy.send()
        said.append(sum("the server has replaced the refresh token" in message for message in caplog.messages))
    assert said == [0, 1, 1, 1]
    assert SECRET not in caplog.text


async def test_a_refresh_token_outlives_a_change_of_the_way_to_the_server(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    shown: list[str] = []

    class TokenEndpoint:
        published = ()

        def __init__(self, request: TokenRequest, transport: Transport, network: object) -> None:
            pass

        async def token(self, asked_at: float, refresh_token: str) -> AccessToken:
            shown.append(refresh_token)
            return AccessToken(f"{len(shown)}", asked_at, asked_at + 60, refresh_token=f"refresh-{len(shown)}")

    monkeypatch.setattr(routes._import_token_endpoint(), "TokenEndpoint", TokenEndpoint)
    proxy.env(f"GRANT_TYPE=refresh_token\nREFRESH_TOKEN={SECRET}")
    await proxy.send()
    proxy.set(ssl_verify_upstream_trusted_ca="ca.pem")
    await proxy.send()
    proxy.env(f"GRANT_TYPE=refresh_token\nREFRESH_TOKEN={SECRET}-2")
    await proxy.send()
    assert shown == [SECRET, "refresh-1", f"{SECRET}-2"]


async def test_another_method_is_blocked_with_a_reason(proxy: Proxy, endpoint: Endpoint) -> None:
    proxy.env("METHODS=GET,HEAD")
    flow = await proxy.send(request(method="DELETE"))
    assert flow.response is not None
    assert flow.response.status_code == 502
    assert flow.response.text is not None
    assert "DELETE is not in METHODS=GET,HEAD of " in flow.response.text
    assert action(flow) == "blocked"
    assert endpoint.asked == []
    assert token(await proxy.send()) == "Bearer token-qa-1"
    assert token(await proxy.send(request(method="get"))) == "Bearer token-qa-1"
    strange = await proxy.send(request(method="\x1b[31mX"))
    assert strange.comment.startswith("qa: left as the client sent it: its method is no token")


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "x-method-override", "X-HTTP-Method"])
async def test_method_override(proxy: Proxy, name: str) -> None:
    """METHODS holds for the method that a server takes instead of the request's, too."""
    proxy.env("METHODS=GET,POST")
    flow = await proxy.send(request(method="POST", **{name: " delete "}))
    assert flow.response is not None
    assert "DELETE is not in METHODS=GET,POST of " in (flow.response.text or "")
    flow = await proxy.send(request("https://api.example.com/orders?_method=PUT", method="POST"))
    assert "PUT is not in METHODS=GET,POST of " in flow.comment
    assert token(await proxy.send(request(method="POST", **{name: "GET"}))) == "Bearer token-qa-1"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://api.example.com/orders", "HOST is https://api.example.com/orders, and this was http"),
        ("https://api.example.com:8443/orders", "HOST is https://api.example.com/orders, and this was port 8443"),
        ("https://api.example.com/login", "HOST is https://api.example.com/orders, and this path is not below it"),
        ("http://localhost:9000/", "HOST is http://127.0.0.1:9000, and this was localhost"),
        ("http://127.0.0.1:9001/", "HOST is http://127.0.0.1:9000, and this was port 9001"),
        ("http://x.wild.example:81/", "HOST is https://*.wild.example, and this was http"),
        ("https://wild.example/", ""),
        ("https://api.example.com/orders", "token injected"),
    ],
)
async def test_other_form(proxy: Proxy, caplog: pytest.LogCaptureFixture, url: str, told: str) -> None:
    """A request to a host that an environment names in another form says so, the log once for each kind."""
    proxy.env(host="https://api.example.com/orders,http://127.0.0.1:9000,https://*.wild.example")
    first, second = await proxy.send(request(url)), await proxy.send(request(url))
    assert told in first.comment
    assert told in second.comment
    assert (first.marked == ":warning:") == (told != "" and not re.search("token|path|port 9001", told))
    assert caplog.text.count("HOST is ") == told.count("HOST is ")


async def test_other_form_of_a_token_endpoint_or_a_preflight(proxy: Proxy) -> None:
    """Neither is a mistake."""
    proxy.env("TOKEN_ENDPOINT=https://api.example.com/token", host="https://api.example.com/orders")
    preflight = request("http://api.example.com/", method="OPTIONS", **{"Access-Control-Request-Method": "PUT"})
    for flow in (request("https://api.example.com/token", method="POST"), preflight):
        assert (await proxy.send(flow)).metadata == {}


async def test_a_cors_preflight_passes_untouched(proxy: Proxy, endpoint: Endpoint) -> None:
    proxy.env("METHODS=GET")
    flow = await proxy.send(request(method="OPTIONS", **{"Access-Control-Request-Method": "GET"}))
    assert (flow.response, flow.metadata, endpoint.asked) == (None, {}, [])


async def test_without_a_token_the_request_is_blocked(proxy: Proxy, endpoint: Endpoint) -> None:
    proxy.env()
    endpoint.error = NoToken("invalid_client", "the token endpoint answered 401", lasting=True)
    flow = await proxy.send()
    assert flow.response is not None
    assert flow.response.status_code == 502
    assert flow.response.text is not None
    assert flow.response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert flow.response.headers["Cache-Control"] == "no-store"
    (line,) = flow.response.text.splitlines()
    assert line.startswith("qa: request blocked: no token (invalid_client): the token endpoint answered 401; check CLI")
    assert line.endswith("; next try in 60 s")
    assert flow.comment == line
    assert flow.marked == ":no_entry:"


async def test_without_a_token_the_request_may_pass_as_the_client_sent_it(proxy: Proxy, endpoint: Endpoint) -> None:
    proxy.env("WITHOUT_TOKEN=pass")
    endpoint.error = NoToken("unreachable", "no")
    flow = await proxy.send(request(Authorization="Basic eA=="))
    assert flow.response is None
    assert token(flow) == "Basic eA=="
    assert action(flow) == "skipped"
    assert "no token (unreachable)" in flow.metadata["inject"]["reason"]
    assert flow.marked == ":warning:"


async def test_a_client_that_went_away_meanwhile_gets_nothing(proxy: Proxy) -> None:
    proxy.env()
    flow = request()
    waiting = proxy.addon.requestheaders(flow)
    flow.live = False
    await waiting
    assert token(flow) is None


# --- Which destination ---


async def test_the_hosts_name_is_not_taken_from_the_host_header(proxy: Proxy, endpoint: Endpoint) -> None:
    proxy.env()
    flow = request("https://evil.example/orders")
    flow.request.headers["Host"] = "api.example.com"
    await proxy.send(flow)
    assert token(flow) is None
    assert endpoint.asked == []


@pytest.mark.parametrize("lie", ["host", "second host", "authority", "client sni", "upstream sni"])
async def test_a_request_whose_names_disagree_is_left_untouched_and_says_so(proxy: Proxy, lie: str) -> None:
    proxy.env()
    flow = request()
    if lie == "host":
        flow.request.headers["Host"] = "evil.example"
    elif lie == "second host":
        flow.request.headers.set_all("Host", ["api.example.com", "evil.example"])
    elif lie == "authority":
        flow.request.authority = "evil.example"
    elif lie == "client sni":
        flow.client_conn.sni = "evil.example"
    else:
        flow.server_conn.sni = "evil.example"
    await proxy.send(flow)
    assert token(flow) is None
    assert action(flow) == "skipped"
    assert flow.marked == ":warning:"
    assert flow.metadata["inject"]["reason"].startswith("the connection goes to api.example.com, but its ")


async def test_where_an_address_was_dialled_the_verified_sni_is_the_name(proxy: Proxy) -> None:
    proxy.env()
    flow = request("https://192.0.2.7/orders", mode="socks5")
    flow.request.headers["Host"] = "api.example.com"
    flow.client_conn.sni = "api.example.com"
    await proxy.send(flow)
    assert token(flow) == "Bearer token-qa-1"


async def test_an_address_over_plain_http_has_no_name_but_itself(proxy: Proxy) -> None:
    proxy.env(host="http://api.example.com")
    flow = request("http://192.0.2.7/orders", mode="socks5")
    flow.request.headers["Host"] = "api.example.com"
    flow.client_conn.sni = "api.example.com"
    await proxy.send(flow)
    assert token(flow) is None


@pytest.mark.parametrize(("keep", "gets"), [(False, "Bearer token-qa-1"), (True, None)])
async def test_in_reverse_mode_the_clients_sni_names_the_proxy_unless_it_goes_on_to_the_server(
    proxy: Proxy, keep: bool, gets: str | None
) -> None:
    proxy.env()
    proxy.set(keep_host_header=keep)
    flow = request(mode="reverse:https://api.example.com")
    flow.client_conn.sni = "my-proxy.local"
    await proxy.send(flow)
    assert token(flow) == gets


@pytest.mark.parametrize("mode", ["regular", "upstream:http://127.0.0.1:3128", "reverse:https://192.0.2.7"])
async def test_a_request_target_that_is_an_address_gets_no_token_for_a_name(proxy: Proxy, mode: str) -> None:
    proxy.env()
    flow = request("https://192.0.2.7/orders", mode=mode)
    flow.request.headers["Host"] = "api.example.com"
    flow.client_conn.sni = "api.example.com"
    if "reverse" not in mode:
        flow.server_conn.address = None
    await proxy.send(flow)
    assert token(flow) is None


@pytest.mark.parametrize(("host", "gets"), [("api.example.com", "Bearer token-qa-1"), (None, None)])
async def test_a_replay_to_an_address_is_verified_against_its_host_header(
    proxy: Proxy, host: str | None, gets: str | None
) -> None:
    proxy.env()
    flow = request("https://192.0.2.7/orders", mode="socks5")
    flow.request.headers.pop("Host", None)
    if host:
        flow.request.headers["Host"] = host
    flow.client_conn.sni = "api.example.com"
    flow.is_replay = "request"
    await proxy.send(flow)
    assert token(flow) == gets


def connection(proxy: Proxy, flow: http.HTTPFlow, server: Server) -> Context:
    """In which a server of the flow's client is connected."""
    context = Context(flow.client_conn, proxy.context.options)
    context.server = server
    return context


@pytest.mark.parametrize("hook", [TlsStartServerHook, QuicStartServerHook])
@pytest.mark.parametrize("known", [True, False], ids=["its own connection", "one that mitmproxy will take"])
async def test_a_connection_that_was_made_unverified_gets_no_token_later(
    proxy: Proxy, hook: type[StartHook], known: bool
) -> None:
    proxy.env()
    flow = request()
    proxy.addon.client_connected(flow.client_conn)
    server = flow.server_conn if known else Server(address=("api.example.com", 443))
    server.timestamp_end = None
    proxy.set(ssl_insecure=True)
    await proxy.context.master.addons.trigger_event(hook(TlsData(server, connection(proxy, flow, server))))
    proxy.set(ssl_insecure=False)
    await proxy.send(flow)
    assert flow.response is not None
    assert "ssl_insecure is or was set" in (flow.response.text or "")
    assert token(await proxy.send()) == "Bearer token-qa-1"  # of another client
    server.timestamp_end = 1.0
    flow.response = None
    assert token(await proxy.send(flow)) == "Bearer token-qa-1"


async def test_a_connection_that_was_verified_as_another(proxy: Proxy) -> None:
    """mitmproxy would take it, as it goes to the same address."""
    proxy.env()
    flow = request()
    proxy.addon.client_connected(flow.client_conn)
    server = Server(address=("api.example.com", 443))
    server.sni = "evil.example"
    proxy.addon.tls_start_server(TlsData(server, connection(proxy, flow, server)))
    await proxy.send(flow)
    assert token(flow) is None
    assert flow.metadata["inject"]["reason"] == "its connection is not verified as api.example.com"


async def test_a_client_that_is_older_than_the_add_on(proxy: Proxy) -> None:
    """Nobody knows how its servers were verified."""
    proxy.env()
    flow, plain = request(), request("http://plain.example.com/")
    plain.client_conn = flow.client_conn
    proxy.env(name="plain", host="http://plain.example.com")
    proxy.addon._connections.distrust(flow.client_conn)
    await proxy.send(flow)
    assert "the add-on is newer than the connection" in flow.comment
    assert token(await proxy.send(plain)) == "Bearer token-plain-1"
    proxy.addon.client_disconnected(flow.client_conn)
    assert not proxy.addon._connections.export()


async def test_nobody_gets_a_token_unverified(proxy: Proxy) -> None:
    proxy.env(host="https://api.example.com,https://127.0.0.1:9443")
    proxy.set(ssl_insecure=True)
    flow = await proxy.send()
    assert flow.response is not None
    assert "ssl_insecure" in (flow.response.text or "")
    own = request("https://127.0.0.1:9443/")
    own.client_conn.sni = None
    assert token(await proxy.send(own)) == "Bearer token-qa-1"
    other = request("https://192.0.2.7:9443/", mode="socks5")
    other.client_conn.sni = "127.0.0.1"
    other.request.headers["Host"] = "127.0.0.1:9443"
    assert token(await proxy.send(other)) is None


# --- Which client ---


@pytest.mark.parametrize(
    ("networks", "address", "admitted"),
    [
        ("loopback", "127.0.0.1", True),
        ("loopback", "::1", True),
        ("loopback", "::ffff:127.0.0.1", True),
        ("loopback", "192.168.1.23", False),
        ("loopback, 192.168.1.0/24", "192.168.1.23", True),
        ("loopback, 192.168.1.0/24", "127.0.0.1", True),
        ("192.168.1.0/24", "127.0.0.1", False),
        ("192.168.1.23", "::ffff:192.168.1.23", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("", "127.0.0.1", False),
        ("loopback", "not an address", False),
    ],
)
async def test_only_admitted_clients_get_a_token(proxy: Proxy, networks: str, address: str, admitted: bool) -> None:
    proxy.env()
    proxy.set(inject_clients=networks)
    flow = request(Authorization="Basic eA==")
    flow.client_conn.peername = (address, 50000)
    await proxy.send(flow)
    assert token(flow) == ("Bearer token-qa-1" if admitted else "Basic eA==")
    if not admitted:
        assert action(flow) == "skipped"
        assert f"client {address} is not in inject_clients ({networks})" in flow.metadata["inject"]["reason"]


@pytest.mark.parametrize("why", ["proxyauth", "replay"])
async def test_whoever_proxyauth_let_in_and_whoever_sits_at_the_proxy_gets_a_token(proxy: Proxy, why: str) -> None:
    proxy.env()
    flow = request()
    flow.client_conn.peername = ("192.0.2.7", 50000)
    if why == "proxyauth":
        flow.metadata["proxyauth"] = ("me", "password")
    else:
        flow.is_replay = "request"
    await proxy.send(flow)
    assert token(flow) == "Bearer token-qa-1"


async def test_the_log_tells_once_of_a_client_that_is_not_admitted(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.env()
    proxy.set(inject_clients="192.0.2.0/24")
    for _ in range(3):
        assert action(await proxy.send()) == "skipped"
    assert sum("is not in inject_clients" in message for message in caplog.messages) == 1


async def test_a_client_without_an_address_gets_none(proxy: Proxy) -> None:
    proxy.env()
    flow = request()
    flow.client_conn.peername = None  # type: ignore[assignment]
    await proxy.send(flow)
    assert "client unknown" in flow.metadata["inject"]["reason"]


# --- What nobody foresaw ---


@pytest.mark.parametrize("where", ["match", "source", "inject", "wait", "cancel"])
async def test_an_error_of_ours_blocks_and_tells_where_it_happened_but_not_its_text(
    proxy: Proxy, endpoint: Endpoint, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.env()

    def fail(*_: Any, **__: Any) -> Any:
        raise (asyncio.CancelledError if where == "cancel" else RuntimeError)("canary")

    if where == "match":
        monkeypatch.setattr(proxy.addon, "_match", fail)
    elif where == "source":
        monkeypatch.setattr(token_source.TokenSource, "cached", fail)
    elif where in ("wait", "cancel"):
        monkeypatch.setattr(token_source.TokenSource, "token", fail)
    else:
        await proxy.send()
        monkeypatch.setattr(record, "injected", fail)
    flow = await proxy.send()
    assert flow.response is not None
    assert flow.response.status_code == 502
    assert flow.response.text is not None
    told = "mitmproxy ended the wait" if where == "cancel" else "an error of the add-on's own (RuntimeError in "
    assert told in caplog.text
    assert "canary" not in flow.response.text + caplog.text + flow.comment
    assert action(flow) == "blocked"


@pytest.mark.parametrize(
    ("limit", "body", "at_once", "streams"),
    [
        (None, "chunked", True, False),
        ("1m", "small", True, False),
        ("1m", "no body", True, False),
        ("1m", "chunked", False, False),
        ("1m", "chunked and small", False, False),
        ("1m", "chunked", False, True),
        ("1m", "http2", False, False),
        ("1m", "http2", False, True),
        (None, "streamed", False, True),
    ],
)
async def test_a_blocked_request_is_answered_unless_its_body_streams_and_then_goes_on_without_any_credential(
    proxy: Proxy, endpoint: Endpoint, limit: str | None, body: str, at_once: bool, streams: bool
) -> None:
    proxy.env("HEADER_X-Tenant=acme")
    proxy.set(stream_large_bodies=limit)
    endpoint.error = NoToken("unreachable", "no")
    sent = {"Authorization": "Basic eA==", "x-tenant": "mine"}
    flow = request(method="GET" if body in ("no body", "http2") else "POST", **sent)
    flow.request.headers.pop("content-length", None)
    if "small" in body:
        flow.request.headers["Content-Length"] = "5"
    if "chunked" in body:
        flow.request.headers["Transfer-Encoding"] = "chunked"
    elif body == "http2":
        flow.request.http_version = "HTTP/2.0"
    elif body == "streamed":
        flow.request.stream = True
    await proxy.send(flow)
    assert (action(flow), flow.response is not None) == ("blocked", at_once)
    assert at_once or (token(flow), flow.request.headers.get("X-Tenant")) == (None, None)
    flow.request.stream = streams
    await proxy.context.master.addons.handle_lifecycle(HttpRequestHook(flow))
    assert (flow.response is None) == streams
    line = "sent on without any credential, as its body is streamed" if streams else "request blocked"
    assert flow.comment.startswith(f"qa: {line}: no token (unreachable)")
    await proxy.context.master.addons.handle_lifecycle(HttpErrorHook(flow))
    assert proxy.addon._pending == {}


async def test_where_the_last_look_fails_the_request_goes_on_without_its_token(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.env()
    flow = await proxy.send()
    flow.request.path = "/elsewhere"
    monkeypatch.setattr(proxy.addon, "_objection", lambda *_: 1 / 0)
    await flow.wait_for_resume()  # type: ignore[no-untyped-call]
    assert (action(flow), token(flow)) == ("skipped", None)
    assert "an error of the add-on's own (ZeroDivisionError in " in flow.metadata["inject"]["reason"]


@pytest.mark.parametrize("hook", ["streamed request", HttpResponseHeadersHook, HttpErrorHook])
async def test_nobody_looks_at_a_request_that_has_gone_out(proxy: Proxy, hook: Any) -> None:
    proxy.env()
    flow = await proxy.send()
    if hook == "streamed request":
        flow.request.stream, hook = True, HttpRequestHook
    await proxy.context.master.addons.handle_lifecycle(hook(flow))
    flow.request.host = "elsewhere.example.com"
    await flow.wait_for_resume()  # type: ignore[no-untyped-call]
    assert (action(flow), token(flow)) == ("injected", "Bearer token-qa-1")
    assert "wait_for_resume" not in vars(flow)


async def test_a_request_with_a_token_that_no_hook_ends_is_settled_when_its_client_goes_away(proxy: Proxy) -> None:
    proxy.env()
    proxy.set(inject_mask=True)
    flow, other = await proxy.send(), await proxy.send()
    proxy.addon.client_disconnected(flow.client_conn)
    assert str(token(flow)).startswith("Bearer <qa sha256:")
    assert token(other) == "Bearer token-qa-1"
    assert list(proxy.addon._departure._sent) == [other]


async def test_a_blocked_request_whose_client_goes_away_is_forgotten(proxy: Proxy, endpoint: Endpoint) -> None:
    proxy.env()
    proxy.set(stream_large_bodies="1m")
    endpoint.error = NoToken("unreachable", "no")
    flow = await proxy.send(request(method="POST", **{"Transfer-Encoding": "chunked"}))
    assert proxy.addon._pending
    await proxy.context.master.addons.handle_lifecycle(HttpErrorHook(flow))
    assert not proxy.addon._pending


# --- Options and the log ---


async def test_options_take_effect_at_run_time_and_a_bad_value_is_refused(proxy: Proxy) -> None:
    proxy.env(name="qa").env(name="dev", host="https://dev.example.com")
    proxy.set(inject_env="dev")
    assert token(await proxy.send()) is None
    for bad in ({"inject_env": "dv"}, {"inject_envs": "/no/such/folder"}, {"inject_clients": "everybody"},
                {"inject_envs": "~nosuchuser/x"}, {"inject_envs": "x" * 5000}):  # fmt: skip
        with pytest.raises(exceptions.OptionsError):
            proxy.set(**bad)
    assert proxy.context.options.inject_env == "dev"
    assert token(await proxy.send(request("https://dev.example.com/"))) == "Bearer token-dev-1"


@pytest.mark.parametrize(
    ("option", "values", "wrong"),
    [
        ("inject_cleints", ["x"], "inject_cleints: unknown option, did you mean inject_clients?"),
        (
            "inject_what_is_not_known_at_all",
            ["x"],
            "inject_what_is_not_known_at_all: unknown option, one of inject_envs, inject_env, inject_clients",
        ),
        ("inject_env", ["qa", "dev"], "inject_env: is given 2 times, once was expected"),
        ("inject_env", [], "inject_env: has no value, --set inject_env=value was expected"),
        ("inject_env", [["qa"]], "inject_env: is not a text, a text was expected"),
    ],
)
async def test_an_option_that_mitmproxy_would_ignore_or_choke_on_is_an_error_and_does_not_reach_it(
    proxy: Proxy, option: str, values: list[Any], wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = proxy.context.options
    options.deferred[option] = SimpleNamespace(val=values)
    options.deferred["inject_envs"] = str(proxy.folder)
    options.deferred["somebody_elses"] = SimpleNamespace(val=["x", "y"])
    proxy.addon.load(Loader(proxy.context.master))  # type: ignore[no-untyped-call]
    assert [record.levelname for record in caplog.records if record.name.startswith("cred")][-1] == "ERROR"
    assert caplog.messages[-1].startswith(wrong)
    assert options.deferred.keys() == {"inject_envs", "somebody_elses"}


async def test_a_mistake_at_start_is_an_error_in_the_log_and_no_exception(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    injector = CredentialInjector()
    (tmp_path / "qa.env").write_text("HOST=ftp://x\nCLIENT_ID=a\nCLIENT_SECRET=b\n")
    with taddons.context(injector) as context:  # type: ignore[no-untyped-call]
        context.configure(injector, inject_envs=str(tmp_path), inject_clients="everybody")
    said = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.getMessage().partition(": ")[0] for record in said] == ["inject_clients", f"{tmp_path}/qa.env"]


async def test_a_token_outlives_a_change_that_does_not_concern_it(proxy: Proxy, endpoint: Endpoint) -> None:
    proxy.env()
    await proxy.send()
    proxy.env(name="dev", host="https://dev.example.com")
    proxy.set(inject_env="qa,dev")
    assert token(await proxy.send()) == "Bearer token-qa-1"
    proxy.set(inject_env="dev")
    proxy.set(inject_env="qa")
    assert token(await proxy.send()) == "Bearer token-qa-2"


async def test_the_log_tells_the_rare_things_and_no_secret(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    proxy.env()
    for _ in range(5):
        flow = await proxy.send()
        await proxy.context.master.addons.handle_lifecycle(HttpResponseHeadersHook(flow))
    said = [record.getMessage() for record in caplog.records if record.name.startswith("credential_injector")]
    assert said == [
        "qa: https://api.example.com with tokens from https://login.example.com/t",
        "qa: first request with a token went to api.example.com",
    ]
    assert SECRET not in caplog.text
    assert "token-qa-1" not in caplog.text


async def test_many_environments_are_not_listed_one_by_one(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for number in range(30):
        lines = f"HOST=https://h{number}.example.com\nCLIENT_ID=a\nCLIENT_SECRET=b\n"
        (proxy.folder / f"e{number}.env").write_text(lines)
    proxy.set(inject_envs=str(proxy.folder))
    assert len(caplog.records) == 21
    assert caplog.messages[-1] == "... and 10 more environments"


async def test_status_tells_token_counts_errors_and_files_that_are_not_in_use(proxy: Proxy, endpoint: Endpoint) -> None:
    def status() -> list[str]:
        lines = proxy.context.master.commands.call("inject.status")
        return [re.sub(r"sha256:\w{12}", "…", line.replace(f"{proxy.folder}/", "…")) for line in lines]

    proxy.env()
    none = "0 requests with a token, 0 token requests, 0 sent again, 0 blocked"
    assert status() == [f"qa: https://api.example.com: no token yet; {none}"]
    endpoint.error = NoToken("invalid_client", "it answered 401", lasting=True)
    await proxy.send()
    assert status() == [
        "qa: https://api.example.com: no token (invalid_client): it answered 401; check CLIENT_ID, CLIENT_SECRET and"
        " TOKEN_ENDPOINT_AUTH_METHOD in …qa.env; next try in 60 s;"
        " 0 requests with a token, 1 token requests, 0 sent again, 1 blocked"
    ]
    endpoint.error = None
    proxy.context.master.commands.call("inject.refresh", "qa")
    await proxy.send()
    await proxy.send()
    assert status() == [
        "qa: https://api.example.com: token … (fetched), 59 min left;"
        " 2 requests with a token, 2 token requests, 0 sent again, 1 blocked"
    ]
    (proxy.folder / "qa.env").write_text("HOST=ftp://x")
    await proxy.addon._routes._read_again()
    assert status()[1:] == [
        "not in use: …qa.env: HOST: origin 1 has an unknown scheme, http or https was expected",
        "not in use: …qa.env: CLIENT_ID: is missing, a value was expected",
        "not in use: …qa.env: CLIENT_SECRET: is missing,"
        " CLIENT_SECRET, CLIENT_SECRET_FILE or CLIENT_SECRET_COMMAND was expected",
    ]


async def test_a_request_that_waits_while_its_file_changes_finishes_with_what_it_began_with(
    proxy: Proxy, endpoint: Endpoint
) -> None:
    proxy.env()
    flow = request()
    waiting = asyncio.ensure_future(proxy.send(flow))
    await asyncio.sleep(0)
    proxy.env("PREFIX=Token\nSCOPE=other")
    await proxy.addon._routes._read_again()
    await waiting
    assert token(flow) == "Bearer token-qa-1"
    assert token(await proxy.send()) == "Token token-qa-2"


async def test_a_mistake_in_a_changed_file_is_told_once(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    proxy.env()
    (proxy.folder / "qa.env").write_text("HOST=ftp://x")
    for _ in range(3):
        await proxy.addon._routes._read_again()
    assert len([message for message in caplog.messages if "unknown scheme" in message]) == 1
    proxy.env()
    await proxy.addon._routes._read_again()
    assert token(await proxy.send()) == "Bearer token-qa-1"


async def test_another_store_is_used_from_then_on(proxy: Proxy, endpoint: Endpoint, tmp_path: Path) -> None:
    proxy.env()
    assert token(await proxy.send()) == "Bearer token-qa-1"
    proxy.set(inject_tokens=str(tmp_path / "tokens"))
    assert token(await proxy.send()) == "Bearer token-qa-2"
    assert (tmp_path / "tokens").exists()
    proxy.set(inject_tokens="memory")
    assert token(await proxy.send()) == "Bearer token-qa-3"
    with pytest.raises(exceptions.OptionsError):
        proxy.set(inject_tokens="/no/such/folder/tokens")


async def test_refresh_asks_anew_while_the_token_at_hand_serves(proxy: Proxy, endpoint: Endpoint) -> None:
    proxy.env(name="qa").env(name="dev", host="https://dev.example.com")
    proxy.set(inject_env="")
    await proxy.send()
    proxy.context.master.commands.execute("inject.refresh")
    assert token(await proxy.send()) == "Bearer token-qa-1"
    while token(await proxy.send()) == "Bearer token-qa-1":  # noqa: ASYNC110 - until the task has had its turns
        await asyncio.sleep(0)
    assert endpoint.asked == ["qa", "qa"]
    with pytest.raises(exceptions.CommandError):
        proxy.context.master.commands.execute("inject.refresh qe")


async def test_at_the_end_each_environment_gets_a_line(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    proxy.env(name="qa").env(name="dev", host="https://dev.example.com")
    proxy.set(inject_env="")
    for _ in range(3):
        await proxy.send()
    proxy.addon.done()
    assert caplog.messages[-1] == "qa: 3 requests with a token, 1 token requests, 0 sent again, 0 blocked"
    assert not any(message.startswith("dev: 0") for message in caplog.messages)


@pytest.mark.parametrize(("grant", "waits"), [("refresh_token", True), ("client_credentials", False)])
async def test_mitmproxy_ends_only_when_a_refresh_token_that_was_shown_has_its_successor(
    proxy: Proxy, endpoint: Endpoint, grant: str, waits: bool
) -> None:
    refreshes = "GRANT_TYPE=refresh_token\nREFRESH_TOKEN=first" if grant == "refresh_token" else ""
    proxy.env(refreshes)
    proxy.context.master.commands.call("inject.refresh", "qa")
    await asyncio.sleep(0)
    leaving = proxy.addon.done()
    assert (leaving is not None) == waits
    if waits:
        await leaving
        assert endpoint.asked == ["qa"]


async def test_no_token_request_begins_when_mitmproxy_is_ending(proxy: Proxy, endpoint: Endpoint) -> None:
    """It still serves then, and would not wait for the answer."""
    proxy.env()
    assert proxy.addon.done() is None
    flow = await proxy.send()
    assert flow.response is not None
    assert b"no token (ending): the add-on is ending" in (flow.response.content or b"")
    assert endpoint.asked == []


@pytest.mark.parametrize(("expires_in", "told"), [(3_600_000, True), (30 * 86400, False)])
async def test_a_life_that_may_be_meant_in_milliseconds_is_told(
    expires_in: int, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The API's 401 tells when such a token has really ended."""
    answer = http_answer(200, {"access_token": "abc", "token_type": "Bearer", "expires_in": expires_in})
    with answering(answer) as (url, _):
        asking = Asking(TokenRequest(url, "me"), Transport(), RefreshToken(), routes.Routes()._token_endpoint)
        token = await routes._request_token("qa", asking, 1_000_000.0)
    assert token.expires_at == 1_000_000.0 + expires_in
    assert sum("qa: the server says that its token lives for 41 days" in line for line in caplog.messages) == told


async def test_without_any_file_it_says_how_to_make_one(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    proxy.set(inject_envs=str(proxy.folder))
    (line,) = caplog.messages
    assert line.startswith(
        f"No environment file in {proxy.folder}: every request passes untouched. To make one, write HO"
    )
    proxy.folder.rmdir()
    proxy.set(inject_envs="envs")
    assert caplog.messages[-1].startswith("No environment file in ")


@pytest.mark.parametrize(("keys", "imported"), [("", True), ("GRANT_TYPE=static\nVALUE=it", False), (None, False)])
async def test_what_asks_for_tokens_is_imported_soon_after_the_start_where_there_are_any_to_ask_for(
    proxy: Proxy, keys: str | None, imported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(routes, "IMPORT_AFTER", 0)
    monkeypatch.setattr(routes, "_import_authorization_server", lambda: done.append("imported"))
    if keys is not None:
        credential = "" if keys else f"CLIENT_ID=me\nCLIENT_SECRET={SECRET}\n"
        (proxy.folder / "qa.env").write_text(f"HOST=https://api.example.com\n{credential}{keys}\n")
        proxy.set(inject_envs=str(proxy.folder))
    before = asyncio.all_tasks()
    proxy.addon._routes.prepare()
    (preparing,) = asyncio.all_tasks() - before
    await preparing
    assert done == (["imported"] if imported else [])


async def test_nothing_is_imported_any_more_when_mitmproxy_ends(proxy: Proxy) -> None:
    before = asyncio.all_tasks()
    proxy.addon._routes.prepare()
    (preparing,) = asyncio.all_tasks() - before
    proxy.addon.done()
    await asyncio.wait([preparing])
    assert preparing.cancelled()


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("wrong", [True, False])
async def test_garbage_is_collected_after_a_load_as_before(proxy: Proxy, enabled: bool, wrong: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    try:
        if wrong:
            with pytest.raises(exceptions.OptionsError):
                proxy.env("NO_SUCH_KEY=1")
        else:
            proxy.env()
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


async def test_a_dependency_is_imported_with_the_first_token_and_its_arrival_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    imported = routes._import_token_endpoint()

    class TokenEndpoint:
        def __init__(self, request: TokenRequest, transport: Transport, network: object) -> None:
            pass

        async def token(self, asked_at: float, refresh_token: str) -> AccessToken:
            return AccessToken("canary", asked_at, asked_at + 3600)

    monkeypatch.setattr(imported, "TokenEndpoint", TokenEndpoint)
    request = TokenRequest(endpoint="https://login.example.com/t", client_id="abc")
    await routes._request_token(
        "qa", Asking(request, Transport(), RefreshToken(), routes.Routes()._token_endpoint), 1000.0
    )
    assert caplog.messages == [f"qa: token fetched ({fingerprint('canary')}), it lives for 60 min"]


# --- Near misses, pages of other sites, token endpoints ---


@pytest.mark.parametrize("lie", ["Host header", "request target", "TLS server name (SNI)"])
async def test_a_request_elsewhere_that_names_a_configured_host_is_marked_as_a_near_miss(
    proxy: Proxy, endpoint: Endpoint, lie: str
) -> None:
    proxy.env()
    flow = request("https://evil.example/orders", Authorization="Basic eA==")
    if lie == "Host header":
        flow.request.headers["Host"] = "API.example.com.:8443"
    elif lie == "request target":
        flow.request.authority = "api.example.com"
    else:
        flow.client_conn.sni = "api.example.com"
    await proxy.send(flow)
    assert token(flow) == "Basic eA=="
    assert (action(flow), flow.marked) == ("skipped", ":warning:")
    reason = flow.metadata["inject"]["reason"]
    assert reason.startswith(f"its {lie} names api.example.com")
    assert reason.endswith(", but the connection goes to evil.example")
    assert endpoint.asked == []


async def test_names_that_differ_but_mean_no_configured_host_are_nobodys_concern(proxy: Proxy) -> None:
    proxy.env(host="https://*.qa.example.com")
    for name in ("other.example", "", "a b", "qa.example.com", "x" * 70000):
        flow = request("https://evil.example/orders")
        flow.request.headers["Host"] = name
        await proxy.send(flow)
        assert flow.metadata == {}


@pytest.mark.parametrize(
    ("headers", "origins", "gets"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, "", False),
        ({"Sec-Fetch-Site": "Cross-Site"}, "", False),
        ({"Sec-Fetch-Site": "same-site"}, "", True),
        ({"Sec-Fetch-Site": "same-origin"}, "", True),
        ({"Sec-Fetch-Site": "none"}, "", True),
        ({"Origin": "https://evil.example"}, "", False),
        ({"Origin": "null"}, "", False),
        ({"Origin": "http://api.example.com"}, "", False),
        ({"Origin": "https://api.example.com"}, "", True),
        ({"Origin": "https://API.example.com"}, "", True),
        ({"Origin": "https://api.example.com:8443"}, "", False),
        ({"Origin": "https://app.example.com", "Sec-Fetch-Site": "same-site"}, "", False),
        ({"Origin": "http://localhost:3000", "Sec-Fetch-Site": "cross-site"}, "http://localhost:3000", True),
        ({"Origin": "http://localhost:3001", "Sec-Fetch-Site": "cross-site"}, "http://localhost:3000", False),
        ({"Origin": "http://localhost:3000"}, "HTTP://Localhost:3000/, https://b.example", True),
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, "null", True),
        ({"Origin": "null"}, "file://, http://localhost:3000", False),
        ({"Origin": "https://evil.example"}, "null", False),
        ({"Sec-Fetch-Site": "cross-site"}, "null", False),
        ({"Origin": "file://", "Sec-Fetch-Site": "cross-site"}, "file:///", True),
        ({"Origin": "file://"}, "null", False),
        ({"Origin": "file://"}, "", False),
        ({"Sec-Fetch-Site": "cross-site"}, "http://localhost:3000", False),
        ({"Origin": "https://api.example.com", "Sec-Fetch-Site": "cross-site"}, "", False),
    ],
)
async def test_a_page_of_another_origin_gets_no_token_unless_origins_lists_it(
    proxy: Proxy, endpoint: Endpoint, headers: dict[str, str], origins: str, gets: bool
) -> None:
    proxy.env(f"ORIGINS={origins}" if origins else "")
    flow = await proxy.send(request(**headers))
    assert (token(flow) is not None) == gets
    if not gets:
        assert (action(flow), flow.marked, endpoint.asked) == ("skipped", ":warning:", [])
        assert flow.metadata["inject"]["reason"].endswith(f"add its origin to ORIGINS in {proxy.folder}/qa.env")


async def test_every_origin_header_counts(proxy: Proxy) -> None:
    proxy.env("ORIGINS=http://localhost:3000")
    flow = request()
    flow.request.headers.set_all("Origin", ["http://localhost:3000", "https://evil.example"])
    await proxy.send(flow)
    assert token(flow) is None


async def test_a_strange_origin_is_not_repeated(proxy: Proxy) -> None:
    proxy.env()
    flow = await proxy.send(request(Origin="https://e\x1b[31mvil"))
    assert flow.metadata["inject"]["reason"].startswith("a page made it, which is of another origin")


@pytest.mark.parametrize(
    ("origin", "page"), [("null", "a page whose origin is null"), ("file://", "a page of file://")]
)
async def test_an_origin_to_copy(proxy: Proxy, origin: str, page: str) -> None:
    """The reason names the origin as ORIGINS takes it."""
    proxy.env()
    flow = await proxy.send(request(Origin=origin))
    assert flow.metadata["inject"]["reason"].startswith(f"{page} made it")


@pytest.mark.parametrize(("site", "gets"), [("same-origin", True), ("same-site", False), (None, False)])
async def test_in_reverse_mode_the_browser_vouches_for_a_page_of_the_proxys_own_origin(
    proxy: Proxy, site: str | None, gets: bool
) -> None:
    proxy.env()
    headers = {"Origin": "http://127.0.0.1:8080", **({"Sec-Fetch-Site": site} if site else {})}
    flow = await proxy.send(request(mode="reverse:https://api.example.com", **headers))
    assert (token(flow) is not None) == gets


async def test_a_token_endpoint_gets_no_token_however_its_path_is_spelt(proxy: Proxy, endpoint: Endpoint) -> None:
    proxy.env("TOKEN_ENDPOINT=https://api.example.com/oauth2/v2.0/token")
    for path in ("/oauth2/v2.0/token", "/oauth2/v2.0/token?x=1", "/oauth2//v2.0/%74oken/"):
        flow = await proxy.send(request(f"https://api.example.com{path}", Authorization="Basic eA=="))
        assert token(flow) == "Basic eA=="
        assert action(flow) == "skipped"
    assert endpoint.asked == []
    assert token(await proxy.send(request("https://api.example.com/oauth2/v2.0/tokens"))) == "Bearer token-qa-1"


async def test_the_token_endpoint_of_another_environment_gets_no_token_either(proxy: Proxy) -> None:
    proxy.env(host="https://*.example.com").env("TOKEN_ENDPOINT=https://login.example.com/dev/token", name="dev")
    assert token(await proxy.send(request("https://login.example.com/dev/token"))) is None
    assert token(await proxy.send(request("https://login.example.com/t"))) is None
    assert token(await proxy.send(request("https://login.example.com/me"))) == "Bearer token-qa-1"


# --- What changes while a request is on its way ---


async def test_a_token_does_not_follow_its_environments_name_to_another_identity(proxy: Proxy) -> None:
    proxy.env()
    flow = await proxy.send()
    assert token(flow) == "Bearer token-qa-1"
    proxy.env("SCOPE=other", host="https://elsewhere.example.com")
    flow.request.host = flow.client_conn.sni = "elsewhere.example.com"
    await flow.wait_for_resume()  # type: ignore[no-untyped-call]
    assert token(flow) is None
    assert action(flow) == "skipped"


# --- A door that stands open ---


class Proxyserver:
    """In place of mitmproxy's: where it listens."""

    name = "proxyserver"

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts
        self.connections: dict[str, Any] = {}

    def listen_addrs(self) -> list[tuple[str, int]]:
        return [(host, 8080) for host in self.hosts]


@pytest.mark.parametrize(
    ("hosts", "clients", "proxyauth", "warns"),
    [
        (("0.0.0.0", "::"), "0.0.0.0/0", None, True),
        (("192.168.1.2",), "loopback,::/0", None, True),
        (("0.0.0.0",), "loopback", None, False),
        (("0.0.0.0",), "192.168.0.0/16", None, False),
        (("0.0.0.0",), "0.0.0.0/0", "me:mine", False),
        (("127.0.0.1", "::1"), "0.0.0.0/0", None, False),
    ],
)
async def test_a_proxy_that_everybody_can_reach_and_that_lets_everybody_in_is_told_once(
    proxy: Proxy,
    caplog: pytest.LogCaptureFixture,
    hosts: tuple[str, ...],
    clients: str,
    proxyauth: str | None,
    warns: bool,
) -> None:
    proxy.context.options.add_option("proxyauth", str | None, None, "")
    proxy.context.master.addons.add(Proxyserver(*hosts))
    proxy.set(proxyauth=proxyauth)
    proxy.set(inject_clients=clients)
    told = [line for line in caplog.messages if "lets every client in" in line]
    assert len(told) == warns
    assert all("listens on " + ", ".join(hosts) in line and "set proxyauth" in line for line in told)


async def test_a_trailer_that_repeats_the_token_is_masked_too(proxy: Proxy) -> None:
    proxy.env()
    proxy.set(inject_mask=True)
    flow = await proxy.send()
    value = token(flow)
    assert value is not None
    flow.response = http.Response.make(200)
    await proxy.context.master.addons.handle_lifecycle(HttpResponseHeadersHook(flow))
    flow.response.trailers = http.Headers(x_echo=value)
    await proxy.context.master.addons.handle_lifecycle(HttpResponseHook(flow))
    assert flow.response.trailers["x-echo"].startswith("Bearer <qa sha256:")


async def test_a_token_endpoint_that_an_issuer_publishes_gets_no_token_either(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def published(_name: str, asking: Asking, asked_at: float) -> AccessToken:
        asking._endpoint = SimpleNamespace(published=("https://api.example.com/published/token",))
        return AccessToken("token", asked_at, asked_at + 3600)

    monkeypatch.setattr(routes, "_request_token", published)
    (proxy.folder / "qa.env").write_text(
        f"HOST=https://api.example.com\nISSUER=https://api.example.com\nCLIENT_ID=me\nCLIENT_SECRET={SECRET}\n"
    )
    proxy.set(inject_envs=str(proxy.folder))
    assert token(await proxy.send()) == "Bearer token"
    assert token(await proxy.send(request("https://api.example.com/published/token"))) is None


async def test_a_published_token_endpoint_is_known_even_where_it_gave_no_token(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later request there brings its own credential, and has nothing to wait for."""

    async def refused(_name: str, asking: Asking, asked_at: float) -> AccessToken:
        asking._endpoint = SimpleNamespace(published=("https://api.example.com/published/token",))
        raise NoToken("invalid_client", "no", lasting=True)

    monkeypatch.setattr(routes, "_request_token", refused)
    (proxy.folder / "qa.env").write_text(
        f"HOST=https://api.example.com\nISSUER=https://api.example.com\nCLIENT_ID=me\nCLIENT_SECRET={SECRET}\n"
    )
    proxy.set(inject_envs=str(proxy.folder))
    await proxy.send()
    flow = await proxy.send(request("https://api.example.com/published/token", authorization="Basic own"))
    assert (flow.response, flow.request.headers["authorization"]) == (None, "Basic own")


async def test_all_logins_are_in_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one of them finds out about it, the others know."""
    stores = list[object]()

    def shared(store: object, request: TokenRequest, fetch: object, *_: object, **__: object) -> object:
        stores.append(store)
        return fetch

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr(token_store, "shared", shared)
    for name in ("one", "two"):
        (tmp_path / f"{name}.env").write_text(
            f"HOST=https://{name}.example.com\nGRANT_TYPE=device_code\nISSUER=https://login.example.com\nCLIENT_ID={name}\n"
        )
    routes.Routes().load(open_folder(str(tmp_path), []), None)
    assert len(stores) == 2
    assert stores[0] is stores[1]


async def test_a_login_from_the_store_brings_the_token_endpoint_with_it(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request there keeps its own credential, and no issuer is asked."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (proxy.folder / "qa.env").write_text(
        "HOST=https://api.example.com\nGRANT_TYPE=device_code\nISSUER=https://api.example.com\nCLIENT_ID=me\n"
    )
    (environment,) = open_folder(str(proxy.folder), []).read()
    url, now = "https://api.example.com/published/token", time.time()
    kept = AccessToken("kept", now, now + 3600, refresh_token="refresh", endpoints=(url,))
    await token_store.keep(file_store.open_logins(), environment.token_request, kept)
    proxy.set(inject_envs=str(proxy.folder))
    flow = await proxy.send(request(url, method="POST", authorization="Basic own"))
    assert (flow.response, flow.request.headers["authorization"]) == (None, "Basic own")
    assert token(await proxy.send()) == "Bearer kept"

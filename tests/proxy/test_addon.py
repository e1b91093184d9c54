"""The hooks, with mitmproxy's own test helpers."""

import asyncio
import gc
import logging
import re
import time
from collections.abc import AsyncIterator
from functools import partial
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
from credential_injector.oauth import dpop
from credential_injector.oauth.fingerprints import fingerprint
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.proxy import internals, record, startup_tuning
from credential_injector.proxy.addon import CredentialInjector
from credential_injector.proxy.policy import Policy
from credential_injector.proxy.routes import Routes
from credential_injector.tokens import file_store
from credential_injector.tokens import source as token_source
from credential_injector.tokens.provider import Provider
from credential_injector.tokens.sharing import keep

SECRET = "canary-secret"


class Endpoint:
    """In place of the token endpoint."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ways: list[Transport] = []
        self.error: Exception | None = None
        self.value = ""
        """Of each token; empty: another one each time."""
        self.published: tuple[str, ...] = ()

    async def open(self, request: TokenRequest, transport: Transport) -> Any:
        """A provider's open_endpoint."""
        return SimpleNamespace(published=self.published, token=partial(self.token, request, transport))

    async def token(
        self, request: TokenRequest, transport: Transport, asked_at: float, refresh_token: str = ""
    ) -> AccessToken:
        self.asked.append(request.client_id)
        self.ways.append(transport)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        value = self.value or f"token-{request.client_id}-{len(self.asked)}"
        return AccessToken(value, asked_at, asked_at + 3600)


class Rotating(Endpoint):
    """Replaces the refresh token with each answer but the first one."""

    def __init__(self, *, keeps_first: bool = False) -> None:
        super().__init__()
        self.shown: list[str] = []
        self._keeps_first = keeps_first

    async def token(
        self, request: TokenRequest, transport: Transport, asked_at: float, refresh_token: str = ""
    ) -> AccessToken:
        self.shown.append(refresh_token)
        count = len(self.shown)
        came = refresh_token if self._keeps_first and count == 1 else f"refresh-{count}"
        return AccessToken(f"{count}", asked_at, asked_at + 60, refresh_token=came)


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


class Proxy:
    """The add-on in mitmproxy's test context."""

    def __init__(self, folder: Path, context: Any, injector: Any, routes: Routes) -> None:
        self.folder = folder
        self.context = context
        self.addon = injector
        self.routes = routes

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
    routes = Routes(Provider(open_endpoint=endpoint.open))
    injector = CredentialInjector(routes)
    with taddons.context(injector) as context:  # type: ignore[no-untyped-call]
        context.options.add_option("stream_large_bodies", str | None, None, "")
        context.options.add_option("keep_host_header", bool, False, "")
        context.options.add_option("upstream_auth", str | None, None, "")
        folder = tmp_path / "envs"
        folder.mkdir()
        injector.configure(set(context.options.keys()))  # mitmproxy does this with every option when it loads a script
        injector.running()
        yield Proxy(folder, context, injector, routes)
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


async def test_token(proxy: Proxy, endpoint: Endpoint) -> None:
    """A request to a configured host gets the token, which is fetched once."""
    proxy.env()
    first, second = await proxy.send(), await proxy.send()
    assert token(first) == token(second) == "Bearer token-qa-1"
    assert [flow.metadata["inject"]["source"] for flow in (first, second)] == ["fetched", "cached"]
    assert first.marked == ":key:"
    assert second.comment.startswith("qa: +Bearer\n- before: no Authorization\n- after: Authorization: Bearer <sha256:")
    assert "\n- token injected (cached, " in second.comment
    assert endpoint.asked == ["qa"]


async def test_token_at_hand(proxy: Proxy) -> None:
    """With the token at hand the hook awaits nothing."""
    proxy.env()
    await proxy.send()
    flow = request()
    assert proxy.addon.requestheaders(flow) is None
    assert token(flow) == "Bearer token-qa-1"


async def test_other_host(proxy: Proxy, endpoint: Endpoint) -> None:
    """A request to another host passes untouched."""
    proxy.env()
    flow = await proxy.send(request("https://other.example.com/", Authorization="Basic eA=="))
    assert token(flow) == "Basic eA=="
    assert (flow.metadata, flow.comment, flow.marked) == ({}, "", "")
    assert endpoint.asked == []


@pytest.mark.parametrize("state", ["answered", "failed", "read from a file"])
async def test_not_sent(proxy: Proxy, state: str) -> None:
    """A flow that is not about to be sent is left alone."""
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


async def test_at_once(proxy: Proxy, endpoint: Endpoint) -> None:
    """300 requests at once cost one token request."""
    proxy.env()
    flows = await asyncio.gather(*(proxy.send() for _ in range(300)))
    assert {token(flow) for flow in flows} == {"Bearer token-qa-1"}
    assert endpoint.asked == ["qa"]


async def test_environments(proxy: Proxy, endpoint: Endpoint) -> None:
    """Each environment has its own token, and equal ones share it."""
    proxy.env(name="qa").env(name="dev", host="https://dev.example.com")
    twin = proxy.folder / "twin.env"
    twin.write_text((proxy.folder / "qa.env").read_text().replace("api.", "twin."))
    proxy.set(inject_envs=str(proxy.folder), inject_env="")
    hosts = ("api", "dev", "twin")
    flows = [await proxy.send(request(f"https://{host}.example.com/")) for host in hosts]
    assert [token(flow) for flow in flows] == ["Bearer token-qa-1", "Bearer token-dev-2", "Bearer token-qa-1"]


@pytest.mark.parametrize(
    ("lines", "sent", "did", "mark", "arrives"),
    [
        ("", {}, "injected", ":key:", "Bearer token-qa-1"),
        ("", {"authorization": "Basic eA=="}, "injected", ":key:", "Bearer token-qa-1"),
        ("OVERWRITE=never", {"authorization": "Basic eA=="}, "kept", "", "Basic eA=="),
        ("OVERWRITE=only", {}, "skipped", ":warning:", None),
        ("HOST=https://api.example.com/other", {"authorization": "Basic eA=="}, "skipped", "", "Basic eA=="),
        ("", {"origin": "https://evil.example"}, "skipped", ":warning:", None),
        ("METHODS=POST", {}, "blocked", ":no_entry:", None),
    ],
)
async def test_verdicts(
    proxy: Proxy, endpoint: Endpoint, lines: str, sent: dict[str, str], did: str, mark: str, arrives: str | None
) -> None:
    """The hook does what the policy decides, and asks for a token only where the request gets it."""
    proxy.env("" if "HOST" in lines else lines, host="https://api.example.com" + "/other" * ("HOST" in lines))
    flow = await proxy.send(request(**sent))
    assert (action(flow), flow.marked, token(flow)) == (did, mark, arrives)
    assert flow.metadata["inject"]["replaced"] == ("Basic" if did == "injected" and sent else None)
    assert (flow.response is not None) == (did == "blocked")
    assert endpoint.asked == (["qa"] if did == "injected" else [])


@pytest.mark.parametrize(("mark", "left"), [(":key:", ""), (":star:", ":star:")])
@pytest.mark.parametrize(("path", "did"), [("/orders", "kept"), ("/elsewhere", "skipped"), (None, None)])
async def test_replay_without_token(proxy: Proxy, path: str | None, did: str | None, mark: str, left: str) -> None:
    """A replay that gets no token loses the mark of the request that got one, and keeps a person's."""
    proxy.env("OVERWRITE=never", host="https://api.example.com/orders")
    flow = await proxy.send()
    assert flow.marked == ":key:"
    flow.is_replay = "request"
    flow.marked = mark
    flow.request.url = f"https://api.example.com{path}" if path else "https://other.example.com/"
    flow.client_conn.sni = flow.request.host
    flow.request.headers["Authorization"] = "Basic eA=="
    await proxy.send(flow)
    assert (flow.marked, token(flow)) == (left, "Basic eA==")
    assert flow.metadata.get("inject", {}).get("action") == did


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2.0"])
async def test_further_headers(proxy: Proxy, version: str) -> None:
    """They go where the token goes, and nowhere else."""
    proxy.env(f"HEADER_X-Tenant={SECRET}\nHEADER_X-Key=x")
    flow = request(**{"x-tenant": "mine"})
    flow.request.http_version = version
    await proxy.send(flow)
    names = (b"x-tenant", b"x-key", b"authorization")
    sent = {name: value for name, value in flow.request.headers.fields if name.lower() in names}
    assert set(sent.values()) == {SECRET.encode(), b"x", b"Bearer token-qa-1"}
    assert version == "HTTP/1.1" or set(sent) == set(names)
    assert "- after: X-Tenant: <secret>\n- after: X-Key: <secret>" in flow.comment
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
async def test_fixed_credential(
    proxy: Proxy, endpoint: Endpoint, caplog: pytest.LogCaptureFixture, lines: str, header: str, value: str
) -> None:
    """A credential taken from the file costs no token request."""
    caplog.set_level(logging.INFO)
    (proxy.folder / "qa.env").write_text(f"HOST=https://api.example.com\n{lines}\n")
    proxy.set(inject_envs=str(proxy.folder), inject_tokens=str(proxy.folder / "tokens"))
    kind = lines.partition("\n")[0].removeprefix("GRANT_TYPE=")
    for _ in range(2):
        flow = await proxy.send(request(**{header: "Basic eA=="}))
        assert flow.request.headers[header] == value
        label = value.partition(" ")[0] if " " in value else header
        assert "Basic→" + (label[:6] if label != "Basic" else "ours") in flow.comment.partition("\n")[0]
        assert f"\n- before: {header}: Basic\n- after: {header}: " in flow.comment
        assert f"\n- {kind} credential injected\n" in flow.comment
        assert flow.metadata["inject"]["expires_at"] is flow.metadata["inject"]["token"] is None
    assert endpoint.asked == []
    assert not (proxy.folder / "tokens").exists()
    (status,) = proxy.context.master.commands.call("inject.status")
    assert f": {kind} credential; " in status
    assert "2 requests with a credential, 0 sent again" in status
    assert f"qa: https://api.example.com with the credential in {proxy.folder / 'qa.env'}" in caplog.messages
    told = f"{flow.comment} {flow.metadata} {status} {caplog.text}"
    assert SECRET not in told
    assert "sha256" not in told


async def test_insecure_tls(proxy: Proxy) -> None:
    """A flow says that nobody verified the authorization server."""
    proxy.env()
    assert "INSECURE_TLS" not in (await proxy.send()).comment
    proxy.env("INSECURE_TLS=true\nMETHODS=GET")
    for method in ("GET", "POST"):
        flow = await proxy.send(request(method=method))
        assert flow.comment.endswith("\n- INSECURE_TLS: nobody verifies which server issues the tokens")


async def test_way(proxy: Proxy, endpoint: Endpoint) -> None:
    """The authorization server is reached as mitmproxy reaches others."""
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


async def test_rotation_in_memory(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    """A refresh token that memory will lose is told once."""
    endpoint = Rotating(keeps_first=True)
    proxy.routes.provider.open_endpoint = endpoint.open
    proxy.env(f"GRANT_TYPE=refresh_token\nREFRESH_TOKEN={SECRET}")
    said: list[int] = []
    for _ in range(4):
        proxy.context.master.commands.call("inject.refresh", "qa")
        while len(endpoint.shown) == len(said):  # noqa: ASYNC110 - it runs beside this
            await asyncio.sleep(0)
        await proxy.send()
        said.append(sum("the server has replaced the refresh token" in message for message in caplog.messages))
    assert said == [0, 1, 1, 1]
    assert endpoint.shown == [SECRET, SECRET, "refresh-2", "refresh-3"]
    assert SECRET not in caplog.text


async def test_rotation_and_way(proxy: Proxy) -> None:
    """A refresh token outlives a change of the way to the server."""
    endpoint = Rotating()
    proxy.routes.provider.open_endpoint = endpoint.open
    proxy.env(f"GRANT_TYPE=refresh_token\nREFRESH_TOKEN={SECRET}")
    await proxy.send()
    proxy.set(ssl_verify_upstream_trusted_ca="ca.pem")
    await proxy.send()
    proxy.env(f"GRANT_TYPE=refresh_token\nREFRESH_TOKEN={SECRET}-2")
    await proxy.send()
    assert endpoint.shown == [SECRET, "refresh-1", f"{SECRET}-2"]


async def test_no_token(proxy: Proxy, endpoint: Endpoint) -> None:
    """Without a token the client gets a 502 that says why and what to do."""
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
    assert flow.comment.splitlines()[:2] == ["qa: bad client", f"- why: {line.removeprefix('qa: ')}"]
    assert flow.marked == ":no_entry:"


async def test_pass(proxy: Proxy, endpoint: Endpoint) -> None:
    """With WITHOUT_TOKEN=pass the request goes on as the client sent it."""
    proxy.env("WITHOUT_TOKEN=pass")
    endpoint.error = NoToken("unreachable", "no")
    flow = await proxy.send(request(Authorization="Basic eA=="))
    assert flow.response is None
    assert token(flow) == "Basic eA=="
    assert action(flow) == "skipped"
    assert "no token (unreachable)" in flow.metadata["inject"]["reason"]
    assert flow.marked == ":warning:"


async def test_client_gone(proxy: Proxy) -> None:
    """A request whose client went away meanwhile gets nothing."""
    proxy.env()
    flow = request()
    waiting = proxy.addon.requestheaders(flow)
    flow.live = False
    await waiting
    assert token(flow) is None


# --- Which destination ---


def connection(proxy: Proxy, flow: http.HTTPFlow, server: Server) -> Context:
    """In which a server of the flow's client is connected."""
    context = Context(flow.client_conn, proxy.context.options)
    context.server = server
    return context


@pytest.mark.parametrize("hook", [TlsStartServerHook, QuicStartServerHook])
@pytest.mark.parametrize("known", [True, False], ids=["its own connection", "one that mitmproxy will take"])
async def test_unverified_connection(proxy: Proxy, hook: type[StartHook], known: bool) -> None:
    """No token goes out on a connection that was made while ssl_insecure was set."""
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


async def test_older_client(proxy: Proxy) -> None:
    """Nobody knows how its servers were verified."""
    proxy.env()
    flow, plain = request(), request("http://plain.example.com/")
    plain.client_conn = flow.client_conn
    proxy.env(name="plain", host="http://plain.example.com")
    proxyserver = Proxyserver()
    proxyserver.connections["1"] = SimpleNamespace(client=flow.client_conn)
    proxy.context.master.addons.add(proxyserver)
    proxy.addon.load(Loader(proxy.context.master))  # type: ignore[no-untyped-call]
    await proxy.send(flow)
    assert "the add-on is newer than the connection" in flow.comment
    assert token(await proxy.send(plain)) == "Bearer token-plain-1"
    proxy.addon.client_disconnected(flow.client_conn)
    proxy.addon.client_connected(flow.client_conn)
    flow.response = None
    assert token(await proxy.send(flow)) == "Bearer token-qa-2"


# --- Which client ---


async def test_blocked_is_logged_once(proxy: Proxy, endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """The log tells once why requests are blocked, and again when another token request fails."""
    proxy.env("METHODS=GET")
    endpoint.error = NoToken("invalid_client", "it answered 401", lasting=True)

    async def told() -> int:
        for _ in range(3):
            await proxy.send()
            await proxy.send(request(method="POST"))
        return sum("request blocked" in message for message in caplog.messages)

    assert await told() == 2
    proxy.context.master.commands.call("inject.refresh", "qa")
    assert await told() == 3


@pytest.mark.parametrize(
    ("clients", "url", "reason"),
    [
        ("192.0.2.0/24", "https://api.example.com/orders", "is not in inject_clients"),
        ("loopback", "https://api.example.com:8443/orders", "and this was port 8443"),
        ("loopback", "https://api.example.com/login", "and this path is not below it"),
    ],
)
async def test_logged_once(proxy: Proxy, clients: str, url: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """The log tells once of each kind of request that gets no token, and each flow says so."""
    proxy.env(host="https://api.example.com/orders")
    proxy.set(inject_clients=clients)
    for _ in range(3):
        flow = await proxy.send(request(url))
        assert action(flow) == "skipped"
        assert reason in flow.comment
    assert sum(reason in message for message in caplog.messages) == 1


# --- What nobody foresaw ---


@pytest.mark.parametrize("where", ["match", "source", "inject", "wait", "cancel"])
async def test_own_error(
    proxy: Proxy, endpoint: Endpoint, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of ours blocks the request, and says where it happened but not its text."""
    proxy.env()

    def fail(*_: Any, **__: Any) -> Any:
        raise (asyncio.CancelledError if where == "cancel" else RuntimeError)("canary")

    if where == "match":
        monkeypatch.setattr(Policy, "decide", fail)
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
async def test_blocked_body(
    proxy: Proxy, endpoint: Endpoint, limit: str | None, body: str, at_once: bool, streams: bool
) -> None:
    """A blocked request is answered, unless its body streams: then it goes on without any credential."""
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
    assert flow.comment.startswith(f"qa: server down\n- why: {line}: no token (unreachable)")
    flow.response, flow.comment = None, ""
    await proxy.context.master.addons.handle_lifecycle(HttpRequestHook(flow))
    assert (flow.response, flow.comment) == (None, "")  # it is remembered no more


async def test_last_look_fails(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last look fails, the request goes on without its token."""
    proxy.env()
    flow = await proxy.send()
    flow.request.path = "/elsewhere"
    monkeypatch.setattr(Policy, "may_carry", lambda *_: 1 / 0)
    await flow.wait_for_resume()  # type: ignore[no-untyped-call]
    assert (action(flow), token(flow)) == ("skipped", None)
    assert "an error of the add-on's own (ZeroDivisionError in " in flow.metadata["inject"]["reason"]


async def test_signing_fails(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be signed, for an error of ours, goes on without its token."""
    monkeypatch.setenv("HOME", str(proxy.folder))
    proxy.env("DPOP=true")
    monkeypatch.setattr(dpop, "proof", lambda *_, **__: 1 / 0)
    flow = await proxy.send()
    assert token(flow) == "DPoP token-qa-1"
    await flow.wait_for_resume()  # type: ignore[no-untyped-call]
    assert (action(flow), token(flow)) == ("skipped", None)
    assert "an error of the add-on's own (ZeroDivisionError in " in flow.metadata["inject"]["reason"]


@pytest.mark.parametrize("hook", ["streamed request", HttpResponseHeadersHook, HttpErrorHook])
async def test_headers_sent(proxy: Proxy, hook: Any) -> None:
    """A request whose headers are sent is not checked again."""
    proxy.env()
    flow = await proxy.send()
    if hook == "streamed request":
        flow.request.stream, hook = True, HttpRequestHook
    await proxy.context.master.addons.handle_lifecycle(hook(flow))
    flow.request.host = "elsewhere.example.com"
    await flow.wait_for_resume()  # type: ignore[no-untyped-call]
    assert (action(flow), token(flow)) == ("injected", "Bearer token-qa-1")
    assert "wait_for_resume" not in vars(flow)


async def test_no_hook_ends_it(proxy: Proxy) -> None:
    """A request that no hook ends is finished when its client disconnects."""
    proxy.env()
    proxy.set(inject_mask=True)
    flow, other = await proxy.send(), await proxy.send()
    proxy.addon.client_disconnected(flow.client_conn)
    assert str(token(flow)).startswith("Bearer <qa sha256:")
    assert token(other) == "Bearer token-qa-1"
    assert [internals.has_last_look(one) for one in (flow, other)] == [False, True]


async def test_blocked_and_forgotten(proxy: Proxy, endpoint: Endpoint) -> None:
    """A blocked request whose client went away before its body was there is answered no more."""
    proxy.env()
    proxy.set(stream_large_bodies="1m")
    endpoint.error = NoToken("unreachable", "no")
    flow = await proxy.send(request(method="POST", **{"Transfer-Encoding": "chunked"}))
    for hook in (HttpErrorHook, HttpRequestHook):
        await proxy.context.master.addons.handle_lifecycle(hook(flow))
    assert (action(flow), flow.response) == ("blocked", None)


# --- Options and the log ---


async def test_options(proxy: Proxy) -> None:
    """Options take effect at run time, and a bad value is refused."""
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
            "inject_what_is_not_known_at_all: unknown option; expected one of inject_envs, inject_env, inject_clients",
        ),
        ("inject_env", ["qa", "dev"], "inject_env: is given 2 times; expected once"),
        ("inject_env", [], "inject_env: has no value; expected --set inject_env=value"),
        ("inject_env", [["qa"]], "inject_env: is malformed; expected a text"),
    ],
)
async def test_mistaken_option(
    proxy: Proxy, option: str, values: list[Any], wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An option that mitmproxy would ignore or choke on is an error, and does not reach it."""
    options = proxy.context.options
    options.deferred[option] = SimpleNamespace(val=values)
    options.deferred["inject_envs"] = str(proxy.folder)
    options.deferred["somebody_elses"] = SimpleNamespace(val=["x", "y"])
    proxy.addon.load(Loader(proxy.context.master))  # type: ignore[no-untyped-call]
    assert [record.levelname for record in caplog.records if record.name.startswith("cred")][-1] == "ERROR"
    assert caplog.messages[-1].startswith(wrong)
    assert options.deferred.keys() == {"inject_envs", "somebody_elses"}


async def test_mistake_at_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake at the start is an error in the log, not an exception."""
    injector = CredentialInjector()
    (tmp_path / "qa.env").write_text("HOST=ftp://x\nCLIENT_ID=a\nCLIENT_SECRET=b\n")
    with taddons.context(injector) as context:  # type: ignore[no-untyped-call]
        context.configure(injector, inject_envs=str(tmp_path), inject_clients="everybody")
    said = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.getMessage().partition(": ")[0] for record in said] == ["inject_clients", f"{tmp_path}/qa.env"]


async def test_other_change(proxy: Proxy, endpoint: Endpoint) -> None:
    """A token outlives a change that does not concern it."""
    proxy.env()
    await proxy.send()
    proxy.env(name="dev", host="https://dev.example.com")
    proxy.set(inject_env="qa,dev")
    assert token(await proxy.send()) == "Bearer token-qa-1"
    proxy.set(inject_env="dev")
    proxy.set(inject_env="qa")
    assert token(await proxy.send()) == "Bearer token-qa-2"


async def test_log(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    """The log tells the rare things, and no secret."""
    caplog.set_level(logging.INFO)
    proxy.env()
    for _ in range(5):
        flow = await proxy.send()
        await proxy.context.master.addons.handle_lifecycle(HttpResponseHeadersHook(flow))
    said = [record.getMessage() for record in caplog.records if record.name.startswith("credential_injector")]
    assert said == [
        "qa: https://api.example.com with tokens from https://login.example.com/t",
        f"qa: token fetched ({fingerprint('token-qa-1')}), it lives for 60 min",
        "qa: first request with a token went to api.example.com",
    ]
    assert SECRET not in caplog.text
    assert "token-qa-1" not in caplog.text


async def test_many_environments(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    """Many environments are not listed one by one."""
    caplog.set_level(logging.INFO)
    for number in range(30):
        lines = f"HOST=https://h{number}.example.com\nCLIENT_ID=a\nCLIENT_SECRET=b\n"
        (proxy.folder / f"e{number}.env").write_text(lines)
    proxy.set(inject_envs=str(proxy.folder))
    assert len(caplog.records) == 21
    assert caplog.messages[-1] == "... and 10 more environments"


async def test_status(proxy: Proxy, endpoint: Endpoint) -> None:
    """The status tells the token, counts, errors, and files that are not in use."""

    def status() -> list[str]:
        lines = proxy.context.master.commands.call("inject.status")
        lines = [line.replace(f"{proxy.folder}/", "…") for line in lines]
        return [re.sub(r"sha256:\w{12}| at [\d:]{8} on \d\d \w+", "…", line) for line in lines]

    proxy.env()
    none = "0 requests with a token, 0 token requests, 0 sent again, 0 blocked"
    assert status() == [f"qa: https://api.example.com: no token yet; {none}"]
    endpoint.error = NoToken("invalid_client", "it answered 401", lasting=True)
    await proxy.send()
    assert status() == [
        "qa: https://api.example.com: no token (invalid_client)…: it answered 401; check CLIENT_ID, CLIENT_SECRET and"
        " TOKEN_ENDPOINT_AUTH_METHOD in …qa.env; next try in 60 s;"
        " 0 requests with a token, 1 token request, 0 sent again, 1 blocked"
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
    await proxy.routes.read_again()
    assert status()[1:] == [
        "not in use: …qa.env: HOST: origin 1 has an unknown scheme; expected http or https",
        "not in use: …qa.env: CLIENT_ID: is missing; expected a value",
        "not in use: …qa.env: CLIENT_SECRET: is missing;"
        " expected the secret itself, CLIENT_SECRET_FILE=path or CLIENT_SECRET_COMMAND=command",
    ]


async def test_change_meanwhile(proxy: Proxy, endpoint: Endpoint) -> None:
    """A request that waits while its file changes finishes with what it began with."""
    proxy.env()
    flow = request()
    waiting = asyncio.ensure_future(proxy.send(flow))
    await asyncio.sleep(0)
    proxy.env("PREFIX=Token\nSCOPE=other")
    await proxy.routes.read_again()
    await waiting
    assert token(flow) == "Bearer token-qa-1"
    assert token(await proxy.send()) == "Token token-qa-2"


async def test_mistake_once(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in a changed file is told once."""
    proxy.env()
    (proxy.folder / "qa.env").write_text("HOST=ftp://x")
    for _ in range(3):
        await proxy.routes.read_again()
    assert len([message for message in caplog.messages if "unknown scheme" in message]) == 1
    proxy.env()
    await proxy.routes.read_again()
    assert token(await proxy.send()) == "Bearer token-qa-1"


async def test_other_store(proxy: Proxy, endpoint: Endpoint, tmp_path: Path) -> None:
    """Another store is used from then on."""
    proxy.env()
    assert token(await proxy.send()) == "Bearer token-qa-1"
    proxy.set(inject_tokens=str(tmp_path / "tokens"))
    assert token(await proxy.send()) == "Bearer token-qa-2"
    assert (tmp_path / "tokens").exists()
    proxy.set(inject_tokens="memory")
    assert token(await proxy.send()) == "Bearer token-qa-3"
    with pytest.raises(exceptions.OptionsError):
        proxy.set(inject_tokens="/no/such/folder/tokens")


async def test_refresh(proxy: Proxy, endpoint: Endpoint) -> None:
    """A refresh asks for a new token while the one at hand serves."""
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


async def test_summary(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    """At the end each environment gets a line."""
    caplog.set_level(logging.INFO)
    proxy.env(name="qa").env(name="dev", host="https://dev.example.com")
    proxy.set(inject_env="")
    for _ in range(3):
        await proxy.send()
    proxy.addon.done()
    assert caplog.messages[-1] == "qa: 3 requests with a token, 1 token request, 0 sent again, 0 blocked"
    assert not any(message.startswith("dev: 0") for message in caplog.messages)


@pytest.mark.parametrize(("grant", "waits"), [("refresh_token", True), ("client_credentials", False)])
async def test_end_waits(proxy: Proxy, endpoint: Endpoint, grant: str, waits: bool) -> None:
    """mitmproxy ends only when a refresh token that was shown has its successor."""
    refreshes = "GRANT_TYPE=refresh_token\nREFRESH_TOKEN=first" if grant == "refresh_token" else ""
    proxy.env(refreshes)
    proxy.context.master.commands.call("inject.refresh", "qa")
    await asyncio.sleep(0)
    leaving = proxy.addon.done()
    assert (leaving is not None) == waits
    if waits:
        await leaving
        assert endpoint.asked == ["qa"]


async def test_ending(proxy: Proxy, endpoint: Endpoint) -> None:
    """It still serves then, and would not wait for the answer."""
    proxy.env()
    assert proxy.addon.done() is None
    flow = await proxy.send()
    assert flow.response is not None
    assert b"no token (ending): the add-on is ending" in (flow.response.content or b"")
    assert endpoint.asked == []


async def test_waiting_at_the_end(proxy: Proxy, endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """What waits for its token then is blocked and counted at once, and only once."""
    caplog.set_level(logging.INFO)
    proxy.env()
    flow = request()
    waiting = asyncio.ensure_future(proxy.send(flow))
    while not endpoint.asked:  # noqa: ASYNC110 - until the token request has begun
        await asyncio.sleep(0)
    proxy.addon.done()
    assert flow.response is not None
    assert caplog.messages[-1] == "qa: 0 requests with a token, 1 token request, 0 sent again, 1 blocked"
    await waiting
    assert token(flow) is None
    assert sum("request blocked" in message for message in caplog.messages) == 1


async def test_no_file(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    """Without any file it says how to make one."""
    proxy.set(inject_envs=str(proxy.folder))
    (line,) = caplog.messages
    assert line == (
        f"No environment file in {proxy.folder}: every request passes untouched."
        f" To make one, run: credential-injector init dev --envs {proxy.folder}"
    )
    proxy.folder.rmdir()
    proxy.set(inject_envs="envs")
    assert caplog.messages[-1].startswith("No environment file in ")


@pytest.mark.parametrize(("keys", "imported"), [("", True), ("GRANT_TYPE=static\nVALUE=it", False), (None, False)])
async def test_preload(tmp_path: Path, keys: str | None, imported: bool) -> None:
    """What asks for tokens is imported soon after the start where there are any to ask for."""
    done: list[str] = []
    routes = Routes()
    if keys is not None:
        credential = "" if keys else f"CLIENT_ID=me\nCLIENT_SECRET={SECRET}\n"
        (tmp_path / "qa.env").write_text(f"HOST=https://api.example.com\n{credential}{keys}\n")
        routes.load(open_folder(str(tmp_path), []), None)
    before = asyncio.all_tasks()
    routes.preload_requests(partial(startup_tuning.preload_requests, pause=0, load=lambda: done.append("imported")))
    (preloading,) = asyncio.all_tasks() - before
    await preloading
    assert done == (["imported"] if imported else [])


async def test_no_preload_at_the_end(proxy: Proxy) -> None:
    """Nothing is imported any more when mitmproxy ends."""
    before = asyncio.all_tasks()
    proxy.routes.preload_requests()
    (preloading,) = asyncio.all_tasks() - before
    proxy.addon.done()
    await asyncio.wait([preloading])
    assert preloading.cancelled()


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("wrong", [True, False])
async def test_garbage(proxy: Proxy, enabled: bool, wrong: bool) -> None:
    """Garbage is collected after a load as before."""
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


# --- Near misses, pages of other sites, token endpoints ---


# --- What changes while a request is on its way ---


async def test_other_identity(proxy: Proxy) -> None:
    """A token does not follow its environment's name to another identity."""
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
async def test_open_door(
    proxy: Proxy,
    caplog: pytest.LogCaptureFixture,
    hosts: tuple[str, ...],
    clients: str,
    proxyauth: str | None,
    warns: bool,
) -> None:
    """A proxy that everybody can reach and that lets everybody in gets one warning."""
    proxy.context.options.add_option("proxyauth", str | None, None, "")
    proxy.context.master.addons.add(Proxyserver(*hosts))
    proxy.set(proxyauth=proxyauth)
    proxy.set(inject_clients=clients)
    told = [line for line in caplog.messages if "lets every client in" in line]
    assert len(told) == warns
    assert all("listens on " + ", ".join(hosts) in line and "set proxyauth" in line for line in told)


async def test_trailer(proxy: Proxy) -> None:
    """A trailer that repeats the token is masked, too."""
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


async def test_other_token_endpoint(proxy: Proxy) -> None:
    """The token endpoint of another environment gets no token either."""
    proxy.env(host="https://*.example.com").env("TOKEN_ENDPOINT=https://login.example.com/dev/token", name="dev")
    for path, gets in (("dev/token", None), ("t", None), ("me", "Bearer token-qa-1")):
        assert token(await proxy.send(request(f"https://login.example.com/{path}"))) == gets


async def test_published(proxy: Proxy, endpoint: Endpoint) -> None:
    """A token endpoint that an issuer publishes gets no token either."""
    endpoint.published = ("https://api.example.com/published/token",)
    (proxy.folder / "qa.env").write_text(
        f"HOST=https://api.example.com\nISSUER=https://api.example.com\nCLIENT_ID=me\nCLIENT_SECRET={SECRET}\n"
    )
    proxy.set(inject_envs=str(proxy.folder))
    assert token(await proxy.send()) == "Bearer token-me-1"
    assert token(await proxy.send(request("https://api.example.com/published/token"))) is None


async def test_published_without_token(proxy: Proxy, endpoint: Endpoint) -> None:
    """A published token endpoint is known even where it gave no token: who asks there brings a credential."""
    endpoint.published = ("https://api.example.com/published/token",)
    endpoint.error = NoToken("invalid_client", "no", lasting=True)
    (proxy.folder / "qa.env").write_text(
        f"HOST=https://api.example.com\nISSUER=https://api.example.com\nCLIENT_ID=me\nCLIENT_SECRET={SECRET}\n"
    )
    proxy.set(inject_envs=str(proxy.folder))
    await proxy.send()
    flow = await proxy.send(request("https://api.example.com/published/token", authorization="Basic own"))
    assert (flow.response, flow.request.headers["authorization"]) == (None, "Basic own")


async def test_stored_login(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a login from the store comes its token endpoint: the first request there keeps its own credential."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (proxy.folder / "qa.env").write_text(
        "HOST=https://api.example.com\nGRANT_TYPE=device_code\nISSUER=https://api.example.com\nCLIENT_ID=me\n"
    )
    (environment,) = open_folder(str(proxy.folder), []).read()
    url, now = "https://api.example.com/published/token", time.time()
    kept = AccessToken("kept", now, now + 3600, refresh_token="refresh", endpoints=(url,))
    await keep(file_store.open_logins(), environment.token_request, kept)
    proxy.set(inject_envs=str(proxy.folder))
    flow = await proxy.send(request(url, method="POST", authorization="Basic own"))
    assert (flow.response, flow.request.headers["authorization"]) == (None, "Basic own")
    assert token(await proxy.send()) == "Bearer kept"

"""A request to a configured host arrives authenticated, whoever sends it and however mitmproxy is reached."""

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from mitmproxy import http
from mitmproxy.io import FlowReader

from credential_injector.demo.processes import mitmproxy
from tests.e2e.conftest import CLIENT_SECRET, RESOLVE_TEST, Curl, Stage


@pytest.fixture
def inside() -> Sequence[str]:
    """mitmproxy as it is, not warm: all of it as a user has it is the subject here."""
    return ()


def saved(flows: Path) -> list[http.HTTPFlow]:
    with flows.open("rb") as file:
        return [flow for flow in FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)]


def last_credential(stage: Stage) -> str | None:
    return dict(stage.api.received[-1][1]).get("Authorization")


def test_curl(stage: Stage, curl: Curl) -> None:
    """curl gets 200 instead of 401, and 20 requests cost one token request."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    assert curl(f"{stage.http}/orders").status == 401
    for number in range(20):
        assert curl("--proxy", proxy.url, f"{stage.http}/orders/{number}").status == 200
    credential = last_credential(stage)
    assert credential is not None
    assert credential.startswith("Bearer ")
    assert stage.token_requests == 1
    (form,) = stage.authorization_server.token_requests
    assert form["grant_type"] == ["client_credentials"]
    assert form["scope"] == ["read"]


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
def test_python_requests(stage: Stage, method: str) -> None:
    """Requests of Python at once cost one token request, by either authentication method."""
    stage.env(stage.http, f"TOKEN_ENDPOINT_AUTH_METHOD={method}")
    proxy = stage.mitmdump()

    def get(number: int) -> int:
        with requests.Session() as session:
            session.proxies = {"http": proxy.url}
            return session.get(f"{stage.http}/orders/{number}", timeout=30).status_code

    with ThreadPoolExecutor(30) as pool:
        assert set(pool.map(get, range(60))) == {200}
    (form,) = stage.authorization_server.token_requests
    assert form["authorization"] == ("Basic" if method == "client_secret_basic" else "")
    assert ("client_id" in form) == (method == "client_secret_post")


def test_replaced(stage: Stage, curl: Curl) -> None:
    """A credential that the client sent is replaced."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, "--user", "some:body", f"{stage.http}/orders").status == 200
    assert [name for name, _ in stage.api.received[-1][1]].count("Authorization") == 1


def test_streamed_upload(stage: Stage, curl: Curl) -> None:
    """A streamed upload arrives authenticated."""
    stage.env(stage.http)
    proxy = stage.mitmdump(stream_large_bodies="1k")
    upload = stage.folder / "upload"
    upload.write_bytes(b"x" * 3_000_000)
    for extra in ([], ["--header", "Transfer-Encoding: chunked"]):
        reply = curl("--proxy", proxy.url, *extra, "--data-binary", f"@{upload}", f"{stage.http}/upload")
        assert reply.status == 200
        assert last_credential(stage) is not None


@pytest.mark.parametrize("strategy", ["eager", "lazy"])
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_https(stage: Stage, curl: Curl, strategy: str, version: str) -> None:
    """HTTPS goes through a proxy that the client trusts."""
    stage.env(f"https://*.qa.test:{stage.https_port}")
    proxy = stage.mitmdump(connection_strategy=strategy)
    trust = ["--cacert", str(stage.mitmproxy_ca)]
    url = f"https://API.qa.test:{stage.https_port}/orders"
    assert curl("--proxy", proxy.url, *trust, version, url).status == 200
    assert curl("--proxy", proxy.url, *trust, version, url.replace("API.qa", "qa"), check=False).status in (0, 502)
    assert stage.token_requests == 1


def test_http2(stage: Stage, curl: Curl, certificates: tuple[Path, Path]) -> None:
    """HTTP/2 works on both sides."""
    reverse = ["--mode", f"reverse:{stage.http}", "--set", f"confdir={stage.confdir}", "--set", "keep_host_header=true"]
    words = [*reverse, "--certs", f"*={certificates[1]}"]
    upstream = stage.enter(mitmproxy("mitmdump", *words, folder=stage.folder, script=RESOLVE_TEST))
    port = upstream.url.rpartition(":")[2]
    stage.env(f"https://api.qa.test:{port}")
    proxy = stage.mitmdump("--flow-detail", "2")
    trust = ["--cacert", str(stage.mitmproxy_ca)]
    reply = curl("--proxy", proxy.url, *trust, "--http2", "--data", "a=b", f"https://api.qa.test:{port}/orders")
    assert (reply.status, reply.headers.split()[0]) == (200, "HTTP/2")
    assert last_credential(stage) is not None
    assert not any("Lowercased" in line for line in proxy.log)


def test_reverse_mode(stage: Stage, curl: Curl) -> None:
    """A token goes out in reverse mode."""
    api = f"https://localhost:{stage.https_port}"
    stage.env(api)
    proxy = stage.mitmdump("--mode", f"reverse:{api}")
    assert curl(f"{proxy.url}/orders").status == 200


def test_upstream_mode(stage: Stage, curl: Curl) -> None:
    """A token goes out through an upstream proxy."""
    stage.env(f"https://api.qa.test:{stage.https_port}", name="tls")
    stage.env(stage.http, name="plain")
    words = ["--set", f"confdir={stage.confdir}", "--ignore-hosts", ".*"]
    corporate = stage.enter(mitmproxy("mitmdump", *words, folder=stage.folder, script=RESOLVE_TEST))
    proxy = stage.mitmdump("--mode", f"upstream:{corporate.url}")
    trust = ["--cacert", str(stage.mitmproxy_ca)]
    assert curl("--proxy", proxy.url, *trust, f"https://api.qa.test:{stage.https_port}/orders").status == 200
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200


@pytest.mark.parametrize("option", ["--socks5-hostname", "--socks5"])
def test_socks5(stage: Stage, curl: Curl, option: str) -> None:
    """A token goes out in SOCKS mode, by name and by address."""
    stage.env(f"https://api.qa.test:{stage.https_port}")
    proxy = stage.mitmdump("--mode", "socks5")
    address = proxy.url.removeprefix("http://")
    resolve = ["--resolve", f"api.qa.test:{stage.https_port}:127.0.0.1"]
    trust = ["--cacert", str(stage.mitmproxy_ca)]
    assert curl(option, address, *resolve, *trust, f"https://api.qa.test:{stage.https_port}/orders").status == 200


def test_host_header(stage: Stage, curl: Curl) -> None:
    """The token does not follow the Host header."""
    stage.env("http://api.qa.test")
    proxy = stage.mitmdump()
    reply = curl("--proxy", proxy.url, "--header", "Host: api.qa.test", f"{stage.http}/open")
    assert '"authorization":null' in reply.body.replace(" ", "")
    assert stage.token_requests == 0


def test_host_header_in_tunnel(stage: Stage, curl: Curl) -> None:
    """The token does not follow a Host header inside a tunnel."""
    port = stage.https_port
    stage.env(f"https://api.qa.test:{port}")
    proxy = stage.mitmdump()
    trust = ["--cacert", str(stage.mitmproxy_ca)]
    reply = curl(
        "--proxy", proxy.url, *trust, "--header", f"Host: api.qa.test:{port}", f"https://evil.qa.test:{port}/open"
    )
    assert '"authorization":null' in reply.body.replace(" ", "")
    assert stage.token_requests == 0


def test_unverified(stage: Stage, curl: Curl) -> None:
    """An unverified server gets no token."""
    stage.env(f"https://api.qa.test:{stage.https_port}")
    proxy = stage.mitmdump(ssl_insecure="true")
    trust = ["--cacert", str(stage.mitmproxy_ca)]
    reply = curl("--proxy", proxy.url, *trust, f"https://api.qa.test:{stage.https_port}/orders")
    assert reply.status == 502
    assert reply.body.startswith("qa: request blocked: ssl_insecure is or was set")
    assert stage.api.received == []


def test_other_client(stage: Stage, curl: Curl) -> None:
    """Another client passes untouched, and the flow says why."""
    stage.env(stage.http)
    flows = stage.folder / "flows"
    with stage.mitmproxy("mitmdump", "-w", str(flows), inject_clients="10.0.0.0/8") as proxy:
        reply = curl("--proxy", proxy.url, f"{stage.http}/orders")
    assert reply.status == 401
    assert stage.token_requests == 0
    (flow,) = saved(flows)
    assert flow.metadata["inject"]["action"] == "skipped"
    assert flow.metadata["inject"]["reason"] == (
        "client 127.0.0.1 is not in inject_clients (10.0.0.0/8); to let it in: --set"
        " inject_clients=10.0.0.0/8,127.0.0.1"
    )


def test_proxyauth(stage: Stage, curl: Curl) -> None:
    """A client that proxyauth let in gets a token."""
    stage.env(stage.http)
    proxy = stage.mitmdump("--proxyauth", "me:password", inject_clients="10.0.0.0/8")
    assert curl("--proxy", proxy.url, "--proxy-user", "me:password", f"{stage.http}/orders").status == 200
    assert curl("--proxy", proxy.url, "--proxy-user", "me:wrong", f"{stage.http}/orders").status == 407
    assert stage.token_requests == 1


def test_saved_and_logged(stage: Stage, curl: Curl) -> None:
    """What is saved and logged holds the record, and not the secret."""
    stage.env(stage.http)
    flows = stage.folder / "flows"
    with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
        curl("--proxy", proxy.url, f"{stage.http}/orders")
        curl("--proxy", proxy.url, f"{stage.http}/orders")
    first, second = saved(flows)
    assert (first.metadata["inject"]["source"], second.metadata["inject"]["source"]) == ("fetched", "cached")
    assert (first.marked, first.comment.splitlines()[0]) == (":key:", "qa: +Bearer")
    assert "- token injected (fetched, 4" in first.comment
    log = "\n".join(proxy.log)
    assert f"qa: {stage.http} with tokens from {stage.token_endpoint}" in log
    assert "qa: token fetched (sha256:" in log
    assert log.count("first request with a token") == 1
    token = first.request.headers["Authorization"].removeprefix("Bearer ")
    for kept in (log, first.comment, str(first.metadata)):
        assert token not in kept
        assert CLIENT_SECRET not in kept


def test_api_down(stage: Stage, curl: Curl) -> None:
    """An API that refuses connections is mitmproxy's 502."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        api = f"http://127.0.0.1:{unused.getsockname()[1]}"
        stage.env(api)
        proxy = stage.mitmdump()
        reply = curl("--proxy", proxy.url, f"{api}/orders")
    assert reply.status == 502
    assert "blocked" not in reply.body
    assert stage.token_requests == 1

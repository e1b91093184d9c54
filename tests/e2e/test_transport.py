"""The way from mitmproxy to the authorization server."""

import ssl

import pytest

from credential_injector.demo.processes import mitmproxy
from credential_injector.demo.servers import serve
from tests.certificates import Authority
from tests.e2e.conftest import RESOLVE_TEST, Curl, Stage
from tests.e2e.test_main_job import saved
from tests.fakes import black_hole

NAMES = """import socket
resolve = socket.getaddrinfo
def names(host, port, *rest, **more):
    hosts = ("127.0.0.2", "127.0.0.1") if host == "login.qa.test" else (host,)
    return [address for host in hosts for address in resolve(host, port, *rest, **more)]
socket.getaddrinfo = names
"""
"""A mitmproxy script: login.qa.test has two addresses."""


def tls_endpoint(stage: Stage, certificate: str) -> str:
    """The token endpoint over TLS, by a name that only tests/e2e/resolve_test.py resolves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    origin = stage.enter(serve(stage.authorization_server.app, context))
    return f"{origin.replace('127.0.0.1', 'login.qa.test')}/oauth2/v2.0/token"


@pytest.mark.parametrize("line", ["", "PROXY={proxy}", "PROXY=direct"])
def test_way(stage: Stage, curl: Curl, certificates: tuple[object, object], line: str) -> None:
    """Token requests take the way of the upstream proxy, or the file's own, with its password and mitmproxy's trust."""
    words = ["--set", f"confdir={stage.confdir}", "--ignore-hosts", ".*", "--proxyauth", "me:p@ss"]
    company = stage.enter(mitmproxy("mitmdump", *words, folder=stage.folder, script=RESOLVE_TEST, inside=stage.inside))
    endpoint = tls_endpoint(stage, str(certificates[1]))
    own = line.format(proxy=company.url.replace("//", "//me:p%40ss@"))
    stage.env(stage.http, f"TOKEN_ENDPOINT={endpoint}", *filter(None, [own]))
    mode = ["--mode", f"upstream:{company.url}", "--set", "upstream_auth=me:p@ss"]
    proxy = stage.mitmdump(*([] if "{proxy}" in line else mode))
    reply = curl("--proxy", proxy.url, f"{stage.http}/orders")
    if line == "PROXY=direct":
        assert (reply.status, stage.token_requests) == (502, 0)
        assert "no token (unreachable)" in reply.body
    else:
        assert (reply.status, stage.token_requests) == (200, 1)


def test_trust(stage: Stage, curl: Curl, certificates: tuple[object, object]) -> None:
    """CA_FILE is trusted alone, and INSECURE_TLS is told on every flow."""
    endpoint = tls_endpoint(stage, str(certificates[1])).replace("login.qa.test", "127.0.0.1")
    flows = stage.folder / "flows"
    (stage.folder / "envs").mkdir()
    (stage.folder / "envs" / "other.pem").write_text(Authority().certificate)
    for line, status in (("CA_FILE=other.pem", 502), ("TIMEOUT=5", 200), ("INSECURE_TLS=true", 200)):
        stage.env(stage.http, f"TOKEN_ENDPOINT={endpoint}", line)
        with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
            for _ in range(2):
                reply = curl("--proxy", proxy.url, f"{stage.http}/orders")
                assert reply.status == status, reply.body
            assert status == 200 or "its certificate is not trusted" in reply.body
        told = ["INSECURE_TLS: nobody verifies" in flow.comment for flow in saved(flows)]
        assert told == [line == "INSECURE_TLS=true"] * 2


def test_dropped_packets(stage: Stage, curl: Curl, certificates: tuple[object, object]) -> None:
    """An address that drops packets does not keep a token from coming, as the name has another one that works."""
    endpoint = tls_endpoint(stage, str(certificates[1]))
    port = int(endpoint.split("/")[2].rpartition(":")[2])
    stage.enter(black_hole("127.0.0.2", port))
    script = stage.folder / "names.py"
    script.write_text(NAMES)
    stage.env(stage.http, f"TOKEN_ENDPOINT={endpoint}")
    reply = curl("--proxy", stage.mitmdump("-s", str(script)).url, f"{stage.http}/orders")
    assert (reply.status, stage.token_requests) == (200, 1)

"""Why real servers refuse a token."""

import time
from collections.abc import Iterator
from typing import Any

import flask
import pytest
from mitmproxy import http
from selenium.webdriver.support.ui import WebDriverWait

from credential_injector.demo.processes import mitmproxy
from credential_injector.demo.servers import serve
from tests.certificates import KEYS, Authority, pem_of
from tests.conftest import tool
from tests.e2e import verifying_api
from tests.e2e.conftest import RESOLVE_TEST, Chromium, Curl, Stage
from tests.e2e.oidc_provider import SECRET, OidcProvider
from tests.e2e.test_main_job import saved
from tests.e2e.verifying_api import AUDIENCE, VerifyingApi

STATIC = "TOKEN_ENDPOINT,CLIENT_ID,CLIENT_SECRET,SCOPE"
HOUR = 3600
PAGE = """<!doctype html><title>asking</title><script>
fetch(new URLSearchParams(location.search).get("api"))
  .then(() => { document.title = "read"; }, error => { document.title = error.message; });
</script>"""


@pytest.fixture
def api() -> Iterator[VerifyingApi]:
    with verifying_api.running() as api:
        yield api


def diagnosed(stage: Stage, curl: Curl, url: str, *options: str) -> dict[str, Any]:
    """The diagnosis on the flow of a request for this URL."""
    flows = stage.folder / "flows.mitm"
    with stage.mitmproxy("mitmdump", "-w", str(flows), *options) as proxy:
        curl("--proxy", proxy.url, url)
    found: dict[str, Any] = saved(flows)[-1].metadata["inject"]["diagnosis"]
    return found


@pytest.mark.parametrize(
    ("claims", "ahead", "path", "code", "cause"),
    [
        ({}, 0, "admin", "scope", "the API wants scope admin, the token has read"),
        ({"aud": "urn:other"}, 0, "read", "audience",
         "the API says that the token is not for it; the token is for aud urn:other"),
        ({"iss": "https://other.example.com"}, 0, "read", "issuer",
         "the API says that it does not take tokens of this issuer, https://other.example.com"),
        ({"key": pem_of(KEYS["P-256"]())}, 0, "read", "signature",
         "the API says that it cannot verify the token's signature"),
        ({}, 2.5 * HOUR, "read", "clock",
         "the token has expired by the API's clock, which is 2 h ahead of this machine's"),
        ({}, -2.5 * HOUR, "read", "clock",
         "the token is not valid yet by the API's clock, which is 2 h behind this machine's"),
        ({}, 0, "dpop", "dpop", "the API wants a DPoP proof with the token"),
        ({"acr": "pwd"}, 0, "step-up", "step_up",
         "the API wants a person's login with acr urn:mfa (the token has pwd) and at most 5 min ago"),
        ({}, 0, "basic", "scheme", "the API asks for Basic, and the token goes as Bearer"),
        ({}, 0, "page", "login_page",
         "the API redirects to a login page, as it does for a browser without a session"),
    ],
)  # fmt: skip
def test_jwt(
    stage: Stage, curl: Curl, api: VerifyingApi, claims: dict[str, Any], ahead: float, path: str, code: str, cause: str
) -> None:
    """An API that verifies JWTs refuses one, and the flow tells the cause."""
    api.claims, api.ahead = claims, ahead
    stage.env(api.url, f"TOKEN_ENDPOINT={api.url}/token")
    found = diagnosed(stage, curl, f"{api.url}/{path}")
    assert (found["code"], found["cause"]) == (code, cause)


def test_accepted(stage: Stage, curl: Curl, api: VerifyingApi) -> None:
    """What the API takes has no diagnosis."""
    stage.env(api.url, f"TOKEN_ENDPOINT={api.url}/token")
    assert diagnosed(stage, curl, f"{api.url}/read") is None


def test_expired(stage: Stage, curl: Curl, api: VerifyingApi) -> None:
    """A token in the file has expired."""
    token = api.signed(exp=int(time.time()) - 3 * HOUR)
    stage.env(api.url, "GRANT_TYPE=static", f"VALUE={token}", without=STATIC)
    found = diagnosed(stage, curl, f"{api.url}/read")
    assert (found["code"], found["cause"]) == ("expired", "the token expired 3 h ago")
    assert found["advice"].startswith("put a new one into envs/qa.env")


def test_id_token(stage: Stage, curl: Curl, api: VerifyingApi) -> None:
    """An ID token stands in the file."""
    token = api.signed(aud="app", azp="app", at_hash="x", nonce="y", scope=None)
    stage.env(api.url, "GRANT_TYPE=static", f"VALUE={token}", without=STATIC)
    assert diagnosed(stage, curl, f"{api.url}/read")["code"] == "id_token"


def test_other_environment(stage: Stage, curl: Curl, api: VerifyingApi) -> None:
    """The authorization server gives qa a token for uat."""
    api.claims = {"aud": "https://uat.example.com"}
    stage.env(api.url, f"TOKEN_ENDPOINT={api.url}/token", f"AUDIENCE={AUDIENCE}")
    stage.env("https://uat.example.com", f"TOKEN_ENDPOINT={api.url}/token", name="uat")
    found = diagnosed(stage, curl, f"{api.url}/read")
    assert (found["code"], found["environment"]) == ("other_environment", "uat")


def test_header(stage: Stage, curl: Curl, api: VerifyingApi) -> None:
    """The token goes into another header than the one that the API reads."""
    stage.env(api.url, f"TOKEN_ENDPOINT={api.url}/token", "HEADER=X-Api-Key", "PREFIX=")
    found = diagnosed(stage, curl, f"{api.url}/read")
    assert found["code"] == "header"
    assert found["cause"] == "the API asks for Bearer in Authorization, and the token goes in X-Api-Key"


def test_size(stage: Stage, curl: Curl, api: VerifyingApi) -> None:
    """Python's HTTP server takes no line of more than 65,536 bytes."""
    api.claims = {"groups": ["x" * 36] * 1400}
    stage.env(api.url, f"TOKEN_ENDPOINT={api.url}/token")
    found = diagnosed(stage, curl, f"{api.url}/read")
    assert found["code"] == "size"
    assert found["token_header_size"] > 65536
    assert "for a token with fewer claims" in found["advice"]


def test_proxy_login(stage: Stage, curl: Curl) -> None:
    """The upstream proxy wants a login."""
    words = ["--set", f"confdir={stage.confdir}", "--proxyauth", "me:mine"]
    corporate = stage.enter(
        mitmproxy("mitmdump", *words, folder=stage.folder, script=RESOLVE_TEST, inside=stage.inside)
    )
    stage.env(stage.http)
    found = diagnosed(stage, curl, f"{stage.http}/orders", "--mode", f"upstream:{corporate.url}")
    assert found["code"] == "proxy_login"
    assert found["cause"].startswith(f"the upstream proxy {corporate.url.removeprefix('http://')} wants a login")


def test_resource(stage: Stage, curl: Curl, oidc_provider: OidcProvider) -> None:
    """oidc-provider gives a JWT for the resource that the file names, and the API is another one (RFC 8707)."""
    endpoint = f"TOKEN_ENDPOINT={oidc_provider.issuer}/token"
    stage.env(oidc_provider.api, endpoint, "CLIENT_ID=post", f"CLIENT_SECRET={SECRET}", "RESOURCE=urn:jwt:other")
    found = diagnosed(stage, curl, f"{oidc_provider.api}/orders")
    assert found["code"] == "audience"
    assert found["cause"] == "the API says that the token is not for it; the token is for aud urn:jwt:other"
    assert "write it into RESOURCE in envs/qa.env" in found["advice"]


def test_certificate(stage: Stage, curl: Curl, oidc_provider: OidcProvider, authority: Authority) -> None:
    """oidc-provider binds a token to the client's certificate, which the API does not get to see (RFC 8705)."""
    tool("node", package="nodejs")
    (stage.folder / "envs").mkdir()
    for name, text in zip(("client.pem", "client.key"), oidc_provider.self_signed, strict=True):
        (stage.folder / "envs" / name).write_text(text)
    (stage.folder / "envs" / "ca.pem").write_text(authority.certificate)
    stage.env(
        oidc_provider.api,
        f"TOKEN_ENDPOINT={oidc_provider.tls}/token",
        "CLIENT_ID=bound",
        "TOKEN_ENDPOINT_AUTH_METHOD=self_signed_tls_client_auth",
        "CLIENT_CERT_FILE=client.pem",
        "CLIENT_KEY_FILE=client.key",
        "CA_FILE=ca.pem",
        "RESOURCE=urn:jwt",
        without="CLIENT_SECRET",
    )
    found = diagnosed(stage, curl, f"{oidc_provider.api}/orders")
    assert found["code"] == "mtls"
    assert "of CLIENT_KEY and CLIENT_CERT in envs/qa.env in PEM form" in found["advice"]


def asked(stage: Stage, chromium: Chromium, page: str, path: str) -> tuple[str, http.HTTPFlow]:
    """The origin of a page of another origin, which Chromium lets read no answer of the API, and the flow."""
    app = flask.Flask("page")
    app.add_url_rule("/", view_func=lambda: page)
    origin = stage.enter(serve(app, stage.tls)).replace("127.0.0.1", "api.test")
    api = f"https://api.qa.test:{stage.https_port}"
    stage.env(api, f"ORIGINS={origin}")
    flows = stage.folder / "flows.mitm"
    with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
        browser = chromium(f"--proxy-server={proxy.url}", "--ignore-certificate-errors")
        browser.get(f"{origin}/?api={api}{path}")
        WebDriverWait(browser, 20).until(lambda _: browser.title != "asking")
        assert browser.title == "Failed to fetch"
        proxy.wait_for("so the .*page sees 'Failed to fetch'")
    (flow,) = (flow for flow in saved(flows) if flow.request.path == path)
    return origin, flow


def test_cors(stage: Stage, chromium: Chromium) -> None:
    """Chromium keeps an answer from a page, and the flow tells why beside its status 200."""
    origin, flow = asked(stage, chromium, PAGE, "/open")
    assert flow.response is not None
    assert flow.response.status_code == 200
    found = flow.metadata["inject"]["diagnosis"]
    assert (found["code"], found["origin"]) == ("cors", origin)


def test_preflight(stage: Stage, chromium: Chromium) -> None:
    """Chromium does not send a request whose preflight the API refuses, and the preflight's flow tells why."""
    stage.api.app.add_url_rule(
        "/strict", view_func=lambda: ("", 401), methods=["GET", "OPTIONS"], provide_automatic_options=False
    )
    page = PAGE.replace('get("api")', 'get("api"), {headers: {"X-Mine": "1"}}')
    _, flow = asked(stage, chromium, page, "/strict")
    assert (flow.request.method, "Authorization" in flow.request.headers) == ("OPTIONS", False)
    assert flow.comment.startswith("qa: preflight 401\n- why: the API answered 401 to the browser's CORS preflight")

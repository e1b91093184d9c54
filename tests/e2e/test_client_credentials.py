"""What a server or an API makes of the credentials of a file: of a certificate, of Basic, of an API key."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from credential_injector.demo.servers import Client, DemoAuthorizationServer, ProtectedApi, serve
from tests.certificates import self_signed
from tests.e2e.conftest import Curl, Stage
from tests.e2e.test_start import start_and_fail

STRANGE = "canary/+=: &%"
KEY = "canary-api-key"


def answering(status: Callable[[dict[str, Any]], str], body: bytes = b"") -> Any:
    """An application that answers what `status` makes of a request."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status(environ), [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return app


@pytest.fixture
def bound(stage: Stage, certificates: tuple[Path, Path]) -> Iterator[str]:
    """An API and a token endpoint that both want the client's certificate; yields the API's origin."""
    certificate, key = self_signed("client")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates[1])
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=certificate)

    def status(environ: dict[str, Any]) -> str:
        return "200 OK" if environ.get("SSL_CLIENT_CERT") else "401 Unauthorized"

    token = b'{"access_token": "canary-bound", "token_type": "Bearer", "expires_in": 300}'
    with serve(answering(status, token), context) as endpoint, serve(answering(status), context) as api:
        lines = ["TOKEN_ENDPOINT_AUTH_METHOD=tls_client_auth", "CLIENT_CERT_FILE=c.pem", "CLIENT_KEY_FILE=k.pem"]
        stage.env(api, f"TOKEN_ENDPOINT={endpoint}/token", *lines, f"CA_FILE={stage.ca}", without="CLIENT_SECRET")
        (stage.folder / "envs" / "c.pem").write_text(certificate)
        (stage.folder / "envs" / "k.pem").write_text(key)
        (stage.folder / "both.pem").write_text(f"{key}{certificate}")
        yield api


def test_bound_token(stage: Stage, curl: Curl, bound: str) -> None:
    """A token is bound to a certificate, which mitmproxy shows the API, too, with client_certs (RFC 8705 section 3)."""
    proxy = stage.mitmdump()
    ask = ["--cacert", str(stage.mitmproxy_ca), f"{bound}/orders"]
    assert curl("--proxy", proxy.url, *ask).status == 401
    proxy.wait_for("mitmproxy must show it to the API, too: --set client_certs=FILE")
    shows = stage.mitmdump("--set", f"client_certs={stage.folder / 'both.pem'}")
    assert curl("--proxy", shows.url, *ask).status == 200


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_special_characters(stage: Stage, curl: Curl, method: str) -> None:
    """Authlib's server takes Basic as it is, and so refuses a secret that is encoded as RFC 6749 wants it."""
    server = DemoAuthorizationServer([Client("me", STRANGE)])
    endpoint, api = stage.enter(serve(server.app)), stage.enter(serve(ProtectedApi(server).app))
    secret = f"CLIENT_SECRET='{STRANGE}'"
    lines = [f"TOKEN_ENDPOINT={endpoint}/oauth2/v2.0/token", f"TOKEN_ENDPOINT_AUTH_METHOD={method}"]
    stage.env(api, *lines, "CLIENT_ID=me", secret)
    reply = curl("--proxy", stage.mitmdump().url, f"{api}/orders")
    if method == "client_secret_post":
        assert reply.status == 200
    else:
        assert reply.status == 502
        assert "no token (invalid_client)" in reply.body
        assert "write TOKEN_ENDPOINT_AUTH_METHOD=client_secret_post" in reply.body


@pytest.mark.parametrize(
    ("lines", "sent", "note"),
    [
        (["HEADER=X-Api-Key"], KEY, True),
        (["HEADER=X-Api-Key", "PREFIX="], KEY, False),
        (["HEADER=X-Api-Key", "PREFIX=Bearer"], f"Bearer {KEY}", False),
    ],
)
def test_an_api_key(stage: Stage, curl: Curl, lines: list[str], sent: str, note: bool) -> None:
    """It goes alone into a header of its own, and the log says so where PREFIX does not."""
    without = "TOKEN_ENDPOINT,CLIENT_ID,CLIENT_SECRET,SCOPE"
    stage.env(stage.http, "GRANT_TYPE=static", f"VALUE={KEY}", *lines, without=without)
    proxy = stage.mitmdump()
    curl("--proxy", proxy.url, f"{stage.http}/open")
    (_, headers) = stage.api.received[-1]
    assert dict(headers)["X-Api-Key"] == sent
    said = [line for line in proxy.log if "PREFIX" in line]
    assert len(said) == note
    assert all("X-Api-Key gets the credential without Bearer before it" in line for line in said)


def test_a_scheme_in_an_api_key(stage: Stage) -> None:
    """`Bearer Bearer canary` would be sent otherwise."""
    without = "TOKEN_ENDPOINT,CLIENT_ID,CLIENT_SECRET,SCOPE"
    stage.env(stage.http, "GRANT_TYPE=static", f"VALUE=bearer {KEY}", without=without)
    code, lines = start_and_fail(stage)
    assert code != 0
    assert any("envs/qa.env: VALUE: begins with Bearer, and PREFIX goes before it" in line for line in lines)

"""Against a certified authorization server and an API that introspects its tokens, with Postman's runner too."""

import os
import subprocess
from typing import Any

import pytest
import requests

from tests.certificates import Authority
from tests.conftest import node_package, tool
from tests.e2e.conftest import Curl, Stage
from tests.e2e.oidc_provider import NODE, SECRET, STRANGE, OidcProvider


def env(stage: Stage, server: OidcProvider, *lines: str) -> None:
    stage.env(server.api, f"TOKEN_ENDPOINT={server.issuer}/token", *lines)


def file(stage: Stage, name: str, text: str) -> None:
    """A file beside the environment file."""
    (stage.folder / "envs").mkdir(exist_ok=True)
    (stage.folder / "envs" / name).write_text(text)


def get(url: str, proxy: str, **arguments: Any) -> requests.Response:
    with requests.Session() as session:
        session.proxies = {"http": proxy}
        return session.get(url, timeout=30, **arguments)


def test_clients(stage: Stage, oidc_provider: OidcProvider, curl: Curl) -> None:
    """Every client is authenticated by one token request."""
    node = tool("node", package="nodejs")
    newman = node_package("newman") / "bin" / "newman.js"
    env(stage, oidc_provider, "CLIENT_ID=post", f"CLIENT_SECRET={SECRET}")
    proxy = stage.mitmdump()
    assert curl(f"{oidc_provider.api}/orders").status == 401

    assert curl("--proxy", proxy.url, f"{oidc_provider.api}/orders").status == 200
    answer = get(f"{oidc_provider.api}/orders", proxy.url)
    assert (answer.status_code, answer.json()["client_id"]) == (200, "post")
    collection = [str(newman), "run", "collection.json", "-n", "5", "--env-var", f"api={oidc_provider.api}"]
    done = subprocess.run(
        [node, *collection],
        cwd=NODE,
        env={**os.environ, "HTTP_PROXY": proxy.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert oidc_provider.stats() == {"token_requests": 1, "calls": 23, "refused": 1}


@pytest.mark.parametrize(
    ("method", "client_id", "secret"),
    [
        ("client_secret_post", "post", SECRET),
        ("client_secret_basic", "basic", SECRET),
        ("client_secret_basic", STRANGE, STRANGE),
        ("client_secret_post", f"post {STRANGE}", STRANGE),
    ],
)
def test_strange_secret(stage: Stage, oidc_provider: OidcProvider, method: str, client_id: str, secret: str) -> None:
    """Either method takes the strangest secret."""
    env(
        stage,
        oidc_provider,
        f"TOKEN_ENDPOINT_AUTH_METHOD={method}",
        f"CLIENT_ID='{client_id}'",
        f"CLIENT_SECRET='{secret}'",
    )
    answer = get(f"{oidc_provider.api}/orders", stage.mitmdump().url)
    assert (answer.status_code, answer.text and answer.json()["client_id"]) == (200, client_id)


def test_scope_and_resource(stage: Stage, oidc_provider: OidcProvider) -> None:
    """The scope and the resource reach the server."""
    env(stage, oidc_provider, "CLIENT_ID=post", f"CLIENT_SECRET={SECRET}", "RESOURCE=urn:orders")
    answer = get(f"{oidc_provider.api}/orders", stage.mitmdump().url)
    assert (answer.status_code, answer.json()["scope"], answer.json()["aud"]) == (200, "read", "urn:orders")


def test_jwt(stage: Stage, oidc_provider: OidcProvider) -> None:
    """A resource may get a JWT."""
    env(stage, oidc_provider, "CLIENT_ID=post", f"CLIENT_SECRET={SECRET}", "RESOURCE=urn:jwt")
    answer = get(f"{oidc_provider.api}/orders", stage.mitmdump().url)
    assert (answer.status_code, answer.json()["jwt"], answer.json()["aud"]) == (200, True, "urn:jwt")


def test_client_secret_jwt(stage: Stage, oidc_provider: OidcProvider) -> None:
    """A secret may sign instead of being sent."""
    method = "TOKEN_ENDPOINT_AUTH_METHOD=client_secret_jwt"
    env(stage, oidc_provider, "CLIENT_ID=secret-jwt", f"CLIENT_SECRET={SECRET}", method)
    answer = get(f"{oidc_provider.api}/orders", stage.mitmdump().url)
    assert (answer.status_code, answer.json()["client_id"]) == (200, "secret-jwt")


def test_a_private_key_of_every_kind_signs(stage: Stage, oidc_provider: OidcProvider) -> None:
    """One environment for each algorithm, told apart by the paths of their hosts."""
    for algorithm, pem in oidc_provider.keys.items():
        file(stage, f"{algorithm}.pem", pem)
        stage.env(
            f"{oidc_provider.api}/{algorithm}",
            f"TOKEN_ENDPOINT={oidc_provider.issuer}/token",
            f"CLIENT_ID={algorithm}",
            "TOKEN_ENDPOINT_AUTH_METHOD=private_key_jwt",
            f"PRIVATE_KEY_FILE={algorithm}.pem",
            f"SIGNING_ALG={algorithm}",
            name=algorithm,
            without="CLIENT_SECRET",
        )
    proxy = stage.mitmdump()
    answers = {algorithm: get(f"{oidc_provider.api}/{algorithm}/orders", proxy.url) for algorithm in oidc_provider.keys}
    assert {algorithm: answer.text and answer.json().get("client_id") for algorithm, answer in answers.items()} == {
        algorithm: algorithm for algorithm in oidc_provider.keys
    }


@pytest.mark.parametrize("client_id", ["tls", "self-signed"])
@pytest.mark.parametrize("discovered", [False, True])
def test_certificate(
    stage: Stage, oidc_provider: OidcProvider, authority: Authority, client_id: str, discovered: bool
) -> None:
    """A client may show its certificate."""
    certificate, key = oidc_provider.self_signed if client_id == "self-signed" else authority.issue("tls")
    file(stage, "client.pem", certificate)
    file(stage, "client.key", key)
    file(stage, "ca.pem", authority.certificate)
    where = [f"ISSUER={oidc_provider.issuer}"] if discovered else [f"TOKEN_ENDPOINT={oidc_provider.tls}/token"]
    method = "self_signed_tls_client_auth" if client_id == "self-signed" else "tls_client_auth"
    stage.env(
        oidc_provider.api,
        *where,
        *([] if discovered and client_id == "tls" else [f"TOKEN_ENDPOINT_AUTH_METHOD={method}"]),
        f"CLIENT_ID={client_id}",
        "CLIENT_CERT_FILE=client.pem",
        "CLIENT_KEY_FILE=client.key",
        "CA_FILE=ca.pem",
        without="TOKEN_ENDPOINT,CLIENT_SECRET",
    )
    answer = get(f"{oidc_provider.api}/orders", stage.mitmdump().url)
    assert (answer.status_code, answer.text and answer.json().get("client_id")) == (200, client_id), answer.text


def test_issuer(stage: Stage, oidc_provider: OidcProvider) -> None:
    """An issuer tells where and how to ask."""
    lines = [f"ISSUER={oidc_provider.issuer}", f"CLIENT_ID='{STRANGE}'", f"CLIENT_SECRET='{STRANGE}'"]
    stage.env(oidc_provider.api, *lines, without="TOKEN_ENDPOINT")
    answer = get(f"{oidc_provider.api}/orders", stage.mitmdump().url)
    assert (answer.status_code, answer.json()["client_id"]) == (200, STRANGE)


def test_other_issuer(stage: Stage, oidc_provider: OidcProvider) -> None:
    """An issuer that writes itself in another way is refused."""
    stage.env(oidc_provider.api, f"ISSUER={oidc_provider.issuer}/", without="TOKEN_ENDPOINT")
    answer = get(f"{oidc_provider.api}/orders", stage.mitmdump().url)
    assert answer.status_code == 502
    assert "no token (issuer_mismatch)" in answer.text
    assert "with or without a slash at its end" in answer.text


@pytest.mark.parametrize("store", ["memory", "tokens.json"])
def test_rotation(stage: Stage, oidc_provider: OidcProvider, store: str) -> None:
    """A refresh token is rotated, and a store keeps the last one."""
    env(
        stage,
        oidc_provider,
        "GRANT_TYPE=refresh_token",
        "TOKEN_ENDPOINT_AUTH_METHOD=client_secret_basic",
        "CLIENT_ID=refresh",
        f"CLIENT_SECRET={SECRET}",
        f"REFRESH_TOKEN={oidc_provider.refresh_token()}",
        "SCOPE=openid offline_access read",
    )
    where = store if store == "memory" else str(stage.folder / store)
    for run in range(1 if store == "memory" else 2):
        with stage.mitmproxy("mitmdump", inject_tokens=where) as proxy:
            # The file's refresh token is good for one token request.
            for _ in range(3):
                assert get(f"{oidc_provider.api}/orders", proxy.url).status_code == 200
                oidc_provider.end_access_tokens()
            assert oidc_provider.stats()["token_requests"] == 3 + 3 * run
            warned = any("the server has replaced the refresh token" in line for line in proxy.log)
            assert warned == (store == "memory")


@pytest.mark.parametrize(
    ("line", "code"), [("CLIENT_SECRET=wrong", "invalid_client"), ("RESOURCE=not a uri", "invalid_target")]
)
def test_refused(stage: Stage, oidc_provider: OidcProvider, line: str, code: str) -> None:
    """What the server refuses is told with its OAuth error."""
    lines = {"CLIENT_ID": "post", "CLIENT_SECRET": SECRET} | dict([line.split("=", 1)])
    env(stage, oidc_provider, *(f"{key}={value}" for key, value in lines.items()))
    answer = get(f"{oidc_provider.api}/orders", stage.mitmdump().url)
    assert answer.status_code == 502
    assert f"no token ({code})" in answer.text

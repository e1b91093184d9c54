"""Against a certified authorization server and an API that introspects its tokens, with Postman's runner too."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import node_package, tool
from tests.e2e.conftest import Curl, Stage

NODE = Path(__file__).with_name("node")
SECRET = "canary-secret-of-at-least-32-characters"
STRANGE = 'p@ss:w%rd +&=/"~'


@dataclass
class OidcProvider:
    issuer: str
    api: str

    def stats(self) -> dict[str, int]:
        answer: dict[str, int] = requests.get(f"{self.api}/stats", timeout=10).json()
        return answer


@pytest.fixture
def oidc_provider() -> Iterator[OidcProvider]:
    node = tool("node", package="nodejs")
    node_package("oidc-provider")
    process = subprocess.Popen(
        [node, "authorization_server.mjs"],
        cwd=NODE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # oidc-provider warns at length that this is a development setup
        text=True,
    )
    try:
        assert process.stdout is not None
        yield OidcProvider(**json.loads(process.stdout.readline()))
    finally:
        process.terminate()
        process.communicate()


def env(stage: Stage, server: OidcProvider, *lines: str) -> None:
    stage.env(server.api, f"TOKEN_ENDPOINT={server.issuer}/token", *lines)


def get(url: str, proxy: str, **arguments: Any) -> requests.Response:
    with requests.Session() as session:
        session.proxies = {"http": proxy}
        return session.get(url, timeout=30, **arguments)


def test_every_client_is_authenticated_by_one_token_request(
    stage: Stage, oidc_provider: OidcProvider, curl: Curl
) -> None:
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
        ("client_secret_basic", "strange :id+&=", STRANGE),
        ("client_secret_post", "strange post", STRANGE),
    ],
)
def test_either_method_and_the_strangest_secret(
    stage: Stage, oidc_provider: OidcProvider, method: str, client_id: str, secret: str
) -> None:
    env(
        stage,
        oidc_provider,
        f"TOKEN_ENDPOINT_AUTH_METHOD={method}",
        f"CLIENT_ID='{client_id}'",
        f"CLIENT_SECRET='{secret}'",
    )
    answer = get(f"{oidc_provider.api}/orders", stage.mitmdump().url)
    assert (answer.status_code, answer.text and answer.json()["client_id"]) == (200, client_id)


def test_scope_and_resource_reach_the_server(stage: Stage, oidc_provider: OidcProvider) -> None:
    env(stage, oidc_provider, "CLIENT_ID=post", f"CLIENT_SECRET={SECRET}", "RESOURCE=urn:orders")
    answer = get(f"{oidc_provider.api}/orders", stage.mitmdump().url)
    assert (answer.status_code, answer.json()["scope"], answer.json()["aud"]) == (200, "read", "urn:orders")


@pytest.mark.parametrize(
    ("line", "code"), [("CLIENT_SECRET=wrong", "invalid_client"), ("RESOURCE=not a uri", "invalid_target")]
)
def test_what_the_server_refuses_is_told_with_its_oauth_error(
    stage: Stage, oidc_provider: OidcProvider, line: str, code: str
) -> None:
    lines = {"CLIENT_ID": "post", "CLIENT_SECRET": SECRET} | dict([line.split("=", 1)])
    env(stage, oidc_provider, *(f"{key}={value}" for key, value in lines.items()))
    answer = get(f"{oidc_provider.api}/orders", stage.mitmdump().url)
    assert answer.status_code == 502
    assert f"no token ({code})" in answer.text

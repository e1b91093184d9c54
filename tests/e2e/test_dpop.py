"""DPoP (RFC 9449) against oidc-provider, and an API that verifies each proof; both want nonces, which change."""

import threading
from typing import Any

import pytest
import requests

from credential_injector.demo.processes import Mitmproxy
from credential_injector.oauth import dpop, pem
from tests.certificates import KEYS, pem_of
from tests.e2e.conftest import Stage
from tests.e2e.mitmweb_api import WebApi
from tests.e2e.oidc_provider import SECRET, OidcProvider
from tests.e2e.test_afterwards import wait_for_flow
from tests.environments.files import pasted
from tests.ports import free_port


@pytest.fixture(autouse=True)
def home(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own key is made anew."""
    monkeypatch.setenv("HOME", str(stage.folder))


def environment(stage: Stage, provider: OidcProvider, *lines: str, host: str = "") -> None:
    stage.env(
        host or provider.api,
        f"TOKEN_ENDPOINT={provider.issuer}/token",
        "CLIENT_ID=dpop",
        f"CLIENT_SECRET={SECRET}",
        "DPOP=true",
        *lines,
    )


def send(proxy: Mitmproxy, url: str, method: str = "GET", **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, proxies={"http": proxy.url}, timeout=60, **options)


@pytest.mark.parametrize("kind", ["own", "P-256", "RSA", "Ed25519"])
def test_requests(stage: Stage, oidc_provider: OidcProvider, kind: str) -> None:
    """The client sees 200 only, whenever a nonce changes; one token serves."""
    lines = [] if kind == "own" else [pasted("DPOP_KEY", pem_of(KEYS[kind]()))]
    environment(stage, oidc_provider, *lines)
    proxy = stage.mitmdump()
    for number in range(8):
        method = ("GET", "POST", "DELETE")[number % 3]
        headers = {"DPoP": "of the client's", "Authorization": "Bearer mine"} if number == 1 else {}
        answer = send(proxy, f"{oidc_provider.api}/orders/{number}?a=b", method, data="x", headers=headers)
        assert (answer.status_code, answer.json().get("method")) == (200, method), answer.text
    # One without a nonce, and one with it.
    assert oidc_provider.stats()["token_requests"] == 2
    assert oidc_provider.stats()["refused"] == 0


def test_edited(stage: Stage, oidc_provider: OidcProvider) -> None:
    """The proof is made for what leaves, not for what came."""
    environment(stage, oidc_provider)
    with stage.mitmproxy(
        "mitmweb", web_port=free_port(), web_open_browser="false", intercept="~u orders & ~q"
    ) as proxy:
        web = WebApi(proxy)
        answers: list[requests.Response] = []
        client = threading.Thread(
            target=lambda: answers.append(send(proxy, f"{oidc_provider.api}/orders")), daemon=True
        )
        client.start()
        flow = wait_for_flow(web, lambda flow: bool(flow["intercepted"]))
        edit = {"request": {"method": "PUT", "path": "/edited"}}
        assert web.ask("PUT", f"/flows/{flow['id']}", edit).status_code == 200
        assert web.ask("POST", f"/flows/{flow['id']}/resume").status_code == 200
        client.join(30)
        comment = web.flows()[0]["comment"]
    assert (answers[0].status_code, answers[0].json()["method"]) == (200, "PUT")
    assert "DPoP <sha256:" in comment
    assert "DPoP: <proof of the key " in comment


@pytest.mark.parametrize("mask", ["false", "true"])
def test_capture(stage: Stage, oidc_provider: OidcProvider, mask: str) -> None:
    """The key is in nothing that is written; a replay gets a proof of its own."""
    key = pem_of(KEYS["P-256"]())
    environment(stage, oidc_provider, pasted("DPOP_KEY", key))
    capture = stage.folder / "flows.mitm"
    with stage.mitmproxy("mitmdump", "-w", str(capture), inject_mask=mask) as proxy:
        assert send(proxy, f"{oidc_provider.api}/orders").status_code == 200
        log = "\n".join(proxy.log)
    for secret in (pem.jwk(key)["d"], key.split("\n")[1]):
        assert secret.encode() not in capture.read_bytes()
        assert secret not in log
    before = oidc_provider.stats()
    replay = stage.mitmdump("-C", str(capture))
    replay.wait_for("first request with a token went to")
    while oidc_provider.stats()["calls"] == before["calls"]:
        pass
    assert oidc_provider.stats()["refused"] == 0


def test_store(stage: Stage, oidc_provider: OidcProvider) -> None:
    """A stored token serves with the same key, and not with another one."""
    tokens = stage.folder / "tokens.json"
    for expected, lines in ((2, []), (2, []), (4, [pasted("DPOP_KEY", pem_of(KEYS["P-256"]()))])):
        environment(stage, oidc_provider, *lines)
        with stage.mitmproxy("mitmdump", inject_tokens=str(tokens)) as proxy:
            assert send(proxy, f"{oidc_provider.api}/orders").status_code == 200
        assert oidc_provider.stats()["token_requests"] == expected


def test_not_bound(stage: Stage) -> None:
    """A server that hands out a Bearer token all the same: it is not used, and the reason says what to do."""
    stage.env(stage.http, "DPOP=true")
    answer = send(stage.mitmdump(), f"{stage.http}/orders")
    assert answer.status_code == 502
    assert "token_type that is not dpop; have the client's tokens bound (dpop_bound_access_tokens)" in answer.text
    assert stage.api.received == []


def test_wanted(stage: Stage, oidc_provider: OidcProvider) -> None:
    """Where a client must use DPoP and the file does not say so, the server's refusal is told."""
    environment(stage, oidc_provider)
    path = stage.folder / "envs" / "qa.env"
    path.write_text(path.read_text().replace("DPOP=true\n", ""))
    assert send(stage.mitmdump(), f"{oidc_provider.api}/orders").status_code == 502


def test_thumbprint_is_told(stage: Stage, oidc_provider: OidcProvider) -> None:
    """The comment names the key by its thumbprint."""
    key = pem_of(KEYS["P-256"]())
    environment(stage, oidc_provider, pasted("DPOP_KEY", key))
    with stage.mitmproxy("mitmweb", web_port=free_port(), web_open_browser="false") as proxy:
        web = WebApi(proxy)
        assert send(proxy, f"{oidc_provider.api}/orders").status_code == 200
        assert f"<proof of the key {dpop.thumbprint(key)[:12]}>" in web.flows()[0]["comment"]

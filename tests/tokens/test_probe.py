"""What a probe sends, and what it makes of the answers; the command is tested in tests/e2e/test_check.py."""

import asyncio
import base64
import json
import math
import ssl
import time
from collections.abc import Mapping
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from credential_injector.environments.environment import Environment
from credential_injector.environments.owners import Owners
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken, Served
from credential_injector.origins.methods import Methods
from credential_injector.origins.origin import parse_origin
from credential_injector.tokens.probe import Finding, Probe
from credential_injector.tokens.upstream_tls import Trust
from tests import fakes
from tests.certificates import Authority
from tests.fakes import http

TOKEN = "canary-token-" + "x" * 20


def environment(*origins: str, **fields: Any) -> Environment:
    request = TokenRequest(endpoint="https://login.test/token", client_id="abc", client_secret="canary-secret")
    fields = {"token_request": request, **fields}
    return Environment("qa", "envs/qa.env", tuple(map(parse_origin, origins)), **fields)


def outgoing(environment: Environment, token: AccessToken, path: str, **_: Any) -> tuple[Mapping[str, str], str]:
    return {"Authorization": f"Bearer {token.value}", "X-Key": "canary-key"}, path


def jwt(**claims: Any) -> str:
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({}, claims, {}))


def sent(
    path: str, to: Environment, *, served: Served | None = None, trust: Trust | None = None, **options: Any
) -> Finding:
    now = time.time()
    served = served or Served(AccessToken(TOKEN, now, now + 300), "fetched", 300)
    finding = asyncio.run(Probe(path, outgoing, trust or Trust()).send(to, served, **options))
    assert "canary" not in repr(finding)
    return finding


def test_request() -> None:
    """One GET has the credential and nothing of another session; its connection is closed."""
    with fakes.keeping(http(200, b"", "Set-Cookie: a=b", keep=True)) as (url, seen):
        host = url.removesuffix("/token")
        assert sent("/orders?limit=1", environment(host)).probed.status == 200
        seen.wait_for(lambda: seen.open == 0)
    (head,) = seen.heads
    line, *fields = head.decode().splitlines()
    names = dict(field.split(": ", 1) for field in fields)
    assert line == "GET /orders?limit=1 HTTP/1.1"
    assert names.pop("User-Agent").startswith("mitmproxy-credential-injector/")
    assert names == {
        "Host": host.partition("//")[2],
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Authorization": f"Bearer {TOKEN}",
        "X-Key": "canary-key",
    }


@pytest.mark.parametrize(
    ("answer", "status", "code", "problem", "note"),
    [
        (http(200, b"{}"), 200, None, "", ""),
        (http(204, b""), 204, None, "", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", 200, None, "", ""),
        (http(401, b"canary"), 401, "unknown", "answered 401: the API gives no reason", ""),
        (http(403, b""), 403, "unknown", "answered 403: the API gives no reason", ""),
        (
            http(401, b"", 'WWW-Authenticate: Bearer error="insufficient_scope", scope="admin"'),
            401,
            "scope",
            "answered 401: the API wants scope admin, and says that the token lacks it; add admin to SCOPE in"
            " envs/qa.env",
            "",
        ),
        (
            http(401, b"", 'WWW-Authenticate: Basic realm="canary"', "WWW-Authenticate: Digest"),
            401,
            "scheme",
            "the API asks for Basic or Digest",
            "",
        ),
        (http(302, b"", "Location: https://login.test/login"), 302, "login_page", "redirects to a login page", ""),
        (http(302, b"", "Location: /canary"), 302, None, "", "answered 302, which does not tell whether"),
        (http(404, b""), 404, None, "", "answered 404, which does not tell whether"),
        (http(503, b""), 503, None, "", "answered 503, which does not tell whether"),
        (b"canary\r\n\r\n", None, None, "cannot be reached", ""),
    ],
)
def test_answer(answer: bytes, status: int | None, code: str | None, problem: str, note: str) -> None:
    """A refusal is a problem with its cause; what tells nothing of the token is a note. No redirect is followed."""
    with fakes.keeping(answer) as (url, seen):
        finding = sent("/orders", environment(url.removesuffix("/token")))
    assert len(seen.heads) == 1
    assert finding.probed.status == status
    assert (finding.probed.diagnosis or {}).get("code") == code
    assert (bool(finding.problem), bool(finding.note)) == (bool(problem), bool(note))
    assert problem in finding.problem
    assert note in finding.note


@pytest.mark.parametrize("lasts", [300.0, math.inf])
def test_clock(lasts: float) -> None:
    """The API's clock is compared with this machine's, also for a credential that was served without an end."""
    now = time.time()
    fields = {"WWW-Authenticate": 'Bearer error="invalid_token"', "Date": formatdate(now + 3600, usegmt=True)}
    answer = http(401, b"", *(f"{name}: {value}" for name, value in fields.items()))
    token = AccessToken(jwt(exp=now + 300), now, now + lasts)
    with fakes.keeping(answer) as (url, _):
        finding = sent("/orders", environment(url.removesuffix("/token")), served=Served(token, "fetched", lasts))
    assert finding.probed.diagnosis is not None
    assert finding.probed.diagnosis["code"] == "clock"
    assert finding.probed.diagnosis["ahead"] == pytest.approx(3600, abs=10)


def test_other_environment() -> None:
    """A token that looks like another environment's is told as such."""
    token = AccessToken(jwt(aud="https://api.uat.test"), time.time(), math.inf)
    uat = replace(environment("https://api.uat.test"), name="uat")
    with fakes.keeping(http(401, b"")) as (url, _):
        qa = environment(url.removesuffix("/token"), token_request=TokenRequest(endpoint="https://login.qa.test/token"))
        finding = sent("/orders", qa, served=Served(token, "fetched", math.inf), owners=Owners([qa, uat]))
    assert finding.probed.diagnosis is not None
    assert finding.probed.diagnosis["environment"] == "uat"


@pytest.mark.parametrize(
    ("origins", "path", "line"),
    [
        (["{}"], "/orders", "GET /orders"),
        (["*.example.com", "{}/orders"], "/orders", "GET /orders"),
        (["{}/a", "{}/b"], "/b/c?d=/a", "GET /b/c?d=/a"),
        (["{}/orders"], "/orders2", ""),
        (["{}/orders"], "/orders/%2e%2e/admin", ""),
        (["*.example.com"], "/orders", ""),
        (["{}"], "/token", ""),
        (["{}"], "/a/../token/", ""),
    ],
)
def test_place(origins: list[str], path: str, line: str) -> None:
    """It goes only where the proxy would add the token; where it does not go, it is told why."""
    with fakes.keeping(http(200, b"")) as (url, seen):
        hosts = [origin.format(url.removesuffix("/token")) for origin in origins]
        finding = sent(path, environment(*hosts, token_request=TokenRequest(endpoint=url, client_id="abc")))
    assert [head.decode().partition(" HTTP/")[0] for head in seen.heads] == ([line] if line else [])
    assert "nothing was probed" in finding.problem + finding.note or line
    assert "?" not in finding.problem + finding.note


@pytest.mark.parametrize(
    ("methods", "method", "note"),
    [
        (None, "GET", ""),
        (Methods(frozenset({"GET", "HEAD"})), "GET", ""),
        (Methods(frozenset({"POST", "HEAD"})), "HEAD", ""),
        (Methods(frozenset({"POST"}), (("GET", "/orders"),)), "GET", ""),
        (Methods(frozenset({"POST"})), "", "nothing was probed: METHODS in envs/qa.env has neither GET nor HEAD"),
    ],
)
def test_methods(methods: Methods | None, method: str, note: str) -> None:
    """METHODS decides with which method."""
    with fakes.keeping(http(200, b"")) as (url, seen):
        finding = sent("/orders", environment(url.removesuffix("/token"), methods=methods))
    assert [head.decode().partition(" ")[0] for head in seen.heads] == ([method] if method else [])
    assert (finding.problem, finding.note) == ("", note)


def test_hangs() -> None:
    """An API that does not answer in time is a problem."""
    with fakes.keeping(http(200, b"")) as (url, seen):
        seen.may_answer.clear()
        finding = sent("/orders?a=b", environment(url.removesuffix("/token")), deadline=1.0)
    host = url.removesuffix("/token")
    assert finding.problem == (
        f"probe: {host}/orders did not answer within 1 s; check HOST in envs/qa.env, and the network or VPN"
    )


@pytest.mark.parametrize("path", ["", "orders", "/or ders", "/orders#a", "/\r\nX: y", "https://api.test/orders", "/é"])
def test_no_path(path: str) -> None:
    """What is no path is refused."""
    with pytest.raises(ValueError, match="begins with a slash"):
        Probe(path, outgoing, Trust())


@pytest.mark.parametrize(("trusted", "requests"), [(True, 1), (False, 0)])
def test_trust(tmp_path: Path, trusted: bool, requests: int) -> None:
    """Only a server that mitmproxy trusts gets the credential; of another one, `check` tells by its TLS."""
    authority = Authority()
    (tmp_path / "ca.pem").write_text(authority.certificate)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority.file(tmp_path, "server", "127.0.0.1"))
    with fakes.keeping(http(200, b""), tls) as (url, seen):
        trust = Trust(str(tmp_path / "ca.pem") if trusted else "")
        finding = sent("/orders", environment(url.removesuffix("/token")), trust=trust)
    assert (len(seen.heads), finding.probed.status, finding.problem) == (requests, 200 if trusted else None, "")

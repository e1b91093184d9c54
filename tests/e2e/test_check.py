"""What `credential-injector check` says of an API's TLS, beside a mitmproxy that is asked to go there."""

import json
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import certifi
import pytest

from credential_injector.demo.servers import serve
from tests.certificates import Authority, self_signed
from tests.e2e.conftest import Curl, Stage

FETCHED = "TOKEN_ENDPOINT,CLIENT_ID,CLIENT_SECRET,SCOPE"
"""The keys that only a token request needs."""


def checked(stage: Stage, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what is told of each environment."""
    command = [sys.executable, "-m", "credential_injector.cli", "check", "--json", *options]
    done = subprocess.run(command, cwd=stage.folder, capture_output=True, text=True, check=False, timeout=60)
    printed = done.stdout + done.stderr
    assert not [secret for secret in [*stage.authorization_server.tokens, "canary"] if secret in printed]
    return done.returncode, {one["name"]: one for one in json.loads(done.stdout)["environments"]}


def servers(stage: Stage, authority: Authority) -> dict[str, str]:
    """The same API behind each kind of certificate, and without TLS."""

    def serving(certificate: Path) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        return stage.enter(serve(stage.api.app, context))

    own = stage.folder / "own.pem"
    own.write_text("".join(self_signed("127.0.0.1")))
    kinds = {
        "good": authority.file(stage.folder, "good", "127.0.0.1"),
        "expired": authority.file(stage.folder, "expired", "127.0.0.1", days=-1),
        "othername": authority.file(stage.folder, "othername", "api.example.com"),
        "commonname": authority.file(stage.folder, "localhost"),
        "company": Authority().file(stage.folder, "company", "127.0.0.1"),
        "selfsigned": own,
    }
    origins = {kind: serving(file) for kind, file in kinds.items()}
    origins["commonname"] = origins["commonname"].replace("127.0.0.1", "localhost")
    return origins | {"plain": stage.http.replace("http:", "https:")}


@pytest.mark.parametrize("trusted", [True, False])
def test_api_tls(stage: Stage, curl: Curl, authority: Authority, trusted: bool) -> None:
    """`check` finds the TLS that mitmproxy refuses, with the public authorities and with those that both are given."""
    origins = servers(stage, authority)
    for name, origin in origins.items():
        stage.env(origin, name=name)
    code, told = checked(stage, *(["--upstream-ca", str(stage.ca)] if trusted else []))
    # Without the option, mitmproxy takes certifi's; it takes the option only once, and the stage sets it.
    proxy = stage.mitmdump(ssl_verify_upstream_trusted_ca=stage.ca if trusted else certifi.where())
    answers = {
        name: curl("--proxy", proxy.url, "--cacert", str(stage.mitmproxy_ca), f"{origin}/orders").status
        for name, origin in origins.items()
    }
    reached = {name for name, status in answers.items() if status == 200}
    assert reached == ({"good"} if trusted else set())
    assert {name for name, one in told.items() if one["api_tls"] == {origins[name]: "verified"}} == reached
    assert {name for name, one in told.items() if one["ok"]} == reached
    assert code == 1
    advice = {name: "".join(one["problems"]) for name, one in told.items()}
    assert "have it renewed" in advice["expired"] or not trusted
    assert "--set ssl_verify_upstream_trusted_ca=ca.pem" in advice["company"]
    assert f"{origins['plain']}: it does not speak TLS" in advice["plain"]
    assert not trusted or "check HOST in envs/othername.env" in advice["othername"]


def test_probe(stage: Stage) -> None:
    """`check --probe` says what each API says to the token, where the file and TLS look good."""

    def refuses(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("401 Unauthorized", [("WWW-Authenticate", 'Bearer error="insufficient_scope", scope="admin"')])
        return [environ["HTTP_AUTHORIZATION"].encode()]

    def redirects(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("302 Found", [("Location", f"{stage.http}/open?token={environ['HTTP_AUTHORIZATION'][7:]}")])
        return []

    def hangs(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ended.wait(30)
        return refuses(environ, start_response)

    ended = threading.Event()
    stage.env(stage.https, name="accepts")
    stage.env(stage.enter(serve(refuses, stage.tls)), name="refuses")
    stage.env(stage.enter(serve(redirects)), name="redirects")
    stage.env(stage.enter(serve(hangs)), name="hangs")
    stage.env(stage.https.replace("127.0.0.1", "localhost"), "METHODS=POST", name="methods")
    stage.env(stage.http, "GRANT_TYPE=static", "VALUE=canary-static", without=FETCHED, name="static")
    untrusted = Authority().file(stage.folder, "untrusted", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(untrusted)
    stage.env(stage.enter(serve(stage.api.app, context)), name="untrusted")
    try:
        code, told = checked(stage, "--upstream-ca", str(stage.ca), "--probe", "/orders?limit=1")
    finally:
        ended.set()
    assert code == 1
    assert {name for name, one in told.items() if one["ok"]} == {"accepts", "methods", "redirects"}
    probes = {
        name: (one["probe"]["status"], (one["probe"]["diagnosis"] or {}).get("code")) for name, one in told.items()
    }
    assert probes == {
        "accepts": (200, None),
        "refuses": (401, "scope"),
        "redirects": (302, None),
        "hangs": (None, None),
        "methods": (None, None),
        "static": (401, "unknown"),
        "untrusted": (None, None),
    }
    assert told["refuses"]["probe"]["diagnosis"]["missing"] == ["admin"]
    problem = "the API wants scope admin, the token has read; add admin to SCOPE in envs/refuses.env"
    assert problem in told["refuses"]["problems"][0]
    assert "did not answer within 10 s; check HOST in envs/hangs.env" in told["hangs"]["problems"][0]
    (problem,) = told["untrusted"]["problems"]
    assert "mitmproxy refuses its certificate" in problem
    assert "METHODS in envs/methods.env has neither GET nor HEAD" in told["methods"]["notes"][0]
    lines = [line for line, _ in stage.api.received]
    assert lines == ["GET /orders?limit=1 HTTP/1.1"] * 2

"""What `credential-injector check` says of an API's TLS, beside a mitmproxy that is asked to go there."""

import json
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import certifi
import pytest

from credential_injector.demo.servers import serve
from tests.certificates import Authority, self_signed
from tests.e2e.conftest import Curl, Stage


def checked(stage: Stage, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what is told of each environment."""
    command = [sys.executable, "-m", "credential_injector.cli", "check", "--json", *options]
    done = subprocess.run(command, cwd=stage.folder, capture_output=True, text=True, check=False, timeout=60)
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

"""`credential-injector envoy`: the main job."""

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Curl, Stage
from tests.e2e.envoy import PATIENCE, Envoy, envoy
from tests.ports import free_port


@pytest.fixture
def running(stage: Stage) -> Iterator[Envoy]:
    stage.env(f"https://api.qa.test:{stage.https_port}, {stage.http.replace('127.0.0.1', 'localhost')}")
    with envoy(stage) as one:
        yield one


def through(running: Envoy, stage: Stage) -> tuple[str, ...]:
    return ("--proxy", running.proxy, "--noproxy", "", "--cacert", str(stage.mitmproxy_ca))


def test_https(stage: Stage, running: Envoy, curl: Curl) -> None:
    """A client that trusts mitmproxy's CA gets its token, by HTTP/2 and by HTTP/1.1, from one token request."""
    url = f"https://api.qa.test:{stage.https_port}/orders"
    for version in ("--http2", "--http1.1"):
        assert curl(*through(running, stage), version, url).status == 200
    assert stage.token_requests == 1


def test_http(stage: Stage, running: Envoy, curl: Curl) -> None:
    """Also over plain http, in both forms in which clients ask a proxy."""
    url = f"{stage.http.replace('127.0.0.1', 'localhost')}/orders"
    assert curl(*through(running, stage), url).status == 200
    assert curl(*through(running, stage), "--proxytunnel", url).status == 200


def test_other_host(stage: Stage, running: Envoy, curl: Curl) -> None:
    """A host that no file names gets no token, and its TLS is not opened."""
    assert curl(*through(running, stage), f"{stage.http}/orders").status == 401
    seen = curl("--proxy", running.proxy, "--noproxy", "", "--cacert", str(stage.ca), f"{stage.https}/orders")
    assert seen.status == 401


def test_no_token(stage: Stage, running: Envoy, curl: Curl) -> None:
    """Where there is no token any more, the client's 502 says why, and what to do, each time that this changes."""
    host = f"https://api.qa.test:{stage.https_port}"
    url = f"{host}/orders"
    assert curl(*through(running, stage), url).status == 200
    for line, why in (
        ("CLIENT_SECRET=wrong", r"no token \(invalid_client\): .* answered 401; check CLIENT_ID"),
        (f"TOKEN_ENDPOINT=http://127.0.0.1:{free_port()}/token", r"no token \(unreachable\): .*; check TOKEN_ENDPOINT"),
    ):
        stage.env(host, line)
        running.wait_for(f"qa: {why}")
        expected = f"qa: request blocked: {why}"
        ends = time.monotonic() + PATIENCE  # Envoy takes it up when it wants
        while not re.match(expected, (reply := curl(*through(running, stage), url)).body):
            assert time.monotonic() < ends, reply.body
        assert reply.status == 502


def test_admin(stage: Stage, running: Envoy) -> None:
    """The admin page shows no secret, and ends nothing."""
    with urllib.request.urlopen(f"{running.admin}/config_dump?include_eds") as answer:
        dump = answer.read().decode()
    assert "canary-secret" not in dump
    assert not [token for token in stage.authorization_server.tokens if token in dump]
    assert json.loads(dump)["configs"]
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(f"{running.admin}/quitquitquit", method="POST"))


def test_end(stage: Stage, running: Envoy) -> None:
    """Nothing is left of it."""
    folder, pid = running.folder, running.envoy_pid
    assert running.end() == 0
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)

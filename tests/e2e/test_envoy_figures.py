"""The figures of docs/fleet.md: Envoy's own on its admin page, and ours in a file."""

import re
import subprocess
import sys
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families as parsed

from credential_injector.envoy.typed import figures
from tests.e2e.conftest import Curl, Stage
from tests.e2e.envoy import envoy
from tests.envoy.test_fleet import container
from tests.ports import free_port
from tests.test_docs import PAGES


def samples(text: str) -> set[tuple[str, frozenset[str]]]:
    """The metrics of a page, each with the values of its labels."""
    return {
        (name, frozenset(re.findall(r'="([^"]*)"', labels)))
        for name, labels in re.findall(r"^(\w+)\{(.*)\} ", text, re.MULTILINE)
    }


def told() -> list[str]:
    """The metrics that the page names."""
    return re.findall(r"^\| `((?:envoy|credential_injector)_\w+)`", PAGES["docs/fleet.md"], re.MULTILINE)


def test_figures(stage: Stage, curl: Curl) -> None:
    """Each metric that the page names is there, for the host that the file names."""
    stage.env(f"https://api.qa.test:{stage.https_port}")
    with envoy(stage) as running:
        proxied = ("--proxy", running.proxy, "--noproxy", "", "--cacert", str(stage.mitmproxy_ca))
        assert curl(*proxied, f"https://api.qa.test:{stage.https_port}/orders").status == 200
        for token in stage.authorization_server.tokens.values():
            token.revoked = True
        assert curl(*proxied, f"https://api.qa.test:{stage.https_port}/orders").status == 401
        with urllib.request.urlopen(f"{running.admin}/stats/prometheus") as answer:
            envoys = answer.read().decode()
        ours = (running.folder / "metrics.prom").read_text("utf-8")
    host = f"https_api_qa_test_{stage.https_port}"
    known = samples(envoys)
    names = {name for name, _ in known} | {name for name, _ in samples(ours)}
    assert set(told()) <= names, set(told()) - names
    assert len(told()) > 10
    assert ("envoy_cluster_upstream_rq", frozenset({host, "401"})) in known
    assert ("envoy_http_credential_injector_injected", frozenset({f"inside_{host}"})) in known
    found = [name for name in names if "api" in name and "_rds_" not in name]  # which Envoy names itself
    assert not found, "a host in a metric's name"
    (expiry,) = [one for family in parsed(ours) if "expiry" in family.name for one in family.samples]
    assert 0 < expiry.value - time.time() <= 3600
    assert expiry.labels == {"environment": "qa"}


def test_probe(stage: Stage) -> None:
    """The manifest's probe tells a running Envoy from one that is gone."""
    *_, code = container("envoy")["readinessProbe"]["exec"]["command"]
    stage.env(stage.http)
    with envoy(stage) as running:
        words = [sys.executable, "-c", code.replace("http://127.0.0.1:9901", running.admin)]
        assert running.admin in words[-1]
        assert subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == 0
    assert subprocess.run(words, capture_output=True, timeout=60, check=False).returncode != 0


def test_apis_that_fail(stage: Stage, curl: Curl) -> None:
    """An API that is down, and one that is not the host which the file names, look as the page says."""
    closed, wrong = f"http://localhost:{free_port()}", f"https://api.uat.test:{stage.https_port}"
    stage.env(f"{closed}, {wrong}")
    with envoy(stage) as running:
        proxied = ("--proxy", running.proxy, "--noproxy", "", "--cacert", str(stage.mitmproxy_ca))
        for url, words in (
            (closed, "Envoy cannot connect to the API"),
            (wrong, "does not trust the API's certificate"),
        ):
            answer = curl(*proxied, f"{url}/orders")
            assert (answer.status, words in answer.body) == (502, True)
            assert words in PAGES["docs/fleet.md"]
        with urllib.request.urlopen(f"{running.admin}/stats/prometheus?usedonly") as page:
            known = samples(page.read().decode())
    assert ("envoy_cluster_upstream_cx_connect_fail", frozenset({figures(closed)})) in known
    assert ("envoy_cluster_ssl_fail_verify_san", frozenset({figures(wrong)})) in known

"""`inject.explain` in mitmweb, beside the requests that it is about."""

from pathlib import Path
from typing import Any

import pytest

from credential_injector.demo.processes import Mitmproxy
from tests.e2e.conftest import Curl, Stage
from tests.e2e.mitmweb_api import WebApi
from tests.ports import free_port


@pytest.fixture
def proxy(stage: Stage) -> Mitmproxy:
    stage.env(stage.http, "METHODS=GET")
    options = [f"web_port={free_port()}", "web_open_browser=false"]
    return stage.enter(stage.mitmproxy("mitmweb", *(word for one in options for word in ("--set", one))))


@pytest.fixture
def web(proxy: Mitmproxy) -> WebApi:
    return WebApi(proxy)


def explain(web: WebApi, *arguments: str) -> list[str]:
    """The command's lines."""
    answer = web.ask("POST", "/commands/inject.explain", {"arguments": list(arguments)}).json()
    assert list(answer) == ["value"], answer
    lines: list[str] = answer["value"]
    return lines


def error(web: WebApi, *arguments: str) -> str:
    answer: dict[str, Any] = web.ask("POST", "/commands/inject.explain", {"arguments": list(arguments)}).json()
    assert list(answer) == ["error"], answer
    return str(answer["error"])


def test_verdicts(stage: Stage, curl: Curl, proxy: Mitmproxy, web: WebApi) -> None:
    """What it says of a request becomes of the request; it asks nobody for a token, and tells how the token stands."""
    other = stage.http.replace("127.0.0.1", "localhost")
    cases = [("GET", stage.http), ("DELETE", stage.http), ("GET", other)]
    told = [explain(web, f"{origin}/orders?a=b", method) for method, origin in cases]
    assert [lines[0].partition(":")[0] for lines in told] == ["injected", "blocked", "skipped"]
    assert told[0][-1] == "now: no token yet"
    assert f"nearest: qa (envs/qa.env), HOST={stage.http}; the host differs" in told[2]
    assert stage.token_requests == 0

    for method, origin in cases:
        curl("--proxy", proxy.url, "--request", method, f"{origin}/orders?a=b")
    flows = web.flows()
    assert [flow["marked"][0] for flow in flows] == ["🔑", "⛔", "⚠"]
    for cause, lines, flow in (
        ("DELETE is not in METHODS=GET of envs/qa.env", told[1], flows[1]),
        (f"HOST is {stage.http}, and this was localhost", told[2], flows[2]),
    ):
        assert lines[0].endswith(f": {cause}")
        assert cause in flow["comment"]
    assert explain(web, f"{stage.http}/orders")[-1].startswith("now: token sha256:")
    assert stage.token_requests == 1


def test_live_options(stage: Stage, web: WebApi) -> None:
    """mitmproxy's options count as they are now."""
    url = f"{stage.http}/orders"
    assert explain(web, url, "GET", "192.0.2.7")[0].startswith(f"skipped: GET {url} ")
    assert web.ask("PUT", "/options", {"inject_clients": "192.0.2.0/24"}).status_code == 200
    first, *more = explain(web, url, "GET", "192.0.2.7")
    assert first.startswith(f"injected: GET {url} ")
    assert "passed: its client is let in: inject_clients=192.0.2.0/24" in more
    assert web.ask("PUT", "/options", {"mode": ["upstream:http://192.0.2.1:3128"]}).status_code == 200
    first, *more = explain(web, url, "GET", "192.0.2.7")
    assert first.endswith(": the upstream proxy 192.0.2.1 would send it to its own 127.0.0.1, not to this machine")
    assert more[-1] == "failed: no upstream proxy sends it to another server: mode=upstream:192.0.2.1"


def test_mistakes(stage: Stage, proxy: Mitmproxy, web: WebApi) -> None:
    """A wrong URL is one line. A changed file that is not in use is named."""
    assert error(web, "https://me:canary@api.example.com").startswith("the URL holds a user name or password; ")
    file: Path = stage.folder / "envs" / "qa.env"
    file.write_text(file.read_text() + "SCOP=read\n")
    proxy.wait_for("Keeping the previous environments")
    *_, last = explain(web, f"{stage.http}/orders")
    assert last.startswith("not in use: envs/qa.env: SCOP: unknown key")

"""A blocked HEAD, whose answer has no body and still says why."""

import http.client
import subprocess

import pytest

from tests.conftest import tool
from tests.e2e.conftest import Stage


def why(method: str) -> str:
    """The line that a blocked request of this method gets."""
    return f"qa: request blocked: {method} is not in METHODS=POST of envs/qa.env"


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl(stage: Stage, version: str) -> None:
    """It has headers only, with the reason among them, and the connection serves the next request."""
    url = f"https://api.qa.test:{stage.https_port}/orders"
    stage.env(f"https://api.qa.test:{stage.https_port}", "METHODS=POST")
    each = ["--silent", "--show-error", "--max-time", "30", version, "--proxy", stage.mitmdump().url, "--include", url]
    each += ["--suppress-connect-headers", "--cacert", str(stage.mitmproxy_ca)]
    each += ["--write-out", "%{stderr}%{http_code} %{num_connects}\n"]
    words = [tool("curl", package="curl"), *each, "--head", "--next", *each, "--head", "--next", *each]
    done = subprocess.run(words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    assert done.stderr.splitlines() == ["502 1", "502 0", "502 0"]
    first, second, _, body = done.stdout.split("\n\n")
    assert first == second
    assert f'Proxy-Status: credential-injector; error=http_request_denied; details="{why("HEAD")}"'.lower() in (
        first.lower()
    )
    assert f"content-length: {len(why('HEAD')) + 1}" in first.lower()
    assert body == f"{why('GET')}\n"


def test_keep_alive(stage: Stage) -> None:
    """The next answer on the same connection is read as such: a body of HEAD's would be taken for its beginning."""
    stage.env(stage.http, "METHODS=POST")
    host, _, port = stage.mitmdump().url.removeprefix("http://").rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    for method, status in (("HEAD", 502), ("POST", 200), ("HEAD", 502), ("GET", 502), ("POST", 200)):
        connection.request(method, f"{stage.http}/orders")
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (status, method != "HEAD")
        assert (why(method) in answer.headers.get("Proxy-Status", "")) == (status == 502)
    connection.close()

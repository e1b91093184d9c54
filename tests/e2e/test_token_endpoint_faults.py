"""A token endpoint that is down, slow or lying gets the contract's 502 and a line in the log."""

import re
import socket
import threading

import pytest

from tests.e2e.conftest import CLIENT_SECRET, Curl, Stage
from tests.e2e.test_life_cycle import eventually
from tests.fakes import answering, http

SERVER_TEXT = "canary-server-text"
TOKEN = {"token_type": "Bearer", "expires_in": 60}


def block(stage: Stage, curl: Curl, token_endpoint: str, *lines: str) -> tuple[str, list[str]]:
    """One request that is blocked for want of a token. Returns its body and the log."""
    stage.env(stage.http, f"TOKEN_ENDPOINT={token_endpoint}", *lines)
    proxy = stage.mitmdump()
    reply = curl("--proxy", proxy.url, f"{stage.http}/orders")
    assert reply.status == 502
    assert "Content-Type: text/plain" in reply.headers
    assert "Cache-Control: no-store" in reply.headers
    (line,) = reply.body.splitlines()
    assert line.startswith("qa: request blocked: no token (")
    assert "envs/qa.env" in line or "authorization server" in line
    assert "; next try in " in line
    proxy.wait_for(re.escape(line))
    everything = reply.body + reply.headers + "\n".join(proxy.log)
    assert SERVER_TEXT not in everything
    assert CLIENT_SECRET not in everything
    assert "Traceback" not in everything
    assert stage.api.received == []
    return line, proxy.log


def test_down(stage: Stage, curl: Curl) -> None:
    """A token endpoint that is down is told in the 502 and in the log."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        line, _ = block(stage, curl, f"http://127.0.0.1:{unused.getsockname()[1]}/token")
    assert "/token cannot be reached (Connection refused); check TOKEN_ENDPOINT in envs/qa.env" in line


def test_slow(stage: Stage, curl: Curl) -> None:
    """A token endpoint that does not answer in time is told."""
    with answering(60.0) as (url, _):
        line, _ = block(stage, curl, url, "TIMEOUT=1")
    assert f"(timeout): {url} did not answer within 1 s" in line


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http(200, f"<html>{SERVER_TEXT}</html>".encode()), "invalid_response"),
        (http(200, {"error": "invalid_client", "error_description": SERVER_TEXT}), "invalid_client"),
        (http(401, {"error": "invalid_client", "error_description": SERVER_TEXT}), "invalid_client"),
        (http(400, {"error": f"{SERVER_TEXT}\r\nSet-Cookie: a=b"}), "http_400"),
        (http(400, {"error": CLIENT_SECRET}), "http_400"),
        (http(200, TOKEN), "invalid_response"),
        (http(200, {**TOKEN, "access_token": f"{SERVER_TEXT}\r\nX-Evil: 1"}), "invalid_response"),
        (http(200, {**TOKEN, "access_token": SERVER_TEXT, "token_type": "mac"}), "invalid_response"),
        (http(200, {**TOKEN, "access_token": SERVER_TEXT, "expires_in": 0}), "expired"),
        (http(302, b"", "Location: https://evil.example/"), "redirect"),
        (http(503, SERVER_TEXT.encode(), "Retry-After: 7"), "http_503"),
        (b"not http at all", "unreachable"),
    ],
)
def test_lying(stage: Stage, curl: Curl, answer: bytes, code: str) -> None:
    """An answer that is no token is told."""
    with answering(answer) as (url, _):
        line, _ = block(stage, curl, url)
    assert f"({code})" in line
    if "Retry-After" in answer.decode():
        assert line.endswith("next try in 7 s")


def test_refusal(stage: Stage, curl: Curl) -> None:
    """A refusal is remembered, and costs one token request."""
    stage.env(stage.http, "CLIENT_SECRET=wrong")
    proxy = stage.mitmdump()
    for _ in range(5):
        reply = curl("--proxy", proxy.url, f"{stage.http}/orders")
        assert reply.status == 502
        assert "(invalid_client)" in reply.body
        assert "check CLIENT_ID, CLIENT_SECRET" in reply.body
    assert stage.token_requests == 1


def test_blocked_head(stage: Stage, curl: Curl) -> None:
    """A blocked HEAD request and the next one on its connection are answered."""
    stage.env(stage.http, "METHODS=GET")
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, "--head", f"{stage.http}/orders").status == 502
    reply = curl("--proxy", proxy.url, "--data", "a=b", f"{stage.http}/orders", "--next", "--silent", "--include",
                 "--proxy", proxy.url, f"{stage.http}/orders")  # fmt: skip
    assert "POST is not in METHODS=GET of envs/qa.env" in reply.body
    assert "HTTP/1.1 200 OK" in reply.body


@pytest.mark.parametrize("extra", [[], ["--header", "Transfer-Encoding: chunked"]])
@pytest.mark.parametrize("limit", ["", "1k"])
def test_blocked_upload(stage: Stage, curl: Curl, limit: str, extra: list[str]) -> None:
    """A blocked upload ends, and never carries a credential."""
    stage.env(stage.http, "CLIENT_SECRET=wrong")
    proxy = stage.mitmdump(*(["--set", f"stream_large_bodies={limit}"] if limit else []))
    upload = stage.folder / "upload"
    upload.write_bytes(b"x" * 3_000_000)
    reply = curl(
        "--proxy", proxy.url, *extra, "--user", "my:own", "--data-binary", f"@{upload}", f"{stage.http}/upload"
    )
    # Where it streams no 502 is possible: the API itself then sees no credential, not even the client's, and refuses.
    assert reply.status == (401 if limit else 502)
    assert all("Authorization" not in dict(headers) for _, headers in stage.api.received)
    assert not any("crashed" in line or "Traceback" in line for line in proxy.log)


def test_others_go_on(stage: Stage, curl: Curl) -> None:
    """While one request waits for its token, others go on."""
    with answering(60.0) as (url, asked):
        stage.env(stage.http, f"TOKEN_ENDPOINT={url}", "TIMEOUT=3")
        proxy = stage.mitmdump()
        replies = []
        waiting = threading.Thread(target=lambda: replies.append(curl("--proxy", proxy.url, f"{stage.http}/orders")))
        waiting.start()
        eventually(lambda: bool(asked))
        assert curl("--proxy", proxy.url, f"http://localhost:{stage.http.rpartition(':')[2]}/open").status == 200
        assert replies == []
        waiting.join()
    assert replies[0].status == 502

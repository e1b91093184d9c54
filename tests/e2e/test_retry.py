"""A token that the API refuses is replaced and the request sent again; the client never sees the 401."""

import os
import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import flask
import pytest
import requests

from credential_injector.demo.processes import mitmproxy
from credential_injector.launch.programs import SCRIPT
from tests.e2e.conftest import RESOLVE_TEST, Curl, Stage
from tests.e2e.test_life_cycle import eventually
from tests.e2e.test_main_job import saved
from tests.ports import free_port


def revoke(stage: Stage) -> None:
    """As an administrator does: the tokens of the moment are worth nothing any more."""
    for token in list(stage.authorization_server.tokens.values()):
        token.revoked = True


@pytest.mark.parametrize("way", ["regular", "lazy", "tunnel", "tunnel http2", "reverse", "upstream", "socks5"])
def test_revoked(stage: Stage, curl: Curl, way: str) -> None:
    """A revoked token is replaced while the request is on its way."""
    tls = f"https://localhost:{stage.https_port}" if way == "reverse" else f"https://api.qa.test:{stage.https_port}"
    url = stage.http if way in ("regular", "lazy") else tls
    stage.env(url)
    options = {
        "lazy": ["--set", "connection_strategy=lazy"],
        "reverse": ["--mode", f"reverse:{tls}"],
        "socks5": ["--mode", "socks5"],
    }.get(way, [])
    if way == "upstream":
        words = ["--set", f"confdir={stage.confdir}", "--ignore-hosts", ".*"]
        corporate = stage.enter(
            mitmproxy("mitmdump", *words, folder=stage.folder, script=RESOLVE_TEST, inside=stage.inside)
        )
        options = ["--mode", f"upstream:{corporate.url}"]
    proxy = stage.mitmdump(*options)
    trust = ["--cacert", str(stage.mitmproxy_ca), "--http2" if way == "tunnel http2" else "--http1.1"]
    through = ["--socks5-hostname", proxy.url.removeprefix("http://")] if way == "socks5" else ["--proxy", proxy.url]
    target = f"{proxy.url}/orders" if way == "reverse" else f"{url}/orders"
    if way == "reverse":
        through, trust = [], []
    for method in ("GET", "POST"):
        body = ["--data", "a=b"] if method == "POST" else []
        assert curl(*through, *trust, *body, target).status == 200
        revoke(stage)
        reply = curl(*through, *trust, *body, target)
        assert (reply.status, '"bytes":3' in reply.body.replace(" ", "")) == (200, method == "POST")
    assert stage.token_requests == 3
    assert stage.api.statuses == {200: 4, 401: 2}


def test_flows(stage: Stage, curl: Curl) -> None:
    """The flow tells of the first answer, and the second request is a flow of its own."""
    stage.env(stage.http)
    flows = stage.folder / "flows"
    with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
        curl("--proxy", proxy.url, f"{stage.http}/orders")
        revoke(stage)
        curl("--proxy", proxy.url, "--user", "me:mine", f"{stage.http}/orders")
    assert proxy.log[-1].endswith("qa: 3 requests with a token, 2 token requests, 1 sent again, 0 blocked, 1 healed")
    first, again, healed = saved(flows)
    note, old = healed.metadata["inject"], first.metadata["inject"]
    assert (note["action"], note["source"], note["retried"], note["replaced"]) == (
        "injected",
        "refreshed",
        True,
        "Basic",
    )
    assert note["token"] != old["token"]
    assert healed.response is not None
    assert healed.response.status_code == 200
    headline, *details = healed.comment.splitlines()
    assert headline == "qa: 401→200"
    assert f"- sent again after a 401: 401 (invalid_token) to <{old['token']}>, 200 to the one below" in details
    assert "- before: Authorization: Basic" in details
    assert note["answers"] == [401, 200]
    assert again.is_replay == "request"
    assert again.metadata["inject"]["token"] == note["token"]
    assert healed.request.headers["Authorization"] == again.request.headers["Authorization"]


def test_under_load(stage: Stage) -> None:
    """No client sees a 401 when tokens are revoked under load."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    ended = threading.Event()
    answers: Counter[int] = Counter()

    def client() -> Counter[int]:
        mine: Counter[int] = Counter()
        with requests.Session() as session:
            session.proxies = {"http": proxy.url}
            while not ended.is_set():
                mine[session.get(f"{stage.http}/orders", timeout=60).status_code] += 1
        return mine

    def wait_for(count: int) -> None:
        until = stage.api.statuses[200] + count
        while stage.api.statuses[200] < until:
            ended.wait(0.01)

    with ThreadPoolExecutor(50) as pool:
        running = [pool.submit(client) for _ in range(50)]
        try:
            for _ in range(3):
                wait_for(100)
                revoke(stage)
            wait_for(100)
        finally:
            ended.set()
        for one in running:
            answers += one.result()
    assert set(answers) == {200}
    assert 1 <= stage.token_requests <= 4


def test_refuses_everything(stage: Stage, curl: Curl) -> None:
    """An API that refuses every token costs one more token and one more request."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    for _ in range(10):
        assert curl("--proxy", proxy.url, f"{stage.http}/always/401").status == 401
    assert stage.token_requests == 2
    assert stage.api.statuses[401] == 11
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200


def test_url_refuses(stage: Stage, curl: Curl) -> None:
    """A URL that refuses every token, whatever its query, does not keep others from getting new ones."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    through = ["--noproxy", "", "--proxy", proxy.url]
    assert curl(*through, f"{stage.http}/orders").status == 200
    assert [curl(*through, f"{stage.http}/always/401?{page}").status for page in range(3)] == [401] * 3
    assert stage.token_requests == 2
    revoke(stage)
    assert curl(*through, f"{stage.http}/orders").status == 200
    assert stage.token_requests == 3


def test_new_token(stage: Stage, curl: Curl) -> None:
    """A token that was new and is refused is not replaced."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, f"{stage.http}/always/401").status == 401
    assert (stage.token_requests, stage.api.statuses[401]) == (1, 1)


@pytest.mark.parametrize("path", ["/always/403", "/always/401?insufficient_scope"])
def test_other_answer(stage: Stage, curl: Curl, path: str) -> None:
    """An answer that is not about the token is left alone."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    assert curl("--proxy", proxy.url, stage.http + path).status == int(path[8:11])
    assert (stage.token_requests, len(stage.api.received)) == (1, 2)


def test_switched_off(stage: Stage, curl: Curl) -> None:
    """The retry can be switched off."""
    stage.env(stage.http)
    proxy = stage.mitmdump(inject_retry="false")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    revoke(stage)
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 401
    assert stage.token_requests == 1


def test_streamed_body(stage: Stage, curl: Curl) -> None:
    """Where the body was streamed, the 401 stays, and the next request has another token."""
    stage.env(stage.http)
    flows, upload = stage.folder / "flows", stage.folder / "upload"
    upload.write_bytes(b"x" * 100_000)
    with stage.mitmproxy("mitmdump", "-w", str(flows), stream_large_bodies="1k") as proxy:
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
        revoke(stage)
        send = ["--proxy", proxy.url, "--data-binary", f"@{upload}", f"{stage.http}/upload"]
        assert [curl(*send).status for _ in range(2)] == [401, 200]
    _, refused, _ = saved(flows)
    assert (
        "- the API answered 401, which stays: the request's body was streamed and is gone;"
        " the next request gets another token"
    ) in refused.comment.splitlines()
    assert refused.comment.startswith(
        "qa: 401 old token\n- why: the API does not take this token any more (invalid_token),"
    )
    assert stage.token_requests == 2


def test_large_answer(stage: Stage, curl: Curl) -> None:
    """A large answer to the second request arrives whole."""
    stage.env(stage.http)
    proxy = stage.mitmdump(stream_large_bodies="10k")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    revoke(stage)
    reply = curl("--proxy", proxy.url, f"{stage.http}/large")
    assert (reply.status, len(reply.body)) == (200, 1_000_000)


@pytest.mark.parametrize("asks", ["Accept: text/event-stream", "Content-Type: application/grpc"])
def test_asks_for_a_stream(stage: Stage, curl: Curl, asks: str) -> None:
    """A request whose answer could be a stream is sent again, too."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    send = ["--noproxy", "", "--proxy", proxy.url, "--header", asks, f"{stage.http}/orders"]
    assert curl(*send).status == 200
    revoke(stage)
    assert [curl(*send).status for _ in range(2)] == [200, 200]
    assert stage.api.statuses == {200: 3, 401: 1}


@pytest.mark.parametrize("length", ["known", "unknown"])
def test_second_too_large(stage: Stage, curl: Curl, length: str) -> None:
    """A second answer that is too large to be kept passes as it comes."""

    @stage.api.app.get("/huge")
    def huge() -> Any:
        known = stage.authorization_server.tokens.get(flask.request.headers["Authorization"].removeprefix("Bearer "))
        if known is None or known.revoked:
            return "", 401
        pieces = ["x" * (1 << 20)] * 20
        return flask.Response(iter(pieces), headers={"Content-Length": str(20 << 20)} if length == "known" else {})

    stage.env(stage.http)
    proxy = stage.mitmdump(stream_large_bodies="1m")
    assert curl("--noproxy", "", "--proxy", proxy.url, f"{stage.http}/orders").status == 200
    revoke(stage)
    huge_one = ["--noproxy", "", "--proxy", proxy.url, f"{stage.http}/huge"]
    for _ in range(2):
        reply = curl(*huge_one)
        assert (reply.status, len(reply.body)) == (200, 20 << 20)
    assert stage.api.statuses == {200: 3, 401: 1}


def test_large_401(stage: Stage, curl: Curl) -> None:
    """A 401 that is so large that it streams stays."""
    stage.env(stage.http)
    proxy = stage.mitmdump(stream_large_bodies="10k")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    assert curl("--proxy", proxy.url, f"{stage.http}/always/401?large").status == 401
    assert len(stage.api.received) == 2
    proxy.wait_for("it is with the client already; the next request gets another token")
    assert stage.token_requests == 2


def test_script_streams(stage: Stage, curl: Curl) -> None:
    """Where another script streams the second answer away, the 401 stays."""
    stage.env(stage.http)
    script = stage.folder / "stream.py"
    script.write_text("def responseheaders(flow): flow.response.stream = flow.response.status_code == 200\n")
    own = mitmproxy("mitmdump", *stage.options({}), "-s", str(script), folder=stage.folder, inside=stage.inside)
    proxy = stage.enter(own)
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    revoke(stage)
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 401
    proxy.wait_for("something else streamed its answer away")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200


def test_other_way(stage: Stage, curl: Curl) -> None:
    """A request that would leave another way is not sent again."""
    stage.env(stage.http)
    words = ["--set", f"confdir={stage.confdir}", "--ignore-hosts", ".*"]
    corporate = stage.enter(
        mitmproxy("mitmdump", *words, folder=stage.folder, script=RESOLVE_TEST, inside=stage.inside)
    )
    port = free_port()
    proxy = stage.mitmdump("--mode", f"upstream:{corporate.url}", "--mode", f"regular@127.0.0.1:{port}")
    direct = ["--proxy", f"http://127.0.0.1:{port}", f"{stage.http}/orders"]
    assert curl(*direct).status == 200
    revoke(stage)
    assert [curl(*direct).status for _ in range(2)] == [401, 200]
    proxy.wait_for("mitmproxy would send it by its first mode")
    assert not any("server connect" in line for line in corporate.log)


def test_no_second_answer(stage: Stage, curl: Curl, tmp_path: Path) -> None:
    """Where no second answer comes, the 401 stays, and there is no third request."""
    stage.env(stage.http)
    patience = tmp_path / "patience.py"
    patience.write_text("from credential_injector.proxy import retry\nretry.DEADLINE = 0.5\n")
    proxy = stage.mitmdump("-s", str(patience))
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    revoke(stage)
    assert curl("--proxy", proxy.url, f"{stage.http}/slow").status == 401
    proxy.wait_for("was not answered within")
    stage.api.go_on.set()
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    assert [line for line, _ in stage.api.received].count("GET /slow HTTP/1.1") == 2
    assert stage.token_requests == 2


def test_no_other_token(stage: Stage, curl: Curl) -> None:
    """When no other token can be had, the 401 stays, and the flow says why."""
    stage.env(stage.http)
    flows = stage.folder / "flows"
    with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
        revoke(stage)
        stage.authorization_server.status = 503
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 401
    *_, refused = saved(flows)
    assert "- the API answered 401, which stays: no token (http_503)" in refused.comment
    assert refused.metadata["inject"]["diagnosis"]["code"] == "no_new_token"
    assert refused.metadata["inject"]["retried"] is False


def test_own_replay(stage: Stage, curl: Curl) -> None:
    """A person's own replay gets the token of the moment."""
    stage.env(stage.http, "OVERWRITE=never")
    flows, replayed = stage.folder / "flows", stage.folder / "replayed"
    with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    revoke(stage)
    with stage.mitmproxy("mitmdump", "-C", str(flows), "-w", str(replayed)):
        eventually(lambda: stage.api.statuses[200] >= 2)
    again = saved(replayed)[-1]
    assert (again.metadata["inject"]["action"], again.metadata["inject"]["replaced"]) == ("injected", None)


def test_static(stage: Stage, curl: Curl) -> None:
    """A credential that stands in the file is refused, and the request is not sent again."""
    without = "TOKEN_ENDPOINT,CLIENT_ID,CLIENT_SECRET,SCOPE"
    stage.env(stage.http, "GRANT_TYPE=static", "VALUE=canary", without=without)
    flows = stage.folder / "flows"
    with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
        for _ in range(3):
            assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 401
    assert stage.api.statuses == {401: 3}
    reason = "the API answered 401, which stays: the credential stands in envs/qa.env, and there is no other"
    assert [reason in flow.comment for flow in saved(flows)] == [True] * 3


def test_loaded_anew(stage: Stage, curl: Curl) -> None:
    """The add-on that follows mends the 401 to a request that the one before has sent."""
    addon = stage.folder / "clone" / "addon"
    shutil.copytree(SCRIPT.parent, addon, ignore=shutil.ignore_patterns("__pycache__", "demo"))
    script, asked = addon / "inject.py", threading.Event()

    @stage.api.app.get("/late")
    def late() -> Any:
        if asked.is_set():
            return "accepted"
        asked.set()
        stage.api.go_on.wait(30)
        return flask.Response("", 401, {"WWW-Authenticate": f"Bearer {flask.request.headers['Authorization']}"})

    stage.env(stage.http)
    flows = stage.folder / "flows"
    with stage.mitmproxy("mitmdump", "-w", str(flows), script=script) as proxy, ThreadPoolExecutor() as pool:
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
        reply = pool.submit(curl, "--proxy", proxy.url, f"{stage.http}/late")
        assert asked.wait(30)
        moment = script.stat().st_mtime + 10
        os.utime(script, (moment, moment))
        proxy.wait_for("with tokens from", times=2)
        stage.api.go_on.set()
        assert reply.result().status == 200
    healed = saved(flows)[-1]
    assert healed.comment.startswith("qa: 401→200\n")
    assert healed.metadata["inject"]["first_challenge"] is None  # nobody knows the token that it repeats

"""A token that the API refuses is replaced and the request sent again; the client never sees the 401."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import flask
import pytest
import requests

from credential_injector.demo.processes import free_port, mitmproxy
from tests.e2e.conftest import RESOLVE_TEST, Curl, Stage
from tests.e2e.test_life_cycle import eventually
from tests.e2e.test_main_job import saved


def revoke(stage: Stage) -> None:
    """As an administrator does: the tokens of the moment are worth nothing any more."""
    for token in list(stage.authorization_server.tokens.values()):
        token.revoked = True


@pytest.mark.parametrize("way", ["regular", "lazy", "tunnel", "tunnel http2", "reverse", "upstream", "socks5"])
def test_a_revoked_token_is_replaced_in_flight(stage: Stage, curl: Curl, way: str) -> None:
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


def test_the_flow_tells_of_the_first_answer_and_the_second_request_is_a_flow_of_its_own(
    stage: Stage, curl: Curl
) -> None:
    stage.env(stage.http)
    flows = stage.folder / "flows"
    with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
        curl("--proxy", proxy.url, f"{stage.http}/orders")
        revoke(stage)
        curl("--proxy", proxy.url, "--user", "me:mine", f"{stage.http}/orders")
    assert proxy.log[-1].endswith("qa: 3 requests with a token, 2 token requests, 1 sent again, 0 blocked")
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
    assert headline.startswith("qa: token injected (refreshed, 4 min left), replaced Basic, sent again after a 401")
    assert f"- the first answer: 401 to <{old['token']}>" in details
    assert again.is_replay == "request"
    assert again.metadata["inject"]["token"] == note["token"]
    assert healed.request.headers["Authorization"] == again.request.headers["Authorization"]


def test_no_client_sees_a_401_when_tokens_are_revoked_under_load(stage: Stage) -> None:
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


def test_an_api_that_refuses_every_token_costs_one_more_token_and_one_more_request(stage: Stage, curl: Curl) -> None:
    stage.env(stage.http)
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    for _ in range(10):
        assert curl("--proxy", proxy.url, f"{stage.http}/always/401").status == 401
    assert stage.token_requests == 2
    assert stage.api.statuses[401] == 11
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200


def test_a_url_that_refuses_every_token_does_not_keep_others_from_healing(stage: Stage, curl: Curl) -> None:
    """The query of a URL does not count."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    through = ["--noproxy", "", "--proxy", proxy.url]
    assert curl(*through, f"{stage.http}/orders").status == 200
    assert [curl(*through, f"{stage.http}/always/401?{page}").status for page in range(3)] == [401] * 3
    assert stage.token_requests == 2
    revoke(stage)
    assert curl(*through, f"{stage.http}/orders").status == 200
    assert stage.token_requests == 3


def test_a_token_that_was_new_and_is_refused_is_not_replaced(stage: Stage, curl: Curl) -> None:
    stage.env(stage.http)
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, f"{stage.http}/always/401").status == 401
    assert (stage.token_requests, stage.api.statuses[401]) == (1, 1)


@pytest.mark.parametrize("path", ["/always/403", "/always/401?insufficient_scope"])
def test_an_answer_that_is_not_about_the_token_is_left_alone(stage: Stage, curl: Curl, path: str) -> None:
    stage.env(stage.http)
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    assert curl("--proxy", proxy.url, stage.http + path).status == int(path[8:11])
    assert (stage.token_requests, len(stage.api.received)) == (1, 2)


def test_the_retry_can_be_switched_off(stage: Stage, curl: Curl) -> None:
    stage.env(stage.http)
    proxy = stage.mitmdump(inject_retry="false")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    revoke(stage)
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 401
    assert stage.token_requests == 1


def test_where_the_body_was_streamed_the_401_stays_and_the_next_request_has_another_token(
    stage: Stage, curl: Curl
) -> None:
    stage.env(stage.http)
    flows, upload = stage.folder / "flows", stage.folder / "upload"
    upload.write_bytes(b"x" * 100_000)
    with stage.mitmproxy("mitmdump", "-w", str(flows), stream_large_bodies="1k") as proxy:
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
        revoke(stage)
        send = ["--proxy", proxy.url, "--data-binary", f"@{upload}", f"{stage.http}/upload"]
        assert [curl(*send).status for _ in range(2)] == [401, 200]
    _, refused, _ = saved(flows)
    assert refused.comment.splitlines()[-1] == (
        "- the API answered 401, which stays: the request's body was streamed and is gone;"
        " the next request gets another token"
    )
    assert stage.token_requests == 2


def test_a_large_answer_to_the_second_request_arrives_whole(stage: Stage, curl: Curl) -> None:
    stage.env(stage.http)
    proxy = stage.mitmdump(stream_large_bodies="10k")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    revoke(stage)
    reply = curl("--proxy", proxy.url, f"{stage.http}/large")
    assert (reply.status, len(reply.body)) == (200, 1_000_000)


@pytest.mark.parametrize("asks", ["Accept: text/event-stream", "Content-Type: application/grpc"])
def test_a_stream_is_not_asked_for_twice(stage: Stage, curl: Curl, asks: str) -> None:
    """Its answer could not be held back; the next request has another token."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    send = ["--noproxy", "", "--proxy", proxy.url, "--header", asks, f"{stage.http}/orders"]
    assert curl(*send).status == 200
    revoke(stage)
    assert [curl(*send).status for _ in range(2)] == [401, 200]
    proxy.wait_for("which stays: the answer would be a stream, which cannot be kept until its end; the next")
    assert stage.api.statuses == {200: 2, 401: 1}


def test_a_second_answer_that_is_a_stream_is_not_waited_for(stage: Stage, curl: Curl) -> None:
    """It does not end; the 401 goes to the client at once."""
    ended = threading.Event()

    @stage.api.app.get("/events")
    def events() -> Any:
        known = stage.authorization_server.tokens.get(flask.request.headers["Authorization"].removeprefix("Bearer "))
        if known is None or known.revoked:
            return "", 401

        def pieces() -> Iterator[str]:
            yield "data: 1\n\n"
            ended.wait(30)

        return flask.Response(pieces(), mimetype="text/event-stream")

    stage.env(stage.http)
    proxy = stage.mitmdump()
    assert curl("--noproxy", "", "--proxy", proxy.url, f"{stage.http}/orders").status == 200
    revoke(stage)
    assert curl("--noproxy", "", "--proxy", proxy.url, "--max-time", "20", f"{stage.http}/events").status == 401
    proxy.wait_for("sent again, the request failed: the second answer is a stream, which cannot be kept until its end")
    ended.set()


@pytest.mark.parametrize("length", ["known", "unknown"])
def test_a_second_answer_that_is_too_large_is_not_held(stage: Stage, curl: Curl, length: str) -> None:
    """With stream_large_bodies it must not fill the memory; the 401 goes to the client at once."""

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
    assert curl(*huge_one).status == 401
    proxy.wait_for("sent again, the request failed: the second answer is larger than 8.0m")
    assert len(curl(*huge_one).body) == 20 << 20


def test_a_401_that_is_so_large_that_it_streams_stays(stage: Stage, curl: Curl) -> None:
    stage.env(stage.http)
    proxy = stage.mitmdump(stream_large_bodies="10k")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    assert curl("--proxy", proxy.url, f"{stage.http}/always/401?large").status == 401
    assert len(stage.api.received) == 2
    proxy.wait_for("it is with the client already; the next request gets another token")
    assert stage.token_requests == 2


def test_where_another_script_streams_the_second_answer_away_the_401_stays(stage: Stage, curl: Curl) -> None:
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


def test_a_replay_that_would_leave_another_way_is_not_made(stage: Stage, curl: Curl) -> None:
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
    proxy.wait_for("mitmproxy would send it another way")
    assert not any("server connect" in line for line in corporate.log)


def test_a_second_answer_that_does_not_come_leaves_the_401_and_asks_no_third_time(
    stage: Stage, curl: Curl, tmp_path: Path
) -> None:
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


def test_when_no_other_token_can_be_had_the_401_stays_and_the_flow_says_why(stage: Stage, curl: Curl) -> None:
    stage.env(stage.http)
    flows = stage.folder / "flows"
    with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
        revoke(stage)
        stage.authorization_server.status = 503
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 401
    *_, refused = saved(flows)
    assert "- the API answered 401, which stays: no token (http_503)" in refused.comment
    assert refused.metadata["inject"]["retried"] is False


def test_a_persons_own_replay_gets_the_token_of_the_moment(stage: Stage, curl: Curl) -> None:
    stage.env(stage.http, "OVERWRITE=never")
    flows, replayed = stage.folder / "flows", stage.folder / "replayed"
    with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    revoke(stage)
    with stage.mitmproxy("mitmdump", "-C", str(flows), "-w", str(replayed)):
        eventually(lambda: stage.api.statuses[200] >= 2)
    again = saved(replayed)[-1]
    assert (again.metadata["inject"]["action"], again.metadata["inject"]["replaced"]) == ("injected", None)


def test_a_credential_of_the_files_own_that_is_refused_is_not_sent_again(stage: Stage, curl: Curl) -> None:
    without = "TOKEN_ENDPOINT,CLIENT_ID,CLIENT_SECRET,SCOPE"
    stage.env(stage.http, "GRANT_TYPE=static", "VALUE=canary", without=without)
    flows = stage.folder / "flows"
    with stage.mitmproxy("mitmdump", "-w", str(flows)) as proxy:
        for _ in range(3):
            assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 401
    assert stage.api.statuses == {401: 3}
    reason = "the API answered 401, which stays: the credential stands in envs/qa.env, and there is no other"
    assert [reason in flow.comment for flow in saved(flows)] == [True] * 3

"""Nonces of an API that binds tokens to keys (RFC 9449 section 9), over http and https, HTTP/1 and HTTP/2."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import Curl, Stage
from tests.e2e.dpop_api import DpopApi
from tests.e2e.mitmweb_api import WebApi
from tests.ports import free_port


@pytest.fixture(autouse=True)
def home(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own key is made anew."""
    monkeypatch.setenv("HOME", str(stage.folder))


def environment(stage: Stage, api: DpopApi) -> None:
    more = [] if api.tls is None else [f"CA_FILE={stage.ca}"]
    stage.env(api.url, f"TOKEN_ENDPOINT={api.url}/token", "DPOP=true", *more)


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_tls(stage: Stage, curl: Curl, version: str) -> None:
    """Over TLS the proof is for the https URL, with either version; a nonce that changes is taken up."""
    with DpopApi(stage.tls, uses=2) as api:
        environment(stage, api)
        proxy = stage.mitmdump()
        options = [version, "--proxy", proxy.url, "--cacert", str(stage.mitmproxy_ca)]
        for number in range(6):
            path = f"/a%20b/{number}?query=1"
            assert curl(*options, "-d", "body", api.url + path).status == 200, api.refused
        assert (api.token_requests, api.refused) == (1, [])
        assert len(api.accepted) == 6


def test_revoked_meanwhile(stage: Stage, curl: Curl) -> None:
    """An API that refuses the token first asks for a nonce with the next one: the client sees neither."""
    with DpopApi() as api:
        environment(stage, api)
        proxy = stage.mitmdump()
        assert curl("--proxy", proxy.url, f"{api.url}/a").status == 200
        api.bound.clear()
        api.rotations += 1
        assert curl("--proxy", proxy.url, f"{api.url}/b").status == 200
        assert (api.token_requests, api.refused) == (2, [])


def test_used_up(stage: Stage, curl: Curl) -> None:
    """Nonces for one request each, and requests at the same time: each gets its answer in the end, with one token."""
    with DpopApi(uses=1) as api:
        environment(stage, api)
        proxy = stage.mitmdump()
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(curl, "--proxy", proxy.url, f"{api.url}/{number}") for number in range(10)]
            assert {call.result().status for call in calls} == {200}
        assert (api.token_requests, api.refused) == (1, [])


def test_without_nonce(stage: Stage, curl: Curl) -> None:
    """An API that asks for a nonce and names none is not asked again: its 401 stays, and says what it is."""
    with DpopApi() as api:
        environment(stage, api)
        proxy = stage.mitmdump()
        assert curl("--proxy", proxy.url, f"{api.url}/a").status == 200
        api.is_mute = True
        before = api.calls
        assert curl("--proxy", proxy.url, f"{api.url}/b").status == 401
        assert (api.calls - before, api.token_requests) == (1, 1)
        proxy.wait_for(r"the API does not take the DPoP proof \(use_dpop_nonce\)")


def test_streams(stage: Stage, curl: Curl) -> None:
    """An event stream is healed; a body that streamed is gone, so its 401 stays, and the next request has the nonce."""
    with DpopApi() as api:
        environment(stage, api)
        proxy = stage.mitmdump("--set", "stream_large_bodies=1k")
        assert curl("--proxy", proxy.url, f"{api.url}/events", "-H", "Accept: text/event-stream").status == 200
        api.rotations += 1
        large = ["--proxy", proxy.url, "-d", "x" * 5000, "-H", "Expect:"]
        assert curl(*large, f"{api.url}/a").status == 401
        assert curl(*large, f"{api.url}/b").status == 200
        assert (api.token_requests, api.refused) == (1, [])


def test_told(stage: Stage, curl: Curl) -> None:
    """What healed the request was a proof, not a token."""
    with DpopApi() as api:
        environment(stage, api)
        with stage.mitmproxy("mitmweb", web_port=free_port(), web_open_browser="false") as proxy:
            assert curl("--proxy", proxy.url, f"{api.url}/a").status == 200
            proxy.wait_for("and accepted another proof when the request was sent again")
            comment = WebApi(proxy).flows()[0]["comment"]
        assert "sent again after a 401: 401 (use_dpop_nonce)" in comment

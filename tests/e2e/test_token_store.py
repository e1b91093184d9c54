"""Tokens that outlive mitmproxy, and proxies that share them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import tool
from tests.e2e.conftest import CLIENT_SECRET, Curl, Stage
from tests.e2e.test_life_cycle import load
from tests.e2e.test_main_job import saved
from tests.e2e.test_retry import revoke
from tests.ports import free_port


@contextmanager
def redis_server() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    port = free_port()
    words = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(
        [tool("redis-server", package="redis-server"), *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert any("Ready to accept connections" in line for line in process.stdout)
        yield f"redis://127.0.0.1:{port}/0", process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(params=["file", "redis"])
def store(request: pytest.FixtureRequest, stage: Stage) -> Iterator[str]:
    if request.param == "file":
        yield str(stage.folder / "tokens.json")
    else:
        with redis_server() as (url, _):
            yield url


def test_two_proxies(stage: Stage, curl: Curl, store: str) -> None:
    """Two proxies make one token request between them."""
    stage.env(stage.http)
    proxies = [stage.mitmdump(inject_tokens=store) for _ in range(2)]
    for proxy in proxies:
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    assert stage.token_requests == 1


def test_outlives_process(stage: Stage, curl: Curl, store: str) -> None:
    """A token outlives the process, and the flow says that it comes from the store."""
    stage.env(stage.http)
    for run in range(2):
        flows = stage.folder / f"flows{run}"
        with stage.mitmproxy("mitmdump", "-w", str(flows), inject_tokens=store) as proxy:
            assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
        (flow,) = saved(flows)
        assert flow.metadata["inject"]["source"] == ("store" if run else "fetched")
    assert stage.token_requests == 1


def test_refused(stage: Stage, curl: Curl, store: str) -> None:
    """A refused token is not taken from the store again."""
    stage.env(stage.http)
    proxies = [stage.mitmdump(inject_tokens=store) for _ in range(2)]
    for proxy in proxies:
        for _ in range(2):
            assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    revoke(stage)
    for proxy in proxies:
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    assert stage.token_requests == 2


def test_refused_twice(stage: Stage, curl: Curl, store: str) -> None:
    """Where the API refuses the stored token, too, the client gets the answer to a new one."""
    stage.env(stage.http)
    urls = [stage.mitmdump(inject_tokens=store).url for _ in range(2)]

    def call(url: str) -> int:
        return curl("--proxy", url, f"{stage.http}/orders").status

    assert [call(url) for url in urls] == [200, 200]
    for tokens, url in enumerate(urls, start=2):
        revoke(stage)
        assert (call(url), stage.token_requests) == (200, tokens)
    # The second one sent the first token, the first one's second token, and a third one, which it goes on with.
    assert stage.api.statuses == {200: 4, 401: 3}
    assert (call(urls[1]), stage.token_requests) == (200, 3)
    # Nothing cools down: neither was a new token refused.
    revoke(stage)
    assert [call(url) for url in urls] == [200, 200]


def test_revoked_before(stage: Stage, curl: Curl, store: str) -> None:
    """A token that was revoked while nobody ran is replaced while the request is on its way."""
    stage.env(stage.http)
    with stage.mitmproxy("mitmdump", inject_tokens=store) as proxy:
        assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    revoke(stage)
    proxy = stage.mitmdump(inject_tokens=store)
    assert [curl("--proxy", proxy.url, f"{stage.http}/orders").status for _ in range(2)] == [200, 200]
    assert stage.token_requests == 2


def test_corrupt(stage: Stage, curl: Curl) -> None:
    """A corrupt file is moved aside, and costs no request."""
    store = stage.folder / "tokens.json"
    store.write_text("{ not json")
    stage.env(stage.http)
    proxy = stage.mitmdump(inject_tokens=store)
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    proxy.wait_for("inject_tokens")
    (aside,) = stage.folder.glob("tokens.json.corrupt-*")
    assert aside.read_text() == "{ not json"
    assert CLIENT_SECRET not in store.read_text()


def test_redis_dies(stage: Stage) -> None:
    """When Redis dies under load, no request is lost."""
    stage.authorization_server.lifetime = 3
    stage.env(stage.http)
    with redis_server() as (url, process):
        proxy = stage.mitmdump(inject_tokens=url)
        with load(f"{stage.http}/orders", proxy.url, 8) as seen:
            seen.wait_for(50)
            process.kill()
            proxy.wait_for("inject_tokens: .* cannot be used")
            seen.wait_for(200)
    assert set(seen.statuses) == {200}, seen.bodies
    assert sum("inject_tokens" in line for line in proxy.log) == 1


@pytest.mark.parametrize("value", ["redis://user:canary@h:port/0", "/no/such/folder/tokens"])
def test_impossible_store(stage: Stage, value: str) -> None:
    """A store that cannot be is refused at the start."""
    stage.env(stage.http)
    proxy = stage.mitmdump(inject_tokens=value)
    proxy.wait_for("inject_tokens: .* expected")
    assert proxy.process.wait(timeout=30) == 1
    assert not any("canary" in line or "Traceback" in line for line in proxy.log)

"""Stores that hang, and proxies that are killed while they hold a lock: no request and no login is lost."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import filelock
import pytest
import requests

from credential_injector.demo.processes import Mitmproxy
from tests.e2e.conftest import Stage
from tests.e2e.issuer import TOKEN_PATH, Issuer, issuer
from tests.e2e.test_life_cycle import eventually, load
from tests.e2e.test_token_store import redis_server

PAUSE = 3.0  # seconds for which a store hangs


@pytest.fixture
def server() -> Iterator[Issuer]:
    with issuer() as server:
        yield server


def get(proxy: Mitmproxy, url: str) -> int:
    with requests.Session() as session:
        session.proxies = {"http": proxy.url}
        return session.get(url, timeout=60).status_code


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_killed(stage: Stage, server: Issuer, kind: str) -> None:
    """The next proxy asks while the server still takes the refresh token that the killed one has shown: for 10 s."""
    server.grace = 10.0
    server.may_answer.clear()
    stage.env(
        server.origin,
        f"TOKEN_ENDPOINT={server.origin}{TOKEN_PATH}",
        "GRANT_TYPE=refresh_token",
        "REFRESH_TOKEN=first",
    )
    with redis_server() as (url, _), ThreadPoolExecutor(1) as pool:
        where = url if kind == "redis" else str(stage.folder / "tokens.json")
        killed, other = (stage.mitmdump(inject_tokens=where) for _ in range(2))
        assert other.url
        lost = pool.submit(get, killed, f"{server.origin}/orders")
        eventually(lambda: len(server.shown) == 1)
        killed.process.kill()
        assert isinstance(lost.exception(), requests.RequestException)
        server.may_answer.set()
        began = time.monotonic()
        assert get(other, f"{server.origin}/orders") == 200
        print(f"\n{kind}: the other proxy's request took {time.monotonic() - began:.1f} s")
    assert server.shown == ["first", "first"]
    assert server.refused == []


def test_redis_that_pauses_costs_no_request(stage: Stage) -> None:
    """With tokens of 3 s, which have to be replaced meanwhile."""
    stage.authorization_server.lifetime = 3
    stage.env(stage.http)
    with redis_server() as (url, process):
        proxies = [stage.mitmdump(inject_tokens=url) for _ in range(2)]
        with (
            load(f"{stage.http}/orders", proxies[0].url, 4) as one,
            load(f"{stage.http}/orders", proxies[1].url, 4) as two,
        ):
            for seen in (one, two):
                seen.wait_for(50)
            one.slowest = two.slowest = 0.0
            process.send_signal(signal.SIGSTOP)
            Event().wait(PAUSE)
            process.send_signal(signal.SIGCONT)
            for proxy in proxies:
                proxy.wait_for("inject_tokens: .* can be used again")
            asked = stage.token_requests
            eventually(lambda: stage.token_requests >= asked + 3)
    for seen in (one, two):
        print(f"\n{dict(seen.statuses)}, the slowest took {seen.slowest:.1f} s")
    assert set(one.statuses + two.statuses) == {200}, one.bodies | two.bodies


def test_lock_hangs(stage: Stage) -> None:
    """A file whose lock hangs is told once and costs no request; what came meanwhile is in the file afterwards."""
    stage.authorization_server.lifetime = 3
    stage.env(stage.http)
    file = stage.folder / "tokens.json"
    with filelock.FileLock(f"{file}.lock") as held:
        proxy = stage.mitmdump(inject_tokens=file)
        with load(f"{stage.http}/orders", proxy.url, 4) as seen:
            eventually(lambda: len(stage.authorization_server.tokens) >= 6)
            held_for = stage.token_requests
            held.release()
            proxy.wait_for("inject_tokens: .* can be used again")
            seen.wait_for(50)
    print(f"\n{dict(seen.statuses)}, the slowest took {seen.slowest:.1f} s, {held_for} token requests meanwhile")
    assert set(seen.statuses) == {200}, seen.bodies
    assert sum("cannot be used" in line for line in proxy.log) == 1
    assert file.exists()


def test_folder_removed(stage: Stage) -> None:
    """A folder that the add-on made would be another one than the user's: on another disk, or open to all."""
    stage.authorization_server.lifetime = 3
    stage.env(stage.http)
    folder = stage.folder / "kept"
    folder.mkdir()
    proxy = stage.mitmdump(inject_tokens=folder / "tokens.json")
    with load(f"{stage.http}/orders", proxy.url, 2) as seen:
        eventually((folder / "tokens.json").exists)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        proxy.wait_for(r"inject_tokens: .* cannot be used \(No such file or directory\)")
        assert not folder.exists()
        folder.mkdir(mode=0o700)
        proxy.wait_for("inject_tokens: .* can be used again")
        eventually((folder / "tokens.json").exists)
    assert set(seen.statuses) == {200}, seen.bodies

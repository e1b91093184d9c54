"""Tokens that are simply always there: under load, across expiries, while the authorization server is down.

Counts and outcomes are asserted; times are printed (pytest -s), as these machines are noisy.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event

import pytest
import requests

from tests.e2e.conftest import Curl, Stage


@dataclass
class Load:
    """Clients that send a request every few milliseconds until they are told to end."""

    statuses: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0
    """Seconds."""
    bodies: set[str] = field(default_factory=set)
    ended: Event = field(default_factory=Event)

    def wait_for(self, count: int) -> None:
        """Until so many more requests have been answered."""
        until = self.statuses.total() + count
        while self.statuses.total() < until and not self.ended.wait(0.01):
            pass


@contextmanager
def load(url: str, proxy: str, clients: int) -> Iterator[Load]:
    seen = Load()

    def client() -> None:
        with requests.Session() as session:
            session.proxies = {"http": proxy}
            while not seen.ended.wait(0.005):
                begin = time.monotonic()
                answer = session.get(url, timeout=60)
                seen.slowest = max(seen.slowest, time.monotonic() - begin)
                seen.statuses[answer.status_code] += 1
                if answer.status_code != 200:
                    seen.bodies.add(answer.text)

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(client) for _ in range(clients)]
        try:
            yield seen
        finally:
            seen.ended.set()
    for one in running:
        one.result()


def eventually(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        Event().wait(0.02)


def test_300_at_once(stage: Stage) -> None:
    """300 requests at once cost one token request where there was no token yet."""
    stage.env(stage.http)
    proxy = stage.mitmdump()

    def get(number: int) -> int:
        with requests.Session() as session:
            session.proxies = {"http": proxy.url}
            return session.get(f"{stage.http}/orders/{number}", timeout=60).status_code

    with ThreadPoolExecutor(300) as pool:
        assert Counter(pool.map(get, range(300))) == {200: 300}
    assert stage.token_requests == 1


def test_across_expiries(stage: Stage) -> None:
    """Across expiries no client sees a 401 or waits for a token."""
    seconds, lifetime = 9, 3
    stage.env(stage.http)
    proxy = stage.mitmdump()
    slowest = {}
    for lives in (3600, lifetime):
        stage.authorization_server.lifetime = lives
        stage.env(stage.http, f"TOKEN_PARAM_lives={lives}")  # another identity, so another token
        proxy.wait_for("qa: .* with tokens from", times=2 if lives == 3600 else 3)
        before = stage.token_requests
        with load(f"{stage.http}/orders", proxy.url, 4) as seen:
            seen.wait_for(50)
            seen.slowest = 0.0
            seen.ended.wait(seconds if lives == lifetime else seconds / 4)
        assert set(seen.statuses) == {200}, seen.bodies
        slowest[lives] = seen.slowest
        asked = stage.token_requests - before
    assert seconds / lifetime < asked <= seconds / 1.4 + 2
    times = f"{slowest[lifetime]:.3f} s with 3 s tokens, {slowest[3600]:.3f} s with long ones"
    print(f"\nslowest request: {times}; {asked} token requests in {seconds} s")


def test_short_outage(stage: Stage) -> None:
    """Nobody sees an outage that is shorter than the token's life."""
    stage.authorization_server.lifetime = 12
    stage.env(stage.http)
    proxy = stage.mitmdump()
    with load(f"{stage.http}/orders", proxy.url, 4) as seen:
        seen.wait_for(20)
        stage.authorization_server.status = 503
        eventually(lambda: stage.token_requests >= 3)  # it has been asked in vain
        during = stage.token_requests
        stage.authorization_server.status = None
        eventually(lambda: len(stage.authorization_server.tokens) == 2)
        seen.wait_for(20)
    assert set(seen.statuses) == {200}, seen.bodies
    assert during <= 5


def test_long_outage(stage: Stage, curl: Curl) -> None:
    """A longer outage is told at once, and ends with the server's return."""
    stage.authorization_server.lifetime = 2
    stage.env(stage.http)
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    stage.authorization_server.status = 503
    eventually(lambda: curl("--proxy", proxy.url, f"{stage.http}/orders").status == 502)
    before, slowest = stage.token_requests, 0.0
    with requests.Session() as session:
        session.proxies = {"http": proxy.url}
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            begin = time.monotonic()
            answer = session.get(f"{stage.http}/orders", timeout=60)
            slowest = max(slowest, time.monotonic() - begin)
            assert answer.status_code == 502
            assert "no token (http_503): " in answer.text
            assert "; next try in " in answer.text
    assert stage.token_requests - before <= 5  # after 1, 2, 4 seconds, each a little less
    stage.authorization_server.status = None
    back = time.monotonic()
    eventually(lambda: curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200)
    recovered = time.monotonic() - back
    print(f"\nslowest refusal: {slowest:.3f} s; recovery {recovered:.1f} s after the server's return")
    assert recovered <= 8 + 5


def test_wrong_secret(stage: Stage) -> None:
    """A wrong secret costs one token request, however many ask."""
    stage.env(stage.http, "CLIENT_SECRET=wrong")
    proxy = stage.mitmdump()
    with requests.Session() as session:
        session.proxies = {"http": proxy.url}
        statuses = {session.get(f"{stage.http}/orders", timeout=60).status_code for _ in range(200)}
        assert (statuses, stage.token_requests) == ({502}, 1)
        stage.env(stage.http)
        proxy.wait_for("qa: .* with tokens from", times=2)
        assert session.get(f"{stage.http}/orders", timeout=60).status_code == 200


@pytest.mark.parametrize("seconds", [3])
def test_no_traffic(stage: Stage, curl: Curl, seconds: int) -> None:
    """Without traffic no token is asked for."""
    stage.authorization_server.lifetime = 2
    stage.env(stage.http)
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    asked = stage.token_requests  # more than one on a busy machine, where a token comes when it has expired already
    Event().wait(2 * seconds)  # three lifetimes, in which nothing must happen
    assert stage.token_requests == asked

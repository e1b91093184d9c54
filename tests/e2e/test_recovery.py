"""A token endpoint that fails for a while: what clients see meanwhile, and when it is over.

Counts are asserted and printed (pytest -s), seconds are not, as these machines are noisy.
"""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import requests

from credential_injector.demo.servers import serve
from tests.e2e.conftest import Stage
from tests.e2e.faulty import Fault, FaultyEndpoint
from tests.e2e.test_life_cycle import eventually, load

RATE = 10.0  # requests a second
BLIPS = {
    "400": Fault(400),
    "401": Fault(401, {"error": "invalid_client"}),
    "404": Fault(404),
    "busy": Fault(400, {"error": "temporarily_unavailable"}),
    "later": Fault(429, retry_after=30),
}


def faulty_endpoint(stage: Stage) -> tuple[FaultyEndpoint, str]:
    endpoint = FaultyEndpoint(stage.authorization_server.app)
    return endpoint, stage.enter(serve(endpoint)) + "/oauth2/v2.0/token"


def test_after_outage(stage: Stage) -> None:
    """A few seconds after the server's return requests get tokens again, however long it was away."""
    stage.authorization_server.lifetime = 2
    endpoint, url = faulty_endpoint(stage)
    stage.env(stage.http, f"TOKEN_ENDPOINT={url}")
    proxy = stage.mitmdump()
    with requests.Session() as session:
        session.proxies = {"http": proxy.url}

        def statuses(seconds: float) -> list[int]:
            end, seen = time.monotonic() + seconds, list[int]()
            while time.monotonic() < end:
                seen.append(session.get(f"{stage.http}/orders", timeout=60).status_code)
                Event().wait(1 / RATE)
            return seen

        assert set(statuses(0.5)) == {200}
        endpoint.fault = Fault(503)
        during = statuses(18)
        before = endpoint.asked
        endpoint.fault = None
        after = statuses(16)
    refused = after.index(200) if 200 in after else len(after)
    print(f"\n{Counter(during)} during the outage, then {refused} refused; {before} token requests")
    assert 502 in during
    assert refused <= 70
    assert set(after[refused:]) == {200}
    assert before <= 14


def test_a_blip_is_seen_by_nobody(stage: Stage) -> None:
    """One bad answer to a refresh, with a token at hand that still serves."""
    stage.authorization_server.lifetime = 8
    endpoints = {}
    for name in BLIPS:
        endpoints[name], url = faulty_endpoint(stage)
        stage.env(f"{stage.http}/{name}", f"TOKEN_ENDPOINT={url}", name=name)
    proxy = stage.mitmdump()
    seen: dict[str, Counter[int]] = {name: Counter() for name in BLIPS}
    with requests.Session() as session:
        session.proxies = {"http": proxy.url}
        for name in BLIPS:
            assert session.get(f"{stage.http}/{name}", timeout=60).status_code == 200
        for name, blip in BLIPS.items():
            endpoints[name].once.append(blip)
        end = time.monotonic() + 12
        while time.monotonic() < end:
            for name in BLIPS:
                seen[name][session.get(f"{stage.http}/{name}", timeout=60).status_code] += 1
            Event().wait(1 / RATE)
    print("", *(f"{name}: {dict(counts)}" for name, counts in seen.items()), sep="\n")
    assert [endpoint.once for endpoint in endpoints.values()] == [[]] * len(BLIPS)
    assert {name: set(counts) for name, counts in seen.items()} == {name: {200} for name in BLIPS}


def test_repeated_refusal(stage: Stage) -> None:
    """A secret that was changed at the server: two token requests find out, however many requests come."""
    stage.authorization_server.lifetime = 2
    endpoint, url = faulty_endpoint(stage)
    stage.env(stage.http, f"TOKEN_ENDPOINT={url}")
    proxy = stage.mitmdump()
    with load(f"{stage.http}/orders", proxy.url, 2) as seen:
        seen.wait_for(5)
        endpoint.fault = Fault(401, {"error": "invalid_client"})
        eventually(lambda: endpoint.faults >= 2)
        seen.ended.wait(6)
    assert seen.statuses[502] > 0
    assert endpoint.faults == 2


def test_hanging(stage: Stage) -> None:
    """One request at a time finds out about a server that hangs; the others get at once what the last one found."""
    clients, waits = 8, 2
    endpoint, url = faulty_endpoint(stage)
    stage.env(stage.http, f"TOKEN_ENDPOINT={url}", f"TIMEOUT={waits}")
    proxy = stage.mitmdump()
    endpoint.answers.clear()
    end = time.monotonic() + 14

    def client(_: int) -> tuple[int, int]:
        waited = answered = 0
        with requests.Session() as session:
            session.proxies = {"http": proxy.url}
            while time.monotonic() < end:
                began = time.monotonic()
                assert session.get(f"{stage.http}/orders", timeout=60).status_code == 502
                waited += time.monotonic() - began > 0.75 * waits
                answered += 1
                Event().wait(1 / RATE)
        return waited, answered

    with ThreadPoolExecutor(clients) as pool:
        waited, answered = map(sum, zip(*pool.map(client, range(clients)), strict=True))
    endpoint.answers.set()
    asked = endpoint.asked
    print(f"\n{waited} of {answered} requests waited; {asked} token requests")
    assert asked >= 3
    assert waited <= clients + asked

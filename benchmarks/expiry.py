"""What clients notice of tokens: when one expires, and when 300 of them ask before there is any."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterable

from benchmarks.clients import ask_for, ask_once, close, connect
from benchmarks.results import Figure, Part, listed, ratios
from benchmarks.stage import TOKEN, Proxy, stage
from credential_injector.demo.servers import serve

EXPIRIES = 20
ROUNDS = 4  # of which each has its share of the expiries
CONNECTIONS = 32
LIFETIME = 2  # seconds: after half of them a token is renewed
LASTING = 3600  # seconds
CLIENTS = 300
ROUND_TRIP = 0.5  # seconds that the token endpoint takes
COLD_ROUNDS = 2


def part(progress: Callable[[str], None], rounds: float) -> Part:
    """Latencies across expiries against none; a cold start against a warm one."""
    latencies: dict[int, list[list[float]]] = {LASTING: [], LIFETIME: []}
    seconds = EXPIRIES / ROUNDS * (LIFETIME / 2)
    with stage(lifetime=LASTING) as lasting, stage(lifetime=LIFETIME) as expiring:
        proxies = {LASTING: lasting.proxy("add-on"), LIFETIME: expiring.proxy("add-on")}
        for turn in range(max(round(ROUNDS * rounds), 1)):
            for lifetime, proxy in proxies.items():
                progress(f"expiry: tokens of {lifetime} s, round {turn + 1}")
                latencies[lifetime].append(asyncio.run(_latencies(proxy, seconds)))
    figures = []
    for name, share in {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}.items():
        without, across = ([_quantile(one, share) for one in latencies[lifetime]] for lifetime in (LASTING, LIFETIME))
        figures.append(Figure(f"{name} without expiries", "ms", [one * 1000 for one in without]))
        most = 1.05 if name == "p99.9" else None
        figures.append(
            Figure(f"{name} across {EXPIRIES} expiries, against none", "x", ratios(across, without), most=most)
        )
    both = []
    for turn in range(max(round(COLD_ROUNDS * rounds), 1)):
        progress(f"cold start with {CLIENTS} clients, round {turn + 1}")
        both.append(_cold_and_warm())
    figures += [
        Figure(
            f"{CLIENTS} clients at once with the token at hand: all answered after", "ms", [warm for _, warm in both]
        ),
        Figure(f"{CLIENTS} clients at once before any token: all answered after", "ms", [cold for cold, _ in both]),
        Figure(
            f"what the token added, against the token endpoint's {ROUND_TRIP * 1000:.0f} ms",
            "x",
            [(cold - warm) / (ROUND_TRIP * 1000) for cold, warm in both],
            most=1.1,
        ),
    ]
    return listed(
        "Expiry and cold start",
        figures,
        f"http in reverse mode, {CONNECTIONS} connections. A token of {LIFETIME} s is renewed after half of them.",
    )


async def _latencies(proxy: Proxy, seconds: float) -> list[float]:
    connections = await connect(proxy.reverse_port, CONNECTIONS)
    await ask_once(connections)  # makes the connections to the API
    latencies = await ask_for(seconds, connections)
    close(connections)
    return latencies


def _cold_and_warm() -> tuple[float, float]:
    """Milliseconds until all are answered: before there is a token, and then once more."""

    def token_endpoint(
        _environ: object, start_response: Callable[[str, list[tuple[str, str]]], object]
    ) -> Iterable[bytes]:
        time.sleep(ROUND_TRIP)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [f'{{"access_token": "{TOKEN}", "token_type": "Bearer", "expires_in": {LASTING}}}'.encode()]

    async def once(port: int) -> float:
        connections = await connect(port, CLIENTS)
        await asyncio.sleep(1)  # mitmproxy has accepted them all
        seconds = await ask_once(connections)
        close(connections)
        return seconds * 1000

    with serve(token_endpoint) as origin, stage(token_endpoint=f"{origin}/token") as running:
        port = running.proxy("add-on").reverse_port
        return asyncio.run(once(port)), asyncio.run(once(port))


def _quantile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]

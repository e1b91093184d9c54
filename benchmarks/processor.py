"""The processor time of a request, and how much of it is for having a script at all.

Finer than throughput: what else the machine does takes time on the clock, but not of mitmdump's processor time.
"""

from collections.abc import Callable

from benchmarks.results import Figure, Part, listed
from benchmarks.stage import CONFIGURATIONS, WAYS, stage

ROUNDS = 3
CONNECTIONS = 32


def part(progress: Callable[[str], None], rounds: float) -> Part:
    """What each configuration takes more than bare mitmdump, in microseconds a request."""
    configurations = (*CONFIGURATIONS[:3], "empty script", *CONFIGURATIONS[3:])
    taken: dict[str, list[float]] = {configuration: [] for configuration in configurations}
    with stage() as running:
        proxies = {configuration: running.proxy(configuration) for configuration in configurations}
        for turn in range(max(round(ROUNDS * rounds), 1) + 1):
            progress(f"processor time, round {turn}")
            for configuration, proxy in proxies.items():
                load = running.load(proxy, WAYS[0], connections=CONNECTIONS, seconds=1)
                if load is not None and turn:  # the first one fetches the token
                    taken[configuration].append(load.processor)

    def more(one: str, other: str) -> list[float]:
        return [more - less for more, less in zip(taken[one], taken[other], strict=False)]

    return listed(
        "Processor time of a request",
        [
            Figure("bare", "µs", taken["bare"]),
            *(Figure(f"{one}: more than bare", "µs", more(one, "bare")) for one in configurations[1:]),
            Figure("add-on: more than an empty script", "µs", more("add-on", "empty script")),
        ],
        f"{WAYS[0]}, {CONNECTIONS} connections, mitmdump's main thread. An empty script has an add-on without any hook:"
        " what it takes, mitmproxy takes for every script, as it walks through all add-ons for each hook of a request.",
    )

"""Requests a second and their latencies, through mitmdump in each configuration, as wrk sees them."""

from collections.abc import Callable

from benchmarks.results import Figure, Part, digits, ratios, spread
from benchmarks.stage import CONFIGURATIONS, WAYS, Load, Proxy, Stage, stage

METRICS: dict[str, Callable[[Load], float]] = {
    "requests/s": lambda load: load.rps,
    "processor µs a request": lambda load: load.processor,
    "p50 ms": lambda load: load.p50,
    "p99 ms": lambda load: load.p99,
}
# Connections: seconds and rounds. 256 connections take a while to be made, and wrk counts that in.
LOADS = {1: (1, 2), 32: (1, 3), 256: (2, 2)}
HEAD = ("", "bare", "noise: bare again / bare", "modify_headers / bare", "add-on / bare", "add-on / modify_headers", "")


def part(progress: Callable[[str], None], rounds: float) -> Part:
    """Each way in, each number of connections. `rounds` multiplies the rounds."""
    turns = {connections: max(round(each * rounds), 1) for connections, (_, each) in LOADS.items()}
    measured: dict[tuple[str, int], dict[str, list[Load]]] = {
        (way, connections): {configuration: [] for configuration in CONFIGURATIONS}
        for way in WAYS
        for connections in LOADS
    }
    for turn in range(max(turns.values())):
        # Each begins once: whatever the machine does meanwhile hits another one in each round.
        order = (*CONFIGURATIONS[turn % 4 :], *CONFIGURATIONS[: turn % 4])
        # Two equal processes may differ by several per cent for as long as they run, as their memory lies otherwise.
        with stage() as running:
            proxies = {configuration: running.proxy(configuration) for configuration in order}
            for proxy in proxies.values():
                _load(running, proxy, WAYS[0], 32, 1)  # to warm up: tokens, connections, Python's own adaptation
            for way, connections in measured:
                if turn < turns[connections]:
                    progress(f"throughput: {way}, {connections} connections, round {turn + 1}")
                    for configuration, proxy in proxies.items():
                        load = _load(running, proxy, way, connections, LOADS[connections][0])
                        measured[way, connections][configuration].append(load)
    lines, figures = [], []
    for (way, connections), loads in measured.items():
        for metric, of in METRICS.items():
            what = f"{way}, {connections}: {metric}"
            line, some = _compared(what, metric, {name: [of(load) for load in loads[name]] for name in loads})
            lines.append(line)
            figures += some
    return Part(
        "Throughput and latency", HEAD, lines, figures, (
            "A row names the way into mitmdump, the number of keep-alive connections, and what is measured. A ratio"
            " compares figures of the same round, for which each mitmdump starts again. It is the median, with the"
            " lowest and the highest round in brackets. Every answer was a 200; the API answers 401 to a request of"
            " modify_headers or of the add-on without the token.",
        ),
    )  # fmt: skip


def _load(running: Stage, proxy: Proxy, way: str, connections: int, seconds: int) -> Load:
    load = running.load(proxy, way, connections=connections, seconds=seconds)
    # On a busy machine the time may not even be enough to make the connections.
    return load if load is not None else _load(running, proxy, way, connections, seconds * 2)


def _compared(what: str, metric: str, rounds: dict[str, list[float]]) -> tuple[list[str], list[Figure]]:
    bare = rounds["bare"]
    faster = metric == "requests/s"
    noise = Figure(f"{what}, bare again / bare", "x", ratios(rounds["bare again"], bare))
    modified = Figure(f"{what}, modify_headers / bare", "x", ratios(rounds["modify_headers"], bare))
    bounds = {"requests/s": (0.98, None), "p99 ms": (None, 1.03)}.get(metric, (None, None))
    ours = Figure(f"{what}, add-on / bare", "x", ratios(rounds["add-on"], bare), *bounds)
    versus = Figure(f"{what}, add-on / modify_headers", "x", ratios(rounds["add-on"], rounds["modify_headers"]))
    # The noise has no direction: bare again / bare is as good as its inverse.
    width = max(max(one, 1 / one) for one in noise.rounds)
    within = versus.median >= 1 / width if faster else versus.median <= width
    verdicts = [f"{ours.goal} of bare: {ours.verdict}"] if ours.goal else []
    verdicts.append("as modify_headers" if within else "**not within the noise of modify_headers**")
    cells = [f"{digits(one.median)} ({spread(one.rounds)})" for one in (noise, modified, ours, versus)]
    absolute = [Figure(f"{what}, {name}", metric, each) for name, each in rounds.items()]
    return [what, digits(absolute[0].median), *cells, "; ".join(verdicts)], [*absolute, noise, modified, ours, versus]

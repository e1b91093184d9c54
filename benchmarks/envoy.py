"""Envoy with our tokens against Envoy alone and against mitmdump with the add-on, as wrk sees them, in one run.

`python -m benchmarks.envoy` prints the tables and puts them into ENVOY.md and RESULTS.md. ROUNDS multiplies the rounds.
"""

import datetime
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bare_envoy import bare
from benchmarks.results import Figure, Part, digits, ratios, spread
from benchmarks.stage import CPUS, HERE, Load, Stage, stage
from credential_injector.demo.processes import Mitmproxy, free_port
from credential_injector.launch.programs import program

WAYS = ("http forward", "http reverse", "https forward", "https reverse")
VARIANTS = ("bare Envoy", "bare again", "our Envoy", "mitmdump")
CONNECTIONS, SECONDS, ROUNDS = 32, 3, 5
EXPIRIES, LIFETIME, LASTING = 20, 2, 3600  # a token of 2 s is renewed after half of it
HEAD = ("", "bare Envoy", "noise: bare again / bare", "our Envoy / bare", "our Envoy / mitmdump", "")
METRICS: dict[str, Callable[[Load], float]] = {
    "requests/s": lambda load: load.rps,
    "processor µs a request": lambda load: load.processor,
    "p50 ms": lambda load: load.p50,
    "p99 ms": lambda load: load.p99,
}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy under load."""

    pid: int
    ways: dict[str, list[str]] = field(repr=False)
    """wrk's command in front of its options, and its arguments behind them."""

    def nanoseconds(self) -> int:
        """The processor time that its threads have taken."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        taken = 0
        for each in threads:
            with suppress(OSError):  # it has ended meanwhile
                taken += int(each.read_text().split()[0])
        return taken


def part(progress: Callable[[str], None], rounds: float) -> Part:
    """Throughput and latency, each way."""
    measured: dict[str, dict[str, list[Load]]] = {way: {variant: [] for variant in VARIANTS} for way in WAYS}
    for turn in range(max(round(ROUNDS * rounds), 1)):
        order = (*VARIANTS[turn % 4 :], *VARIANTS[: turn % 4])  # each begins once
        with proxies(LASTING) as (running, all_of_them):
            for variant in order:
                for way in WAYS:
                    _load(running, all_of_them[variant], way, 1)  # to warm up
            for way in WAYS:
                progress(f"Envoy: {way}, round {turn + 1}")
                for variant in order:
                    measured[way][variant].append(_load(running, all_of_them[variant], way, SECONDS))
    lines, figures = [], []
    for way, loads in measured.items():
        for metric, of in METRICS.items():
            line, some = _compared(way, metric, {name: [of(load) for load in loads[name]] for name in VARIANTS})
            lines.append(line)
            figures += some
    return Part(
        "Envoy: throughput and latency", HEAD, lines, figures, (
            f"wrk with {CONNECTIONS} keep-alive connections, HTTP/1.1. https forward is CONNECT with TLS on both sides;"
            " https reverse is plain to the proxy and TLS to the API. Bare Envoy has the same listeners, TLS and"
            " certificates, one route and a static header. A ratio compares figures of the same round, for which every"
            " proxy starts again, on the one processor that all of them share; it is the median, with the lowest and"
            " the highest round in brackets. Every answer was a 200, and the API answers 401 without the token. Where"
            " wrk and nginx, on the other processors, are the limit, the processor time of a request says more.",
        ),
    )  # fmt: skip


def expiries(progress: Callable[[str], None], rounds: float) -> Part:
    """Latencies across expiries against none."""
    turns = max(round(4 * rounds), 1)
    seconds = round(EXPIRIES / turns * LIFETIME / 2)
    loads: dict[int, list[Load]] = {LASTING: [], LIFETIME: []}
    with proxies(LASTING, only="our Envoy") as lasting, proxies(LIFETIME, only="our Envoy") as expiring:
        for turn in range(turns):
            progress(f"Envoy: expiries, round {turn + 1}")
            both = ((LASTING, lasting), (LIFETIME, expiring))
            for lifetime, (running, each) in both if turn % 2 else reversed(both):
                loads[lifetime].append(_load(running, each["our Envoy"], "http forward", seconds))
    figures = []
    for name in ("p50", "p99", "p999"):
        without, across = ([getattr(load, name) for load in loads[lifetime]] for lifetime in (LASTING, LIFETIME))
        called = name.replace("p999", "p99.9")
        figures.append(Figure(f"{called} without expiries", "ms", without))
        most = 1.05 if name == "p999" else None
        figures.append(
            Figure(f"{called} across {EXPIRIES} expiries, against none", "x", ratios(across, without), most=most)
        )
    lines = [
        [one.what, f"{digits(one.median)} {one.unit}", spread(one.rounds), one.goal, one.verdict] for one in figures
    ]
    note = f"http forward, {CONNECTIONS} connections, {turns} rounds of {seconds} s. No request failed: that ends this."
    return Part("Envoy: across expiries", ("", "median", "lowest to highest", "goal", ""), lines, figures, (note,))


@contextmanager
def proxies(lifetime: int, *, only: str = "") -> Iterator[tuple[Stage, dict[str, Proxy]]]:
    """All proxies, or one of them, on a stage whose tokens live for so many seconds."""
    with stage(lifetime=lifetime) as running, ExitStack() as stack:
        found = {}

        def started(words: list[str]) -> subprocess.Popen[str]:
            return _started(words, running.folder)

        ours, folder, ports = _ours(running, stack)
        found["our Envoy"] = _proxy(running, ours, ports)
        for variant in () if only else ("bare Envoy", "bare again"):
            found[variant] = _proxy(running, *bare(folder, running.folder / variant.replace(" ", "-"), started, stack))
        if not only:
            mitmdump = running.proxy("add-on")
            ways = [
                mitmdump.ways[way][0].rpartition(":")[2]
                for way in ("http regular", "http reverse", "https on both sides")
            ]
            found["mitmdump"] = _proxy(running, mitmdump.running.process.pid, [int(port) for port in ways])
        yield running, found


def _proxy(running: Stage, pid: int, ports: Sequence[int]) -> Proxy:
    """`ports`: of the proxy, of the reverse proxy for http and of the one for https."""
    forward, http, https = ports
    api, api_tls = (f"127.0.0.1:{running.ports[name]}" for name in ("guarded", "guarded_tls"))
    chains = running.folder / f"chains-{forward}.conf"
    chains.write_text(f"strict_chain\nquiet_mode\n[ProxyList]\nhttp 127.0.0.1 {forward}\n")
    path = "/orders/1"
    return Proxy(
        pid,
        {
            "http forward": ["wrk", f"http://127.0.0.1:{forward}", f"http://{api}{path}", api],
            "http reverse": ["wrk", f"http://127.0.0.1:{http}", path, f"127.0.0.1:{http}"],
            # It sends CONNECT in front of a connection's first byte, and does nothing afterwards.
            "https forward": [f"proxychains4 -q -f {chains} wrk", f"https://{api_tls}", path, api_tls],
            "https reverse": ["wrk", f"http://127.0.0.1:{https}", path, f"127.0.0.1:{https}"],
        },
    )


def _load(running: Stage, proxy: Proxy, way: str, seconds: int) -> Load:
    """One answer that is not a 2xx ends the benchmark."""
    command, url, target, host = proxy.ways[way]
    options = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", str(HERE / "load.lua")]
    before = proxy.nanoseconds()
    words = [*command.split(), *options, url, "--", target, host]
    wrk = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, cwd=running.folder)
    taken = proxy.nanoseconds() - before
    figures = json.loads(wrk.stdout.splitlines()[-1])
    if not figures["requests"] and seconds < 30:  # not even enough to make the connections
        return _load(running, proxy, way, seconds * 2)
    if figures["refused"] or figures["broken"] or not figures["requests"]:
        sys.exit(f"wrk did not get its answers ({way}): {figures}")
    requests = figures["requests"]
    return Load(
        requests / figures["seconds"], taken / requests / 1000, figures["p50"], figures["p99"], figures["p99.9"]
    )


def _compared(way: str, metric: str, rounds: dict[str, list[float]]) -> tuple[list[str], list[Figure]]:
    what, bare = f"{way}: {metric}", rounds["bare Envoy"]
    noise = Figure(f"{what}, bare again / bare", "x", ratios(rounds["bare again"], bare))
    least = 0.95 if metric == "requests/s" else None
    ours = Figure(f"{what}, our Envoy / bare", "x", ratios(rounds["our Envoy"], bare), least)
    least = 10.0 if metric == "requests/s" and way.startswith("https") else None
    versus = Figure(f"{what}, our Envoy / mitmdump", "x", ratios(rounds["our Envoy"], rounds["mitmdump"]), least)
    cells = [f"{digits(one.median)} ({spread(one.rounds)})" for one in (noise, ours, versus)]
    verdicts = [
        f"{one.goal} of {name}: {one.verdict}" for one, name in ((ours, "bare"), (versus, "mitmdump")) if one.goal
    ]
    absolute = [Figure(f"{what}, {name}", metric, each) for name, each in rounds.items()]
    return [what, digits(absolute[0].median), *cells, "; ".join(verdicts)], [*absolute, noise, ours, versus]


def _ours(running: Stage, stack: ExitStack) -> tuple[int, Path, list[int]]:
    """Run the command. The process of its Envoy, its folder, and its ports."""
    envs, folder = running.folder / "envoy-envs", running.folder / "envoy"
    envs.mkdir()
    for name, port in (("http", "guarded"), ("https", "guarded_tls")):
        lines = [f"HOST={name}://127.0.0.1:{running.ports[port]}", f"TOKEN_ENDPOINT={running.token_endpoint}"]
        (envs / f"{name}.env").write_text("\n".join([*lines, "CLIENT_ID=client", "CLIENT_SECRET=secret", ""]))
    ports = [free_port() for _ in range(3)]
    options = [
        *("--envs", str(envs), "--dir", str(folder), "--listen", f"127.0.0.1:{ports[0]}"),
        *("--reverse", f"http=127.0.0.1:{ports[1]}", "--reverse", f"https=127.0.0.1:{ports[2]}"),
        *("--confdir", str(running.folder), "--upstream-ca", str(running.folder / "certificate.pem")),
    ]
    process = _started([program("credential-injector"), "envoy", *options], running.folder)
    said = Mitmproxy(process)  # which reads its output
    stack.callback(said.end)
    said.wait_for("figures: ")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]), folder, ports


def _started(words: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start it, on the last processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CPUS[-1:])
    try:
        process = subprocess.Popen(
            words, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    finally:
        os.sched_setaffinity(0, before)
    return process


def main() -> None:
    """Measure, and write ENVOY.md and its section of RESULTS.md."""
    from benchmarks import envoy_life
    from benchmarks.__main__ import versions

    os.umask(0o077)
    missing = [tool for tool in ("wrk", "nginx", "openssl", "proxychains4", "curl") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"install first: {' '.join(missing)} (Debian: wrk nginx-light openssl proxychains4 curl)")
    rounds, load_before = float(os.environ.get("ROUNDS", "1")), os.getloadavg()[0]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    text = ["## Envoy as the engine", "", f"`ROUNDS={rounds:g} make bench-envoy`, {now}", ""]
    text += [f"{name}: {version}  " for name, version in versions().items() if name != "node"]
    others_load = f"{load_before:.1f} before, on {len(CPUS)} processors"

    tables: list[str] = []

    def progress(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    for measured in (part(progress, rounds), expiries(progress, rounds), envoy_life.part(progress, rounds)):
        print(measured.markdown(), flush=True)
        tables.append(measured.markdown())
    loads = f"load of the machine: {others_load}, {os.getloadavg()[0]:.1f} after; a quiet one has 0 before"
    text += [loads, "", *tables]
    said = "\n".join(text)
    (HERE / "ENVOY.md").write_text(said)
    results = HERE / "RESULTS.md"
    others = re.sub(r"(?ms)^## Envoy as the engine$.*?(?=^## Findings$)", "", results.read_text())
    results.write_text(others.replace("## Findings\n", f"{said}\n## Findings\n", 1))


if __name__ == "__main__":
    main()

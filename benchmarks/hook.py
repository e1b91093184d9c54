"""The hook alone: no proxy, no socket, only `requestheaders`, in a process of its own.

python -m benchmarks.hook 10000      one measurement, with so many environments, as JSON
"""

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow

from benchmarks.results import Figure, Part, listed
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.oauth.token import AccessToken
from credential_injector.proxy.addon import CredentialInjector
from credential_injector.proxy.routes import Routes
from credential_injector.tokens.provider import Provider

ENVIRONMENTS = (1, 100, 10_000)
FLOWS = 1000  # in each round, each of them new to the hook
ROUNDS = 15
PROCESSES = 2  # for each number of environments, in turn
SERVED = 100_000  # requests, after which the hook must be as fast as before
HEADERS = (
    (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64)"),
    (b"Accept", b"*/*"),
    (b"Accept-Encoding", b"gzip, deflate"),
    (b"Connection", b"keep-alive"),
    (b"X-Request-Id", b"8c7e5a4e-6a2f-4b0e"),
)


def part(progress: Callable[[str], None], share: float) -> Part:
    """Microseconds a request, with each number of environments."""
    measured: dict[int, list[dict[str, list[float]]]] = {count: [] for count in ENVIRONMENTS}
    for turn in range(max(round(PROCESSES * share), 1)):
        for count in ENVIRONMENTS:
            progress(f"the hook alone, {count} environments, process {turn + 1}")
            command = [sys.executable, "-m", "benchmarks.hook", str(count)]
            measured[count].append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))

    def rounds(count: int, case: str) -> list[float]:
        return [one for process in measured[count] for one in process[case]]

    def against_one(count: int, case: str) -> list[float]:
        """Of the processes that ran one after the other."""
        return [
            statistics.median(process[case]) / statistics.median(one["named"])
            for process, one in zip(measured[count], measured[1], strict=True)
        ]

    figures = [Figure("an empty hook", "µs", rounds(1, "empty"))]
    for count in ENVIRONMENTS:
        what = f"a token at hand, {count} environment{'s' if count > 1 else ''}"
        figures.append(Figure(what, "µs", rounds(count, "named"), most=10.0))
        if count > 1:
            figures.append(Figure(f"{what}, against 1", "x", against_one(count, "named"), most=1.2))
            figures.append(Figure(f"{what}, each request to the next one", "µs", rounds(count, "spread")))
        figures.append(Figure(f"a host that none of {count} names", "µs", rounds(count, "unnamed"), most=2.0))
    figures.append(Figure(f"after {SERVED} requests, against before", "x", against_one(1, "served"), most=1.2))
    figures.append(Figure(f"memory blocks kept for each of {SERVED} requests", "", rounds(1, "kept"), most=0.01))
    return listed("The hook alone", figures)


async def measure(environments: int) -> dict[str, list[float]]:
    """Rounds of each case, in microseconds a request; `kept` counts blocks of memory a request."""
    with injector(environments) as addon:
        url = "https://api{}.example.com/orders/1?page=2"
        named = [new_flow(url.format(environments - 1)) for _ in range(FLOWS)]
        spread = [new_flow(url.format(number * 7919 % environments)) for number in range(FLOWS)]
        unnamed = [new_flow("https://www.example.org/") for _ in range(FLOWS)]
        for flow in (*named, *spread):
            if (wait := addon.requestheaders(flow)) is not None:
                await wait  # the token comes with the first request
            assert flow.marked == ":key:", flow.comment
        hook, empty = addon.requestheaders, _empty_hook
        cases: dict[str, tuple[Callable[[http.HTTPFlow], object], list[http.HTTPFlow]]] = {
            "named": (hook, named), "spread": (hook, spread), "unnamed": (hook, unnamed), "empty": (empty, named),
        }  # fmt: skip
        rounds: dict[str, list[float]] = {case: [] for case in (*cases, "served", "kept")}
        for _ in range(ROUNDS):
            for case, (called, flows) in cases.items():
                rounds[case].append(_round(called, flows))
        if environments == 1:
            _round(hook, named)
            gc.collect()
            before = sys.getallocatedblocks()
            for _ in range(SERVED // FLOWS):
                _round(hook, named)
            gc.collect()
            rounds["kept"].append((sys.getallocatedblocks() - before) / SERVED)
            rounds["served"] += [_round(hook, named) for _ in range(ROUNDS)]
        return rounds


def _round(hook: Callable[[http.HTTPFlow], object], flows: list[http.HTTPFlow]) -> float:
    """Microseconds of processor time a request: the hook waits for nothing."""
    for flow in flows:
        as_new(flow)
    begun = time.thread_time()
    for flow in flows:
        hook(flow)
    return (time.thread_time() - begun) / len(flows) * 1e6


def _empty_hook(flow: http.HTTPFlow) -> None:
    """What calling a hook costs that does nothing."""


def new_flow(url: str) -> http.HTTPFlow:
    """A request in regular mode, with TLS on both sides."""
    flow = tflow.tflow(req=http.Request.make("GET", url))
    host = flow.request.host
    flow.live = True
    flow.client_conn.proxy_mode = ProxyMode.parse("regular")
    flow.client_conn.peername = ("127.0.0.1", 50000)
    flow.client_conn.sni = flow.server_conn.sni = host
    flow.server_conn.address = (host, flow.request.port)
    return flow


def as_new(flow: http.HTTPFlow) -> None:
    """As if it had just come in."""
    flow.request.headers = http.Headers(((b"Host", flow.request.host.encode()), *HEADERS))
    flow.metadata, flow.comment, flow.marked, flow.response = {}, "", "", None


class Endpoint:
    """In place of a token endpoint: answers at once."""

    published: tuple[str, ...] = ()

    def __init__(self, request: TokenRequest) -> None:
        self._request = request

    async def token(self, asked_at: float, _: str = "") -> AccessToken:
        """A token of a real one's size."""
        return AccessToken(f"{self._request.client_id}-".ljust(800, "x"), asked_at, asked_at + 86400)


async def open_endpoint(request: TokenRequest, _: Transport) -> Endpoint:
    """A provider's open_endpoint."""
    return Endpoint(request)


@contextmanager
def injector(environments: int) -> Iterator[CredentialInjector]:
    """The add-on in mitmproxy's test context, with so many environments and a token endpoint that answers at once."""

    addon = CredentialInjector(Routes(Provider(open_endpoint=open_endpoint)))
    with (
        tempfile.TemporaryDirectory() as folder,
        taddons.context(addon) as context,  # type: ignore[no-untyped-call]
    ):
        write_environments(Path(folder), environments)
        context.options.add_option("stream_large_bodies", str | None, None, "")
        context.options.add_option("keep_host_header", bool, False, "")
        addon.configure(set(context.options.keys()) - {"inject_envs"})  # as mitmproxy does when it loads a script
        context.configure(addon, inject_envs=folder)
        yield addon


def write_environments(folder: Path, count: int, *lines: str) -> None:
    """`api0.env`, `api1.env`, ...: each with a host and a client of its own."""
    for number in range(count):
        text = [
            f"HOST=https://api{number}.example.com",
            "TOKEN_ENDPOINT=https://login.example.com/oauth2/v2.0/token",
            f"CLIENT_ID=client-{number}",
            "CLIENT_SECRET=a-secret-of-32-bytes-or-so-12345",
            "SCOPE=read write",
            *lines,
        ]
        (folder / f"api{number}.env").write_text("\n".join([*text, ""]))


if __name__ == "__main__":
    json.dump(asyncio.run(measure(int(sys.argv[1]))), sys.stdout)

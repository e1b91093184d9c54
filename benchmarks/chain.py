"""A request's hooks through all of mitmproxy's add-ons: no sockets, in a process of its own.

Finer than throughput, as nothing in it waits for the network or for another process.

python -m benchmarks.chain      one measurement, as JSON
"""

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from mitmproxy import http
from mitmproxy.addonmanager import AddonManager
from mitmproxy.hooks import Hook
from mitmproxy.options import Options
from mitmproxy.proxy.layers.http._hooks import (
    HttpRequestHeadersHook,
    HttpRequestHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
)
from mitmproxy.tools.dump import DumpMaster

from benchmarks.hook import as_new, new_flow
from benchmarks.results import Figure, Part, listed
from benchmarks.stage import TOKEN
from credential_injector.demo.servers import serve
from credential_injector.launch.programs import SCRIPT

FLOWS = 20  # in each round: few enough for the processor's caches, as a request that has just been read
ROUNDS = 80
PROCESSES = 2  # one after the other: each has its memory elsewhere
CONFIGURATIONS: dict[str, dict[str, object]] = {
    "bare": {},
    "bare again": {},
    "modify_headers": {"modify_headers": [f"|~q|Authorization|Bearer {TOKEN}"]},
    "empty script": {"scripts": [str(Path(__file__).with_name("empty_script.py"))]},
    "add-on": {"scripts": [str(SCRIPT)]},
}


def part(progress: Callable[[str], None], share: float) -> Part:
    """What each configuration takes more than bare mitmproxy, in microseconds a request."""
    measured: dict[str, list[float]] = {name: [] for name in CONFIGURATIONS}
    for turn in range(max(round(PROCESSES * share), 1)):
        progress(f"all add-ons, process {turn + 1}")
        done = subprocess.run([sys.executable, "-m", "benchmarks.chain"], check=True, stdout=subprocess.PIPE)
        for name, rounds in json.loads(done.stdout).items():
            measured[name] += rounds

    def more(one: str, other: str) -> list[float]:
        return [more - less for more, less in zip(measured[one], measured[other], strict=True)]

    return listed(
        "All add-ons",
        [
            Figure("bare", "µs", measured["bare"]),
            *(Figure(f"{name}: more than bare", "µs", more(name, "bare")) for name in list(CONFIGURATIONS)[1:]),
            Figure("add-on: more than modify_headers", "µs", more("add-on", "modify_headers")),
            Figure("add-on: more than an empty script", "µs", more("add-on", "empty script")),
        ],
        "The four hooks and four updates of a request with the token at hand, through all add-ons of mitmdump, in"
        " processor time. An empty script has an add-on without any hook, so its cost is that of any script.",
    )


async def measure() -> dict[str, list[float]]:
    """Rounds of each configuration, in microseconds a request."""
    rounds: dict[str, list[float]] = {name: [] for name in CONFIGURATIONS}
    flows = [new_flow("https://api.example.com/orders/1?page=2") for _ in range(FLOWS)]
    async with AsyncExitStack() as stack:
        chains = {name: await stack.enter_async_context(_chain(options)) for name, options in CONFIGURATIONS.items()}
        for chain in chains.values():
            await _round(chain, flows)  # the first one fetches the token
        for _ in range(ROUNDS):
            for name, chain in chains.items():
                rounds[name].append(await _round(chain, flows))
                carry = [flow for flow in flows if "authorization" in flow.request.headers]
                if len(carry) != (FLOWS if name in ("modify_headers", "add-on") else 0):
                    sys.exit(f"{name}: {len(carry)} of {FLOWS} requests carry a token")
    return rounds


@asynccontextmanager
async def _chain(options: dict[str, object]) -> AsyncIterator[AddonManager]:
    """The add-ons of a mitmdump with these options, and an environment with its token endpoint."""
    with TemporaryDirectory() as folder, serve(_token_endpoint) as origin:
        lines = ["HOST=https://api.example.com", f"TOKEN_ENDPOINT={origin}/token", "CLIENT_ID=me", "CLIENT_SECRET=it"]
        Path(folder, "qa.env").write_text("\n".join([*lines, ""]))  # noqa: ASYNC240 - nobody waits
        master = DumpMaster(Options())
        master.options.update(flow_detail=0, **options)  # type: ignore[no-untyped-call]
        await asyncio.sleep(0.1)  # mitmproxy loads scripts in a task
        if "inject_envs" in master.options:
            master.options.update(inject_envs=folder)  # type: ignore[no-untyped-call]
        yield master.addons


def _token_endpoint(_: object, start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [f'{{"access_token": "{TOKEN}", "token_type": "Bearer", "expires_in": 86400}}'.encode()]


async def _round(chain: AddonManager, flows: list[http.HTTPFlow]) -> float:
    """Microseconds of processor time a request."""
    for flow in flows:
        as_new(flow)
    begun = time.thread_time()
    for flow in flows:
        for hook in _hooks(flow):
            await chain.handle_lifecycle(hook)
            await flow.wait_for_resume()  # type: ignore[no-untyped-call]
    return (time.thread_time() - begun) / len(flows) * 1e6


def _hooks(flow: http.HTTPFlow) -> Iterator[Hook]:
    yield HttpRequestHeadersHook(flow)
    yield HttpRequestHook(flow)
    flow.response = _ANSWER
    yield HttpResponseHeadersHook(flow)
    yield HttpResponseHook(flow)


_ANSWER = http.Response.make(200, b"{}", {"Content-Type": "application/json"})

if __name__ == "__main__":
    logging.disable()
    json.dump(asyncio.run(measure()), sys.stdout)

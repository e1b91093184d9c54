"""What clients see of a token's life: through Envoy, and through mitmdump with the add-on, in the same run."""

import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from benchmarks.results import Figure, Part
from credential_injector.demo.processes import Mitmproxy, mitmproxy
from credential_injector.demo.servers import Client, DemoAuthorizationServer, ProtectedApi, serve
from credential_injector.launch.programs import program

CLIENTS = 4
PAUSE = 0.01  # seconds between a client's requests
ENGINES = ("Envoy", "mitmdump")


@dataclass
class Side:
    """A proxy with servers and clients of its own."""

    server: DemoAuthorizationServer
    url: str = ""
    proxy: str = ""
    kill: Callable[[], None] = lambda: None
    """Kill -9 of the process that has the tokens."""
    statuses: Counter[int] = field(default_factory=Counter)
    """0: no answer."""


def part(progress: Callable[[str], None], rounds: float) -> Part:  # noqa: ARG001 - as the other parts
    """Counts of each scenario."""
    lines, figures = [], []
    for name, (lifetime, scenario) in SCENARIOS.items():
        progress(f"Envoy: {name}")
        with ExitStack() as stack:
            sides = {engine: stack.enter_context(side(engine, lifetime)) for engine in ENGINES}
            time.sleep(1)
            for each in sides.values():
                each.statuses.clear()
            asked = {engine: len(each.server.token_requests) for engine, each in sides.items()}
            scenario(list(sides.values()))
            counts = {engine: Counter(each.statuses) for engine, each in sides.items()}
            asked = {engine: len(each.server.token_requests) - asked[engine] for engine, each in sides.items()}
        for engine in ENGINES:
            seen = counts[engine]
            bad = [str(seen[status]) for status in (401, 502, 0)]
            others = sum(count for status, count in seen.items() if status not in (200, 401, 502, 0))
            lines.append([name, engine, str(seen[200]), *bad, str(others), str(asked[engine])])
            figures += [Figure(f"{name}, {engine}: {status}", "", [count]) for status, count in seen.items()]
    head = ("", "", "200", "401", "502", "no answer", "others", "token requests")
    return Part(
        "Envoy: what clients see of a token's life", head, lines, figures, (
            f"{CLIENTS} clients a side, which ask every {PAUSE * 1000:.0f} ms, both sides at the same time. mitmdump is"
            " killed with the add-on in it; Envoy lives on until the token ends.",
        ),
    )  # fmt: skip


@contextmanager
def side(engine: str, lifetime: int) -> Iterator[Side]:
    """One side under load, until the block ends."""
    server = DemoAuthorizationServer([Client("client", "secret")], lifetime=lifetime)
    one, ended = Side(server), threading.Event()
    with TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        endpoint = stack.enter_context(serve(server.app))
        one.url = stack.enter_context(serve(ProtectedApi(server).app))
        (folder / "envs").mkdir()
        lines = [f"HOST={one.url}", f"TOKEN_ENDPOINT={endpoint}/oauth2/v2.0/token", "CLIENT_ID=client"]
        (folder / "envs" / "qa.env").write_text("\n".join([*lines, "CLIENT_SECRET=secret", ""]))
        if engine == "mitmdump":
            running = stack.enter_context(mitmproxy("mitmdump", "--set", f"confdir={folder}", folder=folder))
            one.proxy = running.url
        else:
            running = stack.enter_context(_envoy(folder))
            one.proxy = running.wait_for(r"the proxy is (\S+);")[1]
        one.kill = running.process.kill
        threads = [threading.Thread(target=_client, args=(one, ended), daemon=True) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            while one.statuses[200] < 20:
                time.sleep(0.05)
            yield one
        finally:
            ended.set()
            for thread in threads:
                thread.join()


@contextmanager
def _envoy(folder: Path) -> Iterator[Mitmproxy]:
    words = [program("credential-injector"), "envoy", "--listen", "127.0.0.1:0", "--confdir", str(folder)]
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    running = Mitmproxy(process)  # which reads its output
    running.wait_for("figures: ")
    (envoy,) = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    try:
        yield running
    finally:
        if process.poll() is not None:  # it was killed, and Envoy holds its output open
            os.kill(envoy, 9)
        running.end()


def _client(one: Side, ended: threading.Event) -> None:
    session = requests.Session()
    session.trust_env = False
    session.proxies = {"http": one.proxy}
    while not ended.wait(PAUSE):
        try:
            status = session.get(f"{one.url}/orders", timeout=30).status_code
        except requests.RequestException:
            status = 0
        one.statuses[status] += 1
    session.close()


def _wait(_: list[Side], seconds: float = 20.0) -> None:
    time.sleep(seconds)


def _revoke(sides: list[Side]) -> None:
    for each in sides:
        for token in list(each.server.tokens.values()):
            token.revoked = True
    time.sleep(5)


def _outage(sides: list[Side]) -> None:
    for each in sides:
        each.server.status = 503
    time.sleep(8)
    for each in sides:
        each.server.status = None
    time.sleep(8)


def _kill(sides: list[Side]) -> None:
    for each in sides:
        each.kill()
    time.sleep(8)


SCENARIOS: dict[str, tuple[int, Callable[[list[Side]], None]]] = {
    "tokens of 3 s, for 20 s": (3, _wait),
    "one revocation, 5 s": (300, _revoke),
    "tokens of 6 s, the authorization server is down for 8 s": (6, _outage),
    "tokens of 6 s, kill -9, 8 s": (6, _kill),
}
"""By name: the tokens' lifetime in seconds, and what happens."""

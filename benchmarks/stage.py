"""nginx as API and authorization server, mitmdump in each configuration, wrk as the clients."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

from credential_injector.demo.processes import LISTENS, Mitmproxy, free_port, without_add_on
from credential_injector.launch.programs import SCRIPT

CPUS = sorted(os.sched_getaffinity(0))
HERE = Path(__file__).parent
TOKEN = "a-token-as-long-as-a-small-jwt-" + "x" * 700
WAYS = ("http reverse", "http regular", "https on both sides")
CONFIGURATIONS = ("bare", "bare again", "modify_headers", "add-on")
"""bare: mitmdump without anything. Measured twice, against itself, it shows the noise."""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk measured. Latencies in milliseconds."""

    rps: float
    processor: float
    """Microseconds of processor time that mitmdump's main thread took for a request."""
    p50: float
    p99: float
    p999: float


@dataclass(frozen=True, slots=True)
class Proxy:
    """A mitmdump with its three ways in, each as wrk's arguments."""

    running: Mitmproxy
    ways: dict[str, list[str]]
    reverse_port: int
    """Of http in reverse mode."""

    def nanoseconds(self) -> int:
        """The processor time that its main thread has taken."""
        return int(Path(f"/proc/{self.running.process.pid}/schedstat").read_text().split()[0])


class Stage:
    """Runs until `closed`'s block ends."""

    def __init__(self, folder: Path, lifetime: int, token_endpoint: str | None, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        names = ("open", "open_tls", "guarded", "guarded_tls", "token_endpoint", "token_endpoint_tls")
        self.ports = {name: free_port() for name in names}
        self.token_endpoint = token_endpoint or f"http://127.0.0.1:{self.ports['token_endpoint']}/token"
        # A proxy gets a processor of its own, where there are two; this process and what else it starts has the others.
        os.sched_setaffinity(0, CPUS[:-1] or CPUS)
        stack.callback(os.sched_setaffinity, 0, CPUS)
        certificate = (
            "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -days 2 -subj /CN=127.0.0.1"
        )
        subprocess.run(
            ["openssl", *certificate.split(), "-addext", "subjectAltName=IP:127.0.0.1"],
            cwd=folder, check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        text = Template((HERE / "nginx.conf").read_text())
        config = text.safe_substitute(self.ports, token=TOKEN, lifetime=lifetime)
        (folder / "nginx.conf").write_text(config)
        nginx = subprocess.Popen(["nginx", "-p", str(folder), "-e", "stderr", "-c", "nginx.conf"], cwd=folder)
        stack.callback(_end, nginx)

    def environment(self, folder: Path) -> None:
        """Write the environment file of the API."""
        folder.mkdir(exist_ok=True)
        hosts = f"http://127.0.0.1:{self.ports['guarded']},https://127.0.0.1:{self.ports['guarded_tls']}"
        lines = [f"HOST={hosts}", f"TOKEN_ENDPOINT={self.token_endpoint}", "CLIENT_ID=client", "CLIENT_SECRET=secret"]
        (folder / "qa.env").write_text("\n".join([*lines, ""]))

    def proxy(self, configuration: str) -> Proxy:
        """Start mitmdump in one of the configurations. It runs as long as the stage."""
        open_ = configuration in ("bare", "bare again")
        http, https = (self.ports[name] for name in (("open", "open_tls") if open_ else ("guarded", "guarded_tls")))
        ports = [free_port() for _ in range(3)]
        options = [
            *("--mode", f"reverse:http://127.0.0.1:{http}@{ports[0]}"),
            *("--mode", f"regular@{ports[1]}"),
            *("--mode", f"reverse:https://127.0.0.1:{https}@{ports[2]}"),
            *("--set", f"confdir={self.folder}"),
            *("--set", f"ssl_verify_upstream_trusted_ca={self.folder / 'certificate.pem'}"),
            *("--set", "flow_detail=0"),  # else mitmdump prints each request
        ]
        if configuration == "modify_headers":
            options += ["--set", f"modify_headers=|~q|Authorization|Bearer {TOKEN}"]
        elif configuration == "add-on":
            self.environment(self.folder / "envs")
            options += ["-s", str(SCRIPT)]
        running = self._stack.enter_context(without_add_on("mitmdump", *options, folder=self.folder))
        os.sched_setaffinity(running.process.pid, CPUS[-1:])
        running.wait_for(LISTENS, times=3)
        ways = {
            "http reverse": [f"http://127.0.0.1:{ports[0]}", "/orders/1", f"127.0.0.1:{ports[0]}"],
            "http regular": [f"http://127.0.0.1:{ports[1]}", f"http://127.0.0.1:{http}/orders/1", f"127.0.0.1:{http}"],
            "https on both sides": [f"https://127.0.0.1:{ports[2]}", "/orders/1", f"127.0.0.1:{ports[2]}"],
        }
        return Proxy(running, ways, ports[0])

    def load(self, proxy: Proxy, way: str, *, connections: int, seconds: int) -> Load | None:
        """Run wrk. None: the time was too short for any answer. One answer that is not a 2xx ends the benchmark."""
        url, target, host = proxy.ways[way]
        options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(HERE / "load.lua")]
        before = proxy.nanoseconds()
        wrk = subprocess.run(["wrk", *options, url, "--", target, host], stdout=subprocess.PIPE, text=True, check=True)
        nanoseconds = proxy.nanoseconds() - before
        figures = json.loads(wrk.stdout.splitlines()[-1])
        if figures["refused"] or figures["broken"]:
            sys.exit(f"wrk did not get its answers through {url}: {figures}")
        if not figures["requests"]:
            return None
        rps = figures["requests"] / figures["seconds"]
        return Load(rps, nanoseconds / figures["requests"] / 1000, figures["p50"], figures["p99"], figures["p99.9"])


@contextmanager
def stage(*, lifetime: int = 3600, token_endpoint: str | None = None) -> Iterator[Stage]:
    """A stage whose tokens live for so many seconds, or come from another token endpoint."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        yield Stage(Path(folder), lifetime, token_endpoint, stack)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()

"""What an environment costs once it has had a token: memory, and connections to its authorization server."""

import http.client
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import certifi

from benchmarks.results import Figure, Part, listed
from benchmarks.stage import stage
from credential_injector.demo.processes import without_add_on
from credential_injector.launch.programs import SCRIPT

ENVIRONMENTS = 1000
ROUNDS = 2


def part(progress: Callable[[str], None], rounds: float) -> Part:
    """Each environment's first token, over TLS, one after the other."""
    both = []
    for turn in range(max(round(ROUNDS * rounds), 1)):
        progress(f"{ENVIRONMENTS} environments, round {turn + 1}")
        both.append(_memory_and_sockets())
    return listed(
        "Environments",
        [
            Figure("each environment, after its first token", "kB", [kilobytes for kilobytes, _ in both], most=20.0),
            Figure("more sockets than after the first one's", "", [sockets for _, sockets in both], most=32.0),
        ],
        f"{ENVIRONMENTS} environments of one server; what is resident (VmRSS), and what is open.",
    )


def _memory_and_sockets() -> tuple[float, float]:
    with stage() as running:
        folder, ports = running.folder, running.ports
        authorities = folder / "authorities.pem"  # as many as are usually trusted
        authorities.write_text(Path(certifi.where()).read_text() + (folder / "certificate.pem").read_text())
        api = f"http://127.0.0.1:{ports['guarded']}"
        endpoint = f"https://127.0.0.1:{ports['token_endpoint_tls']}/token"
        (folder / "envs").mkdir()
        for number in range(ENVIRONMENTS):
            lines = f"HOST={api}/{number}\nTOKEN_ENDPOINT={endpoint}\nCLIENT_ID={number}\nCLIENT_SECRET=secret\n"
            (folder / "envs" / f"e{number}.env").write_text(lines)
        options = ["--listen-port", "0", "--set", f"confdir={folder}", "--set", "flow_detail=0", "-s", str(SCRIPT)]
        options += ["--set", f"ssl_verify_upstream_trusted_ca={authorities}"]
        with without_add_on("mitmdump", *options, folder=folder) as proxy:
            process = Path(f"/proc/{proxy.process.pid}")
            with closing(http.client.HTTPConnection(urlsplit(proxy.url).netloc)) as client:

                def ask(number: int) -> None:
                    client.request("GET", f"{api}/{number}/orders")
                    with client.getresponse() as answer:
                        answer.read()
                        if answer.status != 200:
                            raise SystemExit(f"environment {number} got {answer.status}")

                for _ in range(ENVIRONMENTS):  # what so many requests take anyway
                    ask(0)
                memory, sockets = _resident(process), _sockets(process)
                for number in range(1, ENVIRONMENTS):
                    ask(number)
                return (_resident(process) - memory) / (ENVIRONMENTS - 1), float(_sockets(process) - sockets)


def _resident(process: Path) -> float:
    """In kB."""
    status = (process / "status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1.024


def _sockets(process: Path) -> int:
    return sum(str(file.readlink()).startswith("socket:") for file in (process / "fd").iterdir())

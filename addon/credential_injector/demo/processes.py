"""A real mitmdump or mitmweb with the add-on, started and ended."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue

START_DEADLINE = 30.0  # seconds that mitmproxy may take to listen
END_DEADLINE = 10.0  # seconds that it may take to end

_PACKAGE = Path(__file__).resolve().parents[1]
SCRIPT = next(path for path in (_PACKAGE / "inject.py", _PACKAGE.parent / "inject.py") if path.is_file())


class NotStarted(Exception):
    """The program is not there, has ended, or never listened."""


class Mitmproxy:
    """A running mitmdump or mitmweb."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        """Its output so far, line by line."""
        self.url = ""
        """Of the proxy."""
        self._addresses: SimpleQueue[str | None] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line.rstrip())
            if match := re.search(r"(?<!Web server) listening at (\S+?)\.?$", line.rstrip()):
                self._addresses.put(match[1])
        self._addresses.put(None)

    @property
    def web_url(self) -> str:
        """Of mitmweb, with the login token where there is one."""
        found = (re.search(r"Web server listening at (\S+)", line) for line in self.log)
        return next(match[1] for match in found if match)

    def wait_until_it_listens(self) -> None:
        try:
            address = self._addresses.get(timeout=START_DEADLINE)
        except Empty:
            address = None
        if address is None:
            raise NotStarted("it does not listen")
        self.url = f"http://{address}"

    def end(self) -> None:
        """End it, by its process id, and read the rest of its output."""
        self.process.terminate()
        try:
            self.process.wait(timeout=END_DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()


def free_port() -> int:
    """A loopback port that nobody listens on; for programs that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """The path of mitmdump or mitmweb, the one beside this Python first. Raises NotStarted."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    path = shutil.which(name, path=places)
    if path is None:
        raise NotStarted(f"{name} is installed neither beside {sys.executable} nor on PATH")
    return path


@contextmanager
def mitmproxy(
    name: str, *options: str, folder: Path, script: Path | None = None, environ: Mapping[str, str] | None = None
) -> Iterator[Mitmproxy]:
    """Run mitmdump or mitmweb with the add-on in `folder`, on a free loopback port, until the block ends.

    An exception that leaves the block gets a note with what the program said.
    """
    process = subprocess.Popen(
        [program(name), "--listen-host", "127.0.0.1", "--listen-port", "0", "-s", str(script or SCRIPT), *options],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", **(environ or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    running = Mitmproxy(process)
    try:
        running.wait_until_it_listens()
        yield running
    except BaseException as error:
        running.end()
        error.add_note("\n  ".join([f"{name} said:", *running.log]))
        raise
    finally:
        running.end()

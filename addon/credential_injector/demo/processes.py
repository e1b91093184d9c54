"""A real mitmdump or mitmweb with the add-on, started and ended."""

import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from credential_injector.launch.programs import SCRIPT, NotStarted, program

PATIENCE = 30.0  # seconds that mitmproxy may take to listen, or to say what is waited for
LISTENS = r"(?<!Web server) listening at (\S+?)\.?$"
END_DEADLINE = 10.0  # seconds that it may take to end


class Mitmproxy:
    """A running mitmdump or mitmweb."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        """Its output so far, line by line."""
        self._ended = False
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.log.append(line.rstrip())
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    def wait_for(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until so many lines of the log match; the last match. Raises NotStarted where that does not come."""

        def found() -> list[re.Match[str]]:
            return [match for line in self.log if (match := re.search(pattern, line))]

        with self._more:
            self._more.wait_for(lambda: len(found()) >= times or self._ended, timeout=PATIENCE)
            if len(found()) < times:
                raise NotStarted(f"it did not say {pattern!r} {times} times")
            return found()[times - 1]

    @property
    def url(self) -> str:
        """Of the proxy."""
        return f"http://{self.wait_for(LISTENS)[1]}"

    @property
    def web_url(self) -> str:
        """Of mitmweb, with the login token where there is one."""
        return self.wait_for(r"Web server listening at (\S+)")[1]

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


def is_free(port: int) -> bool:
    """Whether nobody listens on this loopback port."""
    with socket.socket() as probe:
        if os.name == "posix":  # as mitmproxy does; else connections that have just ended keep the port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def mitmproxy(
    name: str,
    *options: str,
    folder: Path,
    script: Path | None = None,
    environ: Mapping[str, str] | None = None,
    inside: Sequence[str] = (),
) -> Iterator[Mitmproxy]:
    """Run mitmdump or mitmweb with the add-on in `folder`, on a free loopback port, until the block ends.

    `inside` are the words of a command that runs it, such as nsenter's.
    An exception that leaves the block gets a note with what the program said.
    """
    words = ("--listen-port", "0", "-s", str(script or SCRIPT), *options)
    with without_add_on(name, *words, folder=folder, environ=environ, inside=inside) as running:
        yield running


@contextmanager
def without_add_on(
    name: str, *options: str, folder: Path, environ: Mapping[str, str] | None = None, inside: Sequence[str] = ()
) -> Iterator[Mitmproxy]:
    """The same with no add-on but what the options name, on whichever ports they name."""
    process = subprocess.Popen(
        [*inside, program(name), "--listen-host", "127.0.0.1", *options],
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
        running.wait_for(LISTENS)
        yield running
    except BaseException as error:
        running.end()
        error.add_note("\n  ".join([f"{name} said:", *running.log]))
        raise
    finally:
        running.end()

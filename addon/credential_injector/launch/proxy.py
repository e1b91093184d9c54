"""A mitmproxy of one's own, with the add-on, on a free loopback port."""

import json
import logging
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from credential_injector.launch.programs import SCRIPT, NotStarted, program

PATIENCE = 30.0  # seconds that mitmproxy may take to listen
END_PATIENCE = 10.0  # seconds that it may take to end

_TELLS = Path(__file__).resolve().parents[1] / "proxy" / "told_to_run.py"
_RECORD = "\x1e"
_CA = "mitmproxy-ca-cert.pem"

Tell = Callable[[int, str], None]
"""Called with each line of mitmproxy's and its level in `logging`."""


class Proxy:
    """A running mitmdump or mitmweb."""

    def __init__(self, process: subprocess.Popen[str], ca: Path, tell: Tell) -> None:
        self.ca = ca
        self.address: tuple[str, int] = ("", 0)
        self.login = ""
        """What a client must say, as a URL has it: `user:password@`."""
        self.web_url: str | None = None
        """Of mitmweb, with its login token."""
        self.summary: list[str] = []
        """What happened, once it has ended."""
        self._process = process
        self._input, self._output = cast(IO[str], process.stdin), cast(IO[str], process.stdout)  # both are pipes
        self._tell = tell
        self._ends = False
        self._listens = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """Of the proxy."""
        return f"http://{self.login}{self.address[0]}:{self.address[1]}"

    def wait(self, secret: Mapping[str, str]) -> None:
        """Tell it the secret settings, and wait until it listens. Raises NotStarted."""
        with suppress(OSError):  # it has ended, which is told below
            self._input.write(json.dumps(dict(secret)) + "\n")
            self._input.flush()
        self._listens.wait(PATIENCE)
        if not self.address[1]:
            raise NotStarted("mitmproxy has not started; what it says about that is above")
        if not self.ca.is_file():
            raise NotStarted(f"{self.ca} is missing, which mitmproxy makes at its start")

    def end(self) -> None:
        """End it, and read what it says at its end."""
        self._process.terminate()
        try:
            self._process.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(END_PATIENCE)
        for stream in (self._input, self._output):
            with suppress(OSError):
                stream.close()

    def _read(self) -> None:
        for line in self._output:
            if line.startswith(_RECORD):
                self._heed(json.loads(line.removeprefix(_RECORD)))
            elif line.strip():
                self._tell(logging.ERROR, line.rstrip())
        self._listens.set()  # or never will

    def _heed(self, record: dict[str, Any]) -> None:
        if "port" in record:
            self.address, self.web_url = (record["host"], record["port"]), record["web"] or None
            self._listens.set()
        elif "ends" in record:
            self._ends = True
        elif self._ends and record["level"] == logging.INFO:
            self.summary.append(record["text"])
        else:
            self._tell(record["level"], record["text"])


@contextmanager
def started(
    name: str, settings: Mapping[str, str], tell: Tell, secret: Mapping[str, str] | None = None
) -> Iterator[Proxy]:
    """Run mitmdump or mitmweb until the block ends. Raises NotStarted.

    Nobody sees the `secret` settings in `ps`. Ctrl-C in the terminal does not reach it, and it ends with this process,
    however that ends.
    """
    given = {"listen_host": "127.0.0.1", "listen_port": "0", "termlog_verbosity": "error"}
    # mitmweb cannot choose a port itself.
    given |= {"web_port": f"{_free_port()}", "web_open_browser": "false"} if name == "mitmweb" else {"flow_detail": "0"}
    given |= settings
    words = [word for option, value in given.items() for word in ("--set", f"{option}={value}")]
    process = subprocess.Popen(
        [program(name), *words, "-s", str(_TELLS), "-s", str(SCRIPT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows'
    )
    confdir = Path(given.get("confdir", "~/.mitmproxy")).expanduser()
    proxy = Proxy(process, confdir / _CA, tell)
    try:
        proxy.wait(secret or {})
        yield proxy
    finally:
        proxy.end()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

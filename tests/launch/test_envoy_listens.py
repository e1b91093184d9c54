"""Whether Envoy listens where it should. What runs in it: tests/e2e/test_envoy.py."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from credential_injector.launch.envoy import check, not_free
from credential_injector.launch.programs import NotStarted

Admin = Callable[[str], str]


@pytest.fixture
def admin() -> Iterator[Admin]:
    """Envoy's admin page, which says this."""
    said = ""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

        def says(text: str) -> str:
            nonlocal said
            said = text
            return f"127.0.0.1:{server.server_address[1]}"

        yield says
        server.shutdown()


TAKEN = "cluster_manager.cds.update_rejected: 0\nlistener_manager.lds.update_rejected: 0\n"


@pytest.mark.parametrize("said", ["", TAKEN])
def test_taken(admin: Admin, said: str) -> None:
    """A configuration that Envoy takes is no reason to end."""
    check(admin(said))


@pytest.mark.parametrize("part", ["cds", "lds"])
def test_rejected(admin: Admin, part: str) -> None:
    """One that it does not take is."""
    with pytest.raises(NotStarted, match="Envoy does not take its configuration; what it says about that is above"):
        check(admin(TAKEN.replace(f"{part}.update_rejected: 0", f"{part}.update_rejected: 1")))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_not_free(host: str) -> None:
    """A port is not free while somebody listens there, even one who would share it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((host, 0))
        one.listen()
        port = one.getsockname()[1]
        assert not_free(host, port) == "Address already in use"
    assert not_free(host, port) is None


LOW = """
import resource
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
from credential_injector.launch.envoy import allow_files
allow_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] == most)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits differ")
def test_files() -> None:
    """The limit of a shell for open files is none for Envoy."""
    done = subprocess.run([sys.executable, "-c", LOW], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"

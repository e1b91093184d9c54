"""Which process a connection is of."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from credential_injector.proxy import processes
from tests.ports import free_port

pytestmark = pytest.mark.skipif(not processes.CAN_TELL, reason="needs Linux's /proc")

V4, V6 = socket.AF_INET, socket.AF_INET6
CONNECTS = """
import socket, sys
with socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET) as one:
    one.connect((sys.argv[1], int(sys.argv[2])))
    one.recv(1)
"""
# The one in the middle ends while its child is connected.
LEAVES = """
import subprocess, sys
if sys.argv[1] == "kept":
    from credential_injector.launch.confinement import confinement
    confinement(by_password=False)
between = "import subprocess, sys; subprocess.Popen([sys.executable, *sys.argv[1:]])"
subprocess.run([sys.executable, "-c", between, "-c", sys.argv[2], *sys.argv[3:]], check=True)
sys.stdin.read()
"""


@contextmanager
def connected(host: str, script: str = CONNECTS, *before: str) -> Iterator[tuple[int, Any, Any]]:
    """A program's process, and both ends of a connection that it, or what it starts, makes."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as server:
        server.settimeout(60)
        words = [sys.executable, "-c", script, *before, host, str(server.getsockname()[1])]
        with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
            one, peer = server.accept()
            with one:
                yield process.pid, peer[:2], one.getsockname()[:2]
            assert process.stdin is not None
            process.stdin.close()


@pytest.mark.parametrize(
    ("listens", "here", "connects", "there"),
    [
        (V4, "127.0.0.1", V4, "127.0.0.1"),
        (V4, "127.0.0.1", V6, "::ffff:127.0.0.1"),  # Java and .NET
        (V6, "::1", V6, "::1"),
        (V6, "::", V4, "127.0.0.1"),
        (V6, "::", V6, "::ffff:127.0.0.1"),
    ],
)
def test_own(listens: socket.AddressFamily, here: str, connects: socket.AddressFamily, there: str) -> None:
    """This process's, and not another's, whichever families the two sockets have."""
    server = socket.create_server((here, 0), family=listens, dualstack_ipv6=here == "::")
    with server, socket.socket(connects) as client:
        client.connect((there, server.getsockname()[1]))
        accepted, peer = server.accept()
        with accepted, subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
            at = accepted.getsockname()[:2]
            assert processes.is_of(os.getpid(), peer[:2], at)
            assert not processes.is_of(other.pid, peer[:2], at)
            other.communicate(b"\n")


def test_ended() -> None:
    """A connection whose process has closed it is nobody's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()):
            accepted, peer = server.accept()
        with accepted:
            assert not processes.is_of(os.getpid(), peer, accepted.getsockname())


def test_child() -> None:
    """A connection is of the process that holds it, of its parent, and of nobody beside it."""
    with connected("127.0.0.1") as (process, peer, here), connected("127.0.0.1") as (stranger, other, there):
        assert processes.is_of(process, peer, here)
        assert processes.is_of(os.getpid(), peer, here)
        assert not processes.is_of(stranger, peer, here)
        assert not processes.is_of(process, other, there)


@pytest.mark.parametrize(("how", "expected"), [("kept", True), ("left", False)])
def test_parent_ended(how: str, expected: bool) -> None:
    """A process whose parent has ended still descends from a command that is confined."""
    with connected("127.0.0.1", LEAVES, how, CONNECTS) as (process, peer, here):
        assert processes.is_of(process, peer, here) == expected


def test_unknown() -> None:
    """A connection that is not there is nobody's, nor is one from another machine."""
    port = free_port()
    assert not processes.is_of(os.getpid(), ("127.0.0.1", port), ("127.0.0.1", port))
    assert not processes.is_of(os.getpid(), ("192.0.2.1", port), ("127.0.0.1", port))

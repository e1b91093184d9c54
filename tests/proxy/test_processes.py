"""Which process a connection is of."""

import os
import socket
import subprocess
import sys

import pytest

from credential_injector.proxy import processes

pytestmark = pytest.mark.skipif(not processes.CAN_TELL, reason="needs Linux's /proc")

V4, V6 = socket.AF_INET, socket.AF_INET6


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

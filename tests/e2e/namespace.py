"""A network of its own: a Linux network namespace, made without being root where the machine allows it.

A socket belongs to the namespace in which it was made, wherever it is used. So a small program in there (this file,
run) makes sockets and hands them out.
"""

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CLIENT = "10.0.0.9"
"""An address in there that is not loopback. What it sends to a loopback address is redirected to PROXY_PORT."""
PROXY_PORT = 8080

PATIENCE = 5.0  # seconds without a byte that a connection may take

_UNSHARE = ("unshare", "--user", "--map-root-user", "--net", "--")
_RULES = f"""
table ip nat {{
    chain output {{
        type nat hook output priority -100;
        ip saddr {CLIENT} ip daddr 127.0.0.0/8 tcp dport != {PROXY_PORT} redirect to :{PROXY_PORT}
    }}
}}
"""


class Namespace:
    """A running namespace."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self._process = process
        self._channel = channel

    @property
    def inside(self) -> list[str]:
        """The words that run a command in there."""
        return ["nsenter", f"--target={self._process.pid}", "--user", "--net", "--preserve-credentials", "--"]

    def connect(self, host: str, port: int, source: str) -> socket.socket:
        """A connection from `source` in there. Raises ConnectionError."""
        return self._socket("connect", host, port, source)

    @contextmanager
    def reaches(self, host: str, port: int) -> Iterator[None]:
        """Whoever connects to this loopback address in there reaches the one out here, until the block ends."""
        with self._socket("listen", host, port, "") as listener:
            threading.Thread(target=forward, args=(listener, (host, port)), daemon=True).start()
            yield
            listener.shutdown(socket.SHUT_RDWR)

    def _socket(self, *order: str | int) -> socket.socket:
        self._channel.sendall(json.dumps(order).encode())
        answer, fds, _, _ = socket.recv_fds(self._channel, 4096, 1)
        if not fds:
            raise ConnectionError(answer.decode())
        made = socket.socket(fileno=fds[0])
        made.settimeout(None if order[0] == "listen" else PATIENCE)
        return made


def missing() -> str | None:
    """Why no namespace can be had here; None where it can."""
    for name in ("unshare", "nsenter", "ip", "nft"):
        if shutil.which(name) is None:
            return f"{name} is not installed (packages util-linux, iproute2, nftables)"
    tried = subprocess.run([*_UNSHARE, "nft", "-f", "-"], input=_RULES.encode(), capture_output=True, check=False)
    return f"no network namespace: {tried.stderr.decode().strip()}" if tried.returncode else None


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace with a loopback network, until the block ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        process = subprocess.Popen(
            [*_UNSHARE, sys.executable, "-I", str(Path(__file__)), str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        try:
            assert ours.recv(100) == b"ready"
            yield Namespace(process, ours)
        finally:
            ours.close()
            process.wait(timeout=10)


def forward(listener: socket.socket, to: tuple[str, int]) -> None:
    """Join each connection to this listener with one to another address, until the listener is shut down."""
    with suppress(OSError):
        while True:
            near, _ = listener.accept()
            threading.Thread(target=_join, args=(near, to), daemon=True).start()


def _join(near: socket.socket, to: tuple[str, int]) -> None:
    with near, socket.create_connection(to) as far:
        back = threading.Thread(target=_pump, args=(far, near), daemon=True)
        back.start()
        _pump(near, far)
        back.join()


def _pump(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)


def _serve(channel: socket.socket) -> None:
    for words in ("link set lo up", f"address add {CLIENT}/32 dev lo"):
        subprocess.run(["ip", *words.split()], check=True)
    subprocess.run(["nft", "-f", "-"], input=_RULES.encode(), check=True)
    channel.sendall(b"ready")
    while order := channel.recv(4096):
        what, host, port, source = json.loads(order)
        try:
            if what == "listen":
                made = socket.create_server((host, port))
            else:
                made = socket.create_connection((host, port), timeout=PATIENCE, source_address=(source, 0))
        except OSError as error:
            channel.sendall(str(error).encode())
            continue
        with made:
            made.setblocking(True)
            socket.send_fds(channel, [b"made"], [made.fileno()])


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))

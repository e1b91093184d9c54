"""Which process a client's connection is of, on Linux: what /proc tells."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from credential_injector.origins.hosts import is_loopback, normalise_host

_PROC = Path("/proc")
CAN_TELL = sys.platform.startswith("linux")


def is_of(process: int, peer: tuple[str, int], here: tuple[str, int]) -> bool:
    """Whether the connection from this peer to this address is held by the process, or by one that descends from it.

    A connection whose process has ended already is nobody's.
    """
    if not is_loopback(normalise_host(peer[0].removeprefix("::ffff:"))):  # Python 3.11 takes it for another machine's
        return False
    inode = _inode(peer, here)
    if inode is None:
        return False
    wanted = f"socket:[{inode}]"
    return any(wanted in _sockets(one) for one in _family(process))


def _inode(peer: tuple[str, int], here: tuple[str, int]) -> str | None:
    """That of the peer's socket (proc_pid_net(5)).

    Either side may have a socket of IPv6 for an address of IPv4, as Java and .NET have.
    """
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        with suppress(OSError):
            wanted = [_written(peer, family), _written(here, family)]
            for line in (_PROC / "net" / table).read_text("ascii").splitlines():
                words = line.split()
                if words[1:3] == wanted:
                    return words[9]
    return None


def _written(address: tuple[str, int], family: socket.AddressFamily) -> str:
    """As the kernel writes it: each 32 bits in this machine's order of bytes. Raises OSError if it has no such form."""
    host, port = address[0].removeprefix("::ffff:"), address[1]
    mapped = family == socket.AF_INET6 and ":" not in host
    packed = socket.inet_pton(family, f"::ffff:{host}" if mapped else host)
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(one, sys.byteorder):08X}" for one in words) + f":{port:04X}"


def _family(process: int) -> Iterator[int]:
    """The process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                # The program's name stands in parentheses, and may hold any of them itself.
                parent = Path(entry.path, "stat").read_text("latin-1").rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(entry.name))
    new = [process]
    while new:
        one = new.pop()
        yield one
        new += children.get(one, ())


def _sockets(process: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for entry in os.scandir(_PROC / str(process) / "fd"):
            with suppress(OSError):
                found.add(os.readlink(entry.path))  # noqa: PTH115 - a Path would cost more than the question
    return found

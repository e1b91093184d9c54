"""Connects to a name that has several addresses (RFC 8305). With connections.py, the only module that opens any."""

import itertools
import os
import selectors
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from credential_injector.threads import in_thread

ATTEMPT_DELAY = 0.25  # seconds until the next address is tried as well (RFC 8305 section 5)
MOST_ADDRESSES = 6  # of one name: each attempt takes a file descriptor


def connect(host: str, port: int, given_up: Callable[[], bool], *, delay: float = ATTEMPT_DELAY) -> socket.socket:
    """Connect a blocking TCP socket to the first of the name's addresses that answers. Raises OSError.

    After `delay` seconds the next address is tried as well, so an address that drops packets costs no more than that.
    This ends when the operating system ends its last attempt, or when `given_up` is true.
    """
    addresses = _alternating(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))[:MOST_ADDRESSES]
    failure = OSError(f"{host} has no address")
    with selectors.DefaultSelector() as attempts:
        try:
            while addresses or attempts.get_map():
                if addresses:
                    try:
                        attempts.register(_attempt(*addresses.pop(0)), selectors.EVENT_WRITE)
                    except OSError as error:
                        failure = error
                        continue
                for attempt, _ in attempts.select(delay):
                    sock: Any = attempt.fileobj
                    attempts.unregister(sock)
                    error_number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not error_number:
                        sock.setblocking(True)
                        return sock  # type: ignore[no-any-return]  # selectors knows it as a file
                    sock.close()
                    failure = OSError(error_number, _message(error_number))
                if given_up():
                    raise TimeoutError
            raise failure
        finally:
            for other in list(attempts.get_map().values()):
                other.fileobj.close()  # type: ignore[union-attr]  # each is a socket


async def connected(host: str, port: int) -> socket.socket:
    """`connect`, until nobody waits for it any more. Raises OSError, or UnicodeError.

    asyncio would look the name up in its pool of threads. A name server that hangs fills that pool, which others wait
    for, and so does the end of the process.
    """
    given_up, made = threading.Event(), list[socket.socket]()

    def run() -> socket.socket:
        made.append(connect(host, port, given_up.is_set))
        return made[0]

    def close_if_given_up() -> None:
        if given_up.is_set() and made:
            made[0].close()

    try:
        return await in_thread(run, "connection", close_if_given_up)
    except BaseException:
        given_up.set()
        close_if_given_up()
        raise


def _attempt(
    family: socket.AddressFamily, kind: socket.SocketKind, protocol: int, _name: str, address: Any
) -> socket.socket:
    """Begin to connect a socket. Raises OSError."""
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(BlockingIOError):
            sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def _alternating(addresses: list[Any]) -> list[Any]:
    """In the operating system's order, but the two families in turn (RFC 8305 section 4)."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    pairs = itertools.zip_longest(first, others)
    return [address for pair in pairs for address in pair if address is not None]


def _message(error_number: int) -> str:
    if sys.platform == "win32":
        import ctypes

        return ctypes.FormatError(error_number)
    return os.strerror(error_number)

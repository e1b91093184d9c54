"""Each connection of an isolated command, led to the proxy or straight on."""

import asyncio
import base64
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress

from credential_injector.launch.isolation import names
from credential_injector.launch.isolation.names import Names
from credential_injector.origins.hosts import is_loopback, normalise_host
from credential_injector.origins.index import Destinations
from credential_injector.origins.origin import Origin

ORIGINAL_DESTINATION = 80  # SO_ORIGINAL_DST of linux/netfilter_ipv4.h, and of its sister for IPv6
PIECE = 1 << 16  # bytes that are passed on at once

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Forwarder:
    """Where the connections of one command go.

    `inside` makes a socket that reaches the command's own servers.
    """

    def __init__(
        self,
        proxy: tuple[str, int],
        password: str | None,
        origins: Iterable[Origin],
        inside: Callable[[socket.AddressFamily], socket.socket],
        user: str = "run",
    ) -> None:
        self._proxy = proxy
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._login = f"Proxy-Authorization: Basic {login}\r\n" if password is not None else ""
        self._inside = inside
        self._names = Names()
        origins = list(origins)
        self._hosts = Destinations((Origin("", one.host, 0, "", one.wildcard), one) for one in origins)
        self._configured = Destinations((Origin("", one.host, one.port, "", one.wildcard), one) for one in origins)
        self._loopback = {one.port: one.host for one in origins if is_loopback(one.host)}

    # --- Names --------------------------------------------------------------------------------------------------------

    async def resolve(self, message: bytes) -> bytes | None:
        """The answer to a DNS message; None where it is none."""
        asked = names.question(message)
        if asked is None:
            return None
        name, kind = asked
        if not await self._exists(name):
            return names.answer(message, None, names.NO_SUCH_NAME)
        return names.answer(message, self._names.address(name) if kind == names.A else None)

    async def _exists(self, name: str) -> bool:
        """Whether a name can be connected to. A configured one need not be known here: the proxy looks it up."""
        if self._names.knows(name) or self._hosts.find("", normalise_host(name), 0, "/") is not None:
            return True
        try:
            await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # a label may be too long for IDNA
            return False
        return True

    # --- Connections --------------------------------------------------------------------------------------------------

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Lead one connection to where its program meant it to go. Where that refuses, reset it."""
        near = reader, writer
        try:
            far = await self._connected(writer.get_extra_info("socket"), writer.get_extra_info("sockname"))
        except (OSError, EOFError, ValueError):
            _reset(writer)
            return
        try:
            await asyncio.gather(_pump(near[0], far[1]), _pump(far[0], near[1]))
        finally:
            for _, one in (near, far):
                one.close()

    async def _connected(self, near: socket.socket, own: tuple[str, int]) -> Streams:
        address, port = _original_destination(near)
        if (address, port) == own[:2]:
            raise ConnectionRefusedError  # it is this listener that was dialled
        if is_loopback(normalise_host(address)):
            return await self._to_this_machine(address, port)
        host = self._names.name(address) or address
        if self._configured.find("", normalise_host(host), port, "/") is not None:
            return await self._by_proxy(host, port)
        return await asyncio.open_connection(host, port, happy_eyeballs_delay=0.25)

    async def _to_this_machine(self, address: str, port: int) -> Streams:
        """Loopback is the command's own; where nobody listens there, it is that of the machine."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = self._inside(family)
        try:
            made.setblocking(False)
            await asyncio.get_running_loop().sock_connect(made, (address, port))
            return await asyncio.open_connection(sock=made)
        except ConnectionRefusedError:
            made.close()
        except BaseException:
            made.close()
            raise
        if port in self._loopback:  # under the name in HOST: the address does not say which one was dialled
            return await self._by_proxy(self._loopback[port], port)
        return await asyncio.open_connection(address, port)

    async def _by_proxy(self, host: str, port: int) -> Streams:
        reader, writer = await asyncio.open_connection(*self._proxy)
        try:
            to = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            writer.write(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{self._login}\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.split(b" ", 2)[1:2] == [b"200"]:
                raise ConnectionRefusedError
        except BaseException:
            writer.close()
            raise
        return reader, writer


def _original_destination(near: socket.socket) -> tuple[str, int]:
    """Where a redirected connection was meant to go. Raises OSError where it was none."""
    if near.family == socket.AF_INET6:
        raw = near.getsockopt(socket.IPPROTO_IPV6, ORIGINAL_DESTINATION, 28)
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), struct.unpack_from("!H", raw, 2)[0]
    raw = near.getsockopt(socket.IPPROTO_IP, ORIGINAL_DESTINATION, 16)
    return socket.inet_ntop(socket.AF_INET, raw[4:8]), struct.unpack_from("!H", raw, 2)[0]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on all bytes, and the end. A reset of one side resets the other."""
    try:
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    except OSError:
        _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    near = writer.get_extra_info("socket")
    with suppress(OSError):
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

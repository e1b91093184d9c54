"""Clients that keep each answer's time, and whose connections are there before the clock runs; wrk does neither."""

import asyncio
import re
import time
from collections.abc import Sequence

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Refused(Exception):
    """An answer was not a 200."""


async def connect(port: int, count: int) -> list[Connection]:
    """So many connections to this port of this machine."""
    return [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]


async def ask(connection: Connection) -> float:
    """One request and its answer; seconds. Raises Refused."""
    reader, writer = connection
    begun = time.perf_counter()
    writer.write(b"GET /orders/1 HTTP/1.1\r\nHost: api\r\nAccept: */*\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    await reader.readexactly(int(length[1]) if length else 0)
    if not head.startswith(b"HTTP/1.1 200 "):
        raise Refused(head.partition(b"\r\n")[0].decode())
    return time.perf_counter() - begun


async def ask_for(seconds: float, connections: Sequence[Connection]) -> list[float]:
    """Every connection asks again and again; how long each answer took, in seconds."""
    ends = time.perf_counter() + seconds
    taken: list[float] = []

    async def client(connection: Connection) -> None:
        while time.perf_counter() < ends:
            taken.append(await ask(connection))

    await asyncio.gather(*map(client, connections))
    return taken


async def ask_once(connections: Sequence[Connection]) -> float:
    """Every connection asks once, all at the same time; seconds until the last one has its answer."""
    begun = time.perf_counter()
    await asyncio.gather(*map(ask, connections))
    return time.perf_counter() - begun


def close(connections: Sequence[Connection]) -> None:
    """Close them."""
    for _, writer in connections:
        writer.close()

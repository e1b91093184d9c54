"""The pipe on which Envoy tells of tokens that the APIs refused."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

LONGEST = 65536  # bytes of a read


class Refusals:
    """Reads the pipe, and tells of each line: whose token it was, and its mark."""

    def __init__(self, path: str, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        # Also for writing, so that it does not end when Envoy does, and Envoy does not wait for a reader.
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""
        asyncio.get_running_loop().add_reader(self._pipe, self._read)

    def close(self) -> None:
        """Read no more."""
        asyncio.get_running_loop().remove_reader(self._pipe)
        os.close(self._pipe)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            *lines, self._rest = (self._rest + os.read(self._pipe, LONGEST)).split(b"\n")
            self._rest = self._rest[-LONGEST:]
            for line in lines:
                mark, _, name = line.decode("utf-8", "replace").partition(" ")
                self._tell(name, mark)

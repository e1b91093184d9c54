"""The answer to a request that was sent again: kept until all of it is there, or passed on as it comes."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mitmproxy import ctx, http

from credential_injector.proxy import grpc_calls, internals, streams

# Bytes of an answer that are kept in memory although stream_large_bodies says less.
LARGEST_ANSWER = 8 << 20
MOST_WAITING = 1 << 20  # bytes that were read and not sent, above which nothing more is read
LOOKS_AGAIN = 1.0  # seconds after which a silent relay looks whether its client is still there


class Pieces:
    """A body on its way from the flow whose answer it is to the flow whose client waits for it."""

    def __init__(self) -> None:
        self.began: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """The headers are there, and the body comes by here."""
        self.room = asyncio.Event()
        self.room.set()
        self.piece = b""
        """The last one; it may be empty."""
        self.ended = self.failed = False
        self.cancel: Callable[[], None] = lambda: None
        """The client has gone."""
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._size = 0

    def begin(self, answer: http.Response, body: Callable[[bytes], Iterable[bytes] | bytes]) -> None:
        """Let an answer's body come by here. `body` is its `stream` so far."""

        def passing(piece: bytes) -> Iterable[bytes] | bytes:
            if piece:
                self._size += len(piece)
                self._waiting.put_nowait(piece)
                if self._size > MOST_WAITING:
                    self.room.clear()
            return body(piece)

        answer.stream = passing
        if not self.began.done():
            self.began.set_result(None)

    def end(self, *, failed: bool) -> None:
        """There is no more."""
        self.failed = failed
        self._waiting.put_nowait(None)

    async def next(self) -> None:
        """Wait a moment for another piece, or for the end."""
        self.piece = b""
        try:
            piece = await asyncio.wait_for(self._waiting.get(), LOOKS_AGAIN)
        except TimeoutError:
            return
        if piece is None:
            self.ended = True
            return
        self.piece = piece
        self._size -= len(piece)
        if self._size <= MOST_WAITING:
            self.room.set()


@dataclass
class Buffer:
    """An answer that is kept until all of it is there."""

    pieces: list[bytes] = field(default_factory=list)
    """An empty piece is the last."""
    size: int = 0
    relay: Pieces | None = None
    """Lets the client have it as it comes; None: the client cannot."""
    unfit: "asyncio.Future[str]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Why it cannot be kept, as soon as that is known."""

    def give_up(self, why: str) -> None:
        if not self.unfit.done():
            self.unfit.set_result(why)

    def fill(self, answer: http.Response) -> None:
        """Keep the pieces of an answer that would stream."""
        kind = answer.headers.get("content-type", "").lower()
        if kind.startswith(streams.TYPES) and grpc_calls.status(answer) is None:  # else there is no body
            self.give_up("the second answer is a stream, which cannot be kept until its end")
            return
        if not answer.stream and not ctx.options.stream_large_bodies:
            return
        # With False, mitmproxy would stream it to nobody as soon as it is large.
        most = max(internals.size(ctx.options.stream_large_bodies), LARGEST_ANSWER)
        length = answer.headers.get("content-length", "0")

        def gather(chunk: bytes) -> bytes:
            self.size += len(chunk)
            if self.size > most:
                self.pieces.clear()
                self.give_up(too_large)
            else:
                self.pieces.append(chunk)
            return chunk

        too_large = f"the second answer is larger than {internals.pretty_size(most)}"
        answer.stream = gather
        if length.isdecimal() and int(length) > most:
            self.give_up(too_large)

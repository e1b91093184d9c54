"""Runs a blocking call in a thread of its own: to await it, or to wait for it until SIGINT."""

import asyncio
import concurrent.futures
import signal
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")

STEP = 0.1  # seconds; Windows runs no signal handler while a lock is waited for


class Interrupted(Exception):
    """SIGINT came."""


async def in_thread(function: Callable[[], T], name: str, ended: Callable[[], object] = lambda: None) -> T:
    """Run a blocking function in a thread of this name. Raises what it raises.

    Unlike with asyncio.to_thread, one that hangs blocks neither other calls nor the exit.
    `ended` is called in its thread when it has returned, even if nobody awaits it any more.
    """
    return await asyncio.wrap_future(_started(function, name, ended))


def interruptible(function: Callable[[], T], name: str) -> T:
    """Wait for a blocking function, which runs in a thread of this name. Raises what it raises, and Interrupted.

    asyncio runs its own SIGINT handlers in the event loop, which this wait blocks.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
        return function()
    interrupts: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        future = _started(function, name)
        while not interrupts and not future.done():
            concurrent.futures.wait([future], timeout=STEP)
    finally:
        signal.signal(signal.SIGINT, before)
    if not future.done():
        raise Interrupted
    return future.result()


@contextmanager
def overdue(seconds: float, tell: Callable[[], None]) -> Iterator[None]:
    """Call `tell`, in a thread of its own, if the block takes longer than this."""
    timer = threading.Timer(seconds, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _started(
    function: Callable[[], T], name: str, ended: Callable[[], object] = lambda: None
) -> concurrent.futures.Future[T]:
    future: concurrent.futures.Future[T] = concurrent.futures.Future()
    future.add_done_callback(lambda _: ended())

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            future.set_exception(error)

    future.set_running_or_notify_cancel()
    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError as error:  # there are too many
        future.set_exception(error)
    return future


class Turns:
    """Limits how many threads run at once, and how many for one server: one that hangs leaves turns to others."""

    def __init__(self, most: int, most_for_one: int) -> None:
        self._most_for_one = most_for_one
        self._all = asyncio.Semaphore(most)
        self._servers: weakref.WeakValueDictionary[str, asyncio.Semaphore] = weakref.WeakValueDictionary()

    async def in_thread(self, function: Callable[[], T], name: str, server: str) -> T:
        """Wait for a turn, then run a blocking function in a thread of this name. Raises what it raises.

        The turn lasts until the function returns, whether anybody awaits it or not.
        """
        loop = asyncio.get_running_loop()
        own = self._own(server)
        await own.acquire()
        try:
            await self._all.acquire()
        except BaseException:
            own.release()
            raise

        def ended() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._all.release)
                loop.call_soon_threadsafe(own.release)

        return await in_thread(function, name, ended)

    @asynccontextmanager
    async def held(self, server: str) -> AsyncIterator[None]:
        """Hold a turn while the block runs."""
        async with self._own(server), self._all:
            yield

    def _own(self, server: str) -> asyncio.Semaphore:
        return self._servers.setdefault(server, asyncio.Semaphore(self._most_for_one))

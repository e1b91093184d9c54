"""A blocking call -> an awaitable, in a thread of its own; or a wait that SIGINT ends."""

import asyncio
import concurrent.futures
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

STEP = 0.1  # seconds; Windows runs no signal handler while a lock is waited for


class Interrupted(Exception):
    """SIGINT came."""


async def in_thread(function: Callable[[], T], name: str) -> T:
    """Run a blocking function in a thread of this name. Raises what it raises.

    Unlike with asyncio.to_thread, a stuck one holds up neither other calls nor the exit.
    """
    return await asyncio.wrap_future(_started(function, name))


def interruptible(function: Callable[[], T], name: str) -> T:
    """Wait for a blocking function, which runs in a thread of this name. Raises what it raises, and Interrupted.

    asyncio's own handlers of SIGINT only run once the event loop does, and what waits here holds it up.
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
    """Call `tell`, in a thread of its own, if the block takes as long."""
    timer = threading.Timer(seconds, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _started(function: Callable[[], T], name: str) -> concurrent.futures.Future[T]:
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            future.set_exception(error)

    future.set_running_or_notify_cancel()
    threading.Thread(target=run, name=name, daemon=True).start()
    return future

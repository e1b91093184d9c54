"""Blocking calls in threads of their own."""

import asyncio
import signal
import threading

import pytest

from credential_injector.threads import Interrupted, Turns, in_thread, interruptible, overdue


async def test_in_thread() -> None:
    """What a function returns or raises comes to whoever awaits it."""
    assert await in_thread(lambda: threading.current_thread().name, "a name") == "a name"
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0, "a name")


def test_late_answer() -> None:
    """An answer that comes after the loop has ended does no harm."""
    may_answer = threading.Event()

    async def leaves() -> None:
        await asyncio.wait_for(in_thread(may_answer.wait, "slow"), timeout=0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(leaves())
    may_answer.set()
    for thread in threading.enumerate():
        if thread.name == "slow":
            thread.join(timeout=5)


def test_sigint() -> None:
    """SIGINT ends a wait, and what handled it before does so again."""
    may_answer, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def interrupts() -> None:
        signal.raise_signal(signal.SIGINT)
        may_answer.wait()

    try:
        with pytest.raises(Interrupted):
            interruptible(interrupts, "slow")
    finally:
        may_answer.set()
    assert signal.getsignal(signal.SIGINT) is before


async def test_interruptible() -> None:
    """What is waited for returns or raises, on any thread."""
    for name in ("main", "other"):

        def wait(name: str = name) -> str:
            return interruptible(lambda: name, "a name")

        assert (wait() if name == "main" else await in_thread(wait, "a name")) == name
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0, "a name")


def test_sigint_ignored() -> None:
    """Where SIGINT is ignored, as in a shell's background job, it stays so."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert interruptible(lambda: signal.raise_signal(signal.SIGINT), "a name") is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_overdue() -> None:
    """Only what takes too long is told."""
    told = threading.Event()
    with overdue(0, told.set):
        assert told.wait(timeout=20)
    told.clear()
    with overdue(3600, told.set):
        pass
    assert not told.is_set()
    assert not any(
        isinstance(thread, threading.Timer) and thread.interval == 3600 and not thread.finished.is_set()
        for thread in threading.enumerate()
    )


async def test_turn() -> None:
    """A turn lasts until its thread ends, though nobody awaits it any more."""
    turns, may_end = Turns(2, 1), threading.Event()
    began: list[str] = []

    async def call(server: str, name: str) -> None:
        def stuck() -> None:
            began.append(name)
            may_end.wait(10)

        await turns.in_thread(stuck, "stuck", server)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call("a.test", "first"), 0.05)
    waiting = asyncio.create_task(call("a.test", "second"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call("b.test", "elsewhere"), 0.05)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call("c.test", "one too many"), 0.05)
    assert began == ["first", "elsewhere"]
    may_end.set()
    await waiting
    await call("c.test", "later")
    assert began == ["first", "elsewhere", "second", "later"]


async def test_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that cannot start takes no turn."""
    turns = Turns(1, 1)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await turns.in_thread(lambda: None, "refused", "a.test")
    assert await turns.in_thread(lambda: "done", "served", "a.test") == "done"

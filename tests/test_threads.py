import asyncio
import signal
import threading

import pytest

from credential_injector.threads import Interrupted, in_thread, interruptible, overdue


async def test_what_a_function_returns_or_raises_comes_to_whoever_awaits_it() -> None:
    assert await in_thread(lambda: threading.current_thread().name, "a name") == "a name"
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0, "a name")


def test_an_answer_that_comes_after_the_loop_has_ended_does_no_harm() -> None:
    may_answer = threading.Event()

    async def leaves() -> None:
        await asyncio.wait_for(in_thread(may_answer.wait, "slow"), timeout=0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(leaves())
    may_answer.set()
    for thread in threading.enumerate():
        if thread.name == "slow":
            thread.join(timeout=5)


def test_sigint_ends_a_wait_and_what_handled_it_before_does_so_again() -> None:
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


async def test_what_is_waited_for_returns_or_raises_on_any_thread() -> None:
    for name in ("main", "other"):

        def wait(name: str = name) -> str:
            return interruptible(lambda: name, "a name")

        assert (wait() if name == "main" else await in_thread(wait, "a name")) == name
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0, "a name")


def test_where_sigint_is_ignored_it_stays_so() -> None:
    """As in a shell's background job."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert interruptible(lambda: signal.raise_signal(signal.SIGINT), "a name") is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_only_what_takes_too_long_is_told() -> None:
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

import asyncio
import threading

import pytest

from credential_injector.threads import in_thread


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

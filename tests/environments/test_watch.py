"""When a folder is looked at again."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from credential_injector.environments import watch

FOLDER = Path("envs")


@pytest.mark.parametrize("error", [OSError(28, "watch limit reached"), RuntimeError("too many open files")])
async def test_unwatched(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Where the system does not watch files, they are looked at all the same."""

    async def awatch(*_: Path, **__: object) -> AsyncGenerator[None]:
        raise error
        yield

    async with aclosing(watch.changes(lambda: {FOLDER}, "envs", awatch, unseen=0)) as changes:
        for _ in range(3):
            await anext(changes)
    assert caplog.messages == [f"envs: the system does not watch it ({error}); looking there each second instead"]


@pytest.mark.parametrize(("look", "skipped"), [(0.0, 0), (1.0, 3)], ids=["quick", "long"])
async def test_duty_cycle(monkeypatch: pytest.MonkeyPatch, look: float, skipped: int) -> None:
    """After a long look, only what the system tells leads to the next one; a second without a change does not."""
    told: list[set[str]] = [set(), set(), set(), {"a change"}]
    now = [0.0]

    async def awatch(*_: Path, **__: object) -> AsyncGenerator[set[str]]:
        while True:
            yield told.pop(0)

    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    async with aclosing(watch.changes(lambda: {FOLDER}, "envs", awatch)) as changes:
        await anext(changes)
        now[0] += look
        left = len(told)
        await anext(changes)
        assert left - len(told) == skipped


async def test_other_folders() -> None:
    """Folders that the reader finds are watched from then on, and those that it does not find any more are not."""
    watched: list[tuple[Path, ...]] = []
    folders = [{FOLDER}, {FOLDER, Path("secrets")}, {Path("secrets")}]

    async def awatch(*paths: Path, **_: object) -> AsyncGenerator[set[str]]:
        watched.append(tuple(sorted(paths)))
        while True:
            yield {"a change"}

    def now() -> set[Path]:
        return folders[min(looks // 2, 2)]

    looks = 0
    async with aclosing(watch.changes(now, "envs", awatch)) as changes:
        async for _ in changes:
            looks += 1
            if looks == 6:
                break
    assert watched == [(FOLDER,), (FOLDER, Path("secrets")), (Path("secrets"),)]

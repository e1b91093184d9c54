"""Follows the files of a few folders: tells when something may have changed."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

from credential_injector.threads import in_thread

logger = logging.getLogger(__name__)

# Milliseconds. Changes that come together, as when an editor replaces a file, are one change.
DEBOUNCE = 200
STEP = 50
# A poll after this time finds what the system does not report: a changed target of a symlink, a replaced folder, a file
# on a network disk.
UNSEEN = 1000
POLL_DUTY_CYCLE = 0.01

logging.getLogger("watchfiles").setLevel(logging.WARNING)

Watch = Callable[..., AsyncGenerator[Any]]
"""As `watchfiles.awatch`."""


async def changes(
    folders: Callable[[], set[Path]], shown: str, awatch: Watch | None = None, *, unseen: int = UNSEEN
) -> AsyncGenerator[None]:
    """Once at the beginning, then whenever something in the folders may have changed. It never ends by itself.

    `folders` is asked again after each look, which may have found other files to watch.
    """
    if awatch is None:
        awatch = await in_thread(_awatch, "import of watchfiles")
    loop = asyncio.get_running_loop()
    while True:
        watched = folders()
        try:
            seen = awatch(
                *watched,
                watch_filter=None,
                debounce=DEBOUNCE,
                step=STEP,
                rust_timeout=unseen,
                yield_on_timeout=True,
                recursive=False,
            )
            change = asyncio.ensure_future(anext(seen))
            try:
                await asyncio.sleep(0)  # it begins to watch before the first look, so that no change is missed
                while True:
                    begun = loop.time()
                    yield
                    next_poll = loop.time() + _rest(loop.time() - begun)
                    if folders() != watched:
                        break
                    told = False
                    while not told:
                        await asyncio.wait([change])
                        told = bool(change.result()) or loop.time() >= next_poll
                        change = asyncio.ensure_future(anext(seen))
            finally:
                change.cancel()
        except FileNotFoundError:
            continue  # a watched folder was removed meanwhile
        except (OSError, RuntimeError) as error:  # as when all of inotify's instances are in use
            logger.warning(f"{shown}: the system does not watch it ({error}); looking there each second instead")
            break
    while True:
        begun = loop.time()
        yield
        await asyncio.sleep(max(unseen / 1000, _rest(loop.time() - begun)))


def _rest(took: float) -> float:
    """Seconds without a poll after a look that took so long.

    Only for 10,000 environments, where a look takes half a second: polls take at most this share of the time. To delete
    it, return 0.
    """
    return took / POLL_DUTY_CYCLE


def _awatch() -> Watch:
    from watchfiles import awatch

    return awatch

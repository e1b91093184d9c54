"""What keeps a start short, and requests fast after it, with 10,000 environments: garbage collection, late imports."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from credential_injector.threads import in_thread

IMPORT_AFTER = 1.0  # seconds after the start, when the first connections have been served


@contextmanager
def no_collection() -> Iterator[None]:
    """10,000 files make 300,000 objects that stay: to look for garbage among them takes a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def freeze() -> None:
    """HACK: let no garbage be looked for in what is there while mitmproxy starts, nearly all of which stays.

    With 10,000 environments that would halt all requests for up to 0.2 s, again and again. What is frozen goes when
    nothing refers to it any more, unless it is part of a cycle.
    """
    if gc.get_freeze_count():  # the script is loaded anew: what was frozen before is such a cycle
        gc.unfreeze()
        gc.collect()
    gc.freeze()


def _import_requests() -> None:
    from credential_injector.oauth import server  # noqa: F401 - to have it


async def preload_requests(
    is_needed: Callable[[], bool], pause: float = IMPORT_AFTER, load: Callable[[], None] = _import_requests
) -> None:
    """Import soon what the first token request needs: with clients that wait for it, that takes far longer."""
    await asyncio.sleep(pause)
    if is_needed():
        await in_thread(load, "import of the authorization server")

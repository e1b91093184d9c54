"""A file store's lock file, in a folder where somebody else may write."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from credential_injector.tokens.open_store import open_store


def rename(victim: Path, lock: Path) -> None:
    victim.rename(lock)


@pytest.mark.skipif(os.name == "nt", reason="Windows gives links only to administrators")
@pytest.mark.parametrize("plant", [lambda victim, lock: lock.symlink_to(victim), os.link, rename])
@pytest.mark.parametrize("suffix", ["lock", "lock-abcd"])
async def test_planted(tmp_path: Path, plant: Callable[[Path, Path], None], suffix: str) -> None:
    """A file that is planted as the lock keeps its content and its mode (CVE-2025-68146, CVE-2026-112909)."""
    victim, lock = tmp_path / "victim", tmp_path / f"tokens.{suffix}"
    victim.write_text("a year's work")
    victim.chmod(0o644)
    plant(victim, lock)
    store = open_store(str(tmp_path / "tokens"))
    assert store is not None
    try:
        async with asyncio.timeout(10), store.lock("0abcd", wait=0.1):
            await store.read("0abcd")
    except OSError:  # a lock that cannot be taken: tokens stay in memory
        pass
    kept = victim if victim.exists() else lock
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("a year's work", 0o644)

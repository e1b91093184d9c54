"""Who may read a file that holds secrets."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

NAMED = 10  # files that a warning names one by one


def others_can_read(path: Path) -> bool:
    """Whether other users of this machine can. Where files have no modes (Windows), nobody knows."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o044)
    except OSError:
        return False


def warning(paths: Sequence[Path]) -> str:
    """One line for these files, with the command that mends it."""
    names = " ".join(shlex.quote(str(path)) for path in paths[:NAMED])
    more = f" (and {len(paths) - NAMED} more)" if len(paths) > NAMED else ""
    return f"other users of this machine can read secrets; run: chmod 600 {names}{more}"

"""A file of this user's own that all processes share, and that is made once."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


def make(path: Path, text: str) -> None:
    """Make the file with this text. Where processes do so at the same time, the first one's stays. Raises OSError."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)  # a crash must not leave an empty file under its name
        with suppress(FileExistsError):
            os.link(new, path)  # a rename would replace another process's
    finally:
        new.unlink()

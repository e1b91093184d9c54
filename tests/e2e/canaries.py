"""The secrets of the whole e2e run, looked for in everything that it wrote."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# By design these hold secrets: what a test wrote for the add-on to read, and what the user asked to keep tokens in.
INPUTS = ("*.env", "secret*")
KEEP_TOKENS = ("*.mitm", "flows*", "replayed", "tokens*")


class Canaries:
    """What was looked at, and where a secret was seen."""

    def __init__(self) -> None:
        self.looked_at = 0
        self.sightings: list[str] = []

    def look(self, where: str, content: bytes, secrets: Iterable[str]) -> None:
        """Look for each of these secrets."""
        self.looked_at += 1
        self.sightings += [where for secret in secrets if secret.encode() in content]

    def look_into(self, folder: Path, client_secrets: set[str], tokens: set[str]) -> None:
        """Every file of a test: no file holds a client's secret, and only what is meant to keep them holds tokens."""
        for file in folder.rglob("*"):
            if not file.is_file() or any(file.match(pattern) for pattern in INPUTS):
                continue
            keeps = any(file.match(pattern) for pattern in KEEP_TOKENS)
            self.look(str(file), file.read_bytes(), client_secrets | (set() if keeps else tokens))


@contextmanager
def instances(monkeypatch: pytest.MonkeyPatch, kind: type) -> Iterator[list[Any]]:
    """Every instance of a class that is made meanwhile."""
    made: list[Any] = []
    init = kind.__init__  # type: ignore[misc]

    def noted(self: object, *arguments: Any, **named: Any) -> None:
        made.append(self)
        init(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "__init__", noted)
        yield made

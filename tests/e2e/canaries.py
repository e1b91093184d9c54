"""The secrets of e2e tests, looked for in everything that these wrote."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# By design these hold secrets: what a test wrote for the add-on to read, and what the user asked to keep tokens in.
INPUTS = ("*.env", "secret*")
KEEP_TOKENS = ("*.mitm", "flows*", "replayed", "tokens*")


class Canaries:
    """Where a secret was seen, but for folders that need no look."""

    def __init__(self, others: Iterable[Path] = ()) -> None:
        self.sightings: list[str] = []
        self._client_secrets: set[str] = set()
        self._tokens: set[str] = set()
        self._looked_into = set(others)

    def tell(self) -> None:
        """Fail for what was seen since this was last called."""
        sightings, self.sightings = self.sightings, []
        if sightings:
            pytest.fail("\n".join(["a secret is in", *sightings]), pytrace=False)

    def look(self, where: str, content: bytes, secrets: Iterable[str]) -> None:
        """Look for each of these secrets."""
        self.sightings += [where for secret in secrets if secret.encode() in content]

    def look_into(self, folder: Path, client_secrets: set[str], tokens: set[str]) -> None:
        """Every file of a test: no file holds a client's secret, and only what is meant to keep them holds tokens."""
        self._looked_into.add(folder)
        self._client_secrets |= client_secrets
        self._tokens |= tokens
        for file in folder.rglob("*"):
            if not file.is_file() or any(file.match(pattern) for pattern in INPUTS):
                continue
            keeps = any(file.match(pattern) for pattern in KEEP_TOKENS)
            self.look(str(file), file.read_bytes(), client_secrets | (set() if keeps else tokens))

    def look_into_the_rest(self, base: Path) -> None:
        """The folders beside those of tests, such as a module's: nowhere is a secret of any test."""
        client_secrets = {secret for secret in self._client_secrets if "canary" in secret}  # others are plain words
        for folder in sorted(base.iterdir()):
            if folder.is_dir() and not folder.is_symlink() and folder not in self._looked_into:
                self.look_into(folder, client_secrets, self._tokens)


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

"""The file of inject_log, on a disk that fails."""

import json
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.test import tflow

from credential_injector.proxy import audit, record
from credential_injector.proxy.audit import Audit
from credential_injector.proxy.server_connections import Connections


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As a full disk: what is written beyond is cut off, and then refused."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write(log: Audit, path: str) -> None:
    flow = tflow.tflow()
    flow.request.path = path
    flow.metadata[record.KEY] = {"environment": "qa", "action": "blocked", "reason": "canary"}
    log.ended(flow)


def paths(file: Path) -> list[str]:
    """Of the lines that are not empty; `cut` for one that cannot be read."""
    found = []
    for line in filter(None, file.read_text().splitlines()):
        try:
            found.append(json.loads(line)["path"])
        except ValueError:
            found.append("cut")
    return found


def test_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A line that is cut off spoils none of those that follow."""
    file, log = tmp_path / "audit.jsonl", Audit(Connections())
    log.use(str(file))
    write(log, "/a")
    while not file.stat().st_size:
        pass
    with files_of_at_most(file.stat().st_size + 50):
        write(log, "/b")
        while not caplog.records:
            pass
    write(log, "/c")
    log.end()
    assert paths(file) == ["/a", "cut", "/c"]
    assert [one.levelname for one in caplog.records] == ["ERROR", "WARNING"]
    assert caplog.messages[1].endswith("can be written again; 1 lines are lost")


def test_hangs(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk hangs, lines are lost before the memory is full."""
    monkeypatch.setattr(audit, "MOST_WAITING", 10)
    file, log, works, real = tmp_path / "audit.jsonl", Audit(Connections()), threading.Event(), os.open
    log.use(str(file))

    def hangs(*arguments: Any, **more: Any) -> int:
        works.wait(30)
        return real(*arguments, **more)

    monkeypatch.setattr(os, "open", hangs)
    for number in range(50):
        write(log, f"/{number}")
    works.set()
    log.end()
    assert 10 <= len(paths(file)) <= 22  # those that waited, and the batch of before
    assert f"can be written again; {50 - len(paths(file))} lines are lost" in caplog.text


def test_odd_path(tmp_path: Path) -> None:
    """A path stands there without its query, as it was sent, and never without end."""
    file, log = tmp_path / "audit.jsonl", Audit(Connections())
    log.use(str(file))
    for path in ("/a%20b?canary=1", "/\x1b[31m\n", "/" + "x" * 9999, "/\udcff#canary"):
        write(log, path)
    log.end()
    assert paths(file) == ["/a%20b", "/\x1b[31m\n", "/" + "x" * 1999, "/\udcff"]
    assert "canary" not in file.read_text()
    assert file.read_text().isascii()


def test_several(tmp_path: Path) -> None:
    """Several proxies write whole lines into one file."""
    file, logs = tmp_path / "audit.jsonl", [Audit(Connections()) for _ in range(4)]
    for log in logs:
        log.use(str(file))
    for number in range(500):
        for log in logs:
            write(log, f"/{number}" + "x" * 500)
    for log in logs:
        log.end()
    assert len(paths(file)) == 2000
    assert "cut" not in paths(file)

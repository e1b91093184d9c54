"""The store in a file."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import filelock
import pytest

from credential_injector.tokens.sharing import shared
from tests.tokens.stores import (
    NOW,
    REQUEST,
    TokenEndpoint,
    content,
    entry,
    folder,
    name_of,
    opened,
    said,
    stored_tokens,
    warnings,
    works_again,
)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
async def test_mode(tmp_path: Path, umask: int) -> None:
    """Only its owner may read the file."""
    before = os.umask(umask)
    try:
        async with opened(tmp_path / "tokens") as store:
            await shared(store, REQUEST, TokenEndpoint())(NOW, None)
    finally:
        os.umask(before)
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in folder(tmp_path)}
    assert modes.pop("tokens") == "0o600"
    assert set(modes.values()) <= {"0o600"}
    assert len(modes) == 2, "two locks"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
async def test_mode_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no moment in which others may read the file."""

    def fails(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", fails)
    async with opened(tmp_path / "tokens") as store:
        await shared(store, REQUEST, TokenEndpoint())(NOW, None)
    assert (tmp_path / "tokens").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
async def test_mode_mended(tmp_path: Path) -> None:
    """A file that others could read is closed to them."""
    file = tmp_path / "tokens"
    file.write_text(content({}))
    file.chmod(0o644)
    async with opened(file) as store:
        await shared(store, REQUEST, TokenEndpoint())(NOW, None)
    assert file.stat().st_mode & 0o777 == 0o600


async def test_names_nobody(tmp_path: Path) -> None:
    """The file names nobody."""
    file = tmp_path / "tokens.json"
    async with opened(file) as store:
        await shared(store, REQUEST, TokenEndpoint())(NOW, None)
    assert json.loads(file.read_text()) == {
        "version": 1,
        "tokens": {name_of(REQUEST): entry("token-1")},
    }
    shown = file.read_text() + " ".join(path.name for path in folder(tmp_path))
    assert not any(text in shown for text in ("canary", "login.test", "client"))
    assert sum(name_of(REQUEST) in path.name for path in folder(tmp_path)) == 0


async def test_drops_expired(tmp_path: Path) -> None:
    """What has expired is dropped when the file is written."""
    file = tmp_path / "tokens.json"
    old = {"v1-expired": entry(expires_at=NOW + 10), "v1-lives": entry(expires_at=NOW + 10.5), "v1-malformed": 7}
    file.write_text(content(old))
    async with opened(file) as store:
        await shared(store, REQUEST, TokenEndpoint())(NOW + 10, None)
    assert stored_tokens(file) == {"v1-lives": "stored", name_of(REQUEST): "token-1"}


@pytest.mark.parametrize(
    "corrupt",
    [
        b"",
        b"\0" * 100,
        b"\xff\xfe",
        b"{",
        b"[" * 100_000,
        b"1" * 5000,
        b"[]",
        b"{}",
        b'{"version": 2, "tokens": {}}',
        b'{"version": 1}',
        b'{"version": 1, "tokens": []}',
        content({name_of(REQUEST): entry()}).encode()[:-3],
    ],
)
async def test_corrupt(tmp_path: Path, corrupt: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A corrupt file is moved aside and told once."""
    file = tmp_path / "tokens.json"
    (tmp_path / "tokens.json.corrupt-1").write_text("an earlier one")
    file.write_bytes(corrupt)
    async with opened(file) as store:
        fetch = shared(store, REQUEST, TokenEndpoint())
        assert [(await fetch(NOW, None)).value for _ in range(3)] == ["token-1"] * 3
    assert (tmp_path / "tokens.json.corrupt-1").read_text() == "an earlier one"
    assert (tmp_path / "tokens.json.corrupt-2").read_bytes() == corrupt
    assert said(caplog) == [
        f"inject_tokens: {file} was no token store; it is now tokens.json.corrupt-2, and a new one begins"
    ]


async def test_huge(tmp_path: Path) -> None:
    """A huge file is not read."""
    file = tmp_path / "tokens.json"
    file.write_text(content({name_of(REQUEST): entry("x" * 1000)}))
    async with opened(file, largest_file=1000) as store:
        assert (await shared(store, REQUEST, TokenEndpoint())(NOW, None)).value == "token-1"
    assert (tmp_path / "tokens.json.corrupt-1").exists()


async def test_too_large(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that would become too large is not written."""
    file = tmp_path / "tokens.json"
    file.write_text(content({"v1-other": entry("x" * 800)}))
    async with opened(file, largest_file=1000) as store:
        assert (await shared(store, REQUEST, TokenEndpoint())(NOW, None)).value == "token-1"
    assert list(stored_tokens(file)) == ["v1-other"]
    assert len(warnings(caplog)) == 1
    assert "File too large" in caplog.text


async def test_left_behind(tmp_path: Path) -> None:
    """What a killed process left is in nobody's way."""
    file = tmp_path / "tokens.json"
    (tmp_path / "tokens.json.new").write_text("half a fi")
    async with opened(file) as store:
        await shared(store, REQUEST, TokenEndpoint())(NOW, None)
    assert list(stored_tokens(file).values()) == ["token-1"]
    assert not (tmp_path / "tokens.json.new").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
async def test_link(tmp_path: Path) -> None:
    """A link to a file stays a link."""
    (tmp_path / "link").symlink_to("real")
    async with opened(tmp_path / "link") as store:
        await shared(store, REQUEST, TokenEndpoint())(NOW, None)
    assert (tmp_path / "link").is_symlink()
    assert list(stored_tokens(tmp_path / "real").values()) == ["token-1"]


async def test_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that cannot be written costs no request."""

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    endpoint = TokenEndpoint()
    async with opened(tmp_path / "tokens") as store:
        fetch = shared(store, REQUEST, endpoint)
        with monkeypatch.context() as disk:
            disk.setattr(Path, "replace", read_only)
            assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]
        assert len(said(caplog)) == 1
        assert "(Read-only file system)" in caplog.text
        await works_again(store)
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-2", "token-2"]
    assert said(caplog)[1:] == [f"inject_tokens: {tmp_path / 'tokens'} can be used again"]


async def test_folder_in_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder in the file's place costs no request."""
    async with opened(tmp_path / "tokens") as store:
        (tmp_path / "tokens").mkdir()
        fetch = shared(store, REQUEST, TokenEndpoint())
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("lock", ["lock", "lock-{}"])
async def test_no_lock(tmp_path: Path, lock: str, caplog: pytest.LogCaptureFixture) -> None:
    """A lock that cannot be had costs no request."""
    (tmp_path / f"tokens.{lock.format(name_of(REQUEST)[-4:])}").mkdir()
    async with opened(tmp_path / "tokens") as store:
        fetch = shared(store, REQUEST, TokenEndpoint())
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]
    assert len(warnings(caplog)) == 1


async def test_lock_not_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that cannot be freed costs no request."""
    endpoint = TokenEndpoint()
    freed = filelock.FileLock.release

    def fails(self: filelock.FileLock, force: bool = False) -> None:
        freed(self, force)
        if not force and "lock-" in Path(self.lock_file).name:
            raise OSError("canary")

    monkeypatch.setattr(filelock.FileLock, "release", fails)
    async with opened(tmp_path / "tokens") as store:
        fetch = shared(store, REQUEST, endpoint)
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-1"]


@contextmanager
def hanging(file: Path) -> Iterator[None]:
    """A file whose reader waits: a pipe that nobody writes to. Afterwards it holds no token."""
    os.mkfifo(file)
    writer = os.open(file, os.O_RDWR)
    try:
        yield
    finally:
        file.unlink()
        os.write(writer, content({}).encode())
        os.close(writer)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
async def test_hangs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that hangs costs no request."""
    endpoint, file = TokenEndpoint(), tmp_path / "tokens"
    async with opened(file, file_patience=0.1, lock_wait=0.01) as store:
        with hanging(file):
            tokens = await asyncio.gather(*(shared(store, REQUEST, endpoint)(NOW, None) for _ in range(20)))
    assert len({token.value for token in tokens}) == 20
    assert len(warnings(caplog)) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
async def test_hangs_one_thread(tmp_path: Path) -> None:
    """A disk that hangs takes one thread, however often it is tried: those that hang cannot be ended."""
    before, file = set(threading.enumerate()), tmp_path / "tokens"

    def hung() -> int:
        return sum(thread.name == "token store" for thread in set(threading.enumerate()) - before)

    async with opened(file, file_patience=0.1) as store:
        with hanging(file):
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await store.read("identity")
                with pytest.raises(TimeoutError):
                    async with store.lock("identity", 0.1):
                        pass
            assert hung() == 1
        while hung():  # noqa: ASYNC110 - it is a thread's end
            await asyncio.sleep(0.01)
        assert await store.read("identity") is None


async def test_stuck_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A lock whose holder is stuck is waited for once, until it is free again."""
    waits = list[float]()
    async with opened(tmp_path / "tokens", lock_wait=0.02) as store:
        lock, fetch = store.lock, shared(store, REQUEST, TokenEndpoint())

        def watched(identity: str, wait: float) -> AbstractAsyncContextManager[bool]:
            waits.append(wait)
            return lock(identity, wait)

        monkeypatch.setattr(store, "lock", watched)
        with filelock.FileLock(tmp_path / f"tokens.lock-{name_of(REQUEST)[-4:]}"):
            for _ in range(3):
                await fetch(NOW, None)
        for _ in range(2):
            await fetch(NOW, None)
    assert waits == [0.2, 0.0, 0.0, 0.0, 0.2]
    assert said(caplog) == []


async def test_folder_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that is removed is not made again: it would be open to all, or below the mount point of another disk."""
    (tmp_path / "folder").mkdir()
    async with opened(tmp_path / "folder" / "tokens") as store:
        (tmp_path / "folder").rmdir()
        fetch = shared(store, REQUEST, TokenEndpoint())
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]
        assert folder(tmp_path) == []
        (tmp_path / "folder").mkdir()
        await works_again(store)
        assert (await fetch(NOW, None)).value == "token-2"
    assert "cannot be used (No such file or directory)" in said(caplog)[0]

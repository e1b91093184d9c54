"""The key of the fingerprints: made once, kept, and never a reason to fail."""

import hashlib
import hmac
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.test import taddons

from credential_injector.oauth import fingerprints
from credential_injector.oauth.fingerprints import fingerprint
from credential_injector.proxy.addon import CredentialInjector

NAME = "credential-injector.key"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user who has just come."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    fingerprints.read_or_make_key.cache_clear()
    yield tmp_path
    fingerprints.read_or_make_key.cache_clear()


def test_keyed(home: Path) -> None:
    """A fingerprint is an HMAC under the user's key, so nobody else can compute it."""
    shown = fingerprint("canary")
    key = bytes.fromhex((home / ".mitmproxy" / NAME).read_text())
    assert len(key) == 32
    assert shown == "sha256:" + hmac.new(key, b"canary", hashlib.sha256).hexdigest()[:12]
    assert shown != "sha256:" + hashlib.sha256(b"canary").hexdigest()[:12]


def test_made_once(home: Path) -> None:
    """The key is for its user alone, and the next process finds it."""
    before = os.umask(0)
    try:
        shown = fingerprint("canary")
    finally:
        os.umask(before)
    (file,) = (home / ".mitmproxy").iterdir()
    assert file.name == NAME
    if os.name == "posix":
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    fingerprints.read_or_make_key.cache_clear()
    assert fingerprint("canary") == shown


def test_read_once(home: Path) -> None:
    """Only the first fingerprint opens a file."""
    shown = fingerprint("canary")
    (home / ".mitmproxy" / NAME).unlink()
    assert fingerprint("canary") == shown
    assert list((home / ".mitmproxy").iterdir()) == []


async def test_read_when_loaded(home: Path) -> None:
    """mitmproxy's start reads the key, so that no request does."""
    with taddons.context(CredentialInjector()):  # type: ignore[no-untyped-call]
        assert (home / ".mitmproxy" / NAME).is_file()


def test_many_processes_make_one_key(home: Path) -> None:
    """Processes that start together agree on a key."""
    program = "from credential_injector.oauth.fingerprints import fingerprint; input(); print(fingerprint('canary'))"
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert said == {fingerprint("canary")}
    assert [file.name for file in (home / ".mitmproxy").iterdir()] == [NAME]


def test_first_key_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that another process makes at the last moment is the one that counts."""
    link = os.link

    def beaten(source: Any, target: Any) -> None:
        Path(target).write_text("ab" * 32)
        Path(target).chmod(0o600)
        link(source, target)

    monkeypatch.setattr(os, "link", beaten)
    shown = fingerprint("canary")
    assert shown == "sha256:" + hmac.new(b"\xab" * 32, b"canary", hashlib.sha256).hexdigest()[:12]
    assert [file.name for file in (home / ".mitmproxy").iterdir()] == [NAME]


def no_folder(home: Path, _patch: pytest.MonkeyPatch) -> None:
    (home / ".mitmproxy").write_text("a file")


def no_file(home: Path, _patch: pytest.MonkeyPatch) -> None:
    (home / ".mitmproxy" / NAME).mkdir(parents=True)


def damaged(home: Path, _patch: pytest.MonkeyPatch) -> None:
    (home / ".mitmproxy").mkdir()
    (home / ".mitmproxy" / NAME).write_text("ab" * 31)


def no_digits(home: Path, _patch: pytest.MonkeyPatch) -> None:
    (home / ".mitmproxy").mkdir()
    (home / ".mitmproxy" / NAME).write_bytes(b"\xff" * 64)


def no_links(_home: Path, patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    patch.setattr(os, "link", refuse)


def no_home(_home: Path, patch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    patch.setattr(Path, "expanduser", refuse)


@pytest.mark.parametrize("obstacle", [no_folder, no_file, damaged, no_digits, no_links, no_home])
def test_works_without_a_file(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    obstacle: Callable[[Path, pytest.MonkeyPatch], None],
) -> None:
    """Where the key cannot be read or made, one of the process serves, and the log says so once."""
    obstacle(home, monkeypatch)
    before = sorted(home.rglob("*"))
    assert fingerprint("canary") == fingerprint("canary") != fingerprint("another")
    (line,) = caplog.messages
    assert f"{NAME} cannot be used (" in line
    assert set(home.rglob("*")) - set(before) <= {home / ".mitmproxy"}
    fingerprints.read_or_make_key.cache_clear()
    other = fingerprint("canary")
    fingerprints.read_or_make_key.cache_clear()
    assert fingerprint("canary") != other


@pytest.mark.skipif(os.name != "posix", reason="files have no modes")
def test_others_can_read(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A key that other users can read is told, with the command that mends it."""
    fingerprint("canary")
    (home / ".mitmproxy" / NAME).chmod(0o644)
    fingerprints.read_or_make_key.cache_clear()
    fingerprint("canary")
    assert caplog.messages == [
        f"other users of this machine can read secrets; run: chmod 600 {home / '.mitmproxy' / NAME}"
    ]

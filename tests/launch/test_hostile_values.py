"""Values and names that would run commands, if they were not quoted."""

import os
import subprocess
from pathlib import Path

import pytest

from credential_injector.launch.files import write_files
from credential_injector.launch.shells import SHELLS
from tests.certificates import Authority

HOSTILE = "a'; touch ran; '$(touch ran)`touch ran`\"\n\\"


def test_posix_shell(tmp_path: Path) -> None:
    """A shell takes the value as it is."""
    line = SHELLS["bash"]("VALUE", HOSTILE)
    told = subprocess.run(
        ["sh", "-c", 'eval "$LINE"; printf %s "$VALUE"'],
        env={**os.environ, "LINE": line},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == HOSTILE
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("quote", ["'", "\u2018", "\u2019", "\u201a", "\u201b"])
def test_powershell(quote: str) -> None:
    """PowerShell ends a text at each of these, and takes two of them for one (about_Quoting_Rules)."""
    assert SHELLS["powershell"]("VALUE", f"a{quote}; b") == f"$Env:VALUE = 'a{quote * 2}; b'"


@pytest.mark.skipif(os.name != "posix", reason="a script for POSIX's shell")
def test_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's name is no command, and a relative entry of PATH names no browser."""
    folder = tmp_path / "a$(touch ran)\"'`touch ran`"
    folder.mkdir()
    for place in ("bin", "relative"):
        (tmp_path / place).mkdir()
        browser = tmp_path / place / "chromium"
        browser.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$@"\n')
        browser.chmod(0o700)
    ca = tmp_path / "ca.pem"
    ca.write_text(Authority().certificate)
    monkeypatch.chdir(tmp_path)
    files = write_files(folder, ca, {"PATH": f"relative:.:{tmp_path / 'bin'}:/usr/bin:/bin"})
    told = subprocess.run(
        [files.programs / "chromium", "page"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    started, *arguments = told.stdout.splitlines()
    assert started == str(tmp_path / "bin" / "chromium")
    assert f"--user-data-dir={files.programs / 'profile'}" in arguments
    assert arguments[-1] == "page"
    assert not (tmp_path / "ran").exists()

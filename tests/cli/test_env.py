"""`credential-injector env`."""

import os
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.cli.conftest import Run


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
@pytest.mark.parametrize("planted", ["link", "writable"])
def test_planted_folder(run: Run, tmp_path: Path, planted: str) -> None:
    """Programs in it come first on PATH, so one that others can change is refused, and nothing is written there."""
    ca, theirs = tmp_path / "ca.pem", tmp_path / "theirs"
    ca.write_text(Authority().certificate)
    theirs.mkdir()
    theirs.chmod(0o777)
    folder = tmp_path / "credential-injector-env"
    if planted == "link":
        folder.symlink_to(theirs)
    else:
        theirs.rename(folder)
    ran = run("env", "--ca", str(ca))
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert "can be changed by other users" in ran.stderr
    assert not list(folder.iterdir())

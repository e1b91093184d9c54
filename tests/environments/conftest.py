"""What the tests of env files share."""

from pathlib import Path

import pytest


@pytest.fixture
def envs(tmp_path: Path) -> Path:
    """A folder for env files."""
    folder = tmp_path / "envs"
    folder.mkdir()
    return folder

"""What the tests of launch/ share."""

from pathlib import Path

import pytest

from tests.certificates import Authority


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """A certificate as mitmproxy's."""
    return certificate(tmp_path / "mitmproxy" / "mitmproxy-ca-cert.pem")


def certificate(file: Path) -> Path:
    """A new authority's, in a file of its own."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(Authority().certificate)
    return file

"""What every test may use."""

import os
import shutil

import pytest

# This machine's settings must not decide how a client in a test finds its proxy or whom it trusts.
for _name in list(os.environ):
    if _name.lower().endswith("_proxy") or "CA_BUNDLE" in _name or _name.startswith("SSL_CERT") or "CA_CERTS" in _name:
        del os.environ[_name]


def tool(name: str, *, package: str) -> str:
    """The path of a program that a test needs. Without it the test is skipped by name; in CI it fails."""
    path = shutil.which(name)
    if path is None:
        missing = f"{name} is not installed (package {package})"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return path

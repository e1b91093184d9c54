"""Which mitmproxy needs the guard, and for which port; tests/e2e/test_start.py drives it."""

import pytest

from credential_injector.proxy import web_guard


@pytest.mark.parametrize(
    ("version", "needed"),
    [
        ("11.0.2", True),
        ("11.1.1", True),
        ("11.1.2", False),
        ("11.1.10", False),
        ("12.2.3", False),
        ("13.0.0.dev", False),
    ],
)
def test_is_needed(version: str, needed: bool) -> None:
    """mitmweb has a login since 11.1.2."""
    assert web_guard.is_needed(version) == needed


def test_port_0() -> None:
    """A port that is chosen at the start cannot be guarded."""
    web_guard.refuse_any_port(8081)
    with pytest.raises(ValueError, match="name one, or use mitmproxy 12"):
        web_guard.refuse_any_port(0)

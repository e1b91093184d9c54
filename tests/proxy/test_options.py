"""What mitmproxy's own options mean for the add-on. tests/e2e drives the rest."""

import pytest
from mitmproxy.test import taddons

from credential_injector.proxy import options


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "127.0.0.1"),
        ("::1", "[::1]"),
        ("web.test", "web.test"),
    ],
)
async def test_page(host: str, shown: str) -> None:
    """The page is told by an address that can be opened."""
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        context.options.add_option("web_host", str, host, "")
        context.options.add_option("web_port", int, 8081, "")
        assert options.page() == f"http://{shown}:8081/inject"
        assert options.see() == f". See it: http://{shown}:8081/inject"


async def test_no_page() -> None:
    """mitmdump has none."""
    with taddons.context():  # type: ignore[no-untyped-call]
        assert options.page() == options.see() == ""

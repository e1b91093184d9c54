"""Which TLS connections pass unopened. Real ones: tests/e2e/test_inject_only.py."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons

from credential_injector.environments.folder import open_folder
from credential_injector.proxy.routes import Routes
from credential_injector.proxy.unopened import passes_unopened

API, OTHER = "api.example.com", "other.example.com"


@pytest.fixture
def routes(tmp_path: Path) -> Routes:
    text = f"HOST=https://{API},https://*.wild.example.com\nGRANT_TYPE=static\nVALUE=canary-value\n"
    (tmp_path / "qa.env").write_text(text)
    (tmp_path / "qa.env").chmod(0o600)
    routes = Routes()
    routes.load(open_folder(str(tmp_path)), None)
    return routes


def hello(dialled: str | None, sni: str | None, mode: str = "regular") -> Any:
    address = (dialled, 443) if dialled is not None else None
    client = SimpleNamespace(proxy_mode=ProxyMode.parse(mode))
    context = SimpleNamespace(server=SimpleNamespace(address=address), client=client)
    return SimpleNamespace(context=context, client_hello=SimpleNamespace(sni=sni))


@pytest.mark.parametrize(
    ("dialled", "sni", "mode", "passes"),
    [
        (OTHER, OTHER, "regular", True),
        (OTHER, None, "regular", True),
        (API, API, "regular", False),
        (API, OTHER, "regular", False),
        (OTHER, API, "regular", False),
        ("192.0.2.7", API, "transparent", False),
        ("192.0.2.7", None, "transparent", True),
        ("API.Example.COM.", None, "regular", False),
        ("a.wild.example.com", None, "regular", False),
        ("wild.example.com", None, "regular", True),
        (f"{API}.evil.example", None, "regular", True),
        (None, OTHER, "regular", False),
        (OTHER, OTHER, f"reverse:https://{OTHER}", False),
        ("mitm.it", "mitm.it", "regular", False),
    ],
)
async def test_passes(routes: Routes, dialled: str | None, sni: str | None, mode: str, passes: bool) -> None:
    """By the dialled name and the SNI; never TLS that ends at the proxy itself."""
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        context.options.add_option("onboarding_host", str, "mitm.it", "")
        assert passes_unopened(hello(dialled, sni, mode), routes) is passes

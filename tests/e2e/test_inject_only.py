"""The option inject_only: TLS of hosts that no file names passes unopened."""

import pytest

from tests.e2e.conftest import Curl, Stage

CONFIGURED, OTHER = "api.qa.test", "other.qa.test"


@pytest.mark.parametrize("mode", ["regular", "socks5"])
def test_unopened(stage: Stage, curl: Curl, mode: str) -> None:
    """A client that trusts only the other host's own authority reaches it; the configured one is opened."""
    stage.env(f"https://{CONFIGURED}:{stage.https_port}")
    proxy = stage.mitmdump("--mode", mode, inject_only="true")
    way = ["--proxy", proxy.url if mode == "regular" else proxy.url.replace("http", "socks5h")]
    pinned = curl(*way, "--cacert", str(stage.ca), f"https://{OTHER}:{stage.https_port}/orders")
    assert pinned.status == 401
    assert "error_description" in pinned.headers or "Bearer" in pinned.headers
    opened = curl(*way, "--cacert", str(stage.mitmproxy_ca), f"https://{CONFIGURED}:{stage.https_port}/orders")
    assert opened.status == 200
    refused = curl(*way, "--cacert", str(stage.ca), f"https://{CONFIGURED}:{stage.https_port}/orders", check=False)
    assert "orders" not in refused.body
    assert not any(OTHER in line for line in proxy.log if "GET" in line)


@pytest.mark.parametrize("name", ["API.QA.TEST", "api.qa.test."])
def test_spelling(stage: Stage, curl: Curl, name: str) -> None:
    """A configured host is opened, however the client spells it."""
    stage.env(f"https://{CONFIGURED}:{stage.https_port}")
    proxy = stage.mitmdump(inject_only="true")
    words = ["--proxy", proxy.url, "--cacert", str(stage.mitmproxy_ca)]
    assert curl(*words, f"https://{name}:{stage.https_port}/orders").status == 200


def test_unset(stage: Stage, curl: Curl) -> None:
    """By default every host is opened."""
    stage.env(f"https://{CONFIGURED}:{stage.https_port}")
    proxy = stage.mitmdump()
    url = f"https://{OTHER}:{stage.https_port}/orders"
    assert curl("--proxy", proxy.url, "--cacert", str(stage.mitmproxy_ca), url).status == 401


def test_named_later(stage: Stage, curl: Curl) -> None:
    """The next connection to a host that a file comes to name is opened."""
    stage.env(f"https://{CONFIGURED}:{stage.https_port}")
    proxy = stage.mitmdump(inject_only="true")
    url = f"https://{OTHER}:{stage.https_port}/orders"
    assert curl("--proxy", proxy.url, "--cacert", str(stage.ca), url).status == 401
    stage.env(f"https://{OTHER}:{stage.https_port}", name="other")
    proxy.wait_for(r"other: https://other")
    assert curl("--proxy", proxy.url, "--cacert", str(stage.mitmproxy_ca), url).status == 200

"""Many environments, few file descriptors."""

from typing import Any

import requests

from credential_injector.demo.processes import mitmproxy
from credential_injector.demo.servers import serve
from tests.e2e.conftest import RESOLVE_TEST, Stage
from tests.fakes import http, keeping

ENVIRONMENTS = 150
DESCRIPTORS = 100


def api(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    good = environ.get("HTTP_AUTHORIZATION") == "Bearer abc"
    start_response("200 OK" if good else "403 Forbidden", [("Content-Length", "0")])
    return []


def test_few_descriptors(stage: Stage) -> None:
    """More environments than file descriptors get their tokens over TLS: they share a connection to the server."""
    answer = http(200, {"access_token": "abc", "expires_in": 3600}, keep=True)
    endpoint, seen = stage.enter(keeping(answer, stage.tls))
    origin = stage.enter(serve(api))
    for number in range(ENVIRONMENTS):
        stage.env(f"{origin}/{number}", f"TOKEN_ENDPOINT={endpoint}", f"CLIENT_ID={number}", name=f"e{number}")
    limited = ["sh", "-c", f'ulimit -n {DESCRIPTORS} && exec "$@"', "sh"]
    words = ["-s", str(RESOLVE_TEST), *stage.options({})]
    proxy = stage.enter(mitmproxy("mitmdump", *words, folder=stage.folder, inside=limited))
    with requests.Session() as client:
        client.trust_env = False
        client.proxies = {"http": proxy.url}
        statuses = [client.get(f"{origin}/{number}/a", timeout=30).status_code for number in range(ENVIRONMENTS)]
    assert statuses == [200] * ENVIRONMENTS
    assert len(seen.heads) == ENVIRONMENTS
    assert seen.connections == 1

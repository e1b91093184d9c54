"""Refresh tokens that are replaced with each use: one that is shown twice ends the login."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.e2e.conftest import Stage
from tests.e2e.issuer import TOKEN_PATH, Issuer, issuer


@pytest.fixture
def server() -> Iterator[Issuer]:
    with issuer() as server:
        yield server


def env(stage: Stage, server: Issuer, *lines: str, name: str = "qa", host: str = "") -> None:
    stage.env(
        host or server.origin,
        f"TOKEN_ENDPOINT={server.origin}{TOKEN_PATH}",
        "GRANT_TYPE=refresh_token",
        "REFRESH_TOKEN=first",
        *lines,
        name=name,
    )


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_two_ways(stage: Stage, server: Issuer, kind: str) -> None:
    """Two files that differ in TIMEOUT alone, used at once and one after the other, show no refresh token twice."""
    server.lifetime = 3
    apis = [server.origin, server.origin.replace("127.0.0.1", "localhost")]
    for number, api in enumerate(apis):
        env(stage, server, f"TIMEOUT={8 + number}", name=f"qa{number}", host=api)
    proxy = stage.mitmdump(inject_tokens="memory" if kind == "memory" else str(stage.folder / "tokens.json"))

    def get(api: str) -> str:
        with requests.Session() as session:
            session.proxies = {"http": proxy.url}
            answer = session.get(f"{api}/orders", timeout=60)
            return f"{answer.status_code} {answer.text}".strip()

    def asks_again() -> None:
        seen = len(server.shown)
        while len(server.shown) == seen:
            assert [get(api) for api in apis] == ["200", "200"]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(get, apis * 4)) == {"200"}
    asks_again()
    asks_again()
    assert len(set(server.shown)) == len(server.shown)
    assert server.refused == []

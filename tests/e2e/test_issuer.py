"""An issuer whose host is itself covered by HOST: whoever asks it for a token brings a credential of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import Curl, Stage
from tests.e2e.issuer import TOKEN_PATH, Issuer, issuer
from tests.e2e.test_token_store import redis_server

OWN = "Basic bXk6b3du"


@pytest.fixture
def server() -> Iterator[Issuer]:
    with issuer() as server:
        yield server


@contextmanager
def store(kind: str, stage: Stage) -> Iterator[str]:
    if kind == "redis":
        with redis_server() as (url, _):
            yield url
    else:
        yield "memory" if kind == "memory" else str(stage.folder / "tokens.json")


@pytest.mark.parametrize("path", [TOKEN_PATH, "/mtls/token"])
@pytest.mark.parametrize("kind", ["memory", "file", "redis"])
def test_own_credential(stage: Stage, curl: Curl, server: Issuer, kind: str, path: str) -> None:
    """A client keeps its own credential at the token endpoint, in a proxy's first request there and in later ones."""
    stage.env(server.origin, *server.env, without="TOKEN_ENDPOINT")
    with store(kind, stage) as where:
        for _ in range(2):
            with stage.mitmproxy("mitmdump", inject_tokens=where) as proxy:
                for _ in range(2):
                    words = ["--proxy", proxy.url, "-H", f"Authorization: {OWN}", "-d", "grant_type=client_credentials"]
                    assert curl(*words, server.origin + path).status == 200
                assert curl("--proxy", proxy.url, f"{server.origin}/orders").status == 200
    ours = 2 if kind == "memory" else 1
    assert sorted(server.credentials, key=str) == [OWN] * 4 + [None] * ours

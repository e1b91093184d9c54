"""Fixtures of the tests of token stores."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tokens.stores import RedisServer, client, redis_server

__all__ = ["redis_server"]


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


@pytest.fixture
async def redis(redis_server: RedisServer) -> RedisServer:
    """An empty one."""
    async with client(redis_server) as connected:
        await connected.flushall()
    return redis_server


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """One that a test may kill."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["file", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return str(tmp_path / "tokens.json")
    server: RedisServer = request.getfixturevalue("redis")
    return server.url

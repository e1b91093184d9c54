"""The store in Redis."""

import asyncio
import dataclasses
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from credential_injector.oauth.request import TokenRequest
from credential_injector.tokens import file_store
from credential_injector.tokens import store as token_store
from credential_injector.tokens.sharing import Fetch, shared
from tests.certificates import Authority
from tests.fakes import hanging_name_server
from tests.tokens.stores import (
    NOW,
    OTHER,
    REQUEST,
    RedisServer,
    TokenEndpoint,
    client,
    entry,
    name_of,
    opened,
    said,
    warnings,
    works_again,
)


async def test_life(redis: RedisServer) -> None:
    """A token in Redis lives as long as it does."""
    async with client(redis) as connected, opened(redis.url) as store:
        await shared(store, REQUEST, TokenEndpoint(lifetime=100.5))(NOW, None)
        keys = await connected.keys()
        assert keys == [f"credential-injector:{name_of(REQUEST)}".encode()]
        assert 95_000 < await connected.pttl(keys[0]) <= 100_500
        assert json.loads(await connected.get(keys[0])) == entry("token-1", NOW, NOW + 100.5)


async def test_lock_life(redis: RedisServer) -> None:
    """A killed proxy's lock soon ends by itself, and that of a slow token request is renewed."""
    assert token_store.DEFAULT_LIMITS.lock_life <= 3.0
    endpoint, key = TokenEndpoint(), f"credential-injector:{name_of(REQUEST)}:lock"
    endpoint.may_answer.clear()
    async with (
        client(redis) as connected,
        opened(redis.url, lock_life=0.6) as one,
        opened(redis.url, lock_life=0.6) as two,
    ):
        asking = asyncio.ensure_future(shared(one, REQUEST, endpoint)(NOW, None))
        await endpoint.asked.wait()
        waits = asyncio.ensure_future(shared(two, REQUEST, endpoint)(NOW, None))
        left, renewed = await connected.pttl(key), 0
        assert 0 < left <= 600
        while renewed < 4:
            before, left = left, await connected.pttl(key)
            assert left > 0
            renewed += left > before
            await asyncio.sleep(0.01)
        assert not waits.done()
        endpoint.may_answer.set()
        assert [(await one).value for one in (asking, waits)] == ["token-1", "token-1"]
        assert await connected.exists(key) == 0
    assert endpoint.requests == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGSTOP")
async def test_lock_after_pause(own_redis: RedisServer) -> None:
    """A lock that Redis gave after its pause is freed: whoever asked for it has gone on without it."""
    assert own_redis.process is not None
    async with (
        opened(own_redis.url, redis_patience=0.2, lock_life=60.0) as store,
        client(own_redis) as connected,
    ):
        await shared(store, OTHER, TokenEndpoint())(NOW, None)
        own_redis.process.send_signal(signal.SIGSTOP)
        try:
            assert (await shared(store, REQUEST, TokenEndpoint())(NOW, None)).value == "token-1"
        finally:
            own_redis.process.send_signal(signal.SIGCONT)
        await works_again(store)
        assert await connected.exists(f"credential-injector:{name_of(REQUEST)}:lock") == 0
        assert (await shared(store, REQUEST, TokenEndpoint("another"))(NOW, None)).value == "token-1"


async def test_other_type(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """A value of another type or size is replaced."""
    key = f"credential-injector:{name_of(REQUEST)}"
    async with client(redis) as connected, opened(redis.url, largest_value=1000) as store:
        for hostile in (connected.rpush(key, "a list"), connected.set(key, json.dumps(entry("x" * 1000)))):
            await connected.delete(key)
            await hostile
            fetch = shared(store, REQUEST, TokenEndpoint())
            assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-1"]
    assert said(caplog) == []


async def test_killed(own_redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Redis that is killed under load costs no request."""
    requests = [dataclasses.replace(REQUEST, client_id=str(number)) for number in range(10)]
    endpoints = {request: TokenEndpoint(request.client_id) for request in requests}
    async with opened(own_redis.url) as one, opened(own_redis.url) as two:
        fetches: list[tuple[TokenRequest, Fetch]] = [
            (request, shared(store, request, endpoints[request])) for request in requests for store in (one, two)
        ]
        for endpoint in endpoints.values():
            endpoint.may_answer.clear()
        under_way = [asyncio.ensure_future(fetch(NOW, None)) for _, fetch in fetches]
        await asyncio.gather(*(endpoint.asked.wait() for endpoint in endpoints.values()))
        own_redis.kill()  # half of them ask, half of them wait for the lock
        for endpoint in endpoints.values():
            endpoint.may_answer.set()
        tokens = [*await asyncio.gather(*under_way), *await asyncio.gather(*(fetch(NOW, None) for _, fetch in fetches))]
        assert len(tokens) == 40
        for (request, _), token in zip(fetches * 2, tokens, strict=True):
            assert token.value.startswith(f"{request.client_id}-")
        assert len(warnings(caplog)) == 2, "one for each proxy"
        caplog.clear()
        own_redis.start()
        asked = sum(endpoint.requests for endpoint in endpoints.values())
        for store in (one, two):
            await works_again(store)
        assert all([(await fetch(NOW, None)).stored for _, fetch in fetches])
        assert sum(endpoint.requests for endpoint in endpoints.values()) == asked, "what came meanwhile is stored"
        assert said(caplog) == ["inject_tokens: Redis can be used again"] * 2
        assert warnings(caplog) == []


@contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


async def test_slow(caplog: pytest.LogCaptureFixture) -> None:
    """A slow Redis costs no request and little time."""
    began = asyncio.get_running_loop().time()
    with silent_server() as port:
        async with opened(f"redis://:canary@127.0.0.1:{port}", redis_patience=0.2) as store:
            fetch = shared(store, REQUEST, TokenEndpoint())
            assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]
    assert asyncio.get_running_loop().time() - began < 2
    assert len(warnings(caplog)) == 1
    assert "canary" not in caplog.text


async def test_name_server(caplog: pytest.LogCaptureFixture) -> None:
    """A name server that hangs costs no request, and no thread of those that the process waits for at its end."""
    began = asyncio.get_running_loop().time()
    with hanging_name_server("redis.test") as asking:
        async with opened("redis://:canary@redis.test", redis_patience=0.2) as store:
            fetch = shared(store, REQUEST, TokenEndpoint())
            assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]
        assert asking
        assert all(thread.daemon for thread in asking)
    assert asyncio.get_running_loop().time() - began < 2
    assert "Redis cannot be used (no answer in time)" in caplog.text


@pytest.mark.parametrize(("name", "works"), [("localhost", True), ("127.0.0.1", False)])
async def test_tls(tmp_path: Path, name: str, works: bool) -> None:
    """A rediss:// server proves the name that the URL has, whatever its address is."""
    authority = Authority()
    (tmp_path / "ca.pem").write_text(authority.certificate)
    certificate = authority.file(tmp_path, "server", name)
    server = RedisServer(tmp_path, certificate)
    server.start()
    try:
        url = f"rediss://:canary-password@localhost:{server.port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
        async with opened(url) as store:
            await shared(store, REQUEST, TokenEndpoint())(NOW, None)
            assert store.broken == (not works)
    finally:
        server.kill()


async def test_log(redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing secret is logged."""
    caplog.set_level("DEBUG")
    wrong = redis.url.replace("canary-password", "canary-wrong")
    for where in (redis.url, wrong, f"redis://:canary@127.0.0.1:{redis.port}/99", str(tmp_path / "tokens")):
        async with opened(where) as store:
            await shared(store, REQUEST, TokenEndpoint("canary-token"))(NOW, None)
    (tmp_path / "tokens").write_text("canary")
    async with opened(tmp_path / "tokens") as store:
        await shared(store, REQUEST, TokenEndpoint("canary-token"))(NOW, None)
    assert len(warnings(caplog)) == 3
    assert "canary" not in caplog.text
    assert {record.name for record in caplog.records} <= {token_store.__name__, file_store.__name__, "asyncio"}

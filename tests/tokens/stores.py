"""What the tests of token stores share."""

import asyncio
import dataclasses
import json
import logging
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from credential_injector.oauth.refresh_token import RefreshToken
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken
from credential_injector.tokens import file_store
from credential_injector.tokens import store as token_store
from credential_injector.tokens.open_store import open_store
from credential_injector.tokens.sharing import identify
from credential_injector.tokens.store import Limits, TokenStore
from tests.conftest import tool

ADDON = Path(token_store.__file__).parents[2]
REQUEST = TokenRequest("https://login.test/token", "client", client_secret="canary-secret")
OTHER = dataclasses.replace(REQUEST, client_secret="another")
NOW = 1_700_000_000.0
QUICK = Limits(scrypt_cost=2, probe_every=0.01)


class TokenEndpoint:
    """Answers when it is told to, and counts."""

    def __init__(self, name: str = "token", lifetime: float = 3600.0) -> None:
        self.name = name
        self.lifetime = lifetime
        self.requests = 0
        self.fails_with: BaseException | None = None
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, asked_at: float) -> AccessToken:
        self.requests += 1
        token = AccessToken(f"{self.name}-{self.requests}", asked_at, asked_at + self.lifetime)
        self.asked.set()
        await self.may_answer.wait()
        if self.fails_with is not None:
            raise self.fails_with
        return token


class Rotating(TokenEndpoint):
    """Shows its refresh token, and gets another one each time."""

    def __init__(self) -> None:
        super().__init__()
        self.refresh_token = RefreshToken("first")
        self.shown: list[str] = []

    async def __call__(self, asked_at: float) -> AccessToken:
        self.shown.append(self.refresh_token.value)
        token = await super().__call__(asked_at)
        self.refresh_token.came(f"refresh-{self.requests}")
        return dataclasses.replace(token, refresh_token=self.refresh_token.value)


@asynccontextmanager
async def opened(where: Path | str, **limits: Any) -> AsyncIterator[TokenStore]:
    """A store, with these limits instead of QUICK's."""
    store = open_store(str(where), dataclasses.replace(QUICK, **limits))
    assert store is not None
    try:
        yield store
    finally:
        await store.close()


def name_of(request: TokenRequest) -> str:
    """The name under which QUICK stores keep this request's token."""
    return identify(request, QUICK.scrypt_cost)


async def works_again(store: TokenStore) -> None:
    """Wait until a probe has found that it does."""
    while store.broken:  # noqa: ASYNC110 - it runs beside this
        await asyncio.sleep(0.01)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    stores = token_store.__name__, file_store.__name__
    return [record.getMessage() for record in caplog.records if record.name in stores]


def folder(path: Path) -> list[Path]:
    return list(path.iterdir())


def entry(value: object = "stored", issued_at: object = NOW, expires_at: object = NOW + 3600) -> dict[str, object]:
    return {"access_token": value, "issued_at": issued_at, "expires_at": expires_at}


def content(tokens: Mapping[str, object]) -> str:
    return json.dumps({"version": 1, "tokens": tokens})


def stored_tokens(file: Path) -> dict[str, str]:
    """Identity -> token."""
    return {name: one["access_token"] for name, one in json.loads(file.read_text())["tokens"].items()}


class Broken(TokenStore):
    """Fails where it is told to."""

    def __init__(self, *fails: str) -> None:
        super().__init__("the store", "the store", QUICK)
        self.fails = set(fails)
        self.token: AccessToken | None = None
        self.locked = self.waiting = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    @asynccontextmanager
    async def lock(self, identity: str, wait: float) -> AsyncIterator[bool]:
        self._may_fail("lock")
        self.waiting += 1
        await self.may_go_on.wait()
        self.waiting -= 1
        self.locked += 1
        try:
            yield True
        finally:
            self.locked -= 1

    async def read(self, identity: str) -> AccessToken | None:
        self._may_fail("read")
        return self.token

    async def write(self, identity: str, token: AccessToken, now: float) -> None:
        self._may_fail("write")
        self.token = token

    def _may_fail(self, where: str) -> None:
        if where in self.fails:
            raise RuntimeError("canary")


class RedisServer:
    """A real redis-server on a free port of this machine."""

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        self.folder = folder
        self._certificate = certificate
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://:canary-password@127.0.0.1:{self.port}/3"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        program = tool("redis-server", package="redis-server")
        port = ["--port", str(self.port)]
        if self._certificate is not None:
            file = str(self._certificate)
            port = ["--port", "0", "--tls-port", str(self.port), "--tls-cert-file", file, "--tls-key-file", file]
            port += ["--tls-auth-clients", "no", "--tls-ca-cert-file", file]
        options = [*port, "--bind", "127.0.0.1", "--save", "", "--requirepass", "canary-password"]
        self.process = subprocess.Popen(
            [program, *options], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        assert any("Ready to accept connections" in line for line in self.process.stdout)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@asynccontextmanager
async def client(server: RedisServer) -> AsyncIterator[Any]:
    from redis.asyncio import Redis

    async with Redis.from_url(server.url) as connected:
        yield connected

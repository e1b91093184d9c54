import asyncio
import dataclasses
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import filelock
import pytest

from credential_injector.oauth.fingerprints import fingerprint
from credential_injector.oauth.refresh_token import RefreshToken
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.tokens import file_store, redis_store
from credential_injector.tokens import store as token_store
from credential_injector.tokens.provider import open_store
from credential_injector.tokens.source import TokenSource
from credential_injector.tokens.store import Fetch, TokenStore, identify, keep, shared
from tests.conftest import tool

REQUEST = TokenRequest("https://login.test/token", "client", client_secret="canary-secret")
OTHER = dataclasses.replace(REQUEST, client_secret="another")
NOW = 1_700_000_000.0


@pytest.fixture(autouse=True)
def _cheap_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_store, "SCRYPT_COST", 2)


@pytest.fixture(autouse=True)
def _quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_store, "PROBE_EVERY", 0.01)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


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

    async def __call__(self, asked_at: float, replaces: str | None) -> AccessToken:
        self.requests += 1
        token = AccessToken(f"{self.name}-{self.requests}", asked_at, asked_at + self.lifetime)
        self.asked.set()
        await self.may_answer.wait()
        if self.fails_with is not None:
            raise self.fails_with
        return token


@asynccontextmanager
async def opened(where: Path | str) -> AsyncIterator[TokenStore]:
    store = open_store(str(where))
    assert store is not None
    try:
        yield store
    finally:
        await store.close()


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


# --- What a store is told by ---


def test_memory_is_no_store() -> None:
    assert open_store("memory") is None


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "is not a file"),
        (".", "is not a file"),
        (os.devnull, "is not a file"),
        ("no/such/canary/tokens.json", "in a folder that does not exist, .* or redis://host:6379/0, was expected"),
        ("~no-such-user-canary/tokens.json", "is malformed"),
        ("canary\0", "is malformed"),
        ("canary" * 1000, "is malformed|does not exist"),
        ("http://:canary@host/", "is of no known kind"),
        ("REDIS://:canary@host/", "is of no known kind"),
        ("redis://:canary@host:port", "is malformed"),
        ("redis://:canary@host:99999999", "is malformed"),
        ("redis://:can/ary@host", "is malformed"),
        ("redis://:can#ary@host", "is malformed"),
        ("redis://:can?ary@host", "is malformed"),
        ("redis://can/ary@host", "is malformed"),
        ("redis://host/canary", "is malformed"),
        ("redis://:canary@host/?no_such_option=canary", "is malformed"),
        ("redis://:canary@host/?db=canary", "is malformed"),
        ("redis://[canary", "is malformed"),
        ("unix://canary", "is malformed"),
    ],
)
def test_a_malformed_store_is_told_without_repeating_it(where: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        open_store(where)
    assert "canary" not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or error.value.__context__ is None


@pytest.mark.parametrize(
    "url", ["redis://", "redis://:canary@host:1/2", "rediss://u:canary@host", "unix:///tmp/s?db=1"]
)
async def test_a_store_shows_no_password(url: str) -> None:
    async with opened(url) as store:
        assert "canary" not in f"{store!r}{store}"


async def test_a_rediss_server_has_to_prove_its_name() -> None:
    async with opened("rediss://host") as store:
        options = vars(store)["_client"].connection_pool.connection_kwargs
        assert options["ssl_check_hostname"] is True


def test_without_the_package_redis_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("redis", "redis.asyncio"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=re.escape("pip install 'mitmproxy-credential-injector[redis]'")):
        open_store("redis://:canary@host")


def test_redis_is_imported_for_a_redis_url_only(tmp_path: Path) -> None:
    program = (
        "import sys; from credential_injector.tokens.provider import open_store; open_store(sys.argv[1]);"
        "sys.exit('redis' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "tokens")], check=True, timeout=30)


async def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    async with opened("~/tokens.json") as store:
        await shared(store, REQUEST, TokenEndpoint())(NOW, None)
    assert (tmp_path / "tokens.json").exists()


# --- Whose token it is ---


def test_every_field_of_a_token_request_is_part_of_its_identity() -> None:
    requests = [REQUEST]
    for field in (field for field in dataclasses.fields(TokenRequest) if field.compare):
        changed: Any = f"{getattr(REQUEST, field.name)}x"
        if field.name in ("audience", "resource"):
            changed = ("a", "b")
        elif field.name in ("params", "headers", "values"):
            changed = (("a", "b"),)
        requests.append(dataclasses.replace(REQUEST, **{field.name: changed}))
    requests.append(dataclasses.replace(REQUEST, audience=("a,b",)))
    requests.append(dataclasses.replace(REQUEST, params=(("a", "b"), ("c", "d"))))
    requests.append(dataclasses.replace(REQUEST, client_secret="\udcff"))
    assert len({identify(request) for request in requests}) == len(requests)
    assert identify(REQUEST) == identify(dataclasses.replace(REQUEST))


def test_an_identity_has_a_version_and_costs_what_a_password_hash_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert token_store.SCRYPT_COST >= 2**14
    assert re.fullmatch(r"v1-[0-9a-f]{64}", identify(REQUEST))


async def test_an_identity_is_computed_once_and_not_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed_in = []

    def slow(request: TokenRequest) -> str:
        computed_in.append(threading.current_thread())
        return identify(request)

    monkeypatch.setattr(token_store, "identify", slow)
    async with opened(tmp_path / "tokens") as store:
        fetch = shared(store, REQUEST, TokenEndpoint())
        assert computed_in == []
        await fetch(NOW, None)
        await fetch(NOW, None)
    assert len(computed_in) == 1
    assert computed_in[0] is not threading.current_thread()


# --- What every store does: a file, and Redis ---


class RedisServer:
    """A real redis-server on a free port of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://:canary-password@127.0.0.1:{self.port}/3"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        program = tool("redis-server", package="redis-server")
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--requirepass", "canary-password"]
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


@pytest.fixture(scope="module")
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


async def test_a_token_outlives_the_process_with_its_own_times(where: str, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = TokenEndpoint()
    async with opened(where) as store:
        fetched = await shared(store, REQUEST, endpoint)(NOW, None)
    async with opened(where) as store:
        stored = await shared(store, REQUEST, endpoint)(NOW + 600.5, None)
    assert (fetched.value, fetched.stored) == ("token-1", False)
    assert (stored.value, stored.stored) == ("token-1", True)
    assert (stored.issued_at, stored.expires_at) == (NOW, NOW + 3600)
    assert endpoint.requests == 1
    assert said(caplog) == []


async def test_a_token_source_says_that_its_token_comes_from_the_store(where: str) -> None:
    endpoint = TokenEndpoint()
    async with opened(where) as store:
        for source in ("fetched", "store"):
            tokens = TokenSource(shared(store, REQUEST, endpoint), clock=lambda: NOW)
            assert (await tokens.token()).source == source
    assert endpoint.requests == 1


async def test_no_token_of_another_identity_comes_back(where: str) -> None:
    mine, others = TokenEndpoint("mine"), TokenEndpoint("others")
    async with opened(where) as store:
        await shared(store, OTHER, others)(NOW, None)
        assert (await shared(store, REQUEST, mine)(NOW, None)).value == "mine-1"
        assert (await shared(store, REQUEST, mine)(NOW, None)).value == "mine-1"
        assert (await shared(store, OTHER, others)(NOW, None)).value == "others-1"


async def test_a_stored_token_that_is_to_be_replaced_is_not_taken(where: str) -> None:
    endpoint = TokenEndpoint()
    async with opened(where) as store:
        fetch = shared(store, REQUEST, endpoint)
        first = await fetch(NOW, None)
        second = await fetch(NOW, first.fingerprint)
        again = await fetch(NOW, first.fingerprint)
    assert (second.value, second.stored) == ("token-2", False)
    assert (again.value, again.stored) == ("token-2", True)


ISSUED = TokenRequest(issuer="https://login.test", client_id="client")
ENDPOINTS = ("https://login.test/token", "https://mtls.login.test/token")


async def test_the_token_endpoint_that_an_issuer_published_is_stored_with_the_token(where: str) -> None:
    """Whoever takes the token knows where clients bring credentials of their own."""
    fetched = AccessToken("token", NOW, NOW + 3600, endpoints=ENDPOINTS)
    async with opened(where) as store:
        await keep(store, ISSUED, fetched)
        taken = await shared(store, ISSUED, TokenEndpoint())(NOW, None)
    assert (taken.stored, taken.value, taken.endpoints) == (True, "token", ENDPOINTS)


async def test_a_stored_token_of_an_issuer_without_its_endpoint_is_not_taken(where: str) -> None:
    """An older release stored it; its refresh token still counts."""
    endpoint = Rotating()
    async with opened(where) as store:
        await keep(store, ISSUED, AccessToken("old", NOW, NOW + 3600, refresh_token="stored"))
        assert (await shared(store, ISSUED, endpoint, endpoint.refresh_token)(NOW, None)).value == "token-1"
    assert endpoint.shown == ["stored"]


async def test_a_stored_token_near_its_end_is_not_taken(where: str) -> None:
    endpoint = TokenEndpoint()
    async with opened(where) as store:
        fetch = shared(store, REQUEST, endpoint)
        token = await fetch(NOW, None)
        assert (await fetch(token.refresh_from - 0.001, None)).value == "token-1"
        assert (await fetch(token.refresh_from, None)).value == "token-2"


async def test_a_token_that_lives_for_a_second_is_not_taken_after_its_end(where: str) -> None:
    endpoint = TokenEndpoint(lifetime=1.0)
    async with opened(where) as store:
        fetch = shared(store, REQUEST, endpoint)
        await fetch(NOW, None)
        assert (await fetch(NOW + 0.95, None)).value == "token-2"


async def test_a_clock_that_is_a_little_behind_another_machine_s_costs_no_token_request(where: str) -> None:
    endpoint = TokenEndpoint()
    async with opened(where) as store:
        await shared(store, REQUEST, endpoint)(NOW + 5, None)
        behind = await shared(store, REQUEST, endpoint)(NOW, None)
        # TokenSource takes no token of its future.
        assert (behind.value, behind.issued_at, behind.expires_at) == ("token-1", NOW, NOW + 3605)
        far_behind = await shared(store, REQUEST, endpoint)(NOW - 10, None)
        assert far_behind.value == "token-2"


async def test_a_token_without_an_end_in_sight_is_asked_for_again(where: str) -> None:
    endpoint = TokenEndpoint(lifetime=float("inf"))
    async with opened(where) as store:
        fetch = shared(store, REQUEST, endpoint)
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]


async def test_a_token_that_had_expired_when_it_came_is_not_stored(where: str) -> None:
    endpoint = TokenEndpoint(lifetime=0.0)
    async with opened(where) as store:
        fetch = shared(store, REQUEST, endpoint)
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]


async def test_the_longest_lifetime_is_not_too_long_for_the_store(where: str) -> None:
    endpoint = TokenEndpoint(lifetime=365 * 86400.0)
    async with opened(where) as store:
        fetch = shared(store, REQUEST, endpoint)
        assert [(await fetch(NOW + 0.1, None)).value for _ in range(2)] == ["token-1", "token-1"]


class Rotating(TokenEndpoint):
    """Shows its refresh token, and gets another one each time."""

    def __init__(self) -> None:
        super().__init__()
        self.refresh_token = RefreshToken("first")
        self.shown: list[str] = []

    async def __call__(self, asked_at: float, replaces: str | None) -> AccessToken:
        self.shown.append(self.refresh_token.value)
        token = await super().__call__(asked_at, replaces)
        self.refresh_token.came(f"refresh-{self.requests}")
        return dataclasses.replace(token, refresh_token=self.refresh_token.value)


async def test_a_refresh_token_outlives_the_process_and_its_access_token(where: str) -> None:
    shown = []
    for now in (NOW, NOW + 7200):
        endpoint = Rotating()
        async with opened(where) as store:
            await shared(store, OTHER, TokenEndpoint(lifetime=1.0))(now, None)  # which writes the file anew
            await shared(store, REQUEST, endpoint, endpoint.refresh_token)(now, None)
        shown += endpoint.shown
    assert shown == ["first", "refresh-1"]


async def test_a_refresh_token_is_kept_for_a_year(tmp_path: Path, redis: RedisServer) -> None:
    year, endpoint, file = 365 * 86400, Rotating(), tmp_path / "tokens"
    async with client(redis) as connected, opened(redis.url) as store:
        await shared(store, REQUEST, endpoint)(NOW, None)
        assert year - 60 < await connected.ttl(f"credential-injector:{identify(REQUEST)}") <= year
    async with opened(file) as store:
        await shared(store, REQUEST, endpoint)(NOW, None)
        for now, names in ((NOW + year - 7200, 2), (NOW + year, 1)):
            await shared(store, OTHER, TokenEndpoint())(now, None)
            assert len(stored_tokens(file)) == names


async def test_the_refresh_token_that_another_proxy_got_is_shown(where: str) -> None:
    endpoints = [Rotating(), Rotating()]
    async with opened(where) as store:
        fetches = [shared(store, REQUEST, endpoint, endpoint.refresh_token) for endpoint in endpoints]
        token = await fetches[0](NOW, None)
        for turn in (1, 0, 1):
            token = await fetches[turn](NOW, token.fingerprint)
    assert endpoints[0].shown == ["first", "refresh-1"]
    assert endpoints[1].shown == ["refresh-1", "refresh-2"]


@pytest.mark.parametrize("fails", ["lock", "read", "write"])
async def test_a_refresh_token_that_could_not_be_stored_is_not_replaced_by_the_stored_one(fails: str) -> None:
    endpoint, store = Rotating(), Broken()
    fetch = shared(store, REQUEST, endpoint, endpoint.refresh_token)
    await fetch(NOW, None)
    store.fails.add(fails)
    await fetch(NOW, fingerprint("token-1"))
    store.fails.clear()
    await works_again(store)
    assert store.token is not None
    assert store.token.refresh_token == "refresh-2"
    await fetch(NOW, fingerprint("token-2"))
    assert endpoint.shown == ["first", "refresh-1", "refresh-2"]
    assert store.token.refresh_token == "refresh-3"


@pytest.mark.parametrize("fails", ["read", "write"])
async def test_a_refresh_token_of_a_new_login_counts_even_where_ours_could_not_be_stored(fails: str) -> None:
    endpoint, store = Rotating(), Broken()
    fetch = shared(store, REQUEST, endpoint, endpoint.refresh_token)
    token = await fetch(NOW, None)
    store.fails.add(fails)
    await fetch(NOW, token.fingerprint)
    store.fails.clear()
    await keep(store, REQUEST, dataclasses.replace(token, refresh_token="of-another-login"))
    await works_again(store)
    await fetch(NOW, token.fingerprint)
    assert endpoint.shown == ["first", "refresh-1", "of-another-login"]


async def test_two_sources_of_one_login_show_no_refresh_token_twice() -> None:
    """Not even where one of them could not store what came for it."""
    endpoint, store = Rotating(), Broken()
    fetches = [shared(store, REQUEST, endpoint, endpoint.refresh_token) for _ in range(2)]
    await fetches[0](NOW, None)
    store.fails.add("write")
    await fetches[0](NOW, fingerprint("token-1"))
    store.fails.clear()
    await works_again(store)
    await fetches[1](NOW, fingerprint("token-2"))
    assert endpoint.shown == ["first", "refresh-1", "refresh-2"]


async def test_a_failure_tells_where_a_login_is_looked_for(where: str) -> None:
    async def refused(asked_at: float, replaces: str | None) -> AccessToken:
        raise NoToken("login_required", "nobody has logged in")

    async with opened(where) as store:
        with pytest.raises(NoToken) as error:
            await shared(store, REQUEST, refused)(NOW, None)
    assert error.value.tokens == (where if "://" not in where else "redis://...")


async def test_two_proxies_make_one_token_request(where: str) -> None:
    endpoint = TokenEndpoint()
    endpoint.may_answer.clear()
    async with opened(where) as one, opened(where) as two:
        first = asyncio.ensure_future(shared(one, REQUEST, endpoint)(NOW, None))
        await endpoint.asked.wait()
        second = asyncio.ensure_future(shared(two, REQUEST, endpoint)(NOW - 0.01, None))
        # Another identity's token comes meanwhile: it waits for nobody.
        await shared(two, OTHER, TokenEndpoint())(NOW, None)
        assert not second.done()
        endpoint.may_answer.set()
        assert ((await first).stored, (await second).stored) == (False, True)
        assert ((await first).value, (await second).value) == ("token-1", "token-1")
    assert endpoint.requests == 1


async def test_fifty_proxies_make_one_token_request(where: str) -> None:
    endpoint = TokenEndpoint()
    async with opened(where) as store:
        tokens = await asyncio.gather(*(shared(store, REQUEST, endpoint)(NOW, None) for _ in range(50)))
    assert {token.value for token in tokens} == {"token-1"}
    assert endpoint.requests == 1


async def test_no_token_passes_through_and_frees_the_lock(where: str, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = TokenEndpoint()
    endpoint.fails_with = refusal = NoToken("invalid_client", "no", lasting=True, retry_after=7.0)
    async with opened(where) as store:
        fetch = shared(store, REQUEST, endpoint)
        with pytest.raises(NoToken) as error:
            await fetch(NOW, None)
        assert error.value is refusal
        endpoint.fails_with = None
        async with asyncio.timeout(5):
            assert (await fetch(NOW, None)).value == "token-2"
    assert said(caplog) == []


async def test_one_that_is_cancelled_while_it_asks_frees_the_lock(where: str) -> None:
    endpoint = TokenEndpoint()
    endpoint.may_answer.clear()
    async with opened(where) as one, opened(where) as two:
        leaves = asyncio.ensure_future(shared(one, REQUEST, endpoint)(NOW, None))
        await endpoint.asked.wait()
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        endpoint.may_answer.set()
        async with asyncio.timeout(5):
            assert (await shared(two, REQUEST, endpoint)(NOW, None)).value == "token-2"


@pytest.mark.parametrize("turns", [1, 2, 3, 5, 8, 13, 21, 34])
async def test_one_that_is_cancelled_at_any_moment_leaves_nothing_locked(where: str, turns: int) -> None:
    async with opened(where) as one, opened(where) as two:
        leaves = asyncio.ensure_future(shared(one, REQUEST, TokenEndpoint())(NOW, None))
        for _ in range(turns):
            await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.gather(leaves, return_exceptions=True)
        async with asyncio.timeout(5):
            await shared(two, REQUEST, TokenEndpoint())(NOW, None)


async def test_one_that_is_cancelled_while_it_waits_does_not_take_the_lock_later(where: str) -> None:
    endpoint = TokenEndpoint()
    endpoint.may_answer.clear()
    async with opened(where) as one, opened(where) as two:
        holds = asyncio.ensure_future(shared(one, REQUEST, endpoint)(NOW, None))
        await endpoint.asked.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(shared(two, REQUEST, endpoint)(NOW, None), timeout=0.3)
        endpoint.may_answer.set()
        await holds
        async with asyncio.timeout(5):
            assert (await shared(two, REQUEST, endpoint)(NOW, "another")).value == "token-1"
    assert endpoint.requests == 1


async def test_whoever_waited_too_long_goes_on_without_the_lock(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(token_store, "LOCK_WAIT", 0.02)
    stuck, endpoint = TokenEndpoint("stuck"), TokenEndpoint()
    stuck.may_answer.clear()
    async with opened(where) as one, opened(where) as two:
        holds = asyncio.ensure_future(shared(one, REQUEST, stuck)(NOW, None))
        await stuck.asked.wait()
        assert (await shared(two, REQUEST, endpoint)(NOW, None)).value == "token-1"
        stuck.may_answer.set()
        assert (await holds).value == "stuck-1"
    assert said(caplog) == []


# --- A store that fails ---


class Broken(TokenStore):
    """Fails where it is told to."""

    def __init__(self, *fails: str) -> None:
        super().__init__("the store")
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


@pytest.mark.parametrize("fails", [(), ("read",)])
async def test_the_life_of_a_token_begins_after_the_wait_for_the_lock(
    fails: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token of 3 s has not expired where the lock took 5 s."""
    loop = asyncio.get_running_loop()
    now, waited = loop.time, 0.0

    class Slow(Broken):
        @asynccontextmanager
        async def lock(self, identity: str, wait: float) -> AsyncIterator[bool]:
            nonlocal waited
            waited += 5.0
            yield True

    monkeypatch.setattr(loop, "time", lambda: now() + waited)
    token = await shared(Slow(*fails), REQUEST, TokenEndpoint())(NOW, None)
    assert NOW + 4 <= token.issued_at <= NOW + 5


async def test_many_environments_at_once_hold_few_locks() -> None:
    """Each takes a thread and a file descriptor."""
    held = most = 0

    class Counting(Broken):
        @asynccontextmanager
        async def lock(self, identity: str, wait: float) -> AsyncIterator[bool]:
            nonlocal held, most
            held += 1
            most = max(most, held)
            yield True
            held -= 1

    store, may_answer = Counting(), asyncio.Event()

    async def fetch(asked_at: float, _: str | None) -> AccessToken:
        await may_answer.wait()
        return AccessToken("token", asked_at, asked_at + 300)

    async def ask(number: int) -> AccessToken:
        sharing = token_store._Sharing(store, REQUEST, fetch, RefreshToken(), 1.0)
        sharing._identity = f"v1-{number}"
        return await sharing.fetch_or_take(NOW, None)

    asking = [asyncio.create_task(ask(number)) for number in range(200)]
    for _ in range(10):  # all have had their turn
        await asyncio.sleep(0)
    assert held == token_store.AT_ONCE_WITH_ONE  # one server, which may hang, does not take every turn
    may_answer.set()
    assert len(await asyncio.gather(*asking)) == 200
    assert most == token_store.AT_ONCE_WITH_ONE


@pytest.mark.parametrize("where", ["lock", "read", "write"])
async def test_a_store_that_fails_costs_no_request_and_is_told_once(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint, store = TokenEndpoint(), Broken(where)
    fetch = shared(store, REQUEST, endpoint)
    assert [(await fetch(NOW, None)).value for _ in range(3)] == ["token-1", "token-2", "token-3"]
    assert (await shared(store, OTHER, endpoint)(NOW, None)).value == "token-4"
    told = "inject_tokens: the store cannot be used (RuntimeError);"
    told += " until it can, tokens are kept in memory and shared with nobody"
    assert said(caplog) == [told]
    store.fails.clear()
    await works_again(store)
    assert said(caplog) == [told, "inject_tokens: the store can be used again"]
    assert [(await fetch(NOW, None)).stored for _ in range(2)] == [True, True]
    assert endpoint.requests == 4
    store.fails.add(where)
    await fetch(NOW, fingerprint("token-4"))
    assert said(caplog)[2:] == [told]
    assert store.locked == 0
    await store.close()


async def test_a_broken_store_is_left_to_one_probe_at_a_time() -> None:
    """Requests go on without it at once, even where it hangs."""
    endpoint, store = TokenEndpoint(), Broken("lock")
    fetch = shared(store, REQUEST, endpoint)
    await fetch(NOW, None)
    store.may_go_on.clear()
    store.fails.clear()
    while not store.waiting:  # noqa: ASYNC110 - it runs beside this
        await asyncio.sleep(0.01)
    asked = [fetch, shared(store, OTHER, endpoint)] * 25
    assert not any(token.stored for token in await asyncio.gather(*(one(NOW, None) for one in asked)))
    assert (store.waiting, endpoint.requests) == (1, 51)
    store.may_go_on.set()
    await works_again(store)
    assert [(await one(NOW, None)).stored for one in asked[:2]] == [True, True]


async def test_a_store_that_was_closed_is_not_probed() -> None:
    """Nobody waits for it any more: another one has been named."""
    store = Broken("lock")
    fetch = shared(store, REQUEST, TokenEndpoint())
    before = asyncio.all_tasks()
    await fetch(NOW, None)
    (probing,) = asyncio.all_tasks() - before
    await store.close()
    await asyncio.wait([probing])
    await fetch(NOW, None)
    assert asyncio.all_tasks() == before


async def test_without_its_identity_the_token_is_asked_for_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(request: TokenRequest) -> str:
        raise MemoryError

    monkeypatch.setattr(token_store, "identify", fails)
    assert (await shared(Broken(), REQUEST, TokenEndpoint())(NOW, None)).value == "token-1"


@pytest.mark.parametrize("where", ["lock", "read", "write"])
async def test_no_token_passes_through_a_store_that_fails(where: str) -> None:
    endpoint = TokenEndpoint()
    endpoint.fails_with = NoToken("http_503", "no")
    with pytest.raises(NoToken) as error:
        await shared(Broken(where), REQUEST, endpoint)(NOW, None)
    assert error.value is endpoint.fails_with


# --- What anybody may have stored ---

UNSENDABLE: list[object] = [
    "",
    " ",
    "a\nb",
    "a\r\nX-Evil: 1",
    "ü",
    "a ",
    " a",
    "\x7f",
    "\x00",
    "\ud800",
    None,
    7,
    True,
    [],
    {},
]
NO_ENDPOINTS: list[object] = [
    None,
    "https://login.test/token",
    {},
    7,
    [7],
    [[]],
    [""],
    ["http://login.test/token"],
    ["https://login.test/\ntoken"],
    ["https://login.test:port/"],
    ["https://["],
]
NO_TIMES: list[object] = [
    None,
    "1",
    True,
    [],
    {},
    float("nan"),
    float("inf"),
    -float("inf"),
    -1,
    10**400,
    -(10**400),
    1e300,
]


@pytest.mark.parametrize(
    "hostile",
    [
        *[entry(value) for value in UNSENDABLE],
        *[entry() | {"refresh_token": value} for value in UNSENDABLE if value is not None],
        *[entry() | {"endpoints": urls} for urls in NO_ENDPOINTS],
        *[entry(issued_at=moment) for moment in NO_TIMES],
        *[entry(expires_at=moment) for moment in NO_TIMES],
        entry(expires_at=NOW),
        entry(issued_at=NOW + 4000),
        entry(issued_at=NOW + 3000),
        entry(expires_at=NOW + 366 * 86400),
        {},
        {"access_token": "stored"},
        [],
        None,
        "stored",
        7,
    ],
)
async def test_a_malformed_entry_is_no_token_and_is_replaced(
    hostile: object, where: str, redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = identify(REQUEST)
    (tmp_path / "tokens.json").write_text(content({name: hostile, "v1-hostile": hostile}))
    async with client(redis) as connected:
        await connected.set(f"credential-injector:{name}", json.dumps(hostile))
    async with opened(where) as store:
        fetch = shared(store, REQUEST, TokenEndpoint())
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-1"]
    assert said(caplog) == []


# --- A file ---


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
async def test_only_its_owner_may_read_the_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        async with opened(tmp_path / "tokens") as store:
            await shared(store, REQUEST, TokenEndpoint())(NOW, None)
    finally:
        os.umask(before)
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in folder(tmp_path)}
    assert modes.pop("tokens") == "0o600"
    assert set(modes.values()) <= {"0o600"}
    assert len(modes) == 2, "two locks"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
async def test_there_is_no_moment_in_which_others_may_read_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", fails)
    async with opened(tmp_path / "tokens") as store:
        await shared(store, REQUEST, TokenEndpoint())(NOW, None)
    assert (tmp_path / "tokens").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
async def test_a_file_that_others_could_read_is_so_no_longer(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(content({}))
    file.chmod(0o644)
    async with opened(file) as store:
        await shared(store, REQUEST, TokenEndpoint())(NOW, None)
    assert file.stat().st_mode & 0o777 == 0o600


async def test_the_file_names_nobody(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    async with opened(file) as store:
        await shared(store, REQUEST, TokenEndpoint())(NOW, None)
    assert json.loads(file.read_text()) == {
        "version": 1,
        "tokens": {identify(REQUEST): entry("token-1")},
    }
    shown = file.read_text() + " ".join(path.name for path in folder(tmp_path))
    assert not any(text in shown for text in ("canary", "login.test", "client"))
    assert sum(identify(REQUEST) in path.name for path in folder(tmp_path)) == 0


async def test_what_has_expired_is_dropped_when_the_file_is_written(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    old = {"v1-expired": entry(expires_at=NOW + 10), "v1-lives": entry(expires_at=NOW + 10.5), "v1-malformed": 7}
    file.write_text(content(old))
    async with opened(file) as store:
        await shared(store, REQUEST, TokenEndpoint())(NOW + 10, None)
    assert stored_tokens(file) == {"v1-lives": "stored", identify(REQUEST): "token-1"}


@pytest.mark.parametrize(
    "corrupt",
    [
        b"",
        b"\0" * 100,
        b"\xff\xfe",
        b"{",
        b"[" * 100_000,
        b"1" * 5000,
        b"[]",
        b"{}",
        b'{"version": 2, "tokens": {}}',
        b'{"version": 1}',
        b'{"version": 1, "tokens": []}',
        content({identify(REQUEST): entry()}).encode()[:-3],
    ],
)
async def test_a_corrupt_file_is_moved_aside_and_told_once(
    tmp_path: Path, corrupt: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens.json"
    (tmp_path / "tokens.json.corrupt-1").write_text("an earlier one")
    file.write_bytes(corrupt)
    async with opened(file) as store:
        fetch = shared(store, REQUEST, TokenEndpoint())
        assert [(await fetch(NOW, None)).value for _ in range(3)] == ["token-1"] * 3
    assert (tmp_path / "tokens.json.corrupt-1").read_text() == "an earlier one"
    assert (tmp_path / "tokens.json.corrupt-2").read_bytes() == corrupt
    assert said(caplog) == [
        f"inject_tokens: {file} was no token store; it is now tokens.json.corrupt-2, and a new one begins"
    ]


async def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_store, "LARGEST_FILE", 1000)
    file = tmp_path / "tokens.json"
    file.write_text(content({identify(REQUEST): entry("x" * 1000)}))
    async with opened(file) as store:
        assert (await shared(store, REQUEST, TokenEndpoint())(NOW, None)).value == "token-1"
    assert (tmp_path / "tokens.json.corrupt-1").exists()


async def test_a_file_that_would_become_too_large_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(file_store, "LARGEST_FILE", 1000)
    file = tmp_path / "tokens.json"
    file.write_text(content({"v1-other": entry("x" * 800)}))
    async with opened(file) as store:
        assert (await shared(store, REQUEST, TokenEndpoint())(NOW, None)).value == "token-1"
    assert list(stored_tokens(file)) == ["v1-other"]
    assert len(warnings(caplog)) == 1
    assert "File too large" in caplog.text


async def test_what_a_killed_process_left_is_in_nobody_s_way(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    (tmp_path / "tokens.json.new").write_text("half a fi")
    async with opened(file) as store:
        await shared(store, REQUEST, TokenEndpoint())(NOW, None)
    assert list(stored_tokens(file).values()) == ["token-1"]
    assert not (tmp_path / "tokens.json.new").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a privilege to make links")
async def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    async with opened(tmp_path / "link") as store:
        await shared(store, REQUEST, TokenEndpoint())(NOW, None)
    assert (tmp_path / "link").is_symlink()
    assert list(stored_tokens(tmp_path / "real").values()) == ["token-1"]


async def test_a_disk_that_cannot_be_written_costs_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    endpoint = TokenEndpoint()
    async with opened(tmp_path / "tokens") as store:
        fetch = shared(store, REQUEST, endpoint)
        with monkeypatch.context() as disk:
            disk.setattr(Path, "replace", read_only)
            assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]
        assert len(said(caplog)) == 1
        assert "(Read-only file system)" in caplog.text
        await works_again(store)
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-2", "token-2"]
    assert said(caplog)[1:] == [f"inject_tokens: {tmp_path / 'tokens'} can be used again"]


async def test_a_folder_in_the_file_s_place_costs_no_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(tmp_path / "tokens") as store:
        (tmp_path / "tokens").mkdir()
        fetch = shared(store, REQUEST, TokenEndpoint())
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("lock", ["lock", "lock-{}"])
async def test_a_lock_that_cannot_be_had_costs_no_request(
    tmp_path: Path, lock: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"tokens.{lock.format(identify(REQUEST)[-4:])}").mkdir()
    async with opened(tmp_path / "tokens") as store:
        fetch = shared(store, REQUEST, TokenEndpoint())
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]
    assert len(warnings(caplog)) == 1


async def test_a_lock_that_cannot_be_freed_costs_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = TokenEndpoint()
    freed = filelock.FileLock.release

    def fails(self: filelock.FileLock, force: bool = False) -> None:
        freed(self, force)
        if not force and "lock-" in Path(self.lock_file).name:
            raise OSError("canary")

    monkeypatch.setattr(filelock.FileLock, "release", fails)
    async with opened(tmp_path / "tokens") as store:
        fetch = shared(store, REQUEST, endpoint)
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-1"]


async def test_a_disk_that_hangs_costs_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(file_store, "FILE_PATIENCE", 0.1)
    monkeypatch.setattr(token_store, "LOCK_WAIT", 0.01)
    returns = threading.Event()
    endpoint = TokenEndpoint()
    async with opened(tmp_path / "tokens") as store:
        monkeypatch.setattr(store, "_read", lambda: returns.wait() and {})
        try:
            tokens = await asyncio.gather(*(shared(store, REQUEST, endpoint)(NOW, None) for _ in range(20)))
        finally:
            returns.set()
    assert len({token.value for token in tokens}) == 20
    assert len(warnings(caplog)) == 1


async def test_a_disk_that_hangs_takes_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is tried: those that hang cannot be ended."""

    before = set(threading.enumerate())

    def hung() -> int:
        return sum(thread.name == "token store" for thread in set(threading.enumerate()) - before)

    monkeypatch.setattr(file_store, "FILE_PATIENCE", 0.1)
    returns = threading.Event()
    async with opened(tmp_path / "tokens") as store:
        with monkeypatch.context() as disk:
            disk.setattr(store, "_read", lambda: returns.wait() and {})
            try:
                for _ in range(3):
                    with pytest.raises(TimeoutError):
                        await store.read("identity")
                    with pytest.raises(TimeoutError):
                        async with store.lock("identity", 0.1):
                            pass
                assert hung() == 1
            finally:
                returns.set()
        while hung():  # noqa: ASYNC110 - it is a thread's end
            await asyncio.sleep(0.01)
        assert await store.read("identity") is None


async def test_a_lock_whose_holder_is_stuck_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Until it is free again."""
    monkeypatch.setattr(token_store, "LOCK_WAIT", 0.02)
    waits = list[float]()
    async with opened(tmp_path / "tokens") as store:
        lock, fetch = store.lock, shared(store, REQUEST, TokenEndpoint())

        def watched(identity: str, wait: float) -> AbstractAsyncContextManager[bool]:
            waits.append(wait)
            return lock(identity, wait)

        monkeypatch.setattr(store, "lock", watched)
        with filelock.FileLock(tmp_path / f"tokens.lock-{identify(REQUEST)[-4:]}"):
            for _ in range(3):
                await fetch(NOW, None)
        for _ in range(2):
            await fetch(NOW, None)
    assert waits == [0.2, 0.0, 0.0, 0.0, 0.2]
    assert said(caplog) == []


async def test_a_folder_that_is_removed_is_not_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It would be another one: open to all, or below the mount point of a disk that is away."""
    (tmp_path / "folder").mkdir()
    async with opened(tmp_path / "folder" / "tokens") as store:
        (tmp_path / "folder").rmdir()
        fetch = shared(store, REQUEST, TokenEndpoint())
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]
        assert folder(tmp_path) == []
        (tmp_path / "folder").mkdir()
        await works_again(store)
        assert (await fetch(NOW, None)).value == "token-2"
    assert "cannot be used (No such file or directory)" in said(caplog)[0]


PROCESS = """
import asyncio, sys
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken
from credential_injector.tokens.provider import open_store
from credential_injector.tokens.store import shared

def say(text):
    print(text, flush=True)

async def fetch(asked_at, replaces):
    say("asks")
    sys.stdin.readline()
    return AccessToken(sys.argv[2], asked_at, asked_at + 3600)

async def main():
    store = open_store(sys.argv[1])
    say("begins")
    token = await shared(store, TokenRequest("https://login.test/token", "client"), fetch)(1.7e9, None)
    say(f"{token.value} {token.stored}")
    await store.close()

asyncio.run(main())
"""


class Process:
    """A process of its own that gets one token; its token request is answered when it is told so."""

    def __init__(self, where: str, token: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, where, token],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(token_store.__file__).parents[2])},
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def answer(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def processes(where: str) -> Iterator[Callable[[str], Process]]:
    started: list[Process] = []

    def start(token: str) -> Process:
        started.append(Process(where, token))
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            process.end()


def test_two_processes_make_one_token_request(where: str) -> None:
    with processes(where) as start:
        one = start("one")
        assert [one.says(), one.says()] == ["begins", "asks"]
        two = start("two")
        assert two.says() == "begins"
        one.answer()
        assert one.says() == "one False"
        assert two.says() == "one True"  # and it did not say that it asks


def test_a_process_that_is_killed_while_it_asks_holds_up_nobody_for_long(where: str) -> None:
    with processes(where) as start:
        one = start("one")
        assert [one.says(), one.says()] == ["begins", "asks"]
        two = start("two")
        assert two.says() == "begins"
        one.end()
        assert two.says() == "asks"
        two.answer()
        assert two.says() == "two False"


KILLED = """
import asyncio, itertools, json, logging, os, random, signal, sys, threading
from pathlib import Path
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken
from credential_injector.tokens.provider import open_store
from credential_injector.tokens.store import shared

file, rounds, now = Path(sys.argv[1]), int(sys.argv[2]), 1.7e9
store = open_store(str(file))
logging.basicConfig(level="WARNING", stream=sys.stdout)
numbers = itertools.count()

def fetching(name):
    async def fetch(asked_at, replaces):
        # Large, so that a write takes a while.
        return AccessToken(f"{name}-{next(numbers)}-" + "x" * 200_000, asked_at, asked_at + 3600)
    return shared(store, TokenRequest("https://login.test/token", name), fetch)

mine, others = fetching("mine"), fetching("others")

def write_for_ever(pipe):
    def tell(event, args):
        if event == "open" and str(args[0]).startswith(str(file)):
            os.write(pipe, b"n" if str(args[0]).endswith(".new") else b".")
    async def write():
        last = None
        while True:
            last = (await mine(now, last)).fingerprint
    sys.addaudithook(tell)
    asyncio.run(write())

async def stored(fetch, name):
    token = await fetch(now, None)
    assert token.stored, "a token was lost"
    assert token.value.startswith(name + "-"), "a token of another identity"

def run(task):
    asyncio.run(task)
    for thread in set(threading.enumerate()) - {threading.main_thread()}:
        thread.join()  # a process with threads should not be forked

run(mine(now, None))
run(others(now, None))
chance, cut = random.Random(1), 0
for _ in range(rounds):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        write_for_ever(writer)
    os.close(writer)
    # It is killed after it opened any file, or the new one in three of four rounds, or a moment later.
    awaited = chance.choice([b"n", b"n", b"n", b"n."])
    for _ in range(chance.randrange(1, 4)):
        while os.read(reader, 1) not in awaited:
            pass
    for _ in range(chance.randrange(5_000)):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    cut += file.with_name(file.name + ".new").exists()
    assert len(json.loads(file.read_text())["tokens"]) == 2
    run(stored(mine, "mine"))
    run(stored(others, "others"))
print("cut in the middle of a write:", cut)
print(*sorted({path.name.partition("-")[0] for path in file.parent.iterdir()} - {file.name + ".new"}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here, as 200 of them start faster so")
def test_two_hundred_processes_that_are_killed_while_they_write_leave_the_file_readable(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", KILLED, str(file), "200"],
        env={**os.environ, "PYTHONPATH": str(Path(token_store.__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    lines = ended.stdout.splitlines()
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert len(lines) == 2, lines
    assert int(lines[0].rpartition(" ")[2]) > 0, "no write was cut"
    assert lines[1] == "tokens tokens.lock"


# --- Redis ---


async def test_a_token_in_redis_lives_as_long_as_it_does(redis: RedisServer) -> None:
    async with client(redis) as connected, opened(redis.url) as store:
        await shared(store, REQUEST, TokenEndpoint(lifetime=100.5))(NOW, None)
        keys = await connected.keys()
        assert keys == [f"credential-injector:{identify(REQUEST)}".encode()]
        assert 95_000 < await connected.pttl(keys[0]) <= 100_500
        assert json.loads(await connected.get(keys[0])) == entry("token-1", NOW, NOW + 100.5)


async def test_a_lock_in_redis_soon_ends_by_itself_but_is_renewed_while_its_owner_asks(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that is killed holds up nobody for long, and a slow token request is made once."""
    assert redis_store.LOCK_LIFE <= 3.0
    monkeypatch.setattr(redis_store, "LOCK_LIFE", 0.6)
    endpoint, key = TokenEndpoint(), f"credential-injector:{identify(REQUEST)}:lock"
    endpoint.may_answer.clear()
    async with client(redis) as connected, opened(redis.url) as one, opened(redis.url) as two:
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
async def test_a_lock_that_redis_gave_after_its_pause_is_freed(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked for it has gone on without it meanwhile."""
    monkeypatch.setattr(redis_store, "REDIS_PATIENCE", 0.2)
    monkeypatch.setattr(redis_store, "LOCK_LIFE", 60.0)
    assert own_redis.process is not None
    async with opened(own_redis.url) as store, client(own_redis) as connected:
        await shared(store, OTHER, TokenEndpoint())(NOW, None)
        own_redis.process.send_signal(signal.SIGSTOP)
        try:
            assert (await shared(store, REQUEST, TokenEndpoint())(NOW, None)).value == "token-1"
        finally:
            own_redis.process.send_signal(signal.SIGCONT)
        await works_again(store)
        assert await connected.exists(f"credential-injector:{identify(REQUEST)}:lock") == 0
        assert (await shared(store, REQUEST, TokenEndpoint("another"))(NOW, None)).value == "token-1"


async def test_a_value_of_another_type_or_size_is_replaced(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redis_store, "LARGEST_VALUE", 1000)
    key = f"credential-injector:{identify(REQUEST)}"
    async with client(redis) as connected, opened(redis.url) as store:
        for hostile in (connected.rpush(key, "a list"), connected.set(key, json.dumps(entry("x" * 1000)))):
            await connected.delete(key)
            await hostile
            fetch = shared(store, REQUEST, TokenEndpoint())
            assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-1"]
    assert said(caplog) == []


async def test_redis_that_is_killed_under_load_costs_no_request(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
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


async def test_a_slow_redis_costs_no_request_and_little_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redis_store, "REDIS_PATIENCE", 0.2)
    began = asyncio.get_running_loop().time()
    with silent_server() as port:
        async with opened(f"redis://:canary@127.0.0.1:{port}") as store:
            fetch = shared(store, REQUEST, TokenEndpoint())
            assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]
    assert asyncio.get_running_loop().time() - began < 2
    assert len(warnings(caplog)) == 1
    assert "canary" not in caplog.text


async def test_nothing_secret_is_logged(redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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


@pytest.mark.parametrize("where", ["memroy", "mem", "Memory"])
def test_a_misspelt_memory_is_no_file(where: str) -> None:
    """It would hold the tokens."""
    with pytest.raises(ValueError, match=r"did you mean memory\? For a file of this name write \./ before it"):
        open_store(where)

"""What every store does, a file and Redis: one of all who share it asks, and the others take what it stored."""

import asyncio
import dataclasses
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from credential_injector.oauth.fingerprints import fingerprint
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.tokens import store as token_store
from credential_injector.tokens.sharing import identify, keep, shared
from credential_injector.tokens.source import TokenSource
from tests.tokens.stores import (
    NOW,
    OTHER,
    REQUEST,
    Broken,
    RedisServer,
    Rotating,
    TokenEndpoint,
    client,
    name_of,
    opened,
    said,
    stored_tokens,
    works_again,
)

ISSUED = TokenRequest(issuer="https://login.test", client_id="client")
ENDPOINTS = ("https://login.test/token", "https://mtls.login.test/token")

# --- Whose token it is ---


def test_identity() -> None:
    """Every field of a token request is part of its identity."""
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
    assert len({name_of(request) for request in requests}) == len(requests)
    assert name_of(REQUEST) == name_of(dataclasses.replace(REQUEST))


def test_identity_cost() -> None:
    """An identity has a version and costs what a password hash costs."""
    assert token_store.DEFAULT_LIMITS.scrypt_cost >= 2**14
    assert re.fullmatch(r"v1-[0-9a-f]{64}", identify(REQUEST))
    assert identify(REQUEST) != name_of(REQUEST)


class Naming(Broken):
    """Tells in which threads a name was computed."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.computed_in: list[threading.Thread] = []
        self._error = error

    async def name(self, identify: Callable[[], str]) -> str:
        def computed() -> str:
            self.computed_in.append(threading.current_thread())
            if self._error is not None:
                raise self._error
            return identify()

        return await super().name(computed)


async def test_identity_once() -> None:
    """An identity is computed once, and not on the event loop."""
    store = Naming()
    fetch = shared(store, REQUEST, TokenEndpoint())
    assert store.computed_in == []
    await fetch(NOW, None)
    await fetch(NOW, None)
    assert len(store.computed_in) == 1
    assert store.computed_in[0] is not threading.current_thread()


async def test_no_identity() -> None:
    """Without its identity the token is asked for all the same."""
    store = Naming(MemoryError())
    assert (await shared(store, REQUEST, TokenEndpoint())(NOW, None)).value == "token-1"
    await store.close()


# --- What is taken from the store ---


async def test_outlives(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """A token outlives the process with its own times."""
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


async def test_source(where: str) -> None:
    """A token source says that its token comes from the store."""
    endpoint = TokenEndpoint()
    async with opened(where) as store:
        for source in ("fetched", "store"):
            tokens = TokenSource(shared(store, REQUEST, endpoint), clock=lambda: NOW)
            assert (await tokens.token()).source == source
    assert endpoint.requests == 1


async def test_other_identity(where: str) -> None:
    """No token of another identity comes back."""
    mine, others = TokenEndpoint("mine"), TokenEndpoint("others")
    async with opened(where) as store:
        await shared(store, OTHER, others)(NOW, None)
        assert (await shared(store, REQUEST, mine)(NOW, None)).value == "mine-1"
        assert (await shared(store, REQUEST, mine)(NOW, None)).value == "mine-1"
        assert (await shared(store, OTHER, others)(NOW, None)).value == "others-1"


async def test_replaced(where: str) -> None:
    """A stored token that is to be replaced is not taken."""
    endpoint = TokenEndpoint()
    async with opened(where) as store:
        fetch = shared(store, REQUEST, endpoint)
        first = await fetch(NOW, None)
        second = await fetch(NOW, first.fingerprint)
        again = await fetch(NOW, first.fingerprint)
    assert (second.value, second.stored) == ("token-2", False)
    assert (again.value, again.stored) == ("token-2", True)


async def test_endpoints(where: str) -> None:
    """Whoever takes a token knows the published token endpoint, too."""
    fetched = AccessToken("token", NOW, NOW + 3600, endpoints=ENDPOINTS)
    async with opened(where) as store:
        await keep(store, ISSUED, fetched)
        taken = await shared(store, ISSUED, TokenEndpoint())(NOW, None)
    assert (taken.stored, taken.value, taken.endpoints) == (True, "token", ENDPOINTS)


async def test_no_endpoints(where: str) -> None:
    """An older release stored a token without its endpoint: only its refresh token counts."""
    endpoint = Rotating()
    async with opened(where) as store:
        await keep(store, ISSUED, AccessToken("old", NOW, NOW + 3600, refresh_token="stored"))
        assert (await shared(store, ISSUED, endpoint, endpoint.refresh_token)(NOW, None)).value == "token-1"
    assert endpoint.shown == ["stored"]


async def test_near_its_end(where: str) -> None:
    """A stored token near its end is not taken."""
    endpoint = TokenEndpoint()
    async with opened(where) as store:
        fetch = shared(store, REQUEST, endpoint)
        token = await fetch(NOW, None)
        assert (await fetch(token.refresh_from - 0.001, None)).value == "token-1"
        assert (await fetch(token.refresh_from, None)).value == "token-2"


async def test_short_life(where: str) -> None:
    """A token that lives for a second is not taken after its end."""
    endpoint = TokenEndpoint(lifetime=1.0)
    async with opened(where) as store:
        fetch = shared(store, REQUEST, endpoint)
        await fetch(NOW, None)
        assert (await fetch(NOW + 0.95, None)).value == "token-2"


async def test_clock_behind(where: str) -> None:
    """A clock that is a little behind another machine's costs no token request."""
    endpoint = TokenEndpoint()
    async with opened(where) as store:
        await shared(store, REQUEST, endpoint)(NOW + 5, None)
        behind = await shared(store, REQUEST, endpoint)(NOW, None)
        # TokenSource takes no token of its future.
        assert (behind.value, behind.issued_at, behind.expires_at) == ("token-1", NOW, NOW + 3605)
        far_behind = await shared(store, REQUEST, endpoint)(NOW - 10, None)
        assert far_behind.value == "token-2"


async def test_no_end(where: str) -> None:
    """A token that never expires is not stored."""
    endpoint = TokenEndpoint(lifetime=float("inf"))
    async with opened(where) as store:
        fetch = shared(store, REQUEST, endpoint)
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]


async def test_expired(where: str) -> None:
    """A token that had expired when it came is not stored."""
    endpoint = TokenEndpoint(lifetime=0.0)
    async with opened(where) as store:
        fetch = shared(store, REQUEST, endpoint)
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-2"]


async def test_longest_life(where: str) -> None:
    """The longest lifetime is not too long for the store."""
    endpoint = TokenEndpoint(lifetime=365 * 86400.0)
    async with opened(where) as store:
        fetch = shared(store, REQUEST, endpoint)
        assert [(await fetch(NOW + 0.1, None)).value for _ in range(2)] == ["token-1", "token-1"]


# --- Refresh tokens ---


async def test_refresh_token(where: str) -> None:
    """A refresh token outlives the process and its access token."""
    shown = []
    for now in (NOW, NOW + 7200):
        endpoint = Rotating()
        async with opened(where) as store:
            await shared(store, OTHER, TokenEndpoint(lifetime=1.0))(now, None)  # which writes the file anew
            await shared(store, REQUEST, endpoint, endpoint.refresh_token)(now, None)
        shown += endpoint.shown
    assert shown == ["first", "refresh-1"]


async def test_refresh_token_year(tmp_path: Path, redis: RedisServer) -> None:
    """A refresh token is kept for a year."""
    year, endpoint, file = 365 * 86400, Rotating(), tmp_path / "tokens"
    async with client(redis) as connected, opened(redis.url) as store:
        await shared(store, REQUEST, endpoint)(NOW, None)
        assert year - 60 < await connected.ttl(f"credential-injector:{name_of(REQUEST)}") <= year
    async with opened(file) as store:
        await shared(store, REQUEST, endpoint)(NOW, None)
        for now, names in ((NOW + year - 7200, 2), (NOW + year, 1)):
            await shared(store, OTHER, TokenEndpoint())(now, None)
            assert len(stored_tokens(file)) == names


async def test_refresh_token_of_another(where: str) -> None:
    """The refresh token that another proxy got is shown."""
    endpoints = [Rotating(), Rotating()]
    async with opened(where) as store:
        fetches = [shared(store, REQUEST, endpoint, endpoint.refresh_token) for endpoint in endpoints]
        token = await fetches[0](NOW, None)
        for turn in (1, 0, 1):
            token = await fetches[turn](NOW, token.fingerprint)
    assert endpoints[0].shown == ["first", "refresh-1"]
    assert endpoints[1].shown == ["refresh-1", "refresh-2"]


@pytest.mark.parametrize("fails", ["lock", "read", "write"])
async def test_refresh_token_unstored(fails: str) -> None:
    """A refresh token that could not be stored is not replaced by the stored one."""
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
async def test_refresh_token_of_a_login(fails: str) -> None:
    """A new login's refresh token counts even where ours could not be stored."""
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


async def test_refresh_token_twice() -> None:
    """Two sources of one login show no refresh token twice, whatever could be stored."""
    endpoint, store = Rotating(), Broken()
    fetches = [shared(store, REQUEST, endpoint, endpoint.refresh_token) for _ in range(2)]
    await fetches[0](NOW, None)
    store.fails.add("write")
    await fetches[0](NOW, fingerprint("token-1"))
    store.fails.clear()
    await works_again(store)
    await fetches[1](NOW, fingerprint("token-2"))
    assert endpoint.shown == ["first", "refresh-1", "refresh-2"]


# --- Who asks, and who waits ---


async def test_two_proxies(where: str) -> None:
    """Two proxies make one token request."""
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


async def test_fifty_proxies(where: str) -> None:
    """Fifty proxies make one token request."""
    endpoint = TokenEndpoint()
    async with opened(where) as store:
        tokens = await asyncio.gather(*(shared(store, REQUEST, endpoint)(NOW, None) for _ in range(50)))
    assert {token.value for token in tokens} == {"token-1"}
    assert endpoint.requests == 1


async def test_no_token(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """NoToken passes through and frees the lock."""
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


async def test_cancelled_asking(where: str) -> None:
    """One that is cancelled while it asks frees the lock."""
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
async def test_cancelled(where: str, turns: int) -> None:
    """One that is cancelled at any moment leaves nothing locked."""
    async with opened(where) as one, opened(where) as two:
        leaves = asyncio.ensure_future(shared(one, REQUEST, TokenEndpoint())(NOW, None))
        for _ in range(turns):
            await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.gather(leaves, return_exceptions=True)
        async with asyncio.timeout(5):
            await shared(two, REQUEST, TokenEndpoint())(NOW, None)


async def test_cancelled_waiting(where: str) -> None:
    """One that is cancelled while it waits does not take the lock later."""
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


async def test_waited_too_long(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever waited too long goes on without the lock."""
    stuck, endpoint = TokenEndpoint("stuck"), TokenEndpoint()
    stuck.may_answer.clear()
    async with opened(where) as one, opened(where, lock_wait=0.02) as two:
        holds = asyncio.ensure_future(shared(one, REQUEST, stuck)(NOW, None))
        await stuck.asked.wait()
        assert (await shared(two, REQUEST, endpoint)(NOW, None)).value == "token-1"
        stuck.may_answer.set()
        assert (await holds).value == "stuck-1"
    assert said(caplog) == []


@pytest.mark.parametrize("fails", [(), ("read",)])
async def test_slow_lock(fails: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of 3 s has not expired where the lock took 5 s: its life begins afterwards."""
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


async def test_few_locks() -> None:
    """Many environments at once hold few locks: each takes a thread and a file descriptor."""
    held = most = 0

    class Counting(Broken):
        @asynccontextmanager
        async def lock(self, identity: str, wait: float) -> AsyncIterator[bool]:
            nonlocal held, most
            held += 1
            most = max(most, held)
            yield True
            held -= 1

    store, may_answer, asking = Counting(), asyncio.Event(), 0

    async def ask(asked_at: float) -> AccessToken:
        nonlocal asking
        asking += 1
        await may_answer.wait()
        return AccessToken("token", asked_at, asked_at)

    requests = [dataclasses.replace(REQUEST, client_id=str(number)) for number in range(200)]
    fetching = [asyncio.ensure_future(shared(store, request, ask)(NOW, None)) for request in requests]
    while asking < token_store.AT_ONCE_WITH_ONE:  # noqa: ASYNC110 - their names are computed in threads
        await asyncio.sleep(0.01)
    assert held == token_store.AT_ONCE_WITH_ONE  # one server, which may hang, does not take every turn
    may_answer.set()
    assert len(await asyncio.gather(*fetching)) == 200
    assert most == token_store.AT_ONCE_WITH_ONE


# --- A store that fails ---


@pytest.mark.parametrize("where", ["lock", "read", "write"])
async def test_fails(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """A store that fails costs no request and is told once."""
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


async def test_one_probe() -> None:
    """Requests go on at once without a broken store, which one probe at a time looks after."""
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


async def test_closed() -> None:
    """A store that was closed is not probed: another one has been named."""
    store = Broken("lock")
    fetch = shared(store, REQUEST, TokenEndpoint())
    before = asyncio.all_tasks()
    await fetch(NOW, None)
    (probing,) = asyncio.all_tasks() - before
    await store.close()
    await asyncio.wait([probing])
    await fetch(NOW, None)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("where", ["lock", "read", "write"])
async def test_no_token_and_fails(where: str) -> None:
    """NoToken passes through a store that fails."""
    endpoint = TokenEndpoint()
    endpoint.fails_with = NoToken("http_503", "no")
    with pytest.raises(NoToken) as error:
        await shared(Broken(where), REQUEST, endpoint)(NOW, None)
    assert error.value is endpoint.fails_with

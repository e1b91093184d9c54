"""An identity's endpoint, store and cache, put together."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from credential_injector.oauth.fingerprints import fingerprint
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.tokens.provider import Named, Provider
from credential_injector.tokens.source import TokenSource
from tests.fakes import answering
from tests.fakes import http as http_answer
from tests.tokens.stores import REQUEST, Broken, opened

REFRESHING = TokenRequest(
    "https://login.test/token", "client", grant_type="refresh_token", values=(("REFRESH_TOKEN", "first"),)
)
LOGIN = TokenRequest("https://login.test/token", "client", auth_method="none", grant_type="device_code")


class Server:
    """In place of token endpoints: answers when it may, and replaces each refresh token."""

    def __init__(self) -> None:
        self.opened = self.asked = 0
        self.shown: list[str] = []
        self.published: tuple[str, ...] = ()
        self.fails_with: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def open(self, request: TokenRequest, transport: Transport) -> Any:
        """A provider's open_endpoint."""
        self.opened += 1
        return SimpleNamespace(published=self.published, token=self.token)

    async def token(self, asked_at: float, refresh_token: str = "") -> AccessToken:
        self.asked += 1
        self.shown.append(refresh_token)
        number = self.asked
        await self.may_answer.wait()
        if self.fails_with is not None:
            raise self.fails_with
        return AccessToken(
            f"token-{number}",
            asked_at,
            asked_at + 3600,
            refresh_token=f"refresh-{number}" if refresh_token else None,
            endpoints=self.published,
        )


def source(provider: Provider, request: TokenRequest = REQUEST, watcher: Any = None) -> TokenSource:
    return provider.source(request, Transport(), watcher or Named("qa"))


class Watcher:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def begins(self, request: TokenRequest, transport: Transport) -> str:
        self.told.append("begins")
        return "qa"

    def published(self, endpoints: Iterable[str]) -> None:
        self.told += endpoints

    def refused(self, request: TokenRequest, transport: Transport) -> None:
        self.told.append("refused")


async def test_endpoint_once() -> None:
    """The endpoint is made with the first token request, and asked again for the next."""
    server = Server()
    tokens = source(Provider(open_endpoint=server.open))
    assert server.opened == 0
    await tokens.token()
    await tokens.renewed(fingerprint("token-1"))
    assert (server.opened, server.asked) == (1, 2)


async def test_fixed() -> None:
    """A credential taken from the file needs no token request."""
    server = Server()
    request = TokenRequest(grant_type="static", values=(("VALUE", "abc"),))
    served = await source(Provider(open_endpoint=server.open), request).token()
    assert (served.token.value, served.token.expires_at, server.opened) == ("abc", float("inf"), 0)


@pytest.mark.parametrize("request_", [REQUEST, REFRESHING])
async def test_ended(request_: TokenRequest) -> None:
    """No token request begins after the end, not even one that waited for its turn to show the refresh token."""
    server = Server()
    provider = Provider(open_endpoint=server.open)
    tokens = [provider.source(request_, Transport(timeout=seconds), Named("qa")) for seconds in (10, 20)]
    server.may_answer.clear()
    first = asyncio.ensure_future(tokens[0].token())
    while not server.asked:  # noqa: ASYNC110 - it runs beside this
        await asyncio.sleep(0)
    second = asyncio.ensure_future(tokens[1].token())
    for _ in range(5):
        await asyncio.sleep(0)
    provider.end()
    server.may_answer.set()
    assert (await first).token.value == "token-1"
    if request_ is REFRESHING:
        with pytest.raises(NoToken, match="ending"):
            await second
        assert server.asked == 1
    opened, watcher = server.opened, Watcher()
    with pytest.raises(NoToken, match="ending: the add-on is ending"):
        await provider.source(request_, Transport(), watcher).token()
    assert (server.opened, watcher.told) == (opened, []), "nothing is counted that did not begin"


@pytest.mark.parametrize(("request_", "waits"), [(REFRESHING, True), (REQUEST, False)])
async def test_unfinished_refreshes(request_: TokenRequest, waits: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A refresh token that was shown has its successor before the process ends."""
    server = Server()
    provider = Provider(open_endpoint=server.open)
    server.may_answer.clear()
    tokens = source(provider, request_)
    tokens.refresh()
    while not server.asked:  # noqa: ASYNC110 - it runs beside this
        await asyncio.sleep(0)
    unfinished = provider.unfinished_refreshes()
    assert (unfinished is not None) == waits
    if unfinished is not None:
        assert caplog.messages[-1] == "Waiting for a refresh token that is on its way, 15 s at most"
        await asyncio.sleep(0)
        assert not unfinished.done()
        server.may_answer.set()
        await unfinished
        assert tokens.cached() is not None
        assert provider.unfinished_refreshes() is None
    server.may_answer.set()


async def test_one_refresh_token() -> None:
    """Sources of one identity show one refresh token, whatever the way to the server."""
    server = Server()
    provider = Provider(open_endpoint=server.open)
    tokens = [provider.source(REFRESHING, Transport(proxy=proxy), Named("qa")) for proxy in ("", "http://[::1]:1")]
    await asyncio.gather(*(one.token() for one in tokens))
    assert server.shown == ["first", "refresh-1"]


async def test_one_login_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All logins are in one store: what one of them finds out about it, the others know."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    provider = Provider()
    store = provider.store_of(LOGIN)
    assert store is not None
    assert provider.store_of(TokenRequest("https://other.test/token", grant_type="authorization_code")) is store
    assert provider.store_of(REQUEST) is provider.store_of(REFRESHING) is None
    assert source(provider, LOGIN).kept_in == ""


@pytest.mark.parametrize("name", ["file", "redis"])
async def test_kept_in(name: str, tmp_path: Path) -> None:
    """A source tells where its tokens are, as --tokens names it, and no password."""
    where = {"file": str(tmp_path / "tokens"), "redis": "redis://:canary@host"}[name]
    async with opened(where) as store:
        assert source(Provider(store), LOGIN).kept_in == (where if name == "file" else "redis://...")
    assert source(Provider(), REFRESHING).kept_in == ""


async def test_watcher(tmp_path: Path) -> None:
    """A watcher knows the published endpoint where there is no token, and where it comes from a store."""
    server, request = Server(), TokenRequest(issuer="https://login.test", client_id="client")
    server.published = ("https://login.test/token",)
    server.fails_with = NoToken("invalid_client", "no", lasting=True)
    async with opened(tmp_path / "tokens") as store:
        watcher = Watcher()
        with pytest.raises(NoToken):
            await source(Provider(store, open_endpoint=server.open), request, watcher).token()
        assert watcher.told == ["begins", "refused", "https://login.test/token"]
        server.fails_with = None
        await source(Provider(store, open_endpoint=server.open), request).token()
        watcher = Watcher()
        assert (await source(Provider(store, open_endpoint=server.open), request, watcher).token()).source == "store"
        assert watcher.told == ["https://login.test/token"]


async def test_passing_failure() -> None:
    """A failure that may pass says nothing about the file."""
    server, watcher = Server(), Watcher()
    server.fails_with = NoToken("unreachable", "no")
    with pytest.raises(NoToken):
        await source(Provider(open_endpoint=server.open), REQUEST, watcher).token()
    assert watcher.told == ["begins"]


@pytest.mark.parametrize(("expires_in", "told"), [(3_600_000, True), (30 * 86400, False)])
async def test_milliseconds(expires_in: int, told: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A life that may be meant in milliseconds is told: the API's 401 tells when such a token has really ended."""
    caplog.set_level(logging.INFO)
    answer = http_answer(200, {"access_token": "abc", "token_type": "Bearer", "expires_in": expires_in})
    with answering(answer) as (url, _):
        served = await source(Provider(), TokenRequest(url, "me")).token()
    assert served.token.expires_at - served.token.issued_at == expires_in
    assert sum("qa: the server says that its token lives for 41 days" in line for line in caplog.messages) == told
    fetched = f"qa: token fetched ({fingerprint('abc')}), it lives for {'41' if told else '30'} days"
    assert caplog.messages[0] == fetched


class Recovering(Broken):
    """A store that works again after so many failures to write."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def write(self, identity: str, token: AccessToken, now: float) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise OSError(28, "No space left on device")
        await super().write(identity, token, now)


@pytest.mark.parametrize(
    ("store", "loses"),
    [
        (lambda: None, True),
        (partial(Recovering, 0), False),
        (partial(Recovering, 1), False),
        (partial(Recovering, 9), True),
        (partial(Broken, "lock"), True),
        (partial(Broken, "read"), True),
    ],
)
async def test_loses(store: Callable[[], Any], loses: bool) -> None:
    """A refresh token that no store holds is lost at the end; a store that failed is offered it once more."""
    provider = Provider(store(), open_endpoint=Server().open)
    tokens = source(provider, REFRESHING)
    assert not await provider.loses(REFRESHING)
    await tokens.token()
    assert await provider.loses(REFRESHING) == loses
    if provider.store is not None:
        await provider.store.close()

"""What environments share on the way to authorization servers, as counts, and what they do not share."""

import asyncio
import ssl
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from credential_injector.oauth import connections
from credential_injector.oauth import server as authorization_server
from credential_injector.oauth.answers import Answer
from credential_injector.oauth.connections import MOST_CONTEXTS, MOST_KEPT
from credential_injector.oauth.request import Transport
from credential_injector.oauth.server import AT_ONCE_WITH_ONE, AuthorizationServer, Conversation, Network
from credential_injector.oauth.token import NoToken
from tests import fakes
from tests.certificates import Authority
from tests.fakes import http

OK = http(200, {"access_token": "abc"}, "Set-Cookie: session=canary", keep=True)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> ssl.SSLContext:
    """A server's, which looks at a client's certificate where it shows one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.file(tmp_path, "server", "127.0.0.1"))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=authority.certificate)
    return context


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The TLS contexts that were made."""
    made = []
    make = connections._tls_context

    def making(*arguments: Any) -> ssl.SSLContext:
        made.append(make(*arguments))
        return made[-1]

    monkeypatch.setattr(connections, "_tls_context", making)
    return made


async def post(network: Network, url: str, transport: Transport, certificate: tuple[str, str] | None = None) -> Answer:
    """As a further environment does."""
    server = AuthorizationServer(transport, certificate, network)
    return await server.converse(lambda conversation: conversation.post(url, {}, "a=b"), url)


# --- Shared ---


async def test_environments_of_one_server_share_a_tls_context_and_few_connections(
    authority: Authority, tls: ssl.SSLContext, contexts: list[Any]
) -> None:
    """Asking at once, or one after the other."""
    trust = partial(Transport, ca=authority.certificate)
    with fakes.keeping(OK, tls) as (url, seen):
        network = Network()
        answers = await asyncio.gather(*(post(network, url, trust(timeout=30.0)) for _ in range(200)))
        assert [answer.status for answer in answers] == [200] * 200
        assert seen.most_open <= AT_ONCE_WITH_ONE
        connected = seen.connections
        for _ in range(50):
            await post(network, url, trust(timeout=30.0))
        assert seen.connections == connected
        assert seen.open <= MOST_KEPT
        assert len(contexts) == 1


async def test_no_tls_context_is_made_for_http(contexts: list[Any]) -> None:
    with fakes.keeping(OK) as (url, _):
        await post(Network(), url, Transport())
    assert contexts == []


async def test_of_many_servers_only_so_many_connections_are_kept() -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(fakes.keeping(OK)) for _ in range(MOST_KEPT + 8)]
        network = Network()
        for url, _ in servers:
            await post(network, url, Transport())
        for _, oldest in servers[:8]:
            await asyncio.to_thread(oldest.wait_for, lambda seen=oldest: seen.open == 0)  # type: ignore[misc]
        assert [seen.open for _, seen in servers[8:]] == [1] * MOST_KEPT


async def test_a_connection_that_nobody_uses_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorization_server, "KEPT_FOR", 0.05)
    with fakes.keeping(OK) as (url, seen):
        network = Network()
        await post(network, url, Transport())
        await asyncio.to_thread(seen.wait_for, lambda: seen.open == 0)
        assert (await post(network, url, Transport())).status == 200
        assert seen.connections == 2


async def test_connections_end_with_what_they_belong_to() -> None:
    with fakes.keeping(OK) as (url, seen):
        await post(Network(), url, Transport())
        await asyncio.to_thread(seen.wait_for, lambda: seen.open == 0)


async def test_only_so_many_tls_contexts_are_kept(authority: Authority, tls: ssl.SSLContext) -> None:
    """However many client certificates there are."""
    with fakes.keeping(OK, tls) as (url, _):
        network = Network()
        for number in range(MOST_CONTEXTS + 2):
            await post(network, url, Transport(ca=authority.certificate), authority.issue(f"client-{number}"))
        assert network.connections._tls.cache_info().currsize == MOST_CONTEXTS


async def test_a_server_that_hangs_takes_no_turn_of_another() -> None:
    with fakes.keeping(OK) as (hanging, seen), fakes.keeping(OK) as (url, _):
        seen.may_answer.clear()
        network = Network()
        waiting = [asyncio.create_task(post(network, hanging, Transport(timeout=30.0))) for _ in range(100)]
        await asyncio.to_thread(seen.wait_for, lambda: seen.open == AT_ONCE_WITH_ONE)
        assert (await post(network, url, Transport(timeout=30.0))).status == 200
        assert not any(task.done() for task in waiting)
        seen.may_answer.set()
        assert {answer.status for answer in await asyncio.gather(*waiting)} == {200}
        assert seen.most_open == AT_ONCE_WITH_ONE


async def test_who_gets_no_turn_in_time_is_told_so() -> None:
    with fakes.keeping(OK) as (url, seen):
        seen.may_answer.clear()
        network = Network()
        waiting = [asyncio.create_task(post(network, url, Transport(timeout=30.0))) for _ in range(AT_ONCE_WITH_ONE)]
        await asyncio.to_thread(seen.wait_for, lambda: seen.open == AT_ONCE_WITH_ONE)
        with pytest.raises(NoToken) as error:
            await post(network, url, Transport(timeout=0.1))
        assert error.value.code == "timeout"
        assert error.value.reason == "too many token requests are under way: this one had no turn within 0 s"
        seen.may_answer.set()
        await asyncio.gather(*waiting)


# --- Not shared ---


async def test_no_cookie_is_kept() -> None:
    with fakes.keeping(OK) as (url, seen):
        network = Network()
        for _ in range(2):
            await post(network, url, Transport())
    assert seen.connections == 1
    assert not any(b"cookie" in head.lower() for head in seen.heads)


async def test_a_certificate_is_shown_on_no_connection_but_its_own(authority: Authority, tls: ssl.SSLContext) -> None:
    """Nor is a connection with one used by an environment that has none."""
    trust = Transport(ca=authority.certificate)
    certificates = {name: authority.issue(name) for name in ("one", "other")}
    with fakes.keeping(OK, tls) as (url, seen):
        network = Network()
        for name in ("one", "other", "", "one", "other", ""):
            await post(network, url, trust, certificates.get(name))
    assert seen.certificates == [(1, "one"), (2, "other"), (3, ""), (1, "one"), (2, "other"), (3, "")]


@pytest.mark.parametrize("other", [Transport(), Transport(ca=Authority().certificate)])
async def test_a_connection_is_used_by_nobody_who_trusts_others(
    authority: Authority, tls: ssl.SSLContext, other: Transport
) -> None:
    with fakes.keeping(OK, tls) as (url, seen):
        network = Network()
        for trusting in (Transport(insecure_tls=True), Transport(ca=authority.certificate)):
            await post(network, url, trusting)
            with pytest.raises(NoToken, match="untrusted"):
                await post(network, url, other)
    assert len(seen.heads) == 2


async def test_an_exchange_that_is_aborted_ends_no_other_one() -> None:
    with fakes.keeping(OK) as (url, seen):
        network = Network()
        seen.may_answer.clear()
        slow = asyncio.create_task(post(network, url, Transport(timeout=0.1)))
        other = asyncio.create_task(post(network, url, Transport(timeout=30.0)))
        with pytest.raises(NoToken, match="timeout"):
            await slow
        seen.may_answer.set()
        assert (await other).status == 200


async def test_an_abort_leaves_a_connection_alone_from_the_moment_in_which_it_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another exchange may use it by then."""
    with fakes.keeping(OK) as (url, seen):
        network = Network()
        aborted = Conversation(Transport(), None, network.connections)
        keep = network.connections.keep

        def keep_and_abort(*arguments: Any) -> None:
            keep(*arguments)
            aborted.abort()

        with monkeypatch.context() as patched:
            patched.setattr(network.connections, "keep", keep_and_abort)
            assert (await asyncio.to_thread(aborted.get, url)).status == 200
        assert (await post(network, url, Transport())).status == 200
        assert seen.connections == 1


async def test_an_exchange_that_is_aborted_leaves_no_connection_behind() -> None:
    with fakes.keeping(OK) as (url, seen):
        network = Network()
        seen.may_answer.clear()
        with pytest.raises(NoToken, match="timeout"):
            await post(network, url, Transport(timeout=0.1))
        seen.may_answer.set()
        await asyncio.to_thread(seen.wait_for, lambda: seen.open == 0)
        for thread in threading.enumerate():
            if thread.name == "token request":
                await asyncio.to_thread(thread.join, 5)
                assert not thread.is_alive()
        assert (await post(network, url, Transport())).status == 200
        assert seen.connections == 2

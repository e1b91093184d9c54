"""What environments share when they ask authorization servers, and what they do not share."""

import asyncio
import ssl
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from credential_injector.oauth.answers import Answer
from credential_injector.oauth.connections import MOST_CONTEXTS, MOST_KEPT, Connections, tls_context
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


class Contexts(list[ssl.SSLContext]):
    """The TLS contexts that were made."""

    def make(self, *arguments: Any) -> ssl.SSLContext:
        self.append(tls_context(*arguments))
        return self[-1]


async def post(network: Network, url: str, transport: Transport, certificate: tuple[str, str] | None = None) -> Answer:
    """As a further environment does."""
    server = AuthorizationServer(transport, certificate, network)
    return await server.converse(lambda conversation: conversation.post(url, {}, "a=b"), url)


# --- Shared ---


async def test_many_environments(authority: Authority, tls: ssl.SSLContext) -> None:
    """Environments of one server share a TLS context and few connections."""
    trust, contexts = partial(Transport, ca=authority.certificate), Contexts()
    with fakes.keeping(OK, tls) as (url, seen):
        network = Network(Connections(contexts.make))
        answers = await asyncio.gather(*(post(network, url, trust(timeout=30.0)) for _ in range(200)))
        assert [answer.status for answer in answers] == [200] * 200
        assert seen.most_open <= AT_ONCE_WITH_ONE
        connected = seen.connections
        for _ in range(50):
            await post(network, url, trust(timeout=30.0))
        assert seen.connections == connected
        assert seen.open <= MOST_KEPT
        assert len(contexts) == 1


async def test_http() -> None:
    """No TLS context is made for http."""
    contexts = Contexts()
    with fakes.keeping(OK) as (url, _):
        await post(Network(Connections(contexts.make)), url, Transport())
    assert contexts == []


async def test_most_kept() -> None:
    """Of many servers only so many connections are kept."""
    with ExitStack() as stack:
        servers = [stack.enter_context(fakes.keeping(OK)) for _ in range(MOST_KEPT + 8)]
        network = Network()
        for url, _ in servers:
            await post(network, url, Transport())
        for _, oldest in servers[:8]:
            await asyncio.to_thread(oldest.wait_for, lambda seen=oldest: seen.open == 0)  # type: ignore[misc]
        assert [seen.open for _, seen in servers[8:]] == [1] * MOST_KEPT


async def test_kept_for() -> None:
    """A connection that nobody uses is closed."""
    with fakes.keeping(OK) as (url, seen):
        network = Network(kept_for=0.05)
        await post(network, url, Transport())
        await asyncio.to_thread(seen.wait_for, lambda: seen.open == 0)
        assert (await post(network, url, Transport())).status == 200
        assert seen.connections == 2


async def test_owner_gone() -> None:
    """Connections end with the network that they belong to."""
    with fakes.keeping(OK) as (url, seen):
        await post(Network(), url, Transport())
        await asyncio.to_thread(seen.wait_for, lambda: seen.open == 0)


async def test_most_contexts(authority: Authority, tls: ssl.SSLContext) -> None:
    """Only so many TLS contexts are kept, however many client certificates there are."""
    with fakes.keeping(OK, tls) as (url, _):
        contexts = Contexts()
        network = Network(Connections(contexts.make))
        certificates = [authority.issue(f"client-{number}") for number in range(MOST_CONTEXTS + 1)]
        for certificate in certificates:
            await post(network, url, Transport(ca=authority.certificate), certificate)
        network.connections.close(network.connections.last_kept)
        for certificate, made in ((certificates[1], 0), (certificates[0], 1)):
            await post(network, url, Transport(ca=authority.certificate), certificate)
            assert len(contexts) == MOST_CONTEXTS + 1 + made


async def test_turns() -> None:
    """A server that hangs takes no turn of another."""
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


async def test_no_turn() -> None:
    """Who gets no turn in time is told so."""
    with fakes.keeping(OK) as (url, seen):
        seen.may_answer.clear()
        network = Network()
        waiting = [asyncio.create_task(post(network, url, Transport(timeout=30.0))) for _ in range(AT_ONCE_WITH_ONE)]
        await asyncio.to_thread(seen.wait_for, lambda: seen.open == AT_ONCE_WITH_ONE)
        with pytest.raises(NoToken) as error:
            await post(network, url, Transport(timeout=0.1))
        assert error.value.code == "timeout"
        assert error.value.reason == "too many token requests at once: this one did not start within 0 s"
        seen.may_answer.set()
        await asyncio.gather(*waiting)


# --- Not shared ---


async def test_no_cookie() -> None:
    """No cookie is kept."""
    with fakes.keeping(OK) as (url, seen):
        network = Network()
        for _ in range(2):
            await post(network, url, Transport())
    assert seen.connections == 1
    assert not any(b"cookie" in head.lower() for head in seen.heads)


async def test_certificates(authority: Authority, tls: ssl.SSLContext) -> None:
    """A client certificate is shown on its own connection alone, which no other environment uses."""
    trust = Transport(ca=authority.certificate)
    certificates = {name: authority.issue(name) for name in ("one", "other")}
    with fakes.keeping(OK, tls) as (url, seen):
        network = Network()
        for name in ("one", "other", "", "one", "other", ""):
            await post(network, url, trust, certificates.get(name))
    assert seen.certificates == [(1, "one"), (2, "other"), (3, ""), (1, "one"), (2, "other"), (3, "")]


@pytest.mark.parametrize("other", [Transport(), Transport(ca=Authority().certificate)])
async def test_trust(authority: Authority, tls: ssl.SSLContext, other: Transport) -> None:
    """A connection is used by nobody who trusts other authorities."""
    with fakes.keeping(OK, tls) as (url, seen):
        network = Network()
        for trusting in (Transport(insecure_tls=True), Transport(ca=authority.certificate)):
            await post(network, url, trusting)
            with pytest.raises(NoToken, match="untrusted"):
                await post(network, url, other)
    assert len(seen.heads) == 2


async def test_abort() -> None:
    """An exchange that is aborted ends no other one."""
    with fakes.keeping(OK) as (url, seen):
        network = Network()
        seen.may_answer.clear()
        slow = asyncio.create_task(post(network, url, Transport(timeout=0.1)))
        other = asyncio.create_task(post(network, url, Transport(timeout=30.0)))
        with pytest.raises(NoToken, match="timeout"):
            await slow
        seen.may_answer.set()
        assert (await other).status == 200


async def test_abort_kept() -> None:
    """An abort leaves a kept connection alone, as another exchange may use it."""
    with fakes.keeping(OK) as (url, seen):

        class Aborting(Connections):
            def keep(self, *arguments: Any) -> None:
                super().keep(*arguments)
                aborted.abort()

        network = Network(Aborting())
        aborted = Conversation(Transport(), None, network.connections)
        assert (await asyncio.to_thread(aborted.get, url)).status == 200
        assert (await post(network, url, Transport())).status == 200
        assert seen.connections == 1


async def test_abort_closes() -> None:
    """An exchange that is aborted leaves no connection behind."""
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

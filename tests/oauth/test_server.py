"""The way to an authorization server. What a token request makes of it is in test_token_endpoint.py."""

import asyncio
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from credential_injector.demo.servers import serve
from credential_injector.oauth import server as authorization_server
from credential_injector.oauth.answers import Answer
from credential_injector.oauth.request import Transport
from credential_injector.oauth.server import AuthorizationServer
from credential_injector.oauth.token import NoToken
from tests import fakes
from tests.certificates import Authority, self_signed
from tests.fakes import http

TOKEN = {"access_token": "abc"}
OK = http(200, TOKEN, keep=True)


async def post(server: AuthorizationServer, url: str) -> Answer:
    return await server.converse(lambda conversation: conversation.post(url, {}, "a=b"), url)


def ask(url: str, transport: Transport, certificate: tuple[str, str] | None = None) -> Answer:
    return asyncio.run(post(AuthorizationServer(transport, certificate), url))


def refusal(url: str, transport: Transport, certificate: tuple[str, str] | None = None) -> NoToken:
    with pytest.raises(NoToken) as error:
        ask(url, transport, certificate)
    return error.value


# --- Its connections ---


async def test_a_connection_is_used_again() -> None:
    with fakes.in_turn(OK, OK, OK) as (url, connections):
        server = AuthorizationServer(Transport())
        for _ in range(3):
            assert (await post(server, url)).status == 200
    assert connections == [1, 1, 1]


async def test_a_kept_connection_that_the_server_closes_meanwhile_costs_nothing() -> None:
    with fakes.in_turn(OK, None, OK) as (url, connections):
        server = AuthorizationServer(Transport())
        for _ in range(2):
            assert (await post(server, url)).status == 200
    assert connections == [1, 1, 2]


async def test_on_a_new_connection_nothing_is_sent_twice() -> None:
    with fakes.in_turn(None, OK) as (url, connections), pytest.raises(NoToken, match="unreachable"):
        await post(AuthorizationServer(Transport()), url)
    assert connections == [1]


async def test_the_deadline_ends_an_exchange_on_a_kept_connection_too() -> None:
    with fakes.in_turn(OK, 0.1, OK) as (url, connections):
        server = AuthorizationServer(Transport(timeout=0.5))
        await post(server, url)
        with pytest.raises(NoToken, match="timeout"):
            await post(server, url)
        for thread in threading.enumerate():
            if thread.name == "token request":
                await asyncio.to_thread(thread.join, 5)
                assert not thread.is_alive()
        assert (await post(server, url)).status == 200
    assert connections == [1, 1, 2]


async def test_the_deadline_ends_the_exchange_that_runs_whichever_connection_was_made_last() -> None:
    with fakes.in_turn(OK, 0.1) as (url, _), fakes.in_turn(OK) as (other, _):
        server = AuthorizationServer(Transport(timeout=0.5))
        with pytest.raises(NoToken, match="timeout"):
            await server.converse(lambda all_of_them: [all_of_them.get(one) for one in (url, other, url)], url)
        for thread in threading.enumerate():
            if thread.name == "token request":
                await asyncio.to_thread(thread.join, 5)
                assert not thread.is_alive()


async def test_the_deadline_is_one_for_all_exchanges_of_a_conversation() -> None:
    with fakes.in_turn(OK, 0.1) as (url, connections):
        server = AuthorizationServer(Transport(timeout=0.5))
        with pytest.raises(NoToken, match="timeout"):
            await server.converse(lambda both: [both.get(url), both.post(url, {}, "")], url)
    assert connections == [1, 1]


# --- Whom it trusts, and who it is ---


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@contextmanager
def tls(authority: Authority, folder: Path, *, client: str = "", days: int = 2) -> Iterator[tuple[str, list[Any]]]:
    """A server for `login.test` and this machine, which wants a certificate that `client` has signed."""
    file = folder / "server.pem"
    file.write_text("".join(authority.issue("server", "login.test", "127.0.0.1", days=days)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    if client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client)
    shown = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        shown.append(environ.get("SSL_CLIENT_CERT"))
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b"{}"]

    with serve(app, context) as origin:
        yield f"{origin}/token", shown


def test_nobody_is_trusted_but_the_authorities_that_are_named(authority: Authority, tmp_path: Path) -> None:
    ours, other = tmp_path / "ours.pem", tmp_path / "other.pem"
    ours.write_text(authority.certificate)
    other.write_text(Authority().certificate)
    with tls(authority, tmp_path) as (url, asked):
        for transport in (
            Transport(),
            Transport(ca_file=str(other)),
            Transport(ca=other.read_text(), ca_file=str(ours)),
        ):
            error = refusal(url, transport)
            assert error.code == "untrusted"
            assert "its certificate is not trusted" in error.reason
        assert asked == []
        for transport in (Transport(ca=authority.certificate), Transport(ca_file=str(ours))):
            assert ask(url, transport).status == 200


def test_a_certificate_for_another_name(authority: Authority, tmp_path: Path) -> None:
    """No authority could mend that, so it is told apart from an unknown one."""
    with tls(authority, tmp_path) as (url, asked):
        error = refusal(url.replace("127.0.0.1", "localhost"), Transport(ca=authority.certificate))
    assert (error.code, asked) == ("certificate_name", [])
    assert "(its certificate is for another name)" in error.reason


def test_a_certificate_that_has_expired(authority: Authority, tmp_path: Path) -> None:
    """Nor could it mend that."""
    with tls(authority, tmp_path, days=-1) as (url, asked):
        error = refusal(url, Transport(ca=authority.certificate))
    assert (error.code, asked) == ("certificate_expired", [])
    assert "(its certificate has expired)" in error.reason


def test_a_certificate_of_tomorrow() -> None:
    """A fake, as no server's clock is set here."""
    refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refused.verify_code, refused.verify_message = 9, "certificate is not yet valid"
    assert authorization_server._cause(refused) == ("certificate_not_yet_valid", "its certificate is not valid yet")


def test_insecure_tls_verifies_nothing_and_warns_nowhere_else(authority: Authority, tmp_path: Path) -> None:
    with tls(authority, tmp_path) as (url, _):
        assert ask(url, Transport(insecure_tls=True)).status == 200


def test_an_unreadable_file_of_authorities_is_told(tmp_path: Path) -> None:
    error = refusal("https://127.0.0.1:9/token", Transport(ca_file=str(tmp_path / "nowhere.pem")))
    assert error.code == "unreachable"
    assert "No such file" in error.reason


def test_a_client_shows_its_certificate_and_leaves_no_key_on_the_disk(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    certificate, key = authority.issue("client")
    trust = Transport(ca=authority.certificate)
    with tls(authority, tmp_path, client=authority.certificate) as (url, shown):
        assert ask(url, trust, (certificate, key)).status == 200
        assert shown[0].strip() == certificate.strip()
        assert refusal(url, trust).code == "unreachable"
        assert refusal(url, trust, self_signed("client")).code == "unreachable"
    assert list(temporary.iterdir()) == []


# --- Through a proxy ---


def test_a_proxy_gets_its_own_credentials_and_nothing_but_a_tunnel(authority: Authority, tmp_path: Path) -> None:
    with tls(authority, tmp_path) as (url, shown), fakes.proxy() as (port, received):
        named = url.replace("127.0.0.1", "login.test")
        transport = Transport(ca=authority.certificate, proxy=f"http://me:p%40ss@127.0.0.1:{port}")
        assert ask(named, transport).status == 200
    assert len(shown) == 1
    (head,) = received
    assert head.startswith(b"CONNECT login.test:")
    assert b"proxy-authorization: basic bwu6cebzcw==" in head.lower()


def test_this_machine_is_reached_without_a_proxy(authority: Authority, tmp_path: Path) -> None:
    with tls(authority, tmp_path) as (url, _), fakes.in_turn(OK) as (plain, _), fakes.proxy() as (port, received):
        transport = Transport(ca=authority.certificate, proxy=f"http://127.0.0.1:{port}")
        assert ask(url, transport).status == 200
        assert ask(plain, transport).status == 200
    assert received == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_told_without_its_password(scheme: str) -> None:
    error = refusal("https://login.test/token", Transport(proxy=f"{scheme}://me:canary@127.0.0.1:9"))
    assert error.code == "unreachable"
    assert error.reason == "https://login.test/token cannot be reached through the proxy (Connection refused)"


def test_a_proxy_that_refuses_is_told_without_its_words() -> None:
    with fakes.answering(http(407, b"canary", "Proxy-Authenticate: Basic realm=canary"), reads=False) as (url, _):
        error = refusal("https://login.test/token", Transport(proxy=url.removesuffix("/token")))
    assert error.reason == "https://login.test/token cannot be reached through the proxy (which answered 407)"

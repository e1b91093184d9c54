"""Exchanges with an authorization server: their connections, deadlines, trust and proxy."""

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


async def test_reused() -> None:
    """A connection is used again."""
    with fakes.in_turn(OK, OK, OK) as (url, connections):
        server = AuthorizationServer(Transport())
        for _ in range(3):
            assert (await post(server, url)).status == 200
    assert connections == [1, 1, 1]


async def test_closed_meanwhile() -> None:
    """A kept connection that the server closes meanwhile costs nothing."""
    with fakes.in_turn(OK, None, OK) as (url, connections):
        server = AuthorizationServer(Transport())
        for _ in range(2):
            assert (await post(server, url)).status == 200
    assert connections == [1, 1, 2]


async def test_sent_once() -> None:
    """On a new connection nothing is sent twice."""
    with fakes.in_turn(None, OK) as (url, connections), pytest.raises(NoToken, match="unreachable"):
        await post(AuthorizationServer(Transport()), url)
    assert connections == [1]


async def test_deadline_kept() -> None:
    """The deadline ends an exchange on a kept connection, too."""
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


async def test_deadline_running() -> None:
    """The deadline ends the exchange that runs, whichever connection was made last."""
    with fakes.in_turn(OK, 0.1) as (url, _), fakes.in_turn(OK) as (other, _):
        server = AuthorizationServer(Transport(timeout=0.5))
        with pytest.raises(NoToken, match="timeout"):
            await server.converse(lambda all_of_them: [all_of_them.get(one) for one in (url, other, url)], url)
        for thread in threading.enumerate():
            if thread.name == "token request":
                await asyncio.to_thread(thread.join, 5)
                assert not thread.is_alive()


async def test_one_deadline() -> None:
    """All exchanges of a conversation have one deadline."""
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
def tls(
    authority: Authority, folder: Path, *, client: str = "", days: int = 2, since: int = -2
) -> Iterator[tuple[str, list[Any]]]:
    """A server for `login.test` and this machine, which wants a certificate that `client` has signed."""
    file = folder / "server.pem"
    file.write_text("".join(authority.issue("server", "login.test", "127.0.0.1", days=days, since=since)))
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


def test_authorities(authority: Authority, tmp_path: Path) -> None:
    """Nobody is trusted but the authorities that are named."""
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


def test_other_name(authority: Authority, tmp_path: Path) -> None:
    """A certificate for another name is told apart from one of an unknown authority, whom CA_FILE could name."""
    with tls(authority, tmp_path) as (url, asked):
        error = refusal(url.replace("127.0.0.1", "localhost"), Transport(ca=authority.certificate))
    assert (error.code, asked) == ("certificate_name", [])
    assert "(its certificate is for another name)" in error.reason


def test_certificate_expired(authority: Authority, tmp_path: Path) -> None:
    """So is a certificate that has expired."""
    with tls(authority, tmp_path, days=-1) as (url, asked):
        error = refusal(url, Transport(ca=authority.certificate))
    assert (error.code, asked) == ("certificate_expired", [])
    assert "(its certificate has expired)" in error.reason


def test_certificate_of_tomorrow(authority: Authority, tmp_path: Path) -> None:
    """So is a certificate that is not valid yet."""
    with tls(authority, tmp_path, since=1) as (url, asked):
        error = refusal(url, Transport(ca=authority.certificate))
    assert (error.code, asked) == ("certificate_not_yet_valid", [])
    assert "(its certificate is not valid yet)" in error.reason


def test_insecure_tls(authority: Authority, tmp_path: Path) -> None:
    """INSECURE_TLS verifies nothing, and no library warns of it."""
    with tls(authority, tmp_path) as (url, _):
        assert ask(url, Transport(insecure_tls=True)).status == 200


def test_unreadable_ca_file(tmp_path: Path) -> None:
    """A file of authorities that cannot be read is told."""
    error = refusal("https://127.0.0.1:9/token", Transport(ca_file=str(tmp_path / "nowhere.pem")))
    assert error.code == "unreachable"
    assert "No such file" in error.reason


def test_client_certificate(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client shows its certificate, and leaves no key on the disk."""
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


def test_proxy(authority: Authority, tmp_path: Path) -> None:
    """A proxy gets its own credentials, and leads a tunnel."""
    with tls(authority, tmp_path) as (url, shown), fakes.proxy() as (port, received):
        named = url.replace("127.0.0.1", "login.test")
        transport = Transport(ca=authority.certificate, proxy=f"http://me:p%40ss@127.0.0.1:{port}")
        assert ask(named, transport).status == 200
    assert len(shown) == 1
    (head,) = received
    assert head.startswith(b"CONNECT login.test:")
    assert b"proxy-authorization: basic bwu6cebzcw==" in head.lower()


def test_no_proxy(authority: Authority, tmp_path: Path) -> None:
    """This machine is reached without a proxy."""
    with tls(authority, tmp_path) as (url, _), fakes.in_turn(OK) as (plain, _), fakes.proxy() as (port, received):
        transport = Transport(ca=authority.certificate, proxy=f"http://127.0.0.1:{port}")
        assert ask(url, transport).status == 200
        assert ask(plain, transport).status == 200
    assert received == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_down(scheme: str) -> None:
    """A proxy that is down is blamed itself, without its password."""
    error = refusal("https://login.test/token", Transport(proxy=f"{scheme}://me:canary@127.0.0.1:9"))
    assert error.code == "proxy_unreachable"
    told = "https://login.test/token cannot be reached through the proxy (no connection to it: Connection refused)"
    assert error.reason == told


def test_proxy_drops(authority: Authority) -> None:
    """A proxy that drops packets is blamed itself, too."""
    with fakes.black_hole() as port:
        transport = Transport(ca=authority.certificate, proxy=f"http://127.0.0.1:{port}", timeout=2.0)
        error = refusal("https://login.test/token", transport)
    assert error.code == "proxy_unreachable"
    assert error.reason.endswith("/token cannot be reached through the proxy (no connection to it in time)")


def test_proxy_no_tls() -> None:
    """A proxy that answers https in plain http is blamed itself, too."""
    with fakes.answering(http(400, b""), reads=False) as (url, _):
        proxy = url.replace("http:", "https:").removesuffix("/token")
        error = refusal("https://login.test/token", Transport(proxy=proxy))
    assert error.code == "proxy_unreachable"
    assert error.reason.endswith("through the proxy (no connection to it: it does not speak TLS on this port)")


def test_server_behind_proxy(authority: Authority, tmp_path: Path) -> None:
    """A server behind a proxy that works is blamed itself."""
    with tls(authority, tmp_path) as (url, _), fakes.proxy() as (port, _):
        named = url.replace("127.0.0.1", "login.test")
        error = refusal(named, Transport(proxy=f"http://127.0.0.1:{port}"))
    assert error.code == "untrusted"


@pytest.mark.parametrize("login", ["", "me:p%40ss@"])
def test_proxy_ipv6(authority: Authority, tmp_path: Path, login: str) -> None:
    """CONNECT names an IPv6 address in brackets, in its Host header as well."""
    with tls(authority, tmp_path) as (url, _), fakes.proxy() as (proxy, received):
        port = url.rpartition(":")[2].partition("/")[0]
        transport = Transport(insecure_tls=True, proxy=f"http://{login}127.0.0.1:{proxy}")
        assert ask(f"https://[2001:db8::1]:{port}/token", transport).status == 200
    (head,) = received
    assert head.startswith(f"CONNECT [2001:db8::1]:{port} HTTP/1.".encode())
    assert [line for line in head.split(b"\r\n") if line.lower().startswith(b"host:")] == [
        f"Host: [2001:db8::1]:{port}".encode()
    ]
    assert (b"proxy-authorization:" in head.lower()) == bool(login)


def test_proxy_refuses() -> None:
    """A proxy that refuses is blamed itself, without its words."""
    with fakes.answering(http(407, b"canary", "Proxy-Authenticate: Basic realm=canary"), reads=False) as (url, _):
        error = refusal("https://login.test/token", Transport(proxy=url.removesuffix("/token")))
    assert error.code == "proxy_refused"
    assert error.reason == "https://login.test/token cannot be reached through the proxy (it answered 407)"

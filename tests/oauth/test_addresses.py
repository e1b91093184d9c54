"""Which of a name's addresses is connected to. The addresses are real ones of this machine, their name is not."""

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from credential_injector.oauth.addresses import MOST_ADDRESSES, connect
from tests.fakes import black_hole

Resolve = Callable[..., None]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Let any name have these ports of this machine as its addresses."""

    def to(*ports: int) -> None:
        kind = socket.AF_INET, socket.SOCK_STREAM, 0, ""
        found = [(*kind, ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    return to


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> Iterator[int]:
    """A port where connections are refused."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


def never() -> bool:
    return False


def test_dropping(resolve: Resolve, listening: int) -> None:
    """An address that drops packets does not keep the others from being tried."""
    with black_hole() as dropping:
        resolve(dropping, dropping, listening)
        with connect("login.test", 443, never) as sock:
            assert sock.getpeername()[1] == listening
            assert sock.gettimeout() is None


def test_refusing(resolve: Resolve, closed: int, listening: int) -> None:
    """After an address that refuses, the next one is tried at once."""
    resolve(closed, listening)
    with connect("login.test", 443, never, delay=60.0) as sock:
        assert sock.getpeername()[1] == listening


def test_all_refuse(resolve: Resolve, closed: int) -> None:
    """Where all addresses refuse, the error says so."""
    resolve(closed, closed)
    with pytest.raises(ConnectionRefusedError, match="Connection refused"):
        connect("login.test", 443, never)


def test_no_address(resolve: Resolve) -> None:
    """A name without an address is an error."""
    resolve()
    with pytest.raises(OSError, match=r"login\.test has no address"):
        connect("login.test", 443, never)


def test_given_up(resolve: Resolve) -> None:
    """An attempt ends when it is given up."""
    given_up = threading.Event()
    with black_hole() as dropping:
        resolve(dropping)
        threading.Timer(0.1, given_up.set).start()
        with pytest.raises(TimeoutError):
            connect("login.test", 443, given_up.is_set)


def test_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """The families take turns (RFC 8305 section 4), and only the first addresses count."""
    tried = []

    def attempt(family: socket.AddressFamily, *_: Any) -> socket.socket:
        tried.append(family)
        raise ConnectionRefusedError

    six, four = socket.AF_INET6, socket.AF_INET
    found = [(family, socket.SOCK_STREAM, 0, "", ()) for family in [six] * 5 + [four] * 2]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "socket", attempt)
    with pytest.raises(ConnectionRefusedError):
        connect("login.test", 443, never)
    assert tried == [six, four, six, four, six, six][:MOST_ADDRESSES]

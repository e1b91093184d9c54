"""Which of a name's addresses is connected to. The addresses are real ones of this machine, their name is not."""

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from credential_injector.oauth import addresses
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


def test_an_address_that_drops_packets_does_not_keep_the_others_from_being_tried(
    resolve: Resolve, listening: int
) -> None:
    with black_hole() as dropping:
        resolve(dropping, dropping, listening)
        with connect("login.test", 443, never) as sock:
            assert sock.getpeername()[1] == listening
            assert sock.gettimeout() is None


def test_after_an_address_that_refuses_the_next_one_is_tried_at_once(
    resolve: Resolve, closed: int, listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "ATTEMPT_DELAY", 60.0)
    resolve(closed, listening)
    with connect("login.test", 443, never) as sock:
        assert sock.getpeername()[1] == listening


def test_where_all_addresses_refuse_the_reason_is_told(resolve: Resolve, closed: int) -> None:
    resolve(closed, closed)
    with pytest.raises(ConnectionRefusedError, match="Connection refused"):
        connect("login.test", 443, never)


def test_a_name_without_an_address_is_an_error(resolve: Resolve) -> None:
    resolve()
    with pytest.raises(OSError, match=r"login\.test has no address"):
        connect("login.test", 443, never)


def test_an_attempt_ends_when_it_is_given_up(resolve: Resolve) -> None:
    given_up = threading.Event()
    with black_hole() as dropping:
        resolve(dropping)
        threading.Timer(0.1, given_up.set).start()
        with pytest.raises(TimeoutError):
            connect("login.test", 443, given_up.is_set)


def test_the_families_take_turns_and_only_the_first_addresses_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8305 section 4."""
    tried = []

    def attempt(family: socket.AddressFamily, *_: Any) -> socket.socket:
        tried.append(family)
        raise ConnectionRefusedError

    six, four = socket.AF_INET6, socket.AF_INET
    found = [(family, socket.SOCK_STREAM, 0, "", ()) for family in [six] * 5 + [four] * 2]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(addresses, "_attempt", attempt)
    with pytest.raises(ConnectionRefusedError):
        connect("login.test", 443, never)
    assert tried == [six, four, six, four, six, six][:MOST_ADDRESSES]

"""How mitmproxy is told to listen for one phone."""

import socket

import pytest

from credential_injector.launch import phone
from credential_injector.launch.programs import NotStarted

HERE, THERE = "192.168.1.5", "192.168.1.23"


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of one address in one network."""

    class Datagrams(socket.socket):
        def __init__(self, family: int, kind: int) -> None:
            super().__init__(family, kind)

        def bind(self, address: object) -> None:
            if address != (HERE, 0):
                raise OSError

        def connect(self, address: object) -> None:
            if isinstance(address, tuple) and address[0] == "10.9.9.9":
                raise OSError(101, "Network is unreachable")

        def getsockname(self) -> tuple[str, int]:
            return HERE, 1

    monkeypatch.setattr(socket, "socket", Datagrams)


def test_any() -> None:
    """Without an address WireGuard listens on the network, and the proxy for this machine alone."""
    told = " ".join(phone.options("wireguard", []))
    assert told == (
        "--set inject_phone=wireguard --listen-host 127.0.0.1 --mode regular --mode wireguard@192.168.1.5:51820"
    )
    assert phone.options(HERE, []) == phone.options("wireguard", [])


def test_known() -> None:
    """A phone whose address is known may use the proxy, too."""
    told = " ".join(phone.options(THERE, ["--listen-port", "9090"]))
    assert told == (
        "--set inject_phone=192.168.1.23 --set inject_clients=loopback,192.168.1.23"
        " --mode regular --mode wireguard@192.168.1.5:51820"
    )


def test_given() -> None:
    """Modes and clients that somebody names himself count."""
    told = phone.options(THERE, ["--mode=socks5", "--set", "inject_clients=10.0.0.0/8"])
    assert "--mode" not in told
    assert not any("inject_clients" in word for word in told)


@pytest.mark.parametrize("value", ["qa", "192.168.1", "127.0.0.1", "0.0.0.0", "::1"])
def test_mistake(value: str) -> None:
    """What is no address, or none that a phone could have or reach, is refused."""
    with pytest.raises(ValueError, match="phone's"):
        phone.options(value, [])


def test_no_network() -> None:
    """A machine that is in no network is told what to do."""
    with pytest.raises(NotStarted, match=r"Network is unreachable.+--phone=192\.168\.1\.5"):
        phone.options("10.9.9.9", [])

"""Who may connect while mitmproxy listens for one phone."""

import logging

import pytest
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from credential_injector.proxy import qr
from credential_injector.proxy.phone import Phone

PHONE, STRANGER = "192.168.1.23", "192.168.1.99"


@pytest.mark.parametrize(
    ("value", "address", "mode", "let_in"),
    [
        ("", STRANGER, "regular", True),
        (PHONE, PHONE, "regular", True),
        (PHONE, f"::ffff:{PHONE}", "regular", True),
        (PHONE, STRANGER, "regular", False),
        (PHONE, "127.0.0.1", "regular", True),
        (PHONE, "10.0.0.1", "wireguard", True),
        (PHONE, "10.0.0.1", "regular", False),
        ("wireguard", PHONE, "regular", False),
        ("wireguard", "10.0.0.1", "wireguard", True),
    ],
)
def test_let_in(value: str, address: str, mode: str, let_in: bool) -> None:
    """The phone, this machine and WireGuard's peer; a stranger is told once in the log."""
    phone, client = Phone(), tflow.tclient_conn()
    client.peername, client.proxy_mode = (address, 50000), ProxyMode.parse(mode)
    phone.admit(value)
    phone.look_at(client)
    assert (client.error is None) == let_in


def test_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever knocks often, or from many addresses, does not fill the log."""
    phone = Phone()
    phone.admit(PHONE)
    with caplog.at_level(logging.WARNING):
        for number in range(600):
            client = tflow.tclient_conn()
            client.peername = (f"10.1.{number // 2 % 256}.{number // 512}", 50000)
            phone.look_at(client)
    assert len(caplog.messages) == 100
    assert len(set(caplog.messages)) == 100


def test_malformed() -> None:
    """What is no address is refused, with the value."""
    with pytest.raises(ValueError, match="'my phone' is not a network"):
        Phone().admit("my phone")


def test_terminal() -> None:
    """A configuration of WireGuard fits a terminal of 80 columns, and each line resets its colours."""
    lines = qr.terminal("x" * 250).splitlines()
    assert all(line.endswith("\x1b[0m") for line in lines)
    assert {len(line.split("m", 1)[1].removesuffix("\x1b[0m")) for line in lines} == {lines[0].count(" ")}
    assert lines[0].count(" ") <= 80

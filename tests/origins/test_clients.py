"""Which clients get credentials."""

import pytest

from credential_injector.origins.clients import admission, admits_everybody, process_of


@pytest.mark.parametrize(
    ("networks", "address", "admitted"),
    [
        ("loopback", "127.0.0.1", True),
        ("loopback", "127.9.9.9", True),
        ("loopback", "::1", True),
        ("loopback", "::ffff:127.0.0.1", True),
        ("loopback", "192.168.1.23", False),
        ("", "127.0.0.1", False),
        ("192.168.1.23/32", "192.168.1.23", True),
        ("192.168.1.23", "192.168.1.23", True),
        ("192.168.1.23", "::ffff:192.168.1.23", True),
        ("192.168.1.23", "192.168.1.24", False),
        ("LOOPBACK, 10.0.0.0/8", "10.9.8.7", True),
        ("::ffff:10.0.0.0/104", "10.9.8.7", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("0.0.0.0/0,::/0", "2001:db8::1", True),
        ("0.0.0.0/0", "not an address", False),
        ("0.0.0.0/0", "", False),
    ],
)
def test_admission(networks: str, address: str, admitted: bool) -> None:
    """A client is admitted by its address."""
    assert admission(networks)(address) == admitted


@pytest.mark.parametrize("networks", ["everyone", "192.168.1.0/33", "192.168.1.0-9", "loopback 10.0.0.0/8"])
def test_malformed(networks: str) -> None:
    """What is no network is refused."""
    with pytest.raises(ValueError, match=r"is not a network; expected loopback or a CIDR"):
        admission(networks)


@pytest.mark.parametrize(
    ("networks", "everybody"),
    [
        ("loopback", False),
        ("10.0.0.0/8,192.168.0.0/16", False),
        ("0.0.0.0/0", True),
        ("::/0", True),
        ("0.0.0.0/1,128.0.0.0/1", True),
        ("loopback,::ffff:0:0/96", True),
    ],
)
def test_everybody(networks: str, everybody: bool) -> None:
    """Everybody is every IPv4 or every IPv6 address."""
    assert admits_everybody(networks) == everybody


@pytest.mark.parametrize(("text", "process"), [("", None), ("loopback", None), ("loopback, process:12", 12)])
def test_process(text: str, process: int | None) -> None:
    """The process whose clients are let in."""
    assert process_of(text) == process


@pytest.mark.parametrize("number", ["", "0", "-1", "1.5", "٣", "12 13", "12,process:13"])
def test_malformed_process(number: str) -> None:
    """What is no one process is refused; 0 would be the parent of all."""
    with pytest.raises(ValueError, match="is malformed or given twice"):
        process_of(f"process:{number}")

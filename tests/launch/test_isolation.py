"""Names, DNS messages and the destination of each connection of an isolated command."""

import asyncio
import socket
import struct
import sys

import pytest

from credential_injector.launch.isolation import names
from credential_injector.launch.isolation.forwarder import Forwarder
from credential_injector.launch.isolation.names import Names
from credential_injector.origins.origin import Origin

AAAA = 28

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sockets of POSIX")


def query(name: str, kind: int = names.A) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x34" + struct.pack(">HHHHH", 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def forwarder(*origins: Origin) -> Forwarder:
    return Forwarder(("127.0.0.1", 1), None, origins, socket.socket)


def resolve(asked: bytes, *origins: Origin) -> bytes:
    answered = asyncio.run(forwarder(*origins).resolve(asked))
    assert answered is not None
    return answered


def records(message: bytes) -> int:
    return int.from_bytes(message[6:8], "big")


def test_question() -> None:
    """Its name in lower case, and its type."""
    assert names.question(query("API.qa.test", AAAA)) == ("api.qa.test", AAAA)


@pytest.mark.parametrize(
    "message",
    [b"", query("a.test")[:11], query("a.test")[:-3], b"\x12\x34\x80" + query("a.test")[3:], query("a.test")[:12]],
    ids=["empty", "half a header", "cut", "an answer", "no question"],
)
def test_no_question(message: bytes) -> None:
    """What is none gets no answer."""
    assert names.question(message) is None


def test_address() -> None:
    """One name has one address, which leads back to it."""
    known = Names()
    one, other = known.address("a.test"), known.address("b.test")
    assert one == known.address("a.test") != other
    assert (known.name(one), known.name(other), known.name("192.0.2.7")) == ("a.test", "b.test", None)


def test_address_again() -> None:
    """Where there are no more, the oldest name gives its own away."""
    known = Names()
    first = known.address("0.test")
    for number in range(1, 1 << 17):
        last = known.address(f"{number}.test")
        if last == first:
            break
    assert known.name(first) == f"{number}.test"
    assert not known.knows("0.test")
    assert known.knows("1.test")


def test_configured_name() -> None:
    """It needs no server of names here, as the proxy looks it up."""
    answered = resolve(query("api.qa.test"), Origin("https", "api.qa.test", 443))
    assert records(answered) == 1
    assert answered[-4:] == socket.inet_aton("198.18.0.1")


def test_wildcard() -> None:
    """Each host that it stands for is configured."""
    assert records(resolve(query("one.qa.test"), Origin("https", "qa.test", 443, wildcard=True))) == 1


def test_no_ipv6() -> None:
    """A name that exists has no address of IPv6."""
    answered = resolve(query("api.qa.test", AAAA), Origin("https", "api.qa.test", 443))
    assert (records(answered), answered[3] & 0xF) == (0, names.NO_ERROR)


def test_unknown_name() -> None:
    """A name that this machine does not know is unknown in there."""
    answered = resolve(query(f"{'x' * 63}.invalid"))
    assert (records(answered), answered[3] & 0xF) == (0, names.NO_SUCH_NAME)

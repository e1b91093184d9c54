"""The options with which mitmproxy listens on the network for one phone."""

import ipaddress
import socket
from collections.abc import Sequence

from credential_injector.launch.programs import NotStarted

WIREGUARD = "wireguard"
"""No address: whoever holds WireGuard's key is the phone."""

_INTERNET = "198.51.100.1"  # reserved for documentation; nothing is sent there
_PORT = 51820  # WireGuard's


def options(phone: str, given: Sequence[str]) -> list[str]:
    """mitmproxy's options, to be put before those that were `given`, which count more.

    `phone` is the phone's address, one of this machine's, on which WireGuard listens, or WIREGUARD.
    Raises ValueError where it is none of these, and NotStarted where this machine is in no network.
    """
    known = phone != WIREGUARD and not _is_own(_address(phone))
    here = phone if phone != WIREGUARD and not known else _own_towards(phone if known else _INTERNET)
    settings = [f"inject_phone={phone if known else WIREGUARD}"]
    if known and not any("inject_clients=" in word for word in given):
        settings.append(f"inject_clients=loopback,{phone}")  # WireGuard's peer gets tokens in any case
    words = [word for setting in settings for word in ("--set", setting)]
    if not known:
        words += ["--listen-host", "127.0.0.1"]  # of the proxy; WireGuard's stands in its mode
    if not any(word.partition("=")[0] in ("-m", "--mode") for word in given):
        at = f"[{here}]" if ":" in here else here
        words += ["--mode", "regular", "--mode", f"wireguard@{at}:{_PORT}"]
    return words


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not an address; expected the phone's, such as 192.168.1.23, or one of this machine's"
        ) from None
    if address.is_loopback or address.is_unspecified:
        raise ValueError(f"{text} cannot be reached from a phone; name the phone's address or one of this machine's")
    return text


def _is_own(address: str) -> bool:
    """Whether an address is this machine's: only those can be bound to."""
    with _datagrams(address) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _own_towards(address: str) -> str:
    """The address from which this machine would send to another one. Nothing is sent."""
    with _datagrams(address) as probe:
        try:
            probe.connect((address, 9))
            return str(probe.getsockname()[0])
        except OSError as error:
            raise NotStarted(
                f"this machine has no address that a phone could reach ({error.strerror}); connect it to the phone's"
                " network, or name its address: --phone=192.168.1.5"
            ) from None


def _datagrams(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)

"""Which clients get credentials. Pure."""

import ipaddress
from collections.abc import Callable
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PROCESS = "process:"
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def admission(text: str) -> Callable[[str], bool]:
    """Read networks (CIDR or `loopback`, comma-separated) into a test of a client's address. Raises ValueError."""
    networks = parse_networks(text)

    @lru_cache(maxsize=1024)
    def admits(address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address):
            ip = ip.ipv4_mapped or ip  # an IPv4 client of a socket that listens on both
        return any(ip in network for network in networks)

    return admits


def admits_everybody(text: str) -> bool:
    """Whether these networks hold every IPv4 or every IPv6 address. Raises ValueError."""
    networks = parse_networks(text)
    v4 = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    v6 = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    return any(
        network in everything for network in (*ipaddress.collapse_addresses(v4), *ipaddress.collapse_addresses(v6))
    )


def process_of(text: str) -> int | None:
    """The number of the process whose clients are let in (`process:1234`), and those of its descendants.

    Raises ValueError.
    """
    found = [item.removeprefix(_PROCESS) for item in _items(text) if item.startswith(_PROCESS)]
    if len(found) > 1 or not all(one.isascii() and one.isdecimal() and int(one) for one in found):
        raise ValueError("process: is malformed or given twice; expected one number of a process, as in process:1234")
    return int(found[0]) if found else None


def _items(text: str) -> list[str]:
    return [item for item in map(str.strip, text.split(",")) if item]


def parse_networks(text: str) -> list[Network]:
    """Read networks (CIDR or `loopback`, comma-separated); a process is none of them. Raises ValueError."""
    networks: list[Network] = []
    for item in _items(text):
        if item.startswith(_PROCESS):
            continue
        if item.lower() == "loopback":
            networks += _LOOPBACK
            continue
        try:
            network = ipaddress.ip_network(item, strict=False)
        except ValueError:
            raise ValueError(
                f"{item!r} is not a network; expected loopback or a CIDR such as 192.168.1.23/32"
            ) from None
        mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
        if mapped is not None and network.prefixlen >= 96:
            network = ipaddress.ip_network((mapped, network.prefixlen - 96))
        networks.append(network)
    return networks

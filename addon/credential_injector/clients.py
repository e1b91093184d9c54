"""Which clients get credentials. Pure."""

import ipaddress
from collections.abc import Callable
from functools import lru_cache


def admission(text: str) -> Callable[[str], bool]:
    """Read networks (CIDR, or `loopback`; comma-separated) into a test of a client's address. Raises ValueError."""
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    loopback = False
    for item in filter(None, map(str.strip, text.split(","))):
        if item.lower() == "loopback":
            loopback = True
            continue
        try:
            networks.append(ipaddress.ip_network(item, strict=False))
        except ValueError:
            raise ValueError(
                f"{item!r} is not a network, 'loopback' or CIDR such as 192.168.1.23/32 was expected"
            ) from None

    @lru_cache(maxsize=1024)
    def admits(address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address):
            ip = ip.ipv4_mapped or ip  # an IPv4 client of a socket that listens on both
        return (loopback and ip.is_loopback) or any(ip in network for network in networks)

    return admits

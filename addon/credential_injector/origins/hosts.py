"""Names and addresses of hosts. Pure.

`normalise_host` is for both sides of a comparison: the origin in an environment file, and the name in a request.
"""

import ipaddress
import re
from functools import lru_cache

LONGEST_NAME = 253  # RFC 1035 section 2.3.4, in the dotted form
LONGEST_ADDRESS = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


def normalise_host(host: str) -> str:
    """Lower case, no dot at the end, IDNA as ASCII, an IP address in its canonical spelling (RFC 5952).

    A name that IDNA refuses stays as it is, and so equals nothing in an environment file.
    """
    host = host.lower().removesuffix(".")
    if not host.isascii():
        if len(host) > LONGEST_NAME:  # encoding a very long one takes seconds
            return host
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return host
    # Only IPv6 addresses have several spellings. Parsing every host would cost more than the whole look-up.
    if ":" in host:
        try:
            return str(ipaddress.ip_address(host.strip("[]")))
        except ValueError:
            pass
    return host


def is_address(host: str) -> bool:
    """Whether a normalised host is an IP address. One with a zone (RFC 6874) is none: a zone may be any text."""
    if ":" not in host and not host[-1:].isdigit():
        return False
    return len(host) <= LONGEST_ADDRESS and "%" not in host and _parses(host)


@lru_cache(maxsize=1024)
def _parses(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def is_name(host: str) -> bool:
    """Whether a normalised host is a domain name. Only an address ends in a number (WHATWG URL, host parsing)."""
    return len(host) <= LONGEST_NAME and _NAME.fullmatch(host) is not None and not host.rpartition(".")[2].isdigit()


def is_loopback(host: str) -> bool:
    """Whether a normalised host can only be this machine: a loopback address or `localhost` (RFC 6761)."""
    return ipaddress.ip_address(host).is_loopback if is_address(host) else host == "localhost"

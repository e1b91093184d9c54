"""The host names that a request carries. Pure."""

import re
from typing import NamedTuple

from credential_injector.origins.hosts import is_address, is_loopback, is_name, normalise_host

_AUTHORITY = re.compile(r"(\[[^\]]+\]|[^:@\[\]/]+)(?::([0-9]{1,5}))?")


class Claim(NamedTuple):
    """One host name that a request carries."""

    where: str
    """What carries it, as messages call it: `Host header`."""
    authority: str
    """The host, maybe with a port, as the client wrote it: it may be any text."""

    @property
    def host(self) -> str | None:
        """Normalised; None where it is no host."""
        match = _AUTHORITY.fullmatch(self.authority)
        return normalise_host(match[1]) if match else None

    def means(self, name: str, port: int) -> bool:
        """Whether it names this host, with this port or without one."""
        match = _AUTHORITY.fullmatch(self.authority)
        return match is not None and normalise_host(match[1]) == name and (match[2] is None or int(match[2]) == port)

    def __str__(self) -> str:
        host = self.host
        if host is None or not _is_plainly_a_host(host):
            return f"its {self.where} is no host's name"
        port = self.authority.rpartition(":")[2]
        return f"its {self.where} names {host}{f':{port}' if port.isdigit() and ':' not in host else ''}"


def _is_plainly_a_host(host: str) -> bool:
    """Whether a message may repeat it: anything else could be a secret in the wrong place."""
    labels = host.split(".")
    return is_address(host) or is_loopback(host) or (is_name(host) and len(labels) > 1 and max(map(len, labels)) < 64)

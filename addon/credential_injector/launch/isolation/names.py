"""The names that a command looks up -> addresses that stand for them, and DNS messages (RFC 1035). Pure."""

import ipaddress
import struct

_FIRST = int(ipaddress.ip_address("198.18.0.1"))  # of a network that nobody uses (RFC 2544)
_MOST = (1 << 17) - 2

A, INTERNET = 1, 1
NO_ERROR, NO_SUCH_NAME = 0, 3
_LIFE = 60  # seconds for which an answer may be kept


class Names:
    """The addresses that stand for names."""

    def __init__(self) -> None:
        self._addresses: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def address(self, name: str) -> str:
        """That of a name, the same each time. The oldest one makes room for a new one."""
        if name not in self._addresses:
            if len(self._addresses) >= _MOST:
                oldest = next(iter(self._addresses))
                address = self._addresses.pop(oldest)
            else:
                address = str(ipaddress.ip_address(_FIRST + len(self._addresses)))
            self._addresses[name] = address
            self._names[address] = name
        return self._addresses[name]

    def knows(self, name: str) -> bool:
        """Whether it has an address."""
        return name in self._addresses

    def name(self, address: str) -> str | None:
        """The name for which an address stands; None where it stands for itself."""
        return self._names.get(address)


def question(message: bytes) -> tuple[str, int] | None:
    """The name and the type that a message asks for; None where it asks for none, or for several."""
    if len(message) < 12 or message[2] & 0x80 or message[4:6] != b"\0\1":
        return None
    labels, at = [], 12
    while at < len(message) and (length := message[at]):
        if length > 63:
            return None
        labels.append(message[at + 1 : at + 1 + length])
        at += 1 + length
    if at + 5 > len(message) or not labels:
        return None
    try:
        name = b".".join(labels).decode("ascii").lower()
    except UnicodeDecodeError:
        return None
    return name, int.from_bytes(message[at + 1 : at + 3], "big")


def answer(message: bytes, address: str | None, code: int = NO_ERROR) -> bytes:
    """The answer to a question: an IPv4 address, nothing of that type, or an error's code."""
    end = 12
    while message[end]:
        end += 1 + message[end]
    end += 5
    record = b""
    if address is not None:
        record = b"\xc0\x0c" + struct.pack(">HHIH", A, INTERNET, _LIFE, 4) + ipaddress.ip_address(address).packed
    flags = 0x8080 | (int.from_bytes(message[2:4], "big") & 0x0100) | code
    return message[:2] + struct.pack(">HHHHH", flags, 1, int(bool(record)), 0, 0) + message[12:end] + record

"""Certificates -> a trust store for Java.

The format is the one that Java's `sun.security.provider.JavaKeyStore` describes (JKS, version 2). Java reads it
whatever its default type is (`keystore.type.compat`), and no other program needs to be there to write it.
"""

import hashlib
import struct
from collections.abc import Iterable

PASSWORD = "changeit"  # noqa: S105 - Java's own, which keeps nothing secret: the certificates are public
_MAGIC, _VERSION, _TRUSTED = 0xFEEDFEED, 2, 2


def java_trust_store(certificates: Iterable[bytes]) -> bytes:
    """A store of these certificates, which are in DER."""
    entries = [
        struct.pack(">I", _TRUSTED) + _text(f"{number}") + bytes(8) + _text("X.509") + _sized(certificate)
        for number, certificate in enumerate(certificates)
    ]
    store = struct.pack(">III", _MAGIC, _VERSION, len(entries)) + b"".join(entries)
    salted = PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + store
    return store + hashlib.sha1(salted, usedforsecurity=False).digest()


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode("ascii")


def _sized(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value

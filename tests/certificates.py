"""Certificates and keys of a test's own, in PEM form."""

import datetime
import ipaddress
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

KEYS = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


def pem_of(key: Any, *, passphrase: str = "") -> str:
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase:
        encryption = BestAvailableEncryption(passphrase.encode())
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), "ascii")


_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


class Authority:
    """A certificate authority."""

    def __init__(self) -> None:
        self._key = cast(Any, KEYS["P-256"]())
        basic = x509.BasicConstraints(True, None)
        certificate = _unsigned("test CA", "test CA", self._key).add_extension(basic, True)
        # Python 3.13 verifies strictly (RFC 5280).
        signs = {"key_cert_sign": True, "crl_sign": True}
        usage = x509.KeyUsage(**{**dict.fromkeys(_USAGES, False), **signs})
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        certificate = certificate.add_extension(usage, True).add_extension(identifier, False)
        self.certificate = _signed(certificate, self._key)

    def issue(self, name: str, *alternatives: str, days: int = 2, since: int = -2) -> tuple[str, str]:
        """A certificate and its key. `alternatives` are DNS names and addresses of a server.

        It is valid from `since` until `days`, both in days from now.
        """
        key = KEYS["P-256"]()
        names: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(one)) if one[0].isdigit() else x509.DNSName(one) for one in alternatives
        ]
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = _unsigned(name, "test CA", key, days, since).add_extension(identifier, False)
        if names:
            certificate = certificate.add_extension(x509.SubjectAlternativeName(names), False)
        return _signed(certificate, self._key), pem_of(key)

    def file(self, folder: Path, name: str, *alternatives: str, days: int = 2) -> Path:
        """A certificate with its key, in a file of this name."""
        file = folder / f"{name}.pem"
        file.write_text("".join(self.issue(name, *alternatives, days=days)))
        return file


def self_signed(name: str, kind: str = "P-256") -> tuple[str, str]:
    """A certificate and its key."""
    key = KEYS[kind]()
    return _signed(_unsigned(name, name, key), key), pem_of(key)


def _unsigned(name: str, issuer: str, key: Any, days: int = 2, since: int = -2) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=since))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _signed(certificate: x509.CertificateBuilder, key: Any) -> str:
    return str(certificate.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), "ascii")


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])

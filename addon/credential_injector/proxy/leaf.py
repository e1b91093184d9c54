"""Leaf certificates that mitmproxy's own CA signs, for another engine than mitmproxy."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from mitmproxy.certs import CertStore
from mitmproxy.options import CONF_BASENAME, KEY_SIZE

LIFETIME = timedelta(days=365)  # Apple's clients take no longer one (825 days for a CA that a user added)
SKEW = timedelta(days=2)  # clocks of clients differ


class Authority:
    """mitmproxy's CA in this folder, which is made if it is not there. Raises OSError and ValueError."""

    def __init__(self, confdir: Path) -> None:
        file = confdir / f"{CONF_BASENAME}-ca.pem"
        if not file.exists():
            CertStore.create_store(confdir, CONF_BASENAME, KEY_SIZE)
        text = file.read_bytes()
        try:
            certificates = x509.load_pem_x509_certificates(text)
            key = serialization.load_pem_private_key(text, None)
        except (ValueError, TypeError):
            raise ValueError(
                f"{file}: is no CA; expected a certificate and its key in PEM, without a passphrase"
            ) from None
        self._certificate, self._chain = certificates[0], certificates if len(certificates) > 1 else []
        self._key = cast(rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, key)
        self.file = confdir / f"{CONF_BASENAME}-ca-cert.pem"
        """What clients must trust."""

    def leaf(self, host: str, *, is_address: bool) -> tuple[str, str]:
        """A certificate for a host or `*.` and a host, with what leads to a root, and its key, in PEM.

        The key is its own: mitmproxy's leaves have the CA's, and whoever could read one could sign any other.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        name = x509.IPAddress(ip_address(host)) if is_address else x509.DNSName(host)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._certificate.public_key())
        common = [x509.NameAttribute(NameOID.COMMON_NAME, host)] if len(host) < 64 else []
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(common))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SKEW)
            .not_valid_after(now - SKEW + LIFETIME)
            .add_extension(x509.SubjectAlternativeName([name]), critical=not common)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        sent = [one.public_bytes(serialization.Encoding.PEM).decode() for one in (certificate, *self._chain)]
        return "".join(sent), secret.decode()

"""The certificate authorities that this machine's programs trust."""

import re
import ssl
from collections.abc import Iterable
from pathlib import Path

import certifi

_PLACES = (  # of Debian and Arch, Fedora, openSUSE, macOS and Alpine
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s[^-]+-----END CERTIFICATE-----")


def trusted(named: Iterable[Path]) -> list[str]:
    """Certificates in PEM: those of the system, and those in these files, as a company's CA."""
    found = [one for file in dict.fromkeys(named) for one in certificates(file)]
    return list(dict.fromkeys([*_of_the_system(), *found]))


def certificates(file: Path) -> list[str]:
    """Those in a file, in PEM; none where it cannot be read."""
    try:
        return _CERTIFICATE.findall(file.read_text("latin-1"))
    except (OSError, ValueError):
        return []


def _of_the_system() -> list[str]:
    for place in (ssl.get_default_verify_paths().openssl_cafile, *_PLACES):
        if found := certificates(Path(place)):
            return found
    # Windows and macOS keep theirs in a store.
    stored = ssl.create_default_context().get_ca_certs(binary_form=True)
    return [ssl.DER_cert_to_PEM_cert(one).strip() for one in stored] or certificates(Path(certifi.where()))

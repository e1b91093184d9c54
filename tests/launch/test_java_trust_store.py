"""Certificates in a trust store for Java."""

import ssl
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from credential_injector.launch.java_trust_store import PASSWORD, java_trust_store
from tests.conftest import tool
from tests.launch.conftest import certificate


def test_keytool(tmp_path: Path) -> None:
    """Java's own program reads it, verifies its digest, and lists each certificate."""
    files = [certificate(tmp_path / f"{number}.pem") for number in range(3)]
    store = tmp_path / "trusted.jks"
    store.write_bytes(java_trust_store(ssl.PEM_cert_to_DER_cert(file.read_text()) for file in files))
    listed = subprocess.run(
        [tool("keytool", package="default-jdk-headless"), "-list", "-keystore", str(store), "-storepass", PASSWORD],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    assert listed.count("trustedCertEntry") == 3
    for file in files:
        digest = x509.load_pem_x509_certificate(file.read_bytes()).fingerprint(hashes.SHA256())
        assert digest.hex(":").upper() in listed


def test_wrong_password(tmp_path: Path) -> None:
    """The digest is of the password, too."""
    store = tmp_path / "trusted.jks"
    store.write_bytes(java_trust_store([]))
    keytool = tool("keytool", package="default-jdk-headless")
    words = [keytool, "-list", "-keystore", str(store), "-storepass", "another"]
    ran = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    assert (ran.returncode, "password was incorrect" in ran.stdout) == (1, True)

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from credential_injector.proxy.leaf import LIFETIME, Authority
from tests.certificates import Authority as Root


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("mitmproxy"))


def ca_of(authority: Authority) -> x509.Certificate:
    return x509.load_pem_x509_certificate(authority.file.read_bytes())


def verify(authority: Authority, leaf: x509.Certificate, host: str, *, when: datetime | None = None) -> None:
    """As a client does that trusts the CA. Raises VerificationError."""
    try:
        subject: x509.GeneralName = x509.IPAddress(ip_address(host.strip("[]")))
    except ValueError:
        subject = x509.DNSName(host)
    builder = PolicyBuilder().store(Store([ca_of(authority)])).time(when or datetime.now(UTC))
    builder.build_server_verifier(subject).verify(leaf, [])  # type: ignore[arg-type]


def leaf_of(authority: Authority, host: str = "api.qa.example.com", *, is_address: bool = False) -> x509.Certificate:
    return x509.load_pem_x509_certificate(authority.leaf(host, is_address=is_address)[0].encode())


def spki(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("host", "is_address", "good", "bad"),
    [
        ("api.qa.example.com", False, "api.qa.example.com", "qa.example.com"),
        ("*.qa.example.com", False, "api.qa.example.com", "a.b.qa.example.com"),
        ("127.0.0.1", True, "127.0.0.1", "127.0.0.2"),
        ("2001:db8::1", True, "2001:db8::1", "2001:db8::2"),
        (f"{'a' * 60}.{'b' * 60}.example.com", False, f"{'a' * 60}.{'b' * 60}.example.com", "b.example.com"),
    ],
)
def test_verified(authority: Authority, host: str, is_address: bool, good: str, bad: str) -> None:
    """Who trusts mitmproxy's CA takes it for its host, and for no other one."""
    leaf = leaf_of(authority, host, is_address=is_address)
    verify(authority, leaf, good)
    with pytest.raises(VerificationError):
        verify(authority, leaf, bad)


def test_key(authority: Authority) -> None:
    """Its key is that in its file, of no other leaf, and not the CA's: whoever reads it can sign nothing."""
    pems = [authority.leaf("api.qa.example.com", is_address=False) for _ in range(2)]
    leaves = [x509.load_pem_x509_certificate(pem.encode()) for pem, _ in pems]
    keys = [load_pem_private_key(pem.encode(), None) for _, pem in pems]
    assert [spki(key.public_key()) for key in keys] == [spki(leaf.public_key()) for leaf in leaves]
    assert len({spki(ca_of(authority).public_key()), *(spki(leaf.public_key()) for leaf in leaves)}) == 3
    assert not any("PRIVATE KEY" in pem for pem, _ in pems)
    assert leaves[0].serial_number != leaves[1].serial_number
    assert not leaves[0].extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_lifetime(authority: Authority) -> None:
    """It holds for clients whose clocks are behind, and for no more than Apple's take."""
    leaf = leaf_of(authority)
    now = datetime.now(UTC)
    verify(authority, leaf, "api.qa.example.com", when=now - timedelta(days=1))
    with pytest.raises(VerificationError):
        verify(authority, leaf, "api.qa.example.com", when=now + LIFETIME)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=398)


def test_same_ca(authority: Authority) -> None:
    """The CA in the folder is used, and not replaced: clients trust it already."""
    before = authority.file.read_bytes()
    again = Authority(authority.file.parent)
    assert again.file.read_bytes() == before
    leaf = leaf_of(again)
    verify(authority, leaf, "api.qa.example.com")


def test_key_alone(authority: Authority, tmp_path: Path) -> None:
    """Of the CA's files its key with its certificate is enough, in a folder that a container may not write."""
    file = tmp_path / "mitmproxy-ca.pem"
    file.write_bytes((authority.file.parent / file.name).read_bytes())
    leaf = leaf_of(Authority(tmp_path))
    verify(authority, leaf, "api.qa.example.com")
    assert list(tmp_path.iterdir()) == [file]


def test_chain(authority: Authority, tmp_path: Path) -> None:
    """A CA that another one has certified is sent with it, as mitmproxy sends it."""
    file, own = tmp_path / "mitmproxy-ca.pem", authority.file.parent / "mitmproxy-ca.pem"
    file.write_text(own.read_text() + Root().certificate)
    sent = x509.load_pem_x509_certificates(Authority(tmp_path).leaf("api.qa.example.com", is_address=False)[0].encode())
    assert sent[1:] == x509.load_pem_x509_certificates(file.read_bytes())


def test_broken(tmp_path: Path) -> None:
    """A file that holds no CA is named."""
    (tmp_path / "mitmproxy-ca.pem").write_text("nothing")
    with pytest.raises(ValueError, match=r"mitmproxy-ca\.pem: .*expected"):
        Authority(tmp_path)

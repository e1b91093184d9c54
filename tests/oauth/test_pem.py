"""Private keys and certificates in PEM form."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519

from credential_injector.oauth import pem
from tests.certificates import KEYS, Authority, pem_of, self_signed


@pytest.mark.parametrize(
    ("kind", "algorithms"),
    [
        ("RSA", ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        ("P-256", ("ES256",)),
        ("P-384", ("ES384",)),
        ("P-521", ("ES512",)),
        ("Ed25519", ("EdDSA",)),
    ],
)
def test_algorithms(kind: str, algorithms: tuple[str, ...]) -> None:
    """The kind of a key tells its algorithms."""
    assert pem.algorithms(pem_of(KEYS[kind]())) == algorithms
    assert set(algorithms) <= set(pem.ALGORITHMS)


def test_short_key() -> None:
    """A short RSA key has no algorithm whose signature is longer."""
    key = pem_of(rsa.generate_private_key(65537, 1024))
    assert pem.algorithms(key) == ("RS256", "RS384", "RS512", "PS256", "PS384")


@pytest.mark.parametrize("key", [x25519.X25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())])
def test_no_algorithm(key: object) -> None:
    """A key that cannot sign has no algorithm, and is no JWK."""
    text = pem_of(key)
    assert pem.algorithms(text) == ()
    with pytest.raises(ValueError, match=r"cannot sign a JWT; expected an RSA, .* key"):
        pem.jwk(text)


def test_jwk_width() -> None:
    """The numbers of a JWK keep their leading zeros (RFC 7518 section 6.2.1.2)."""
    for private in (1, 2**200):
        jwk = pem.jwk(pem_of(ec.derive_private_key(private, ec.SECP521R1())))
        assert {len(jwk[name]) for name in "xyd"} == {88}
    assert pem.jwk(pem_of(ed448.Ed448PrivateKey.generate()))["crv"] == "Ed448"


@pytest.mark.parametrize("text", ["", "hunter2", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"])
def test_no_key(text: str) -> None:
    """What is no private key or certificate is not repeated."""
    with pytest.raises(ValueError, match=r"is not a private key; expected PEM text") as key:
        pem.private_key(text)
    with pytest.raises(ValueError, match=r"is not a certificate; expected PEM text") as certificate:
        pem.certificate(text)
    assert "hunter2" not in f"{key.value} {certificate.value}"


def test_passphrase() -> None:
    """A private key with a passphrase is told as such."""
    with pytest.raises(ValueError, match="is encrypted with a passphrase"):
        pem.private_key(pem_of(KEYS["RSA"](), passphrase="hunter2"))


def test_belong_together() -> None:
    """A certificate belongs to its own key only."""
    authority = Authority()
    certificate, key = authority.issue("client")
    assert pem.certificate(certificate) == certificate
    assert pem.private_key(key) == key
    assert pem.belong_together(certificate + authority.certificate, key)
    assert not pem.belong_together(authority.certificate + certificate, key)
    assert not pem.belong_together(certificate, self_signed("client")[1])

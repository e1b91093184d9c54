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
def test_the_kind_of_a_key_tells_its_algorithms(kind: str, algorithms: tuple[str, ...]) -> None:
    assert pem.algorithms(pem_of(KEYS[kind]())) == algorithms
    assert set(algorithms) <= set(pem.ALGORITHMS)


def test_a_short_rsa_key_has_no_algorithm_whose_signature_is_longer() -> None:
    key = pem_of(rsa.generate_private_key(65537, 1024))
    assert pem.algorithms(key) == ("RS256", "RS384", "RS512", "PS256", "PS384")


@pytest.mark.parametrize("key", [x25519.X25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())])
def test_a_key_that_cannot_sign_has_no_algorithm_and_is_no_jwk(key: object) -> None:
    text = pem_of(key)
    assert pem.algorithms(text) == ()
    with pytest.raises(ValueError, match=r"cannot sign a JWT, an RSA, .* key was expected"):
        pem.jwk(text)


def test_the_numbers_of_a_jwk_have_the_width_of_their_curve() -> None:
    """RFC 7518 section 6.2.1.2: leading zeros stay."""
    for private in (1, 2**200):
        jwk = pem.jwk(pem_of(ec.derive_private_key(private, ec.SECP521R1())))
        assert {len(jwk[name]) for name in "xyd"} == {88}
    assert pem.jwk(pem_of(ed448.Ed448PrivateKey.generate()))["crv"] == "Ed448"


@pytest.mark.parametrize("text", ["", "hunter2", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_private_key_or_certificate_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a private key, PEM text .* was expected") as key:
        pem.private_key(text)
    with pytest.raises(ValueError, match=r"is not a certificate, PEM text .* was expected") as certificate:
        pem.certificate(text)
    assert "hunter2" not in f"{key.value} {certificate.value}"


def test_an_encrypted_private_key_is_told_as_such() -> None:
    with pytest.raises(ValueError, match="is encrypted with a passphrase"):
        pem.private_key(pem_of(KEYS["RSA"](), passphrase="hunter2"))


def test_a_certificate_is_its_own_keys_only() -> None:
    authority = Authority()
    certificate, key = authority.issue("client")
    assert pem.certificate(certificate) == certificate
    assert pem.private_key(key) == key
    assert pem.belong_together(certificate + authority.certificate, key)
    assert not pem.belong_together(authority.certificate + certificate, key)
    assert not pem.belong_together(certificate, self_signed("client")[1])

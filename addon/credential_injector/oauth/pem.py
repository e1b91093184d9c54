"""Private keys and certificates in PEM form. Pure."""

import base64
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

# Algorithm -> the fewest bytes that its key may have (RFC 8017 sections 9.1.1 and 9.2).
_RSA = {"RS256": 62, "RS384": 78, "RS512": 94, "PS256": 66, "PS384": 98, "PS512": 130}
_CURVES = {"secp256r1": ("ES256", "P-256"), "secp384r1": ("ES384", "P-384"), "secp521r1": ("ES512", "P-521")}

ALGORITHMS = (*_RSA, *(algorithm for algorithm, _ in _CURVES.values()), "EdDSA")
"""The signature algorithms (RFC 7518 section 3.1, RFC 8037 section 3.1)."""


def private_key(pem: str) -> str:
    """Check that the text is a private key without a passphrase. Raises ValueError."""
    _loaded(pem)
    return pem


def certificate(pem: str) -> str:
    """Check that the text holds one or more certificates. Raises ValueError."""
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise ValueError("is not a certificate; expected PEM text (-----BEGIN CERTIFICATE-----)") from None
    return pem


def thumbprint(certificates: str) -> str:
    """The SHA-256 thumbprint of the first of these certificates (RFC 7515 section 4.1.8)."""
    return base64url(x509.load_pem_x509_certificates(certificates.encode())[0].fingerprint(hashes.SHA256()))


def algorithms(pem: str) -> tuple[str, ...]:
    """The signature algorithms of a private key, the usual one first; empty where it cannot sign a JWT."""
    key = _loaded(pem)
    if isinstance(key, rsa.RSAPrivateKey):
        return tuple(algorithm for algorithm, least in _RSA.items() if key.key_size >= 8 * least)
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return (_CURVES[key.curve.name][0],)
    return ("EdDSA",) if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else ()


def belong_together(certificates: str, key: str) -> bool:
    """Whether the first of these certificates is this private key's."""
    of_certificate = x509.load_pem_x509_certificates(certificates.encode())[0].public_key()
    both = (of_certificate, _loaded(key).public_key())
    one, other = (public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for public in both)
    return bool(one == other)


def jwk(pem: str) -> dict[str, str]:
    """A private key as a JSON Web Key (RFC 7517), which older and newer Authlib take.

    Raises ValueError for a key that cannot sign a JWT.
    """
    key = _loaded(pem)
    if isinstance(key, rsa.RSAPrivateKey):
        rsa_numbers = key.private_numbers()
        numbers = {
            "n": rsa_numbers.public_numbers.n,
            "e": rsa_numbers.public_numbers.e,
            "d": rsa_numbers.d,
            "p": rsa_numbers.p,
            "q": rsa_numbers.q,
            "dp": rsa_numbers.dmp1,
            "dq": rsa_numbers.dmq1,
            "qi": rsa_numbers.iqmp,
        }
        return {"kty": "RSA", **{name: _number(number) for name, number in numbers.items()}}
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        ec_numbers, size = key.private_numbers(), (key.key_size + 7) // 8
        point = {"x": ec_numbers.public_numbers.x, "y": ec_numbers.public_numbers.y, "d": ec_numbers.private_value}
        coordinates = {name: _number(number, size) for name, number in point.items()}
        return {"kty": "EC", "crv": _CURVES[key.curve.name][1], **coordinates}
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        curve = "Ed25519" if isinstance(key, ed25519.Ed25519PrivateKey) else "Ed448"
        x, d = key.public_key().public_bytes_raw(), key.private_bytes_raw()
        return {"kty": "OKP", "crv": curve, "x": base64url(x), "d": base64url(d)}
    raise ValueError("cannot sign a JWT; expected an RSA, P-256, P-384, P-521 or Ed25519 key")


def base64url(content: bytes) -> str:
    """RFC 7515 section 2: without padding."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _number(number: int, size: int | None = None) -> str:
    return base64url(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))


def _loaded(pem: str) -> Any:
    try:
        return load_pem_private_key(pem.encode(), password=None)
    except TypeError:  # so cryptography says that the key has a passphrase
        raise ValueError("is encrypted with a passphrase; expected a private key without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is not a private key; expected PEM text (-----BEGIN PRIVATE KEY-----)") from None

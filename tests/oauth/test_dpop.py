"""Proofs of a key (RFC 9449): what they hold, and who can verify them."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from credential_injector.oauth import dpop
from tests.certificates import KEYS, pem_of

NOW = 1_700_000_000.5


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verified(proof: str, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a proof, whose signature is that of the key."""
    header, claims, signature = proof.split(".")
    signed, sent = f"{header}.{claims}".encode(), decoded(signature)
    said, public = json.loads(decoded(header)), load_pem_private_key(key.encode(), None).public_key()
    size: Any = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}.get(said["alg"][2:])
    match public:
        case ec.EllipticCurvePublicKey():
            half = len(sent) // 2
            der = encode_dss_signature(int.from_bytes(sent[:half]), int.from_bytes(sent[half:]))
            public.verify(der, signed, ec.ECDSA(size()))
        case rsa.RSAPublicKey():
            public.verify(sent, signed, padding.PKCS1v15(), size())
        case ed25519.Ed25519PublicKey():
            public.verify(sent, signed)
        case _:
            raise AssertionError(public)
    return said, json.loads(decoded(claims))


@pytest.mark.parametrize("kind", [kind for kind in KEYS if dpop.can_prove(pem_of(KEYS[kind]()))])
def test_proof(kind: str) -> None:
    """Method, URL without its query, time, nonce, and the hash of the token; the key's public part only."""
    key = pem_of(KEYS[kind]())
    url = "https://api.example.com/a%2Fb?key=1#x"
    header, claims = verified(dpop.proof(key, "POST", url, NOW, nonce="n", token="canary"), key)
    assert header["typ"] == "dpop+jwt"
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & header["jwk"].keys()
    assert len(claims.pop("jti")) >= 16
    assert claims == {
        "htm": "POST",
        "htu": "https://api.example.com/a%2Fb",
        "iat": 1_700_000_000,
        "nonce": "n",
        "ath": base64.urlsafe_b64encode(hashlib.sha256(b"canary").digest()).decode().rstrip("="),
    }


def test_one_of_its_kind() -> None:
    """Each proof has another identifier."""
    key = pem_of(KEYS["P-256"]())
    made = [verified(dpop.proof(key, "GET", "https://a.test/", NOW), key)[1]["jti"] for _ in range(100)]
    assert len(set(made)) == 100


def test_thumbprint() -> None:
    """RFC 7638 section 3.1's way: of the public part alone."""
    key = pem_of(KEYS["P-256"]())
    header, _ = verified(dpop.proof(key, "GET", "https://a.test/", NOW), key)
    text = json.dumps(dict(sorted(header["jwk"].items())), separators=(",", ":")).encode()
    assert decoded(dpop.thumbprint(key)) == hashlib.sha256(text).digest()


@pytest.mark.parametrize(
    ("said", "nonce"), [("abc", "abc"), ("", "before"), ("a\x00b", "before"), ("x" * 2000, "before"), ("é", "before")]
)
def test_nonce(said: str, nonce: str) -> None:
    """What could not stand in a header is none."""
    assert dpop.nonce_in({"DPoP-Nonce": said}, "before") == nonce


def test_own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made once, and only this user can read it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    made = dpop.own_key()
    path = tmp_path / ".mitmproxy" / "credential-injector-dpop.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert dpop.own_key() == made == path.read_text()
    path.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        dpop.own_key()
    path.write_text("nonsense")
    path.chmod(0o600)
    with pytest.raises(ValueError, match="is not a private key"):
        dpop.own_key()

"""Proofs that a client has a key (RFC 9449). Pure, but for `own_key`."""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from credential_injector import permissions
from credential_injector.oauth import own_file, pem
from credential_injector.oauth.request import TokenRequest

KEY_FILE = "~/.mitmproxy/credential-injector-dpop.pem"  # beside mitmproxy's own secrets
NONCE = "DPoP-Nonce"  # the header in which a server says which nonce it wants (RFC 9449 section 8)
LONGEST_NONCE = 1000  # characters
_PUBLIC = ("kty", "crv", "x", "y", "n", "e")
_HASHES: dict[str, Any] = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}


class _Key(NamedTuple):
    key: Any
    algorithm: str
    header: str
    """The proof's, encoded."""


def is_asked_for(request: TokenRequest) -> bool:
    """Whether the tokens are to be bound to a key."""
    return request.value("DPOP") == "true"


def proof(
    key: str, method: str, url: str, now: float, *, nonce: str = "", token: str = "", identifier: str = ""
) -> str:
    """A proof for one request at `now` (unix seconds). `key` is a private key in PEM form.

    `url` loses its query. `token` is the one that goes with it, `identifier` makes the proof one of its kind.
    """
    loaded = _loaded(key)
    claims: dict[str, Any] = {
        "jti": identifier or secrets.token_urlsafe(16),
        "htm": method,
        "htu": url.partition("?")[0].partition("#")[0],
        "iat": int(now),
    }
    if nonce:
        claims["nonce"] = nonce
    if token:
        claims["ath"] = pem.base64url(hashlib.sha256(token.encode()).digest())
    signed = f"{loaded.header}.{_encoded(claims)}"
    return f"{signed}.{pem.base64url(_signature(loaded, signed.encode()))}"


def nonce_in(headers: Mapping[str, str], before: str = "") -> str:
    """The nonce that an answer asks for, or the one before. What could not stand in a header counts as none."""
    nonce = headers.get(NONCE, "")
    return nonce if nonce.isascii() and nonce.isprintable() and 0 < len(nonce) <= LONGEST_NONCE else before


def thumbprint(key: str) -> str:
    """What tells a key from others (RFC 7638)."""
    public = {name: value for name, value in pem.jwk(key).items() if name in _PUBLIC}
    text = json.dumps(dict(sorted(public.items())), separators=(",", ":"))
    return pem.base64url(hashlib.sha256(text.encode()).digest())


def own_key() -> str:
    """This user's key, which is made when it is needed first. Raises ValueError."""
    path = Path(KEY_FILE)
    try:
        path = path.expanduser()
        if not path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            own_file.make(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
        if permissions.others_can_read(path):
            raise ValueError(permissions.warning([path]))
        return pem.private_key(path.read_text(encoding="ascii"))
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "this user has no home"
        raise ValueError(f"needs a key, and {path} cannot be used ({reason}); expected DPOP_KEY") from None


@lru_cache(maxsize=64)
def _loaded(key: str) -> _Key:
    """Cached: to read a key takes longer than to sign with it."""
    algorithm, private = pem.algorithms(key)[0], pem.jwk(key)
    public = {name: value for name, value in private.items() if name in _PUBLIC}
    header = _encoded({"typ": "dpop+jwt", "alg": algorithm, "jwk": public})
    return _Key(load_pem_private_key(key.encode(), password=None), algorithm, header)


def _signature(loaded: _Key, signed: bytes) -> bytes:
    """RFC 7518 section 3. By hand, as Authlib's and joserfc's ways differ on the two stacks."""
    key, size = loaded.key, loaded.algorithm[2:]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(_HASHES[size]())))
        width = (key.key_size + 7) // 8
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signed, padding.PKCS1v15(), _HASHES[size]())
    signature: bytes = key.sign(signed)
    return signature


def can_prove(key: str) -> bool:
    """Whether a private key can sign proofs."""
    return bool(pem.algorithms(key)) and not (
        pem.algorithms(key) == ("EdDSA",) and not isinstance(_loaded(key).key, ed25519.Ed25519PrivateKey)
    )


def _encoded(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).decode().rstrip("=")

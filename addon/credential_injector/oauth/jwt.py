"""A signed JWT that a client sends as its secret or its grant (RFC 7523).

Slow to import, as it imports Authlib's JOSE: that is done with the first JWT.
"""

import warnings

from authlib.common.security import generate_token
from authlib.oauth2.rfc7523 import JWTBearerGrant

# joserfc warns of keys and algorithms that the authorization server has chosen, over mitmproxy's console.
warnings.filterwarnings("ignore", r"EdDSA is deprecated|Key size should be")


def signed(
    key: dict[str, str],
    *,
    algorithm: str,
    header: dict[str, str],
    issuer: str,
    subject: str,
    audience: str,
    now: float,
    lifetime: float,
    scope: str = "",
) -> str:
    """A JWT that is valid from `now` (unix seconds) for `lifetime` (seconds).

    `key` is a JSON Web Key, which `header` names.
    """
    jwt = JWTBearerGrant.sign(  # type: ignore[no-untyped-call]
        key,
        issuer,
        audience,
        subject,
        int(now),
        int(now + lifetime),
        claims={"jti": generate_token(36), **({"scope": scope} if scope else {})},
        header=dict(header),
        alg=algorithm,
    )
    return str(jwt, "ascii") if isinstance(jwt, bytes) else str(jwt)

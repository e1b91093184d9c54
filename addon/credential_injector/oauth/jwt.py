"""A signed JWT that a client shows instead of a secret or a grant (RFC 7523).

Importing this imports Authlib's JOSE, which takes a while: it is done with the first one.
"""

import warnings

from authlib.common.security import generate_token
from authlib.oauth2.rfc7523 import JWTBearerGrant

# joserfc's opinions about keys and algorithms that somebody else has chosen would be written over mitmproxy's console.
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
    """A JWT that is valid from `now` (unix seconds) for `lifetime` (seconds). `key` is a JSON Web Key.

    `header` says, beside the algorithm, which key it is.
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

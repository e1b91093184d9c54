"""A token -> what it says of itself, if it is a JWT (RFC 7519, RFC 9068). Pure.

Nothing is verified: the API does that. Whoever wrote the token may have written anything, so what cannot be shown is
left out.
"""

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 256  # characters of a value; a longer one is left out
MOST = 64  # values of one claim, and names


@dataclass(frozen=True, slots=True)
class JwtClaims:
    """The claims of a JWT that say where it works, for whom and when. Times are unix seconds by the issuer's clock."""

    issuer: str = ""
    subject: str = ""
    audience: tuple[str, ...] = ()
    scope: tuple[str, ...] | None = None
    """`scope` (RFC 9068 section 2.2.3) or `scp` (Entra ID, Okta). None: it names none."""
    roles: tuple[str, ...] = ()
    client: str = ""
    """`client_id`, `azp` or `appid`."""
    tenant: str = ""
    """`tid` (Entra ID)."""
    acr: str = ""
    """How the person logged in (OpenID Connect Core section 2)."""
    auth_time: float | None = None
    issued_at: float | None = None
    not_before: float | None = None
    expires_at: float | None = None
    key_thumbprint: str = ""
    """`cnf.jkt`: the API wants a DPoP proof with that key (RFC 9449 section 6.1)."""
    certificate_thumbprint: str = ""
    """`cnf.x5t#S256`: the API wants TLS with that client certificate (RFC 8705 section 3.1)."""
    names: tuple[str, ...] = ()
    """Of all claims."""

    def shown(self) -> dict[str, Any]:
        """What a flow's record and the page tell, as plain values; only what is there."""
        told = {
            "iss": self.issuer,
            "sub": self.subject,
            "aud": list(self.audience),
            "scope": list(self.scope or ()),
            "roles": list(self.roles),
            "client": self.client,
            "tid": self.tenant,
            "names": list(self.names),
        }
        times = {"iat": self.issued_at, "nbf": self.not_before, "exp": self.expires_at}
        known = {name: int(moment) for name, moment in times.items() if moment is not None and math.isfinite(moment)}
        return {name: value for name, value in told.items() if value} | known


def read(token: str) -> JwtClaims | None:
    """The claims of a token; None where it is no JWT."""
    claims = payload(token)
    if claims is None:
        return None
    cnf = claims.get("cnf")
    bound = cnf if isinstance(cnf, dict) else {}
    return JwtClaims(
        issuer=_text(claims.get("iss")),
        subject=_text(claims.get("sub")),
        audience=_texts(claims.get("aud")),
        scope=_scope(claims),
        roles=_texts(claims.get("roles")),
        client=next(filter(None, (_text(claims.get(name)) for name in ("client_id", "azp", "appid"))), ""),
        tenant=_text(claims.get("tid")),
        acr=_text(claims.get("acr")),
        auth_time=number(claims.get("auth_time")),
        issued_at=number(claims.get("iat")),
        not_before=number(claims.get("nbf")),
        expires_at=number(claims.get("exp")),
        key_thumbprint=_text(bound.get("jkt")),
        certificate_thumbprint=_text(bound.get("x5t#S256")),
        names=tuple(filter(None, map(_text, claims)))[:MOST],
    )


def payload(token: str) -> Mapping[str, Any] | None:
    """All claims of a JWT; None where a token is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        said = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def number(value: object) -> float | None:
    """A number, also one in a string, as some servers write it; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        said = float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")  # type: ignore[operator]  # only an int overflows
    except ValueError:
        return None
    return None if said != said else said  # noqa: PLR0124 - only NaN differs from itself


def _scope(claims: Mapping[str, Any]) -> tuple[str, ...] | None:
    said = [claims[name] for name in ("scope", "scp") if isinstance(claims.get(name), str | list)]
    return (
        tuple(name for one in said for name in _texts(one.split() if isinstance(one, str) else one)) if said else None
    )


def _texts(value: object) -> tuple[str, ...]:
    """One text or several."""
    several = value if isinstance(value, list) else [value]
    return tuple(filter(None, map(_text, several[:MOST])))


def _text(value: object) -> str:
    """A text that can be shown in one line; else an empty one."""
    return value if isinstance(value, str) and len(value) <= LONGEST and value.isprintable() else ""

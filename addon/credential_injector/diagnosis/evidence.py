"""What the doctor looks at: a request with our token, and the API's answer."""

import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from credential_injector.environments.environment import Environment
from credential_injector.oauth import login_recipe
from credential_injector.oauth.dates import http_date
from credential_injector.oauth.grants import FIXED
from credential_injector.oauth.jwt_claims import JwtClaims
from credential_injector.oauth.schemes import SCHEMES
from credential_injector.oauth.token import AccessToken, Failure

LONGEST_NAME = 100  # characters of a name of the server's
MOST_NAMES = 8
PIECE = 8  # characters of a secret that must not be repeated
# RFC 6749 section 3.3, which is also what an acr value, a scheme and a URL are made of.
_NAME = frozenset(string.ascii_letters + string.digits + string.punctuation) - set('"\\')
# Claims that may grant what neither scope nor roles name.
_OTHER_GRANTS = frozenset(("permissions", "authorities", "groups", "realm_access", "resource_access"))


class Headers(Protocol):
    """The part of mitmproxy's headers that is needed here."""

    def get_all(self, name: str) -> list[str]:
        """The values of a header, one for each time that it is there."""


def nobody(_: JwtClaims) -> str:
    """No environment has such tokens."""
    return ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One request with our token and its answer. Headers and claims may hold anything."""

    environment: Environment
    token: AccessToken
    status: int
    headers: Headers
    """Of the answer."""
    now: float
    """Unix seconds by this machine's clock when the answer came."""
    header_size: int = 0
    """Bytes of the request's headers as sent."""
    page: str = ""
    """The Origin header of a CORS request by a page; else empty."""
    url: str = ""
    """Scheme, host, port and path of the request."""
    proxy: str = ""
    """The upstream proxy's address, if there is one."""
    replaced_too: bool = False
    """A new token was refused, too."""
    outdated: bool = False
    """Another token is in use by now, with which the request was not sent."""
    failure: Failure | None = None
    """Why there is no newer token, where one was asked for."""
    owner: Callable[[JwtClaims], str] = field(default=nobody, repr=False)
    """The name of another environment whose token these claims are; else empty."""
    shows_certificate: bool = False
    """mitmproxy shows the API a client certificate."""

    @property
    def file(self) -> str:
        """The environment's, as messages name it."""
        return self.environment.file

    @property
    def fixed(self) -> bool:
        """The credential stands in the file: there is no other."""
        return self.environment.token_request.grant_type in FIXED

    @property
    def login_url(self) -> str:
        """Where the token comes from, if that is a login that is no OAuth2; else empty."""
        request = self.environment.token_request
        return request.endpoint if request.grant_type == login_recipe.GRANT else ""

    @property
    def scheme(self) -> str:
        """The authentication scheme with which the token is sent; empty where it goes without one."""
        prefix = self.environment.prefix or self.token.value.partition(" ")[0]
        return SCHEMES.get(prefix.lower(), self.environment.prefix)

    @property
    def in_authorization(self) -> bool:
        """The token goes where WWW-Authenticate speaks of it (RFC 9110 section 11.6.2)."""
        return self.environment.header.lower() == "authorization"

    @property
    def scope(self) -> tuple[str, ...] | None:
        """What the token may do; None where nobody knows."""
        claims, asked = self.token.claims, self.environment.token_request.scope
        if claims is not None and (claims.scope is not None or claims.roles):
            return (claims.scope or ()) + claims.roles
        if self.fixed or (claims is not None and _OTHER_GRANTS.intersection(claims.names)):
            return None
        return tuple((asked if self.token.scope is None else self.token.scope).split()) or None

    @property
    def server_time(self) -> float | None:
        """Unix seconds by the API's clock; None where it is not told, or a cache answers (RFC 9111 section 5.1)."""
        dates = self.headers.get_all("Date")
        return http_date(dates[0]) if len(dates) == 1 and not self.headers.get_all("Age") else None

    def first(self, header: str) -> str:
        """The first value of a header of the answer; empty where it has none."""
        return next(iter(self.headers.get_all(header)), "")

    def names(self, said: Iterable[str]) -> list[str]:
        """Those of the first few names of the server's that can be repeated: to look at a name takes a while."""
        return [name for name in islice(dict.fromkeys(said), MOST_NAMES) if self.is_repeatable(name)]

    def is_repeatable(self, text: str, longest: int = LONGEST_NAME) -> bool:
        """Whether a name that the server wrote can be shown: short, visible, and without a piece of a secret."""
        if not 0 < len(text) <= longest or not _NAME.issuperset(text):
            return False
        lower, request = text.lower(), self.environment.token_request
        secrets = [self.token.value, self.token.refresh_token or "", request.client_secret, request.value("PASSWORD")]
        secrets += [request.value("VALUE"), *(value for _, value in self.environment.extra_headers)]
        return not any(_shares_a_piece(lower, secret.lower()) for secret in secrets if secret)


def _shares_a_piece(text: str, secret: str) -> bool:
    size = min(PIECE, len(secret))
    return any(text[start : start + size] in secret for start in range(len(text) - size + 1))

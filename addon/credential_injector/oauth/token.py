"""A token, or why there is none. Values: without a clock."""

import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from credential_injector.oauth import jwt_claims
from credential_injector.oauth.fingerprints import fingerprint
from credential_injector.oauth.jwt_claims import JwtClaims

# A token is not sent in the last seconds of its life: it must be valid when it arrives, and servers round seconds down
# (a token of 3 s may live 2). That is a tenth of its life at most, so that short tokens are of use.
LEEWAY = 10.0
LEEWAY_SHARE = 0.1
# This long before it expires, the next request starts a refresh in the background, and the token goes on serving.
REFRESH_WINDOW = 60.0
REFRESH_SHARE = 0.5
# But only this long after it came: some servers hand out the same token until it expires.
REFRESH_SPACING = 1.0

LONGEST_SCOPE = 4096  # characters
LONGEST_LIFETIME = 365 * 86400.0  # seconds; a longer life is a mistake, and makes dates overflow


@dataclass(frozen=True, slots=True)
class Failure:
    """What a token request came to instead of a token; `code` and `reason` are those of NoToken."""

    code: str
    reason: str
    lasting: bool = False
    """The server understood and said no: asking again soon is pointless."""
    retry_after: float | None = None
    """Seconds that the server asked us to wait."""

    def raised(self, next_try: float = 0.0) -> "NoToken":
        """An exception of its own for each raise: a traceback keeps alive all that was in use, and grows."""
        return NoToken(self.code, self.reason, lasting=self.lasting, retry_after=self.retry_after, next_try=next_try)


class NoToken(Exception):
    """There is no token.

    `code` is the OAuth error code (RFC 6749 section 5.2), or one of ours:
    the connection: unreachable, untrusted, certificate_expired, certificate_name, certificate_not_yet_valid, timeout,
    proxy_unreachable, proxy_refused;
    the answer: redirect, http_<status>, invalid_response, expired, late, clock;
    the issuer: no_metadata, invalid_metadata, issuer_mismatch, unsupported_auth_method;
    a login: login_required, login_refused, login_endpoint, redirect_uri, invalid_authorization_response;
    this program: ending, internal, invalid_cookie, no_query.
    `reason` says in our words what happened, and where; it repeats nothing that the server wrote.
    """

    def __init__(
        self,
        code: str,
        reason: str,
        *,
        lasting: bool = False,
        retry_after: float | None = None,
        next_try: float = 0.0,
    ) -> None:
        super().__init__(f"{code}: {reason}")
        self.failure = Failure(code, reason, lasting, retry_after)
        self.next_try = next_try
        """Seconds until the next token request may go out. 0: it is under way."""

    @property
    def code(self) -> str:
        """The failure's."""
        return self.failure.code

    @property
    def reason(self) -> str:
        """The failure's."""
        return self.failure.reason

    @property
    def lasting(self) -> bool:
        """The failure's."""
        return self.failure.lasting

    @property
    def retry_after(self) -> float | None:
        """The failure's."""
        return self.failure.retry_after


def is_sendable(value: str) -> bool:
    """Whether it can stand in a header: visible ASCII, and spaces inside."""
    return re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value) is not None


def is_cookie(value: str) -> bool:
    """Whether a cookie can hold it (RFC 6265 section 4.1.1)."""
    return re.fullmatch(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+", value) is not None


def is_scope(value: str) -> bool:
    """Whether it is a scope that can be shown: names with spaces between them (RFC 6749 section 3.3)."""
    return len(value) <= LONGEST_SCOPE and re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]*", value) is not None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token as it is sent. Times are unix seconds."""

    value: str = field(repr=False)
    issued_at: float
    """When it was asked for, so not later than its life began."""
    expires_at: float
    stored: bool = field(default=False, compare=False)
    """It comes from a store: another process may have asked for it."""
    refresh_token: str | None = field(default=None, repr=False, compare=False)
    """What the next token request sends, if the grant uses refresh tokens (RFC 6749 section 6)."""
    endpoints: tuple[str, ...] = field(default=(), compare=False)
    """The token endpoint's URLs, if an issuer published them: other clients send their own credentials there."""
    scope: str | None = field(default=None, compare=False)
    """What the answer says was granted; None: it does not say, so it is what was asked for (RFC 6749 section 5.1)."""
    claims: JwtClaims | None = field(default=None, repr=False, compare=False)
    """What it says of itself; read once, here or before. None: it is no JWT."""
    fingerprint: str = field(init=False)
    refresh_from: float = field(init=False)
    """From then on, a request renews it in the background."""
    usable_until: float = field(init=False)
    """From then on, it is not sent."""

    def __post_init__(self) -> None:
        lifetime = self.expires_at - self.issued_at
        leeway = min(LEEWAY, LEEWAY_SHARE * lifetime)
        window = min(REFRESH_WINDOW, REFRESH_SHARE * lifetime)
        object.__setattr__(self, "fingerprint", fingerprint(self.value))
        object.__setattr__(self, "claims", self.claims or jwt_claims.read(self.value))
        refresh_from = max(self.expires_at - window, self.issued_at + REFRESH_SPACING)
        object.__setattr__(self, "refresh_from", refresh_from)
        object.__setattr__(self, "usable_until", self.expires_at - leeway)


class Served(NamedTuple):
    """A token with what a person wants to know about it."""

    token: AccessToken
    source: Literal["cached", "fetched", "refreshed", "store"]
    """`fetched`: the request waited for it. `refreshed`: it replaces one that the API refused."""
    seconds_left: float


class Status(NamedTuple):
    """The token that a source has, and the error that its last token request ended with."""

    token: AccessToken | None
    seconds_left: float
    failure: Failure | None
    next_try: float
    """Seconds until the next token request may go out after the failure."""
    failed_at: float | None = None
    """Unix seconds."""

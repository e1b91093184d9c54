"""A token, or why there is none: values, without a clock."""

import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from credential_injector.oauth.fingerprints import fingerprint

# A token is not sent any more this long before it expires: it must still be valid when it arrives, and servers floor
# seconds (a token of 3 s may live 2). At most a tenth of its life, so that short tokens remain of use.
LEEWAY = 10.0
LEEWAY_SHARE = 0.1
# From this long before it expires, the next request starts a refresh in the background while the token goes on serving.
REFRESH_WINDOW = 60.0
REFRESH_SHARE = 0.5
# But not sooner than this after it came: some servers hand the same token out until it expires.
REFRESH_SPACING = 1.0

LONGEST_LIFETIME = 365 * 86400.0  # seconds of a token's life; more is somebody's mistake, and dates overflow


class NoToken(Exception):
    """There is no token.

    `code` is the OAuth error code (RFC 6749 section 5.2) or one of ours: unreachable, untrusted, certificate_expired,
    certificate_not_yet_valid, certificate_name, timeout, redirect, http_<status>, invalid_response, expired, late,
    clock, ending, internal, no_metadata, issuer_mismatch, invalid_metadata, unsupported_auth_method, login_required,
    login_refused, redirect_uri. `reason` is a sentence of ours: nothing that the server wrote is repeated.
    """

    def __init__(
        self,
        code: str,
        reason: str,
        *,
        lasting: bool = False,
        retry_after: float | None = None,
        next_try: float = 0.0,
        tokens: str = "",
    ) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.lasting = lasting
        """The server understood and said no: asking again soon is pointless."""
        self.retry_after = retry_after
        """Seconds that the server asked us to wait."""
        self.next_try = next_try
        """Seconds until the next token request may go out. 0: it is under way."""
        self.tokens = tokens
        """Where a login is to be stored, as the command line's --tokens names it; empty for its default."""


def is_sendable(value: str) -> bool:
    """Whether it can stand in a header: visible ASCII, with spaces inside at most."""
    return re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value) is not None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token as it is sent. Times are unix seconds."""

    value: str = field(repr=False)
    issued_at: float
    """When it was asked for: it lives from then on at the earliest."""
    expires_at: float
    stored: bool = field(default=False, compare=False)
    """It was not asked for by this process: it comes from a store."""
    refresh_token: str | None = field(default=None, repr=False, compare=False)
    """What the next token request shows, where the grant uses one (RFC 6749 section 6)."""
    endpoints: tuple[str, ...] = field(default=(), compare=False)
    """The token endpoint's URLs, where an issuer published them: clients send credentials of their own there."""
    fingerprint: str = field(init=False)
    refresh_from: float = field(init=False)
    """From then on it should be renewed in the background."""
    usable_until: float = field(init=False)
    """From then on it must not be sent."""

    def __post_init__(self) -> None:
        lifetime = self.expires_at - self.issued_at
        leeway = min(LEEWAY, LEEWAY_SHARE * lifetime)
        window = min(REFRESH_WINDOW, REFRESH_SHARE * lifetime)
        object.__setattr__(self, "fingerprint", fingerprint(self.value))
        refresh_from = max(self.expires_at - window, self.issued_at + REFRESH_SPACING)
        object.__setattr__(self, "refresh_from", refresh_from)
        object.__setattr__(self, "usable_until", self.expires_at - leeway)


class Served(NamedTuple):
    """A token with what a person wants to know about it."""

    token: AccessToken
    source: Literal["cached", "fetched", "refreshed", "store"]
    """`fetched`: this request waited for it. `refreshed`: it replaced one that the API had refused."""
    seconds_left: float


class Status(NamedTuple):
    """What a source has, and what keeps it from asking for more."""

    token: AccessToken | None
    seconds_left: float
    error: NoToken | None

"""How the environments stand: values, of which sentences, JSON and pages are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class RefusalStatus:
    """Why the API refused a request that carried a token."""

    status: int
    """The API's."""
    code: str
    """The diagnosis's."""
    cause: str
    advice: str
    at: float
    """When the answer came, in unix seconds."""


@dataclass(slots=True)
class Counts:
    """What has happened in an environment since mitmproxy started."""

    injected: int = 0
    token_requests: int = 0
    replays: int = 0
    """Requests that were sent again with another token after a 401."""
    blocked: int = 0
    healed: int = 0
    """Of those that were sent again: the API accepted the other token."""
    refused: int = 0
    """The client got a 401 although the request carried a token."""
    forbidden: int = 0
    """The client got a 403."""
    answered: bool = False
    """The server has answered a request with a token."""
    refusal: RefusalStatus | None = None
    """The last one, until the API accepts a request."""


@dataclass(frozen=True, slots=True)
class TokenStatus:
    """A token that may be sent. Times are unix seconds, or None where it does not expire."""

    fingerprint: str | None
    """None: a person chose it, so that it could be found by trying."""
    source: Literal["fetched", "store"]
    issued_at: float
    expires_at: float | None
    seconds_left: float | None
    scope: str | None = None
    """What was granted, as the answer or the token itself says it; None: neither does."""
    audience: tuple[str, ...] = ()
    """Where it works, as it says itself."""


@dataclass(frozen=True, slots=True)
class FailureStatus:
    """Why there is no new token."""

    code: str
    """NoToken's."""
    reason: str
    """What happened."""
    advice: str
    """What to do about it."""
    next_try: float = 0.0
    """Seconds until the next token request may go out. 0: when the next request needs one."""
    at: float | None = None
    """When it happened, in unix seconds. None: just now."""


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """How one environment stands."""

    name: str
    file: str
    origins: tuple[str, ...]
    grant_type: str
    scope: str
    """What is asked for, as the file says it."""
    token: TokenStatus | None
    failure: FailureStatus | None
    """Of the last token request, until another one succeeds."""
    counts: Counts
    kept_in: str = ""
    """Where tokens are stored, as the command line's --tokens names it; empty for the default."""
    production: bool = False

    @property
    def refusal(self) -> RefusalStatus | None:
        """Why the API refused the last request."""
        return self.counts.refusal


@dataclass(frozen=True, slots=True)
class RefusedHandshakes:
    """TLS handshakes that a client refused, because it does not accept mitmproxy's certificate for this host."""

    client: str
    """Its address."""
    host: str
    environment: str
    """One that names the host; empty where none does."""
    number: int
    accepts_others: bool
    """Somebody at this address has accepted mitmproxy's certificate."""


@dataclass(frozen=True, slots=True)
class Overview:
    """How all environments stand."""

    environments: tuple[EnvironmentStatus, ...]
    mistakes: tuple[str, ...]
    """In changed files, which are therefore not in use yet."""
    gone: Mapping[str, Counts]
    """What has happened in environments whose files were removed."""
    handshakes: tuple[RefusedHandshakes, ...] = ()

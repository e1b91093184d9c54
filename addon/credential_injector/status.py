"""How the environments stand: values, of which sentences, JSON and pages are made."""

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True)
class Counts:
    """What has happened in an environment since mitmproxy started."""

    injected: int = 0
    token_requests: int = 0
    replays: int = 0
    blocked: int = 0
    answered: bool = False
    """The server has answered a request with a token."""


@dataclass(frozen=True, slots=True)
class TokenStatus:
    """A token that may be sent. Times are unix seconds, or None where it does not expire."""

    fingerprint: str | None
    """None: a person chose it, so that it could be found by trying."""
    source: Literal["fetched", "store"]
    issued_at: float
    expires_at: float | None
    seconds_left: float | None


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
    """Seconds until the next token request may go out. 0: whenever a request needs one."""


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
    counts: Counts


@dataclass(frozen=True, slots=True)
class Overview:
    """How all environments stand."""

    environments: tuple[EnvironmentStatus, ...]
    mistakes: tuple[str, ...]
    """In changed files, which are therefore not in use yet."""

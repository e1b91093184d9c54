"""How an environment stands -> its card. Pure."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from credential_injector import messages
from credential_injector.oauth.grants import FIXED, GRANTS
from credential_injector.proxy.page.texts import DAY, clock, short, text
from credential_injector.status import Counts, EnvironmentStatus, FailureStatus

MOST_ORIGINS = 10

Tone = Literal["bad", "good", "idle"]
TONES: tuple[Tone, ...] = ("bad", "good", "idle")
"""What has most to tell comes first."""


@dataclass(frozen=True, slots=True)
class Card:
    """An environment."""

    id: str
    name: str
    """As a request for a new token names it."""
    production: bool
    file: str
    state: str
    """In words."""
    since: str
    """When the API refused a request, or the server a token."""
    tone: Tone
    why: str
    advice: str
    next_try: int | None
    """Seconds. None: nothing waits for it."""
    expires_at: float | None
    expires: str
    fingerprint: str
    asked: str
    granted: str
    audience: str
    origins: tuple[str, ...]
    kept: str
    counters: tuple[tuple[str, int], ...]
    button: str
    """What it does; empty where a new token cannot be asked for."""


def tone(now: EnvironmentStatus) -> Tone:
    """Whether a person has to do anything."""
    if now.failure is not None or now.refusal is not None:
        return "bad"
    return "good" if now.token is not None else "idle"


def card(now: EnvironmentStatus) -> Card:
    """Its card."""
    state = _state(now)
    token, fixed = now.token, now.grant_type in FIXED
    expires_at = token.expires_at if token is not None else None
    granted = token.scope if token is not None else None
    waits = now.failure is not None and now.failure.next_try > 0
    return Card(
        id=f"environment-{now.name}",
        name=now.name,
        production=now.production,
        file=text(now.file),
        state=state.words,
        since=state.since,
        tone=tone(now),
        why=text(state.why),
        advice=text(state.advice),
        next_try=math.ceil(now.failure.next_try) if now.failure is not None and waits else None,
        expires_at=expires_at,
        expires="" if token is None or expires_at is None else _ends(expires_at, token.seconds_left or 0.0),
        fingerprint=short(token.fingerprint) if token is not None else "",
        asked=text(now.scope),
        granted=text(granted),
        audience=text(" ".join(token.audience)) if token is not None else "",
        origins=_origins(now.origins),
        kept=_kept(now),
        counters=_counters(now.counts, fixed),
        button=""
        if fixed
        else "Refresh"
        if token is not None
        else "Try now"
        if now.failure is not None
        else "Get a token",
    )


class _State(NamedTuple):
    words: str
    why: str = ""
    advice: str = ""
    since: str = ""


def _state(now: EnvironmentStatus) -> _State:
    noun, failure, refusal = messages.noun(now.grant_type), now.failure, now.refusal
    if now.token is None and failure is not None:
        return _State(f"no {noun}", f"{failure.code}: {failure.reason}", failure.advice, _when(failure))
    if refusal is not None:
        # An answer that a page may not read is no refusal, nor is a redirect to a login page.
        words = f"the API {'refuses:' if refusal.status >= 400 else 'answered'} {refusal.status}"
        return _State(words, refusal.cause, refusal.advice, clock(refusal.at))
    if failure is not None:
        why = f"{failure.code}: {failure.reason}"
        return _State(f"{noun} valid, but no new one", why, failure.advice, _when(failure))
    if now.token is not None:
        return _State(f"{noun} valid")
    if now.counts.token_requests:
        return _State(f"no {noun} now", f"it has expired; the next request gets a new {noun}")
    return _State(f"no {noun} yet", f"the first request gets a {noun}")


def _when(failure: FailureStatus) -> str:
    return clock(failure.at) if failure.at is not None else ""


def _counters(counts: Counts, fixed: bool) -> tuple[tuple[str, int], ...]:
    told = {
        "with a credential" if fixed else "with a token": counts.injected,
        "healed": counts.healed,
        "got 401": counts.refused,
        "got 403": counts.forbidden,
        "blocked": counts.blocked,
    }
    return tuple(told.items())


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    more = len(origins) - MOST_ORIGINS
    return tuple(map(text, origins[:MOST_ORIGINS])) + ((f"and {more} more",) if more > 0 else ())


def _kept(now: EnvironmentStatus) -> str:
    if now.grant_type in FIXED:
        return "in the file"
    return now.kept_in or ("in the file of logins" if GRANTS[now.grant_type].login_endpoint else "in memory")


def _ends(expires_at: float, seconds_left: float) -> str:
    return clock(expires_at) if seconds_left < 20 * 3600 else clock(expires_at, f"{DAY} %H:%M")

"""How the environments stand and what became of requests -> the rows of the page. Pure.

What a flow's record says is checked: it may come from a file, and a file may hold anything.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

from credential_injector import messages
from credential_injector.oauth.grants import FIXED, GRANTS
from credential_injector.status import Counts, EnvironmentStatus, Overview

Show = Literal["all", "refused", "healed"]
SHOWS: tuple[Show, ...] = ("all", "refused", "healed")

MOST_LINES = 50
MOST_CARDS = 100  # with 10,000 environments, a page of all of them would take seconds
LONGEST = 300  # characters of any text


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that the add-on has seen, and what it recorded on its flow."""

    id: str
    started: float
    """Unix seconds."""
    method: str
    path: str
    """Without the query, which may hold anything."""
    status: int | None
    """None: no answer yet, or none at all."""
    failed: bool
    """There is no answer, and there will be none."""
    record: Any


@dataclass(frozen=True, slots=True)
class Card:
    """An environment."""

    id: str
    name: str
    file: str
    state: str
    """In words."""
    tone: Literal["good", "bad", "idle"]
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


@dataclass(frozen=True, slots=True)
class Line:
    """A request."""

    id: str
    day: str
    """Empty: that of the line above."""
    time: str
    environment: str
    rule: str
    """Which line of which file applies."""
    method: str
    path: str
    answer: str
    tone: Literal["good", "bad", "idle"]
    sent: str
    """What the client sent in the credential's place."""
    sent_for: str
    """The environment whose token that was, if it is another one of ours."""
    received: str
    """What the API received there."""
    details: str
    """Of the token that it received."""
    why: str
    advice: str


@dataclass(frozen=True, slots=True)
class Page:
    """All that the page tells."""

    show: Show
    cards: tuple[Card, ...]
    more: int
    """Environments that are not shown."""
    unhealthy: tuple[Card, ...]
    mistakes: tuple[str, ...]
    lines: tuple[Line, ...]


def page(now: Overview, seen: Iterable[Seen], show: Show = "all") -> Page:
    """The page's rows. `seen` is read newest first, and only as far as needed."""
    cards = [_card(one) for one in now.environments]
    shown = cards
    if len(cards) > MOST_CARDS:
        tones = ("bad", "good", "idle")
        kept = {card.id for card in sorted(cards, key=lambda card: tones.index(card.tone))[:MOST_CARDS]}
        shown = [card for card in cards if card.id in kept]  # in their order, so that none jumps
    unhealthy = tuple(card for card in shown if card.tone == "bad")
    lines = tuple(_lines(seen, show))
    return Page(show, tuple(shown), len(cards) - len(shown), unhealthy, now.mistakes, lines)


# --- Environments -----------------------------------------------------------------------------------------------------


def _card(now: EnvironmentStatus) -> Card:
    state, tone, why, advice = _state(now)
    token, fixed = now.token, now.grant_type in FIXED
    expires_at = token.expires_at if token is not None else None
    granted = token.scope if token is not None else None
    waits = now.failure is not None and now.failure.next_try > 0
    return Card(
        id=f"environment-{quote(now.name, safe='')}",
        name=now.name,
        file=now.file,
        state=state,
        tone=tone,
        why=why,
        advice=advice,
        next_try=math.ceil(now.failure.next_try) if now.failure is not None and waits else None,
        expires_at=expires_at,
        expires="" if token is None or expires_at is None else _ends(expires_at, token.seconds_left or 0.0),
        fingerprint=_short(token.fingerprint) if token is not None else "",
        asked=text(now.scope),
        granted=text(granted),
        audience=text(" ".join(token.audience)) if token is not None else "",
        origins=now.origins,
        kept=_kept(now),
        counters=_counters(now.counts, fixed),
        button="" if fixed else "Refresh" if token is not None else "Try now" if now.failure is not None else "Get one",
    )


def _state(now: EnvironmentStatus) -> tuple[str, Literal["good", "bad", "idle"], str, str]:
    """In words, how that is, why, and what to do."""
    noun = messages.noun(now.grant_type)
    failure, refusal = now.failure, getattr(now, "refusal", None)
    if now.token is None and failure is not None:
        return f"no {noun}", "bad", f"{failure.code}: {failure.reason}", failure.advice
    if refusal is not None:
        return f"the API refuses: {refusal.status}", "bad", f"{refusal.cause} ({clock(refusal.at)})", refusal.advice
    if failure is not None:
        return f"{noun} valid, but no new one", "bad", f"{failure.code}: {failure.reason}", failure.advice
    if now.token is not None:
        return f"{noun} valid", "good", "", ""
    if now.counts.token_requests:
        return f"no {noun} now", "idle", f"it has expired; the next request gets a new {noun}", ""
    return f"no {noun} yet", "idle", f"the first request gets a {noun}", ""


def _counters(counts: Counts, fixed: bool) -> tuple[tuple[str, int], ...]:
    told = {
        "with a credential" if fixed else "with a token": counts.injected,
        "healed": getattr(counts, "healed", 0),
        "got 401": getattr(counts, "refused", 0),
        "got 403": getattr(counts, "forbidden", 0),
        "blocked": counts.blocked,
    }
    return tuple(told.items())


def _kept(now: EnvironmentStatus) -> str:
    if now.grant_type in FIXED:
        return "in the file"
    return now.kept_in or ("in the file of logins" if GRANTS[now.grant_type].login_endpoint else "in memory")


def _ends(expires_at: float, seconds_left: float) -> str:
    return clock(expires_at) if seconds_left < 20 * 3600 else clock(expires_at, "%d %b %H:%M")


# --- Requests ---------------------------------------------------------------------------------------------------------


def _lines(seen: Iterable[Seen], show: Show) -> Iterator[Line]:
    day, count = "", 0
    for one in seen:
        if not isinstance(one.record, dict):
            continue
        line = _line(one, one.record)
        if show != "all" and show != _outcome(one, one.record):
            continue
        yield line if line.day != day else replace(line, day="")
        day, count = line.day, count + 1
        if count == MOST_LINES:
            return


def _outcome(seen: Seen, record: Mapping[str, Any]) -> Show:
    if isinstance(record.get("diagnosis"), dict) or seen.status in (401, 403) or record.get("action") == "blocked":
        return "refused"
    return "healed" if record.get("retried") is True and seen.status is not None else "all"


def _line(seen: Seen, record: Mapping[str, Any]) -> Line:
    outcome = _outcome(seen, record)
    diagnosis, rule, before = (_dict(record.get(key)) for key in ("diagnosis", "rule", "before"))
    why = text(diagnosis.get("cause")) or text(record.get("reason"))
    if outcome == "healed" and not why:
        why = "the API refused the first token and accepted another one"
    return Line(
        id=seen.id,
        day=clock(seen.started, "%d %b"),
        time=clock(seen.started),
        environment=text(record.get("environment")),
        rule=f"{text(rule.get('key'))} in {text(rule.get('file'))}" if rule else "",
        method=text(seen.method),
        path=text(seen.path),
        answer=_answer(seen, record),
        tone="bad" if outcome == "refused" else "good" if outcome == "healed" else "idle",
        sent=_sent(record, before),
        sent_for=text(before.get("environment")),
        received=_received(record),
        details=_details(record) if record.get("action") == "injected" else "",
        why=why,
        advice=text(diagnosis.get("advice")),
    )


def _answer(seen: Seen, record: Mapping[str, Any]) -> str:
    answers = record.get("answers")
    known = [one for one in answers if type(one) is int] if isinstance(answers, list) else []
    if record.get("action") == "blocked":
        return "blocked"
    if len(known) > 1:
        return "→".join(map(str, known[:3]))
    if seen.status is None:
        return "error" if seen.failed else "…"
    return f"401→{seen.status}" if record.get("retried") is True else str(seen.status)


def _sent(record: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    if record.get("action") == "kept":
        return text(before.get("scheme")) or "its own"
    return text(before.get("scheme")) or text(record.get("replaced")) or "nothing"


def _received(record: Mapping[str, Any]) -> str:
    action, header = record.get("action"), text(record.get("header")) or "Authorization"
    if action != "injected":
        return {"kept": "the client's own", "blocked": "nothing: blocked", "skipped": "as the client sent it"}.get(
            text(action), "?"
        )
    token = _short(record.get("token"))
    what = f"token {token}" if token else "credential"
    return what if header.lower() == "authorization" else f"{header}: {what}"


def _details(record: Mapping[str, Any]) -> str:
    claims, scope = _dict(record.get("claims")), _dict(record.get("scope"))
    granted = text(scope.get("granted")) or _words(claims.get("scope")) or text(scope.get("asked"))
    ends = record.get("expires_at")
    told = {
        "": text(record.get("source")),
        "ends": clock(ends) if isinstance(ends, int | float) else "",
        "scope": granted,
        "aud": _words(claims.get("aud")),
    }
    return " · ".join(f"{name} {value}".strip() for name, value in told.items() if value)


# --- Texts ------------------------------------------------------------------------------------------------------------


def text(value: object) -> str:
    """A text as it may be shown: no controls, which could turn its direction, and not too long. Empty if it is none."""
    if not isinstance(value, str):
        return ""
    cut = value if len(value) <= LONGEST else f"{value[:LONGEST]}…"
    return cut if cut.isprintable() else "".join(one if one.isprintable() else "�" for one in cut)


def clock(moment: float, form: str = "%H:%M:%S") -> str:
    """A time of day on this machine; a question mark where the moment is out of any calendar."""
    try:
        return datetime.fromtimestamp(moment, UTC).astimezone().strftime(form)
    except (OverflowError, OSError, ValueError):
        return "?"


def _short(fingerprint: object) -> str:
    """The first digits of `sha256:…`, by which people tell tokens apart."""
    digits = text(fingerprint).removeprefix("sha256:")
    return f"{digits[:6]}…" if digits else ""


def _words(value: object) -> str:
    return text(" ".join(one for one in value if isinstance(one, str))) if isinstance(value, list) else text(value)


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}

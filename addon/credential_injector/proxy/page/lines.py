"""Requests, with what the add-on recorded of them -> the lines of a table. Pure.

A record is checked: it may come from a file, and a file may hold anything.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from credential_injector.proxy.page.cards import Tone
from credential_injector.proxy.page.texts import DAY, clock, short, text

Show = Literal["all", "refused", "healed"]
SHOWS: tuple[Show, ...] = ("all", "refused", "healed")

MOST = 50


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
    is_replay: bool = False
    """A person has sent it again, or the add-on has."""


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
    is_replay: bool
    answer: str
    tone: Tone
    sent: str
    """What the client sent in the credential's place."""
    sent_details: str
    """Of the token that the client sent, if it was one that can be read."""
    sent_for: str
    """The environment whose token that was, if it is another one of ours."""
    received: str
    """What the API received there."""
    details: str
    """Of the token that it received."""
    why: str
    advice: str


def lines(seen: Iterable[Seen], show: Show) -> Iterator[Line]:
    day, count = "", 0
    for one in seen:
        # To put a line together takes long, and thousands may not be shown.
        if not isinstance(one.record, dict) or (show != "all" and show != _outcome(one, one.record)):
            continue
        line = _line(one, one.record)
        yield line if line.day != day else replace(line, day="")
        day, count = line.day, count + 1
        if count == MOST:
            return


def _outcome(seen: Seen, record: Mapping[str, Any]) -> Show:
    if isinstance(record.get("diagnosis"), dict) or seen.status in (401, 403) or record.get("action") == "blocked":
        return "refused"
    return "healed" if record.get("retried") is True and seen.status is not None and seen.status < 400 else "all"


def _line(seen: Seen, record: Mapping[str, Any]) -> Line:
    outcome = _outcome(seen, record)
    diagnosis, rule, before = (_dict(record.get(key)) for key in ("diagnosis", "rule", "before"))
    why, advice = text(diagnosis.get("cause")), text(diagnosis.get("advice"))
    if not why:
        why, _, advice = text(record.get("reason")).partition("; ")  # as messages are made
    if outcome == "healed" and not why:
        why = "the API refused the first token and accepted another one"
    sent_for = text(before.get("environment"))
    if sent_for and not why:
        why, advice = (
            f"the client sent a token for {sent_for}, which was replaced",
            f"if it means {sent_for}, change its URL",
        )
    return Line(
        id=seen.id,
        day=clock(seen.started, DAY),
        time=clock(seen.started),
        environment=text(record.get("environment")),
        rule=f"{text(rule.get('key'))} in {text(rule.get('file'))}" if rule else "",
        method=text(seen.method),
        path=text(seen.path),
        is_replay=seen.is_replay,
        answer=_answer(seen, record),
        tone="bad" if outcome == "refused" else "good" if outcome == "healed" else "idle",
        sent=_sent(record, before),
        sent_details=_claims(_dict(before.get("claims"))),
        sent_for=sent_for,
        received=_received(record),
        details=_details(record, seen.started) if record.get("action") == "injected" else "",
        why=why,
        advice=advice,
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
    token = short(record.get("token"))
    what = f"token {token}" if token else "credential"
    return what if header.lower() == "authorization" else f"{header}: {what}"


def _details(record: Mapping[str, Any], started: float) -> str:
    claims, scope = _dict(record.get("claims")), _dict(record.get("scope"))
    granted = text(scope.get("granted")) or _words(claims.get("scope")) or text(scope.get("asked"))
    ends = record.get("expires_at")
    told = {
        "": text(record.get("source")) if text(record.get("token")) else "",  # else it stands in the file
        "ends": _ends(ends, started) if isinstance(ends, int | float) else "",
        "scope": granted,
        "aud": _words(claims.get("aud")),
    }
    return _joined(told)


def _ends(moment: float, started: float) -> str:
    same_day = clock(moment, DAY) == clock(started, DAY)
    return clock(moment) if same_day else clock(moment, f"{DAY} %H:%M")


def _claims(claims: Mapping[str, Any]) -> str:
    return _joined({name: _words(claims.get(name)) for name in ("aud", "sub", "scope", "iss")})


def _joined(told: Mapping[str, str]) -> str:
    return " · ".join(f"{name} {value}".strip() for name, value in told.items() if value)


def _words(value: object) -> str:
    return text(" ".join(one for one in value if isinstance(one, str))) if isinstance(value, list) else text(value)


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}

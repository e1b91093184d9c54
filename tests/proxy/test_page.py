"""The rows of the page at /inject, and what a browser makes of them. tests/e2e/test_page.py drives it."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from typing import Any, ClassVar

import pytest

from credential_injector.proxy.page import cards, handlers, view
from credential_injector.proxy.page.lines import Line, Seen, Show
from credential_injector.proxy.page.texts import clock
from credential_injector.status import Counts, EnvironmentStatus, FailureStatus, Overview, RefusalStatus, TokenStatus

NOON = 1790000000.0
TOKEN = TokenStatus("sha256:27f5ab12cd34", "fetched", NOON - 60, NOON + 3540, 3540.0)
FAILURE = FailureStatus("invalid_client", "it answered 401", "check CLIENT_SECRET in envs/qa.env", 40.2)
REFUSED = Counts(
    refusal=RefusalStatus(403, "scope", "the API wants scope admin", "add it to SCOPE in envs/qa.env", NOON)
)
QA = EnvironmentStatus(
    "qa", "envs/qa.env", ("https://api.qa.example.com",), "client_credentials", "read write", None, None, Counts()
)
INJECTED = {
    "action": "injected",
    "environment": "qa",
    "reason": None,
    "token": "sha256:27f5ab12cd34",
    "source": "cached",
    "expires_at": int(NOON),
    "replaced": None,
    "retried": False,
    "before": None,
    "diagnosis": None,
    "rule": {"file": "envs/qa.env", "key": "HOST", "value": "https://api.qa.example.com"},
    "header": "Authorization",
}
SEEN = Seen("1", NOON, "GET", "/orders", 200, False, INJECTED)
NASTY = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "\u202etxt.exe",
    "\x1b[31m\x00\n",
    "x" * 10_000,
]
ODD: list[Any] = [None, True, -1, 1e400, float("nan"), 10**400, b"x", [], {}, [[]], {"scheme": [1]}, *NASTY]


def overview(*environments: EnvironmentStatus) -> Overview:
    return Overview(environments, (), {})


def card(status: EnvironmentStatus) -> cards.Card:
    (one,) = view.page(overview(status), ()).cards
    return one


def line(seen: Seen = SEEN, **record: Any) -> Line:
    (one,) = view.page(overview(), [replace(seen, record={**INJECTED, **record})]).lines
    return one


@pytest.mark.parametrize(
    ("status", "state", "tone", "button"),
    [
        (QA, "no token yet", "idle", "Get a token"),
        (replace(QA, counts=Counts(token_requests=1)), "no token now", "idle", "Get a token"),
        (replace(QA, token=TOKEN), "token valid", "good", "Refresh"),
        (replace(QA, failure=FAILURE), "no token", "bad", "Try now"),
        (replace(QA, token=TOKEN, failure=FAILURE), "token valid, but no new one", "bad", "Refresh"),
        (replace(QA, token=TOKEN, counts=REFUSED), "the API refuses: 403", "bad", "Refresh"),
        (replace(QA, failure=FAILURE, counts=REFUSED), "no token", "bad", "Try now"),
        (replace(QA, grant_type="static"), "no credential yet", "idle", ""),
    ],
)
def test_state(status: EnvironmentStatus, state: str, tone: str, button: str) -> None:
    """An environment's state is told in words, with what can be done."""
    one = card(status)
    assert (one.state, one.tone, one.button) == (state, tone, button)


def test_failure() -> None:
    """A failure is told with its advice and the next try."""
    one = card(replace(QA, failure=FAILURE))
    assert (one.why, one.advice, one.next_try) == ("invalid_client: it answered 401", FAILURE.advice, 41)
    assert card(replace(QA, failure=replace(FAILURE, next_try=0.0))).next_try is None
    assert [card(replace(QA, failure=replace(FAILURE, at=at))).since for at in (None, NOON)] == ["", clock(NOON)]


def test_refusal() -> None:
    """The API's last refusal is told with its advice and its time."""
    one = card(replace(QA, token=TOKEN, counts=REFUSED))
    assert (one.why, one.since) == ("the API wants scope admin", clock(NOON))
    assert one.advice == "add it to SCOPE in envs/qa.env"
    cors = RefusalStatus(200, "cors", "the page sees 'Failed to fetch'", "", NOON)
    assert card(replace(QA, token=TOKEN, counts=Counts(refusal=cors))).state == "the API answered 200"


def test_no_refusal() -> None:
    """An answer that a page may not read is told without the word."""
    cors = RefusalStatus(200, "cors", "the answer has no Access-Control-Allow-Origin", "ask", NOON)
    assert card(replace(QA, token=TOKEN, counts=Counts(refusal=cors))).state == "the API answered 200"


@pytest.mark.parametrize(
    ("status", "kept"),
    [
        (QA, "in memory"),
        (replace(QA, kept_in="tokens.json"), "tokens.json"),
        (replace(QA, grant_type="authorization_code"), "in the file of logins"),
        (replace(QA, grant_type="basic"), "in the file"),
    ],
)
def test_kept(status: EnvironmentStatus, kept: str) -> None:
    """Where a token is kept is told."""
    assert card(status).kept == kept


def test_end() -> None:
    """The end has its day where it is not near."""
    assert card(replace(QA, token=TOKEN)).expires == clock(NOON + 3540)
    far = replace(TOKEN, seconds_left=86400.0)
    assert card(replace(QA, token=far)).expires == datetime.fromtimestamp(NOON + 3540).strftime("%d %b %H:%M")  # noqa: DTZ006
    assert card(replace(QA, token=replace(TOKEN, expires_at=None, seconds_left=None))).expires == ""


def test_origins() -> None:
    """Ten origins are named."""
    origins = tuple(f"https://{number}.example.com" for number in range(12))
    assert card(replace(QA, origins=origins)).origins == (*origins[:10], "and 2 more")


def test_ten_thousand() -> None:
    """Of many environments, those with something wrong are shown, in their order."""
    many = [replace(QA, name=f"e{number}") for number in range(10_000)]
    many[9_000] = replace(many[9_000], failure=FAILURE)
    many[5_000] = replace(many[5_000], token=TOKEN)
    rows = view.page(overview(*many), ())
    names = [one.name for one in rows.cards]
    assert len(names) == view.MOST_CARDS
    assert names[-2:] == ["e5000", "e9000"]
    assert (rows.environments, rows.unhealthy) == (10_000, 1)
    shown = handlers.html(rows).decode()
    assert "1 of 10000 needs attention" in " ".join(shown.split())
    assert "9900 more environments" in shown


@pytest.mark.parametrize(
    ("seen", "record", "answer"),
    [
        (SEEN, {}, "200"),
        (SEEN, {"retried": True}, "401→200"),
        (SEEN, {"answers": [401, 403]}, "401→403"),
        (replace(SEEN, status=502), {"action": "blocked"}, "blocked"),
        (replace(SEEN, status=None), {}, "…"),
        (replace(SEEN, status=None, failed=True), {}, "error"),
    ],
)
def test_answer(seen: Seen, record: dict[str, Any], answer: str) -> None:
    """What the API answered."""
    assert line(seen, **record).answer == answer


@pytest.mark.parametrize(
    ("record", "sent", "sent_for"),
    [
        ({}, "nothing", ""),
        ({"replaced": "Basic"}, "Basic", ""),
        ({"before": None}, "nothing", ""),
        ({"before": {"scheme": "Bearer", "claims": None, "environment": "uat"}}, "Bearer", "uat"),
        ({"action": "kept", "before": None}, "its own", ""),
    ],
)
def test_sent(record: dict[str, Any], sent: str, sent_for: str) -> None:
    """What the client sent in the credential's place, and whose that was."""
    assert (line(**record).sent, line(**record).sent_for) == (sent, sent_for)


def test_sent_claims() -> None:
    """What the client's token says of itself."""
    claims = {"aud": ["https://uat.example.com"], "sub": "alice", "email": "alice@example.com"}
    before = {"scheme": "Bearer", "claims": claims, "environment": None}
    assert line(before=before).sent_details == "aud https://uat.example.com · sub alice"


@pytest.mark.parametrize(
    ("record", "received"),
    [
        ({}, "token 27f5ab…"),
        ({"token": None}, "credential"),
        ({"header": "X-Api-Key", "token": None}, "X-Api-Key: credential"),
        ({"action": "kept"}, "the client's own"),
        ({"action": "skipped"}, "as the client sent it"),
        ({"action": "blocked"}, "nothing: blocked"),
        ({"action": "whatever"}, "?"),
    ],
)
def test_received(record: dict[str, Any], received: str) -> None:
    """What the API received there."""
    assert line(**record).received == received


def test_details() -> None:
    """Where the token came from, when it ends, for what it is."""
    claims = {"aud": ["https://api.example.com"], "scope": ["read"]}
    told = line(claims=claims, scope={"asked": "read write", "granted": None}).details
    assert "ends " + clock(NOON + 86400, "%d %b %H:%M") in line(expires_at=NOON + 86400).details
    assert told == f"cached · ends {clock(NOON)} · scope read · aud https://api.example.com"
    assert "scope read write" in line(scope={"asked": "read write", "granted": None}).details
    assert [line(token=token).details[:6] for token in (INJECTED["token"], None)] == [
        "cached",
        "ends " + clock(NOON)[:1],
    ]


def test_rule() -> None:
    """Which line of which file applies."""
    assert line().rule == "HOST in envs/qa.env"


def test_why() -> None:
    """The doctor's words come first, then the record's, then that it was healed."""
    diagnosis = {"code": "scope", "cause": "scope admin is missing", "advice": "add it to SCOPE in envs/qa.env"}
    told = line(diagnosis=diagnosis, reason="401 and not sent again")
    assert (told.why, told.advice) == (diagnosis["cause"], diagnosis["advice"])
    assert line(reason="METHODS").why == "METHODS"
    blocked = line(action="blocked", reason="no token (timeout): it is slow; wait, or ask; next try in 9 s")
    assert (blocked.why, blocked.advice) == ("no token (timeout): it is slow", "wait, or ask; next try in 9 s")
    other = line(before={"scheme": "Bearer", "claims": None, "environment": "uat"})
    assert other.why == "the client sent a token for uat, which was replaced"
    assert "accepted another one" in line(retried=True).why
    assert line().why == ""


@pytest.mark.parametrize(
    ("show", "found"), [("all", ["a", "b", "c", "d", "e", "f"]), ("refused", ["b", "c", "e"]), ("healed", ["d"])]
)
def test_show(show: Show, found: list[str]) -> None:
    """Requests can be told apart by what became of them."""
    records: dict[str, tuple[int, dict[str, Any]]] = {
        "a": (200, {}),
        "b": (403, {}),
        "c": (502, {"action": "blocked"}),
        "d": (200, {"retried": True}),
        "e": (302, {"diagnosis": {"code": "login_page"}}),
        "f": (500, {"retried": True}),
    }
    seen = [replace(SEEN, id=name, status=status, record=INJECTED | more) for name, (status, more) in records.items()]
    assert [one.id for one in view.page(overview(), seen, show).lines] == found


def test_fifty() -> None:
    """No more are read than are shown."""

    def endless() -> Iterator[Seen]:
        yield from (replace(SEEN, id=str(number)) for number in itertools.count())

    assert [one.id for one in view.page(overview(), endless()).lines] == [str(number) for number in range(50)]


def test_not_shown() -> None:
    """Of a request that is not shown, no more is read than what decides that: there may be thousands."""

    class Record(dict[str, Any]):
        read: ClassVar[set[str]] = set()

        def get(self, key: str, default: Any = None) -> Any:
            self.read.add(key)
            return super().get(key, default)

    assert not view.page(overview(), [replace(SEEN, record=Record(INJECTED))], "healed").lines
    assert Record.read == {"diagnosis", "action", "retried"}


def test_days() -> None:
    """The day stands where it changes: a capture that was loaded may be old."""
    seen = [SEEN, SEEN, replace(SEEN, started=NOON - 86400)]
    days = [one.day for one in view.page(overview(), seen).lines]
    assert [bool(day) for day in days] == [True, False, True]


@pytest.mark.parametrize("odd", ODD)
def test_odd_record(odd: Any) -> None:
    """A record from a file may hold anything; the page stays a page."""
    keys = [*INJECTED, "before", "claims", "scope", "rule", "answers", "diagnosis"]
    records: list[Any] = [odd, {}, *({**INJECTED, key: odd} for key in keys), {key: {key: odd} for key in keys}]
    records += [{**INJECTED, "diagnosis": {"cause": odd, "advice": odd}, "before": {"scheme": odd, "environment": odd}}]
    seen = [replace(SEEN, record=record) for record in records]
    assert _elements(handlers.html(view.page(overview(), seen))) == {"script": 1, "img": 0}


@pytest.mark.parametrize("nasty", NASTY)
def test_nasty(nasty: str) -> None:
    """What others wrote is text: no element, no control, no text without end."""
    failure = FailureStatus(nasty, nasty, nasty, 1.0)
    token = replace(TOKEN, scope=nasty, audience=(nasty,))
    name = nasty[:200] if nasty.isprintable() else "qa"  # that of a file
    now = [replace(QA, name=name, file=nasty, origins=(nasty,), scope=nasty, failure=failure, token=token)]
    record = {
        **INJECTED,
        "environment": nasty,
        "reason": nasty,
        "claims": {"aud": [nasty]},
        "before": {"scheme": nasty},
    }
    record["rule"] = {"file": nasty, "key": nasty, "value": nasty}
    seen = [Seen("1", NOON, nasty, nasty, 200, False, record)]
    shown = handlers.html(view.page(Overview(tuple(now), (nasty,), {}), seen))
    assert _elements(shown) == {"script": 1, "img": 0}
    text = shown.decode()
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "x" * 1000 not in text


def _elements(shown: bytes) -> dict[str, int]:
    """How many elements there are of those that nobody else may bring in."""
    found = {"script": 0, "img": 0}

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            assert not any(name.startswith("on") or name == "style" for name, _ in attrs)
            if tag in found:
                found[tag] += 1

    Parser().feed(shown.decode())
    return found

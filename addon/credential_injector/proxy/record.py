"""What a flow says of its request: metadata for programs, mark and comment for people. No secret.

A flow is anything with mitmproxy's `metadata`, `marked` and `comment`.
"""

from typing import Any, Literal, Protocol, cast

from credential_injector.diagnosis.diagnosis import Diagnosis
from credential_injector.environments.environment import title
from credential_injector.oauth.token import Served
from credential_injector.proxy import story
from credential_injector.proxy.credentials.credential import Before
from credential_injector.proxy.credentials.earlier import is_recorded
from credential_injector.proxy.route_table import Route

KEY = "inject"
"""Of `flow.metadata`."""

Action = Literal["injected", "kept", "blocked", "skipped"]
Part = Literal["request", "response"]

_MARKS: dict[Action, str] = {"injected": ":key:", "kept": "", "blocked": ":no_entry:", "skipped": ":warning:"}


class Flow(Protocol):
    """The part of a mitmproxy flow that is written here."""

    metadata: dict[Any, Any]
    marked: str
    comment: str


def injected(flow: Flow, route: Route, served: Served, before: Before | None, other: str = "") -> None:
    """The credential is in the request. `before` is what stood in its place, `other` the environment whose that was."""
    if before is None:
        _inject(flow, route, served)
        return
    credential = route.credential
    headline = story.headline(route.environment.title, story.change(before, credential.label, other))
    _inject(flow, route, served, headline + story.before(credential.place, before, other))
    flow.metadata[KEY] |= {"before": story.before_values(before, other), "replaced": before.scheme}


def retried(flow: Flow, route: Route, served: Served, statuses: tuple[str, str], challenge: str) -> None:
    """The API refused the first token, and the client gets the answer to the same request with another one.

    `statuses` are those of both answers as people read them (`401`, `grpc 16`), `challenge` is the first one's
    WWW-Authenticate, without a secret.
    """
    refused, (first, second) = flow.metadata[KEY], statuses

    def number(status: str) -> str:
        return status.rpartition(" ")[2]

    before = next((f"\n{line}" for line in flow.comment.split("\n") if line.startswith("- before: ")), "")
    _inject(flow, route, served, story.headline(route.environment.title, f"{first}→{number(second)}") + before)
    code = story.error_code(challenge)
    answers = f"{first}{f' ({code})' if code else ''} to <{refused['token'] or 'secret'}>, {second} to the one below"
    flow.comment = story.amended(flow.comment, "", f"sent again after a {first}: {answers}")
    flow.metadata[KEY] |= {
        "before": refused.get("before"),
        "replaced": refused["replaced"],
        "retried": True,
        "answers": [int(number(status)) for status in statuses],
        "first_challenge": challenge or None,
    }


def stays(flow: Flow, status: str, reason: str) -> None:
    """The API refused the token, and its answer goes to the client, as the request was not sent again."""
    record = flow.metadata[KEY]
    record["reason"] = f"{status} and not sent again: {reason}"
    headline = story.headline(_title_of(record), f"{status} ?")
    flow.comment = story.amended(flow.comment, headline, f"the API answered {status}, which stays: {reason}")


def diagnosed(flow: Flow, status: str, found: Diagnosis) -> None:
    """The API refuses the request although it carries a token, and this is why."""
    headline = story.headline(_title_of(flow.metadata[KEY]), f"{status} {found.word}")
    flow.comment = story.amended(flow.comment, headline, f"why: {found.cause}; {found.advice}")
    _note(flow, found)


def streamed(flow: Flow, part: Part, size: int) -> None:
    """So many bytes of a body passed as they came, and the flow does not show them."""
    if (values := flow.metadata.get(KEY)) is not None:
        values["streamed"] = {**values.get("streamed", {}), part: size}
        flow.comment = story.amended(flow.comment, "", f"{part} body: {size:,} bytes streamed, not recorded")


def relayed(flow: Flow) -> None:
    """The answer passes as it comes to the second request, on whose flow it is recorded."""
    flow.metadata[KEY]["streamed"] = {"response": None}
    line = "response body: streamed, recorded with the request that was sent again"
    flow.comment = story.amended(flow.comment, "", line)


def outlived(flow: Flow) -> None:
    """The token has expired, and the answer goes on."""
    if (values := flow.metadata.get(KEY)) is not None:
        values["outlived"] = True
        line = "the token has expired since, and the answer went on; a reconnection gets another token"
        flow.comment = story.amended(flow.comment, "", line)


def kept(flow: Flow, route: Route, reason: str, before: Before | None = None) -> None:
    """The client's own credential stays."""
    word = f"kept {before.scheme}" if before is not None else "kept"
    _tell(flow, route, "kept", word, reason, reason=reason, before=before)


def skipped(
    flow: Flow, route: Route, reason: str, before: Before | None = None, *, word: str = "", marked: bool = True
) -> None:
    """The request goes on as the client sent it. Unless it is `marked`, the flow has a comment only."""
    mark = flow.marked
    _tell(
        flow,
        route,
        "skipped",
        word or "left as is",
        f"left as the client sent it: {reason}",
        reason=reason,
        before=before,
    )
    if not marked:
        flow.marked = mark


def held(flow: Flow, route: Route) -> None:
    """The request waits for a person, and has no credential yet."""
    confirm = f"CONFIRM={route.environment.confirm} of {route.environment.file}"
    why = f"held, as {confirm} asks a person: press Resume to send it, or Abort"
    _tell(flow, route, "blocked", "confirm?", why, reason=f"held until a person resumes it ({confirm})")


def withdrawn(flow: Flow, route: Route, reason: str) -> None:
    """The request goes on without the token, which it had already got."""
    _tell(flow, route, "skipped", "withdrawn", f"token withdrawn: {reason}", reason=reason)


def blocked(flow: Flow, route: Route | None, reason: str, *, word: str = "", streams: bool = False) -> str:
    """The request is not sent on, or, where its body streams already, goes on without any credential.

    Returns the line that the client gets. `route` is None where an error of our own came before it was found.
    """
    what = "request blocked" if not streams else "sent on without any credential, as its body is streamed"
    _tell(flow, route, "blocked", word or "blocked", f"{what}: {reason}", reason=reason)
    return f"{_name(route)}: {what}: {reason}"


def refused_preflight(flow: Flow, route: Route, status: int, found: Diagnosis) -> None:
    """The API refuses a CORS preflight, which passed as the browser sent it."""
    why = f"{found.cause}; {found.advice}"
    _tell(flow, route, "skipped", f"{found.word} {status}", why, reason=found.cause)
    _note(flow, found)


def was_injected(flow: Flow) -> bool:
    """Whether the flow's request went out with a token of ours. What was read from a file may hold anything."""
    record = flow.metadata.get(KEY)
    return (
        isinstance(record, dict)
        and record.get("action") == "injected"
        and all(isinstance(record.get(name), str) for name in ("environment", "source"))
        and all(isinstance(record.get(name, ...), str | None) for name in ("token", "replaced"))
        and is_recorded(record)
    )


def asked_as(flow: Flow) -> str | None:
    """The account whose token the request got, or would have got, when it was looked at before."""
    record = flow.metadata.get(KEY)
    name = record.get("as") if isinstance(record, dict) else None
    return name if isinstance(name, str) else None


def replaced(flow: Flow) -> Before | None:
    """What our token replaced in a flow that `was_injected`, as far as its record tells."""
    scheme = cast("str | None", flow.metadata[KEY]["replaced"])
    return Before(scheme) if scheme is not None else None


def forget(flow: Flow) -> None:
    """A replayed request gets no token now: remove what the flow says about the first one."""
    flow.metadata.pop(KEY, None)
    flow.comment = ""
    if flow.marked == _MARKS["injected"]:  # else a person has set another one
        flow.marked = ""


def _note(flow: Flow, found: Diagnosis) -> None:
    flow.metadata[KEY]["diagnosis"] = {
        **found.values,
        "code": found.code,
        "cause": found.cause,
        "advice": found.advice,
    }


def _inject(flow: Flow, route: Route, served: Served, beginning: str = "") -> None:
    """`beginning` is the comment's, up to what the API gets; by default that of a client that sent nothing."""
    told = route.story(served.token)
    above = beginning + told.after if beginning else told.fresh
    middle = story.injected(route.environment.token_request.grant_type, served, told.until)
    _write(flow, route, f"{above}{middle}{told.below}", {**told.values, "source": served.source})


def _tell(
    flow: Flow, route: Route | None, action: Action, word: str, why: str, *, reason: str, before: Before | None = None
) -> None:
    """A request that carries no credential of ours."""
    title = route.environment.title if route is not None else _name(route)
    comment = f"{story.headline(title, word)}\n- why: {why}"
    if before is not None and route is not None:
        comment += story.before(route.credential.place, before)
    if route is not None:
        comment += f"\n- {story.rule(route.environment, route.origin)}"
    values = story.blank(action, route.environment if route is not None else None)
    if route is not None:
        values["rule"] = story.rule_values(route.environment, route.origin)
    _write(flow, route, comment, {**values, "reason": reason, "before": story.before_values(before)})


def _write(flow: Flow, route: Route | None, comment: str, values: dict[str, Any]) -> None:
    if route is not None and route.environment.transport.insecure_tls:
        comment += "\n- INSECURE_TLS: nobody verifies which server issues the tokens"
    # A flow that is replayed carries our earlier comment; what a person wrote stays below ours.
    written = flow.comment if KEY not in flow.metadata else flow.comment.partition("\n\n")[2]
    flow.comment = f"{comment}\n\n{written}" if written else comment
    flow.marked = _MARKS[values["action"]] or flow.marked
    flow.metadata[KEY] = values


def _title_of(record: dict[str, Any]) -> str:
    return title(record["environment"], production=record.get("production") is True)


def _name(route: Route | None) -> str:
    return route.environment.name if route is not None else "credential injector"

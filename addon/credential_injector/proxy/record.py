"""What a person sees on a flow: metadata, mark and comment, and the line that a refused client gets. No secret.

A flow is anything with mitmproxy's `metadata`, `marked` and `comment`.
"""

import math
from typing import Any, Literal, Protocol

from credential_injector import messages
from credential_injector.environments.environment import Environment
from credential_injector.oauth.token import Served
from credential_injector.proxy.credential import Credential, is_recorded

KEY = "inject"
"""Of `flow.metadata`. Its value is a dict of plain values: mitmproxy cannot save anything else."""

Action = Literal["injected", "kept", "blocked", "skipped"]

_MARKS: dict[Action, str] = {"injected": ":key:", "kept": "", "blocked": ":no_entry:", "skipped": ":warning:"}


class Flow(Protocol):
    """The part of a mitmproxy flow that is written here."""

    metadata: dict[Any, Any]
    marked: str
    comment: str


def injected(
    flow: Flow, environment: Environment, credential: Credential, served: Served, replaced: str | None
) -> None:
    """The credential is in the request. `replaced` is what stood in its place, as `Credential.apply` tells it."""
    token = served.token
    expires = math.isfinite(token.expires_at)
    if expires:
        comment = f"{environment.name}: token injected ({served.source}, {messages.duration(served.seconds_left)} left)"
    else:
        comment = f"{environment.name}: {environment.token_request.grant_type} credential injected"
    if replaced is not None:
        comment += f", replaced {replaced}"
    # mitmweb draws a comment's lines as one paragraph: the dashes keep them apart there.
    comment += f"\n{credential.described(token)}\n- {environment.file}"
    _write(
        flow,
        comment,
        action="injected",
        environment=environment,
        source=served.source,
        expires_at=int(token.expires_at) if expires else None,
        replaced=replaced,
    )
    credential.record(token, flow.metadata[KEY])


def retried(flow: Flow, environment: Environment, credential: Credential, served: Served) -> None:
    """The API refused the first token, and the client gets the answer to the same request with another one."""
    refused = flow.metadata[KEY]
    injected(flow, environment, credential, served, refused["replaced"])
    headline, _, details = flow.comment.partition("\n")
    flow.comment = (
        f"{headline}, sent again after a 401\n{details}\n- the first answer: 401 to <{refused['token'] or 'secret'}>"
    )
    flow.metadata[KEY]["retried"] = True


def not_retried(flow: Flow, reason: str) -> None:
    """The API refused the token, and its 401 goes to the client."""
    flow.comment += f"\n- the API answered 401, which stays: {reason}"
    flow.metadata[KEY]["reason"] = f"401 and not sent again: {reason}"


def kept(flow: Flow, environment: Environment, reason: str) -> None:
    """The client's own credential stays."""
    _write(flow, f"{environment.name}: {reason}", action="kept", environment=environment, reason=reason)


def skipped(flow: Flow, environment: Environment, reason: str, *, marked: bool = True) -> None:
    """The request goes on as the client sent it. Unless it is `marked`, the flow has a comment only."""
    mark = flow.marked
    comment = f"{environment.name}: left as the client sent it: {reason}"
    _write(flow, comment, action="skipped", environment=environment, reason=reason)
    if not marked:
        flow.marked = mark


def withdrawn(flow: Flow, environment: Environment, reason: str) -> None:
    """The request goes on without the token, which it had already got."""
    comment = f"{environment.name}: token withdrawn: {reason}"
    _write(flow, comment, action="skipped", environment=environment, reason=reason)


def blocked(flow: Flow, environment: Environment | None, reason: str, *, streams: bool = False) -> str:
    """The request is not sent on, or, where its body streams already, goes on without any credential.

    Returns the line that the client gets. `environment` is None where an error of our own came before it was found.
    """
    name = environment.name if environment is not None else None
    what = "request blocked" if not streams else "sent on without any credential, as its body is streamed"
    line = f"{name or 'credential injector'}: {what}: {reason}"
    _write(flow, line, action="blocked", environment=environment, reason=reason)
    return line


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


def forget(flow: Flow) -> None:
    """A replayed request gets no token now: remove what the flow says about the first one."""
    flow.metadata.pop(KEY, None)
    flow.comment = ""
    if flow.marked == _MARKS["injected"]:  # else a person has set another one
        flow.marked = ""


def _write(
    flow: Flow,
    comment: str,
    *,
    action: Action,
    environment: Environment | None,
    reason: str | None = None,
    source: str | None = None,
    expires_at: int | None = None,
    replaced: str | None = None,
) -> None:
    if environment is not None and environment.transport.insecure_tls:
        comment += "\n- INSECURE_TLS: nobody verifies which server issues the tokens"
    # A flow that is replayed carries our earlier comment; one that a person wrote is kept below ours.
    if flow.comment and KEY not in flow.metadata:
        comment += "\n\n" + flow.comment
    flow.comment = comment
    flow.marked = _MARKS[action] or flow.marked
    flow.metadata[KEY] = {
        "action": action,
        "environment": environment.name if environment is not None else None,
        "reason": reason,
        "token": None,
        "source": source,
        "expires_at": expires_at,
        "replaced": replaced,
        "retried": False,
    }

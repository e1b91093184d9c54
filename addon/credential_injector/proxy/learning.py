"""Flows, of mitmproxy or of a capture, from which environments are learned."""

from collections.abc import Callable, Iterable
from pathlib import Path

from mitmproxy import http
from mitmproxy.flow import Flow

from credential_injector.imports import learned
from credential_injector.imports.draft import Draft
from credential_injector.imports.learned import Exchange
from credential_injector.proxy import captures, record

LARGEST_PACKED = 1 << 16  # bytes of a body as it came; it may be compressed


class NothingLearned(Exception):
    """No flow is a token request that was answered with a token."""


def learn(
    flows: Callable[[], Iterable[Flow]],
    uses: Callable[[], Iterable[Flow]],
    source: str,
    *,
    name: str = "",
    secret: bool = False,
) -> list[Draft]:
    """What the token requests among `flows` say, and where among `uses` their tokens went. Raises NothingLearned."""
    found = learned.merged(
        one
        for flow in flows()
        if (exchange := _exchange(flow)) and (one := learned.token_request(exchange)) is not None
    )
    if not found:
        raise NothingLearned
    tokens = learned.by_token(found)
    for flow in uses():
        if (exchange := _exchange(flow)) is not None:
            learned.note_use(tokens, exchange)
    return learned.drafts(found, source, name=name, secret=secret)


def learn_from_capture(path: Path, *, name: str = "", secret: bool = False) -> list[Draft]:
    """The same of a capture, which is read twice. Raises NothingLearned, captures.Unreadable and OSError."""

    def flows() -> Iterable[Flow]:
        return captures.flows_of(path)

    return learn(flows, flows, str(path), name=name, secret=secret)


def _exchange(flow: Flow) -> Exchange | None:
    """A flow's, unless the add-on put the token in."""
    if not isinstance(flow, http.HTTPFlow) or record.was_injected(flow):
        return None
    request, response = flow.request, flow.response
    body = _content(request)
    # Only of what may be a token request: to unpack every answer would take long.
    answer = _content(response) if response is not None and request.method == "POST" and b"grant_type" in body else b""
    return Exchange(
        request.method,
        request.pretty_url,
        [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in request.headers.fields],
        body,
        response.status_code if response is not None else 0,
        answer,
    )


def _content(message: http.Message) -> bytes:
    """A body, unpacked; nothing of one that is too large for a token request."""
    raw = message.raw_content
    return message.get_content(strict=False) or b"" if raw is not None and len(raw) <= LARGEST_PACKED else b""

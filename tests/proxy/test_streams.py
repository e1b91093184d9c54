"""Which bodies stream, and what is kept of them. Real streams are in e2e/test_streams.py."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.test import taddons, tflow

from credential_injector.oauth.token import AccessToken
from credential_injector.proxy.second_answer import Pieces
from credential_injector.proxy.streams import LARGEST, Body, Streams, has_left

TOKEN = AccessToken("canary-token", 0.0, float("inf"))


@pytest.fixture
async def options() -> AsyncIterator[Any]:
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        for name in ("intercept", "map_remote"):
            context.options.add_option(name, str | None, None, "")
        yield context.options


def flow_with(method: str = "POST", version: str = "HTTP/1.1", **headers: str) -> http.HTTPFlow:
    """A request with these headers alone."""
    flow = tflow.tflow()
    flow.request.method, flow.request.http_version = method, version
    flow.request.headers = http.Headers([(name.replace("_", "-").encode(), v.encode()) for name, v in headers.items()])
    return flow


@pytest.mark.parametrize(
    ("flow", "passes"),
    [
        (flow_with(content_length=str(LARGEST)), False),
        (flow_with(content_length=str(LARGEST + 1)), True),
        (flow_with(content_length="-1"), False),
        (flow_with(transfer_encoding="chunked"), True),
        (flow_with(), False),
        (flow_with(version="HTTP/2.0"), True),
        (flow_with("GET", "HTTP/2.0"), False),
        (flow_with(content_length="5", content_type="application/grpc+proto"), True),
    ],
)
async def test_request(options: Any, flow: http.HTTPFlow, passes: bool) -> None:
    """A large body streams, and one that may be endless; none does where an option acts on complete requests."""
    Streams().leaves(flow)
    assert bool(flow.request.stream) == passes
    assert not has_left(flow.request)  # nothing has been sent
    flow.request.stream = False
    options.map_remote = "|a|b"
    Streams().leaves(flow)
    assert not flow.request.stream


@pytest.mark.parametrize(
    ("kind", "length", "status", "passes", "held"),
    [
        ("text/event-stream; charset=utf-8", "5", 200, True, False),
        ("Application/GRPC", None, 200, True, False),
        ("application/json", None, 200, True, True),
        ("application/json", "5", 200, False, False),
        ("application/json", str(LARGEST + 1), 200, True, True),
        ("text/event-stream", None, 204, False, False),
        ("text/event-stream", None, 101, False, False),
    ],
)
async def test_answer(options: Any, kind: str, length: str | None, status: int, passes: bool, held: bool) -> None:
    """Streams pass by their type, other bodies by their length unless an option acts on complete answers."""
    for intercept in (None, "~s"):
        options.intercept = intercept
        flow, several = flow_with(), Streams()
        flow.response = http.Response.make(status)
        flow.response.headers = http.Headers([(b"Content-Type", kind.encode())])
        if length is not None:
            flow.response.headers["Content-Length"] = length
        several.leaves(flow)
        several.answers(flow, TOKEN)
        assert bool(flow.response.stream) == (passes and not (held and intercept))


async def test_empty_piece() -> None:
    """An empty piece is not passed on: in chunked coding it would be the end."""
    body = Body(message := http.Response.make(200))
    assert [body(b"a"), body(b""), body(b"b"), body(b"")] == [b"a", [], b"b", []]
    assert message.raw_content == b"ab"


@pytest.mark.parametrize(("size", "recorded"), [(LARGEST, True), (LARGEST + 1, False)])
async def test_recorded(size: int, recorded: bool) -> None:
    """A body is recorded up to a size; above it nothing is kept."""
    message = http.Response.make(200)
    message.raw_content = None
    body = Body(message)
    for piece in (b"x" * (size - 1), b"x", b""):
        body(piece)
    assert (message.raw_content == b"x" * size, body.is_unrecorded()) == (recorded, not recorded)


async def test_request_in_part(options: Any) -> None:
    """A request that is answered before its end is not recorded in part: it would be sent again in part."""
    flow, several = flow_with(transfer_encoding="chunked"), Streams()
    flow.request.raw_content = None
    several.leaves(flow)
    assert isinstance(flow.request.stream, Body)
    flow.request.stream(b"the first half")
    several.finish(flow)
    assert flow.request.raw_content is None


async def test_room() -> None:
    """A relay whose client is slow makes its server wait."""
    pieces, answer = Pieces(), http.Response.make(200)
    pieces.begin(answer, Body(answer))
    assert callable(answer.stream)
    for _ in range(2):
        answer.stream(bytes(1 << 20))
    assert not pieces.room.is_set()
    await pieces.next()
    assert pieces.room.is_set()
    pieces.end(failed=False)
    await pieces.next()
    await pieces.next()
    assert pieces.ended

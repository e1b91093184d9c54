"""An answer out of turn: one whose body comes from elsewhere, as it comes, and one before the request is complete.

HACK: all of this is undocumented. mitmproxy knows an answer as a whole, or as what the flow's own server sends. Read in
mitmproxy 11.0.2 and 12.3.1, where it is the same.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from mitmproxy import http
from mitmproxy.flow import Error
from mitmproxy.proxy.commands import StartHook
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import HttpLayer
from mitmproxy.proxy.layers.http import HttpStream, SendHttp
from mitmproxy.proxy.layers.http import _events as events
from mitmproxy.proxy.layers.http._base import HttpEvent
from mitmproxy.proxy.layers.http._events import (
    RequestData,
    RequestEndOfMessage,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)

from credential_injector.proxy import internals
from credential_injector.proxy.second_answer import Pieces


@dataclass(eq=False)
class _Pause(StartHook):  # type: ignore[no-untyped-call]
    """HACK: a hook without a name, so that no add-on has it. mitmproxy awaits the flow's `wait_for_resume` in it."""

    flow: http.HTTPFlow
    name = ""


def may_relay(flow: http.HTTPFlow, source: Callable[[], Pieces | None]) -> bool:
    """Let a flow whose server begins to answer get its body elsewhere, if there is a source after `response`.

    Returns whether that can be: not in a replay, which has no client.

    HACK: `HttpStream.send_response` sends an answer as a whole, so it is replaced in this one stream.
    """
    handler = next((handler for handler in internals.handlers() if handler.client is flow.client_conn), None)
    stream = _stream(flow, handler)
    if handler is None or stream is None:
        return False
    whole = stream.send_response

    def send_response(already_streamed: bool = False) -> Iterator[Any]:
        sending = whole(already_streamed)
        yield next(sending)  # the hook `response`
        if (found := source()) is None:
            yield from sending
        else:
            sending.close()
            yield from _relay(stream, found, handler.drain_writers)

    stream.send_response = send_response  # type: ignore[method-assign]
    return True


def _relay(stream: HttpStream, source: Pieces, drain: Callable[[], Coroutine[Any, Any, None]]) -> Iterator[Any]:
    """What `send_response` does, with another body."""
    flow, client, number = stream.flow, stream.context.client, stream.stream_id
    answer: Any = flow.response
    stream.server_state = stream.state_done

    async def pause() -> None:
        await drain()
        await source.next()

    internals.set_last_look(flow, pause)
    killed = yield from stream.check_killed(False)
    if not killed:
        yield SendHttp(ResponseHeaders(number, answer), client)
    while not killed and not source.ended:
        yield _Pause(flow)
        if source.ended and source.failed:
            flow.error = flow.error or Error(Error.KILLED_MESSAGE)  # the client must see that there is more
        killed = yield from stream.check_killed(False)  # `response` was its last hook
        if not killed and source.piece:
            yield SendHttp(ResponseData(number, source.piece), client)
    internals.clear_last_look(flow)
    if killed:
        source.cancel()
        return
    if answer.trailers:
        yield SendHttp(ResponseTrailers(number, answer.trailers), client)
    if stream.client_state == stream.state_done:
        yield from stream.flow_done()


def answer_at_once(flow: http.HTTPFlow) -> None:
    """Let a flow that has its answer already get it with the first piece of its body, as the last may never come.

    HACK: `HttpStream.state_consume_request_body` waits for the last, so it is replaced in this one stream.
    """
    handler = next((handler for handler in internals.handlers() if handler.client is flow.client_conn), None)
    if (stream := _stream(flow, handler)) is None:
        return
    consume, found = stream.state_consume_request_body, stream

    def first(event: HttpEvent) -> Iterator[Any]:
        yield from consume(event)
        if isinstance(event, RequestData):
            yield from consume(RequestEndOfMessage(found.stream_id))
            found.client_state = lambda _: iter(())  # the rest, which mitmproxy may have read already

    stream.state_consume_request_body = first


def end_at(flow: http.HTTPFlow, most: int, seconds: float, tell: Callable[[], None]) -> None:
    """Let an answer that is kept until its end be over with what there is, once it is this large or this late.

    HACK: `HttpStream.state_consume_response_body` keeps all of it, so it is replaced in this one stream.
    """
    handler = next((handler for handler in internals.handlers() if handler.client is flow.client_conn), None)
    if (found := _stream(flow, handler)) is None:
        return
    stream, consume, failed = found, found.state_consume_response_body, found.handle_protocol_error
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds

    def unless_the_server(event: RequestProtocolError | ResponseProtocolError) -> Generator[Any, Any, None]:
        if not isinstance(event, ResponseProtocolError):
            yield from failed(event)

    def bounded(event: HttpEvent) -> Iterator[Any]:
        yield from consume(event)
        if not isinstance(event, ResponseData) or (len(stream.response_body_buf) < most and clock() < deadline):
            return
        tell()
        # The server's connection ends, of which the client must not hear.
        stream.handle_protocol_error = unless_the_server  # type: ignore[method-assign]
        why: tuple[Any, ...] = ("its answer does not end",)
        if (codes := getattr(events, "ErrorCode", None)) is not None:  # newer than mitmproxy 11.0.2
            why += (codes.CANCEL,)
        yield SendHttp(RequestProtocolError(stream.stream_id, *why), stream.context.server)
        yield from consume(ResponseEndOfMessage(stream.stream_id))
        stream.server_state = lambda _: iter(())  # the rest, which mitmproxy may have read already

    stream.state_consume_response_body = bounded


def _stream(flow: http.HTTPFlow, handler: Any) -> HttpStream | None:
    streams = _streams(handler.layer.context, set()) if handler is not None else iter(())
    return next((stream for stream in streams if getattr(stream, "flow", None) is flow), None)


def _streams(context: Context, seen: set[int]) -> Iterator[HttpStream]:
    """What runs each flow of a connection. In a tunnel they lie below the stream that the tunnel is."""
    for layer in context.layers:
        if isinstance(layer, HttpLayer) and id(layer) not in seen:
            seen.add(id(layer))
            for stream in layer.streams.values():
                yield stream
                yield from _streams(stream.context, seen)

"""Bodies that pass as they come, of requests that carry a credential.

mitmproxy keeps a body until its end, so that others can change it. An endless one never arrives then, and a large one
fills the memory. Here a body streams where it may be endless or is large, and its beginning is kept for the record.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mitmproxy import http
from mitmproxy.connection import Client

from credential_injector.oauth.token import AccessToken
from credential_injector.proxy import internals, options, record
from credential_injector.proxy.record import Part

LARGEST = 8 << 20  # bytes of a body that are recorded; a larger one streams
MOST_SILENT = 60.0  # seconds; see `Streams.start`

# Media types of bodies that may never end, and are worth nothing when they come late.
GRPC = "application/grpc"
TYPES = (
    "text/event-stream",
    GRPC,
    "application/connect+",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/json-seq",
    "application/stream+json",
    "multipart/x-mixed-replace",
)


class Body:
    """What mitmproxy calls with each piece of a body that streams, as the message's `stream`."""

    def __init__(self, message: http.Message, *, keeps: bool = True) -> None:
        self.begun = False
        """Whether it streams. mitmproxy calls nobody where there is no body after all."""
        self.size = 0
        self._message = message
        self._kept: bytearray | None = bytearray() if keeps else None

    def __call__(self, piece: bytes) -> bytes | list[bytes]:
        """Return the piece, or nothing for an empty one: in chunked coding that would be the end."""
        self.begun = True
        self.size += len(piece)
        if self.size > LARGEST:
            self._kept = None
        elif self._kept is not None:
            self._kept += piece
        if piece:
            return piece
        self.record()  # it is the last one, or HTTP/2 has sent an empty frame
        return []

    def record(self) -> None:
        """Let the message show what has passed."""
        if self._kept is not None:
            self._message.raw_content = bytes(self._kept)

    def is_unrecorded(self) -> bool:
        """Whether the message shows less than what has passed."""
        return self.begun and self._message.raw_content is None

    def let_go(self) -> None:
        """Keep nothing any more: the message has it."""
        self._kept = None


@dataclass(slots=True)
class _Open:
    """A flow on its way."""

    request: Body | None = None
    answer: Body | None = None
    expiry: asyncio.TimerHandle | None = None
    shown: asyncio.Task[None] | None = None


class Streams:
    """The flows with a credential, until they end."""

    def __init__(self) -> None:
        self._open: dict[http.HTTPFlow, _Open] = {}
        self._pulse: asyncio.TimerHandle | None = None

    # --- Hooks --------------------------------------------------------------------------------------------------------

    def leaves(self, flow: http.HTTPFlow) -> None:
        """The request gets a credential: from here on it cannot be blocked where its body streams."""
        self._open[flow] = opened = _Open()
        request = flow.request
        if request.stream is True:  # by stream_large_bodies
            opened.request = request.stream = Body(request, keeps=False)
        elif not request.stream and flow.is_replay is None and request_streams(request):
            opened.request = request.stream = Body(request)

    def answers(self, flow: http.HTTPFlow, token: AccessToken | None) -> None:
        """The server begins to answer, and the client may see it. `token` is what the request carried."""
        opened, answer = self._open.get(flow), flow.response
        if opened is None or answer is None:
            return
        if may_stream(flow.request.method, answer):
            opened.answer = Body(answer, keeps=answer.stream is not True)  # stream_large_bodies keeps nothing
            answer.stream = opened.answer
        lasts = opened.answer is not None or answer.status_code == 101
        if lasts and token is not None and math.isfinite(token.expires_at):
            left = token.expires_at - answer.timestamp_start
            opened.expiry = asyncio.get_running_loop().call_later(left, self._expired, flow, opened)

    def finish(self, flow: http.HTTPFlow, *, ended: bool = True) -> None:
        """Say what was not recorded. Until the flow has `ended`, more of it may come."""
        opened = self._open.pop(flow, None)
        if opened is None:
            return
        if opened.expiry is not None:
            opened.expiry.cancel()
        # A request that is recorded in part would be sent again in part.
        if opened.answer is not None and flow.response is not None and flow.response.raw_content is None:
            opened.answer.record()
        bodies: dict[Part, Body | None] = {"request": opened.request, "response": opened.answer}
        for part, body in bodies.items():
            if body is not None and body.is_unrecorded():
                record.streamed(flow, part, body.size)
            if body is not None and ended:
                body.let_go()
        if ended and opened.request is not None and flow.request.timestamp_end is not None:
            flow.request.stream = False  # a person may replay it

    def finish_all_of(self, client: Client) -> None:
        """The client disconnected: forget its flows that no hook ended."""
        for flow in [flow for flow in self._open if flow.client_conn is client]:
            self.finish(flow)

    # --- While it lasts -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Keep connections on which a flow is open: mitmproxy ends one after so many seconds without a byte."""
        silence = min(MOST_SILENT, internals.longest_silence() / 4)
        internals.keep_connected({flow.client_conn for flow in self._open})
        self._pulse = asyncio.get_running_loop().call_later(silence, self.start)

    def end(self) -> None:
        """mitmproxy ends, and saves the flows that are on their way; or the script is loaded anew."""
        if self._pulse is not None:
            self._pulse.cancel()
        for flow in list(self._open):
            self.finish(flow, ended=False)

    def _expired(self, flow: http.HTTPFlow, opened: _Open) -> None:
        record.outlived(flow)
        opened.shown = asyncio.get_running_loop().create_task(internals.show_again(flow))


def has_left(request: http.Request) -> bool:
    """Whether the headers were sent before the body was complete."""
    return request.stream.begun if isinstance(request.stream, Body) else bool(request.stream)


def request_streams(request: http.Request) -> bool:
    """Whether the body is to be sent on as it comes."""
    data = request.data
    if data.method in (b"GET", b"HEAD"):
        return False
    length, kind, coded = _framing(data.headers.fields)
    if length is None and not coded and not (request.is_http2 or request.is_http3):
        return False  # it has no body
    if kind.startswith(GRPC):
        return not options.acts_on_complete_requests()
    return _is_large(length) and not options.acts_on_complete_requests() and not internals.scripts_have("request")


def may_stream(method: str, answer: http.Response) -> bool:
    """Whether the answer to a request of this method is to pass as it comes."""
    if answer.stream or not _has_body(method, answer.status_code):
        return answer.stream is True  # else another script does it in its own way
    length, kind, _ = _framing(answer.headers.fields)
    if kind.startswith(TYPES):
        return True
    return _is_large(length) and not options.acts_on_complete_answers() and not internals.scripts_have("response")


def _has_body(method: str, status: int) -> bool:
    """RFC 9112 section 6.3."""
    return method != "HEAD" and status >= 200 and status not in (204, 304)


def _is_large(length: bytes | None) -> bool:
    """Whether a body is large, or may be endless, as nobody says its length."""
    return length is None or (length.isdigit() and int(length) > LARGEST)


def _framing(fields: Sequence[tuple[bytes, bytes]]) -> tuple[bytes | None, str, bool]:
    """Content-Length, Content-Type in lower case, and whether there is a Transfer-Encoding.

    In one look: mitmproxy's headers decode all names for each question.
    """
    length, kind, coded = None, "", False
    for name, value in fields:
        match len(name):
            case 14 if name.lower() == b"content-length":
                length = value
            case 12 if name.lower() == b"content-type":
                kind = value.decode("latin-1").lower()
            case 17 if name.lower() == b"transfer-encoding":
                coded = True
    return length, kind, coded

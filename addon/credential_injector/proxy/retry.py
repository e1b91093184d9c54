"""A request whose token the API refused, sent once more with another one.

It goes through mitmproxy: with its mode, its trust, its hooks, and as a flow of its own in the list. mitmproxy's
client replay does the same for a person but cannot be awaited, so this uses the part below it, `ReplayHandler`: no
documented API, but the same in mitmproxy 11 and 12.
"""

import asyncio
import logging
import re
from dataclasses import dataclass, field
from typing import Any

from mitmproxy import ctx, http
from mitmproxy.addons.clientplayback import ReplayHandler
from mitmproxy.flow import Error
from mitmproxy.proxy.mode_specs import UpstreamMode
from mitmproxy.utils import human

from credential_injector import messages
from credential_injector.environments.environment import Environment
from credential_injector.oauth.grants import FIXED
from credential_injector.oauth.token import NoToken
from credential_injector.proxy import record
from credential_injector.tokens.source import TokenSource

logger = logging.getLogger(__name__)

DEADLINE = 60.0  # seconds that the second answer may take
# Bytes of an answer that are held in memory although stream_large_bodies says less.
LARGEST_HELD = 8 << 20
# Of answers that may never end, and are worth nothing when they come late.
STREAMS = ("text/event-stream", "application/grpc", "application/x-ndjson", "multipart/x-mixed-replace")
INSUFFICIENT_SCOPE = re.compile(r'error="?insufficient_scope', re.IGNORECASE)  # RFC 6750 section 3.1


@dataclass
class _Held:
    """An answer that is held back until all of it is there."""

    pieces: list[bytes] = field(default_factory=list)
    """An empty piece is the last."""
    size: int = 0
    unfit: "asyncio.Future[str]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Why it cannot be held back, as soon as that is known."""

    def give_up(self, why: str) -> None:
        if not self.unfit.done():
            self.unfit.set_result(why)


class Retry:
    """Answers a 401 with another token, once."""

    def __init__(self) -> None:
        self._own: dict[str, _Held] = {}
        """The answers of the flows that are sent again here, by the flow's id."""
        self._refused: set[str] = set()
        """The flows that the server itself answers with a 401, by id."""

    def wants(self, flow: http.HTTPFlow) -> bool:
        """Whether the API has refused a token of ours, for the first time in this flow."""
        if flow.response is None or flow.response.status_code != 401 or flow.id in self._own or not flow.live:
            return False
        # A token that lacks a scope is a good one; the next one would lack it, too.
        if INSUFFICIENT_SCOPE.search(flow.response.headers.get("www-authenticate", "")):
            return False
        return record.was_injected(flow) and bool(ctx.options.inject_retry)

    def refused(self, flow: http.HTTPFlow) -> bool:
        """Whether the server itself has refused it, and not a script. Asked once, at the end of the flow."""
        refused = flow.id in self._refused
        self._refused.discard(flow.id)
        return refused

    def hold_back(self, flow: http.HTTPFlow) -> None:
        """Keep an answer from streaming to the client before it is known which one counts."""
        if flow.response is None:
            return
        if self.wants(flow):
            self._refused.add(flow.id)
            flow.response.stream = False
        elif (held := self._own.get(flow.id)) is not None:
            self._hold(flow.response, held)

    def _hold(self, answer: http.Response, held: _Held) -> None:
        if answer.headers.get("content-type", "").lower().startswith(STREAMS):
            held.give_up("the second answer is a stream, which nobody can hold back")
            return
        if not answer.stream and not ctx.options.stream_large_bodies:
            return
        # With False, mitmproxy would stream it to nobody as soon as it is large.
        most = max(human.parse_size(ctx.options.stream_large_bodies) or 0, LARGEST_HELD)
        length = answer.headers.get("content-length", "0")

        def gather(chunk: bytes) -> bytes:
            held.size += len(chunk)
            if held.size > most:
                held.pieces.clear()
                held.give_up(too_large)
            else:
                held.pieces.append(chunk)
            return chunk

        too_large = f"the second answer is larger than {human.pretty_size(most)}"
        answer.stream = gather
        if length.isdecimal() and int(length) > most:
            held.give_up(too_large)

    async def send_again(self, flow: http.HTTPFlow, environment: Environment, source: TokenSource) -> bool:
        """Give the flow the answer that the same request gets with another token. At worst, the 401 stays: False."""
        try:
            stays = await self._send_again(flow, environment, source)
        except NoToken as error:
            stays = messages.no_token(environment, error)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a CancelledError would hang the flow
            stays = messages.own_error(error)
        if stays is not None:
            stays += messages.certificate_advice(environment)
            record.not_retried(flow, stays)
            logger.warning(f"{environment.name}: the API answered 401, which stays: {stays}")
        return stays is None

    async def _send_again(self, flow: http.HTTPFlow, environment: Environment, source: TokenSource) -> str | None:
        """Returns why the 401 stays, or None. Raises NoToken."""
        if environment.token_request.grant_type in FIXED:
            return f"the credential stands in {environment.file}, and there is no other"
        refused = flow.metadata[record.KEY]
        url = flow.request.url.partition("?")[0]
        if refused["source"] in ("fetched", "refreshed") and source.holds(refused["token"]):
            source.cool_down(url)
            return "the token was new, so another one would be refused, too"
        token, last = refused["token"], False
        while True:
            served = await source.renewed(token, url)
            if served is None:
                return "a moment ago it refused a new token, too"
            if (reason := _why_not(flow)) is not None:
                return f"{reason}; the next request gets another token"
            again = await self._replayed(flow)
            if again.error is not None:
                return f"sent again, the request failed: {again.error.msg}"
            if again.response is None or not record.was_injected(again):
                return "sent again, the request got no token"
            refused_too = again.response.status_code == 401
            if refused_too and not served.token.stored:
                source.cool_down(url)
            # A stored one came to another proxy some time ago, and may be refused for the first one's reason.
            if last or not (refused_too and served.token.stored):
                break
            token, last = served.token.fingerprint, True
        flow.response = again.response
        flow.request.headers = again.request.headers
        record.retried(flow, environment, served)
        logger.info(f"{environment.name}: the API refused a token, so the request was sent again with another one")
        return None

    async def _replayed(self, flow: http.HTTPFlow) -> http.HTTPFlow:
        """The same request with its second answer, or with an error."""
        again: http.HTTPFlow = flow.copy()  # type: ignore[no-untyped-call]
        again.response = again.error = None
        again.is_replay = "request"
        held = self._own[again.id] = _Held()
        handler = ReplayHandler(again, ctx.options)
        replay = asyncio.create_task(handler.replay())
        # Only at its end, as what is given up below goes on for a moment, and must not be taken for a client's request.
        replay.add_done_callback(lambda _: self._own.pop(again.id, None))
        ends: list[asyncio.Future[Any]] = [replay, held.unfit]
        await asyncio.wait(ends, timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
        if held.unfit.done() or not replay.done():
            why = held.unfit.result() if held.unfit.done() else f"it was not answered within {DEADLINE:.0f} s"
            again.error = Error(why)
            for transport in handler.transports.values():
                if transport.handler is not None:
                    transport.handler.cancel()
            return again
        replay.result()
        if again.response is not None and again.response.raw_content is None:
            if held.pieces and not held.pieces[-1]:
                again.response.raw_content = b"".join(held.pieces)
            else:
                again.error = Error("something else streamed its answer away")
        return again


def _why_not(flow: http.HTTPFlow) -> str | None:
    """Why this request cannot be sent again; None where it can."""
    if flow.response is not None and flow.response.stream:
        return "its body was so large that it is with the client already"
    if flow.client_conn.timestamp_end is not None:
        return "the client has gone"
    if flow.request.raw_content is None:
        return "the request's body was streamed and is gone"
    accepts = flow.request.headers.get("accept", ""), flow.request.headers.get("content-type", "")
    if any(kind in value.lower() for kind in STREAMS for value in accepts):
        return "the answer would be a stream, which nobody can hold back"
    if "upgrade" in flow.request.headers:
        return "the request would have changed the protocol"
    # mitmproxy sends every replay the way of the first --mode.
    first, mode = ctx.options.mode[0], flow.client_conn.proxy_mode
    if first != mode.full_spec and (first.startswith("upstream:") or isinstance(mode, UpstreamMode)):
        return "mitmproxy would send it another way, as it runs with several modes"
    return None

"""A request whose token the API refused, sent once more with another one.

It goes through mitmproxy: with its mode, its trust, its hooks, and as a flow of its own in the list.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from mitmproxy import ctx, http
from mitmproxy.flow import Error
from mitmproxy.proxy.mode_specs import UpstreamMode

from credential_injector import messages
from credential_injector.environments.environment import Environment
from credential_injector.environments.file_names import printable
from credential_injector.oauth.grants import FIXED
from credential_injector.oauth.token import AccessToken, NoToken, Served
from credential_injector.proxy import grpc_calls, internals, masking, record, streams
from credential_injector.proxy.credentials.credential import Again
from credential_injector.proxy.relay import end_at, may_relay
from credential_injector.proxy.route_table import Route
from credential_injector.proxy.second_answer import LARGEST_ANSWER, Buffer, Pieces

logger = logging.getLogger(__name__)

DEADLINE = 60.0  # seconds that the second answer may take
LONGEST_REFUSAL = 5.0  # seconds that the first answer's body may take, where it has no length
MOST_CAUSES = 1000  # that the log tells once each, before it begins anew
MOST_PROOFS = 3  # that one token gets for a request; other requests may use up a nonce meanwhile
LONGEST_CHALLENGE = 1000  # characters of the first answer's WWW-Authenticate that are kept


class Replay(Protocol):
    """The second request: `internals.Replay`."""

    async def run(self) -> None:
        """Send it. Then the flow has a response or an error."""

    def cancel(self) -> None:
        """Give it up."""


class _Stays(NamedTuple):
    """Why the 401 goes to the client."""

    why: str
    is_news: bool = True
    """Whether the log tells it. Else the request could not do better, and why the API refuses it says all."""


class Retry:
    """Answers a 401 with another token, once.

    `named` looks an environment's route up; `replay` sends a flow's request; `url` tells where it went.
    """

    def __init__(
        self,
        named: Callable[[str], Route | None],
        replay: Callable[[http.HTTPFlow, asyncio.Event], Replay] = internals.Replay,
        url: Callable[[http.HTTPFlow], str] = lambda flow: flow.request.url,
    ) -> None:
        self._named = named
        self._replay = replay
        self._url = url
        self._own: dict[str, Buffer] = {}
        """The answers of the flows that are sent again here, by the flow's id."""
        self._refused: set[str] = set()
        """The flows that the server itself answers with a 401, by id."""
        self._relays: WeakKeyDictionary[http.HTTPFlow, Pieces | None] = WeakKeyDictionary()
        """The flows whose clients can get the second answer as it comes, and that answer."""
        self._logged: set[tuple[str, str]] = set()

    def refused_route(self, flow: http.HTTPFlow) -> Route | None:
        """The route whose token the API refuses, for the first time in this flow; None where it does not."""
        answer = flow.response
        if answer is None or flow.id in self._own or not flow.live or record.KEY not in flow.metadata:
            return None
        status = grpc_calls.as_http(answer)
        # A write that redirects to a login page may have been done (a changed password, a logout).
        if status < 300 or (status < 400 and flow.request.method not in ("GET", "HEAD")):
            return None
        if not record.was_injected(flow) or not ctx.options.inject_retry:
            return None
        route = self._named(flow.metadata[record.KEY]["environment"])
        return route if route is not None and self._asks_for(flow, route) is not Again.NO else None

    def _asks_for(self, flow: http.HTTPFlow, route: Route) -> Again:
        """What the flow's answer asks for."""
        if flow.response is None:
            return Again.NO
        return route.credential.answered(flow.response, partial(self._url, flow))

    def forget(self, flow: http.HTTPFlow) -> bool:
        """The flow ends. Returns whether the server itself has refused its token, and not a script.

        A call of gRPC may be refused at its very end.
        """
        refused = flow.id in self._refused or (flow.response is not None and flow.response.trailers is not None)
        self._refused.discard(flow.id)
        return refused

    def buffer_answer(self, flow: http.HTTPFlow) -> bool:
        """Keep an answer from streaming to the client before it is known which one counts. Returns whether it is."""
        if flow.response is None:
            return False
        if (route := self.refused_route(flow)) is not None:
            self._refused.add(flow.id)
            flow.response.stream = False
            if "content-length" not in flow.response.headers:
                line = "the API's refusal does not end, so what came of it so far counts as all of it"
                tell = partial(self._log_once, logging.WARNING, route.environment, line)
                end_at(flow, LARGEST_ANSWER, LONGEST_REFUSAL, tell)
            if may_relay(flow, partial(self._relays.pop, flow, None)):
                self._relays[flow] = None
            return True
        buffer = self._own.get(flow.id)
        if buffer is None or (buffer.relay is not None and _relays(flow)):
            return False
        buffer.fill(flow.response)
        return True

    def relay_answer(self, flow: http.HTTPFlow) -> None:
        """A second answer streams: let the first flow's client have it."""
        buffer, answer = self._own.get(flow.id), flow.response
        if buffer is not None and buffer.relay is not None and answer is not None and callable(answer.stream):
            buffer.relay.begin(answer, answer.stream)

    def is_own(self, flow: http.HTTPFlow) -> bool:
        """Whether the flow is a second request, whose answer the first one's flow gets."""
        return flow.id in self._own

    async def send_again(self, flow: http.HTTPFlow, route: Route, token: AccessToken | None) -> AccessToken | None:
        """Give the flow the answer that the same request gets with another token. At worst, the 401 stays.

        Returns the token to which the flow's answer is one: `token` or another. `token` is None where an add-on sent it
        that was there before the script was loaded anew.
        """
        environment = route.environment
        try:
            stays = await self._send_again(flow, route, token)
        except NoToken as error:
            stays = _Stays(messages.no_token(environment, error, route.source.kept_in))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a CancelledError would hang the flow
            stays = _Stays(messages.own_error(error))
        if isinstance(stays, AccessToken):
            return stays
        if (relay := self._relays.pop(flow, None)) is not None:
            relay.cancel()
        status = grpc_calls.shown(flow.response) if flow.response is not None else "401"
        record.stays(flow, status, stays.why)
        if stays.is_news:
            self._log_once(logging.WARNING, environment, f"the API answered {status}, which stays: {stays.why}")
        return token

    async def _send_again(self, flow: http.HTTPFlow, route: Route, sent: AccessToken | None) -> _Stays | AccessToken:
        """Returns why the 401 stays, or the token to which the second answer is one. Raises NoToken."""
        environment, source = route.environment, route.source
        if (healed := await self._send_same_token(flow, route, sent)) is not None:
            return healed
        if environment.token_request.grant_type in FIXED:
            return _Stays(f"the credential stands in {environment.file}, and there is no other", is_news=False)
        refused = flow.metadata[record.KEY]
        url = flow.request.url.partition("?")[0]
        if refused["source"] in ("fetched", "refreshed") and source.holds(refused["token"]):
            source.cool_down(url)
            return _Stays("the token was new, so another one would be refused, too", is_news=False)
        token, last = refused["token"], False
        while True:
            served_or_none = await source.renewed(token, url)
            if served_or_none is None:
                return _Stays("a moment ago it refused a new token, too", is_news=False)
            served = served_or_none
            again = await self._proved(flow, route)
            if isinstance(again, _Stays):
                return again
            refused_too = self._asks_for(again, route) is Again.NEW_TOKEN
            if refused_too and not served.token.stored:
                source.cool_down(url)
            # A stored one came to another proxy some time ago, and may be refused for the first one's reason.
            if last or not (refused_too and served.token.stored):
                break
            token, last = served.token.fingerprint, True
        self._take(flow, again, route, sent, served)
        return served.token

    async def _send_same_token(
        self, flow: http.HTTPFlow, route: Route, sent: AccessToken | None
    ) -> _Stays | AccessToken | None:
        """Where the API only wants another proof with the token. None: it wants, or now wants, another token."""
        if self._asks_for(flow, route) is not Again.SAME_TOKEN:
            return None
        served = await route.source.token()
        again = await self._proved(flow, route)
        if isinstance(again, _Stays):
            return again
        if again.response is None or self._asks_for(again, route) is Again.NEW_TOKEN:
            return None
        self._take(flow, again, route, sent, served)
        return served.token

    async def _proved(self, flow: http.HTTPFlow, route: Route) -> http.HTTPFlow | _Stays:
        """As `_sent_with`, and again where the API wants another proof: it changes what it wants at any time."""
        for _ in range(MOST_PROOFS):
            again = await self._sent_with(flow, route)
            if isinstance(again, _Stays) or self._asks_for(again, route) is not Again.SAME_TOKEN:
                break
        return again

    async def _sent_with(self, flow: http.HTTPFlow, route: Route) -> http.HTTPFlow | _Stays:
        """The same request with the route's token of the moment and its answer, or why there is none."""
        if (reason := _why_not(flow, relays=flow in self._relays)) is not None:
            return _Stays(
                f"{reason}; the next request gets another {messages.noun(route.environment.token_request.grant_type)}"
            )
        again = await self._replayed(flow)
        if again.error is not None:
            # Behind a colon mitmproxy quotes from a malformed answer, which may repeat the token.
            return _Stays(f"sent again, the request failed: {again.error.msg.partition(': ')[0]}")
        if again.response is None or not record.was_injected(again):
            return _Stays("sent again, the request got no token")
        return again

    def _take(
        self, flow: http.HTTPFlow, again: http.HTTPFlow, route: Route, sent: AccessToken | None, served: Served
    ) -> None:
        """Give the flow the second answer."""
        answer = again.response
        if answer is None:
            return
        flow.request.headers, flow.request.path = again.request.headers, again.request.path
        first = flow.response or answer
        accepted = "another proof" if self._asks_for(flow, route) is Again.SAME_TOKEN else "another token"
        challenge = ""  # what nobody can mask is not kept
        if sent is not None:
            challenge = masking.masked(first.headers.get("www-authenticate", ""), route.credential.masks(sent))
            challenge = printable(challenge[:LONGEST_CHALLENGE])  # mitmproxy cannot save a text that is not UTF-8
        shown = flow.metadata[record.KEY]["token"] or "the token"
        flow.response = answer
        relayed = self._relays.get(flow) is not None
        # Of an answer that is on its way, the trailers may be there or not.
        second = str(answer.status_code) if relayed else grpc_calls.shown(answer)
        record.retried(flow, route, served, (grpc_calls.shown(first), second), challenge)
        if relayed:
            record.relayed(flow)
        route.counts.replays += 1
        if grpc_calls.as_http(answer) < 400:
            route.counts.healed += 1
            line = f"the API refused {shown}, and accepted {accepted} when the request was sent again"
            self._log_once(logging.INFO, route.environment, line)

    def _log_once(self, level: int, environment: Environment, line: str) -> None:
        """Log each cause once. What follows a semicolon, as when the next try comes, makes no other one."""
        cause = environment.name, line.partition(";")[0]
        if cause not in self._logged:
            if len(self._logged) >= MOST_CAUSES:
                self._logged.clear()
            self._logged.add(cause)
            logger.log(level, f"{environment.name}: {line}")

    async def _replayed(self, flow: http.HTTPFlow) -> http.HTTPFlow:
        """The same request with its second answer, or with an error."""
        again: http.HTTPFlow = flow.copy()  # type: ignore[no-untyped-call]
        again.response = again.error = None
        again.is_replay = "request"
        pieces = Pieces()
        buffer = self._own[again.id] = Buffer(relay=pieces if flow in self._relays else None)
        sending = self._replay(again, pieces.room)
        replay = asyncio.create_task(sending.run())

        def ended(_: object) -> None:
            # Only now, as what is given up below goes on for a moment, and must not be taken for a client's request.
            self._own.pop(again.id, None)
            pieces.end(failed=again.error is not None)

        replay.add_done_callback(ended)
        ends: list[asyncio.Future[Any]] = [replay, buffer.unfit, pieces.began]
        await asyncio.wait(ends, timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
        if pieces.began.done():
            pieces.cancel = sending.cancel
            self._relays[flow] = pieces
            return again
        if buffer.unfit.done() or not replay.done():
            why = buffer.unfit.result() if buffer.unfit.done() else f"it was not answered within {DEADLINE:.0f} s"
            again.error = Error(why)
            sending.cancel()
            return again
        replay.result()
        if again.response is not None and again.response.raw_content is None:
            if buffer.pieces and not buffer.pieces[-1]:
                again.response.raw_content = b"".join(buffer.pieces)
            else:
                again.error = Error("something else streamed its answer away")
        return again


def _relays(flow: http.HTTPFlow) -> bool:
    """Whether a second answer streams. One that refuses the token again is kept, as it may not be the last."""
    answer = flow.response
    if answer is None or grpc_calls.as_http(answer) == 401 or grpc_calls.status(answer) is not None:
        return False
    return streams.may_stream(flow.request.method, answer)


def _why_not(flow: http.HTTPFlow, *, relays: bool) -> str | None:
    """Why this request cannot be sent again; None where it can. `relays`: the client can get any stream."""
    if flow.response is not None and flow.response.stream:
        large = not grpc_calls.is_call(flow.request)
        return f"its {'body was so large that it' if large else 'beginning'} is with the client already"
    if flow.client_conn.timestamp_end is not None:
        return "the client has gone"
    if flow.request.raw_content is None:
        return "the request's body was streamed and is gone"
    accepts = flow.request.headers.get("accept", ""), flow.request.headers.get("content-type", "")
    if not relays and any(kind in value.lower() for kind in streams.TYPES for value in accepts):
        return "the answer would be a stream, which cannot be kept until its end"
    if "upgrade" in flow.request.headers:
        return "the request would have changed the protocol"
    # mitmproxy sends every replay by the first --mode.
    first, mode = ctx.options.mode[0], flow.client_conn.proxy_mode
    if first != mode.full_spec and (first.startswith("upstream:") or isinstance(mode, UpstreamMode)):
        return "mitmproxy would send it by its first mode, as it runs with several"
    return None

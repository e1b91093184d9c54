"""What becomes of a request: on its flow, in the counts, to its client, and in the log where it is rare."""

import asyncio
import logging
from collections.abc import Callable

from mitmproxy import http

from credential_injector import messages
from credential_injector.environments.environment import Environment
from credential_injector.oauth.jwt_claims import JwtClaims
from credential_injector.oauth.token import NoToken, Served
from credential_injector.proxy import flows, grpc_calls, internals, options, record, relay
from credential_injector.proxy.grpc_calls import Status
from credential_injector.proxy.policy import Verdict
from credential_injector.proxy.refusal_answer import refusal
from credential_injector.proxy.route_table import Route

logger = logging.getLogger(__name__)

CLOSE_AFTER = 1.0  # seconds, in which the answer that says why goes out


class Outcome:
    """Acts on what was decided about a request."""

    def __init__(self, owner: Callable[[JwtClaims, Environment], str]) -> None:
        self._owner = owner
        """The name of another environment, whose token these claims are."""
        self._pending: dict[str, tuple[Route | None, str, str, Status]] = {}
        """The blocked requests, by their flows' ids, that cannot be answered before their bodies are there."""
        self._logged: dict[tuple[str, str], str] = {}
        """What the log has told last, by environment and kind of reason."""

    def inject(self, flow: http.HTTPFlow, route: Route, served: Served) -> None:
        """Write the credential into the request."""
        environment = route.environment
        before = route.credential.apply(flow.request.data, served.token)
        if before is None and flow.is_replay is not None:
            before = flows.replaced_before(flow)
        other = self._owner(before.claims, environment) if before is not None and before.claims is not None else ""
        record.injected(flow, route, served, before, other)
        route.counts.injected += 1
        if other:
            what = f"the client sent a token for {other}, which was replaced; if it means {other}, change its URL to"
            self._log_once(environment, f"token for {other}", f"{what} {other}'s HOST")

    def decline(self, flow: http.HTTPFlow, verdict: Verdict) -> None:
        """Leave the request without a token, as the verdict says."""
        route, reason = verdict.route, verdict.reason
        word = messages.word(verdict.kind)
        if verdict.action == "block":
            self.block(flow, route, reason, word=word, closes=verdict.closes)
            return
        before = route.credential.found_in(flow.request.data)
        if verdict.action == "keep":
            record.kept(flow, route, reason, before)
        else:
            record.skipped(flow, route, reason, before, word=word, marked=verdict.marked)
            if verdict.kind:
                self._log_once(route.environment, verdict.kind, f"request left as the client sent it: {reason}")

    def no_token(self, flow: http.HTTPFlow, route: Route, error: NoToken) -> None:
        """There is no token for the request: WITHOUT_TOKEN says what becomes of it."""
        reason = messages.no_token(route.environment, error, route.source.kept_in)
        if route.environment.without_token == "pass":  # noqa: S105 - not a password
            self.decline(flow, Verdict("skip", route, "no token", f"{reason} (WITHOUT_TOKEN=pass)"))
        else:
            word = messages.word(error.code) or "no token"
            # A token request that fails anew is news.
            occasion = str(route.counts.token_requests)
            self.block(flow, route, reason, word=word, occasion=occasion, status=Status.UNAUTHENTICATED)

    def withdraw(self, flow: http.HTTPFlow, route: Route, reason: str) -> None:
        """The request goes on without the credential that it had already got."""
        record.withdrawn(flow, route, reason)
        route.counts.injected -= 1
        self._log_once(route.environment, "withdrawn", f"token withdrawn: {reason}")

    def never_left(self, flow: http.HTTPFlow, route: Route, failure: str) -> None:
        """The API could not be connected, so the request with the credential did not leave."""
        route.counts.injected -= 1
        route.counts.blocked += 1
        reason = messages.not_connected(route.environment, failure, flows.upstream(flow))
        record.blocked(flow, route, reason, word="no connection")
        self._log_once(route.environment, "connection", f"request blocked: {reason}")

    def fail(self, flow: http.HTTPFlow, route: Route | None, error: BaseException) -> None:
        """Block the request after an error of our own: mitmproxy would send it on, bare."""
        self.block(flow, route, messages.own_error(error), word="add-on error", status=Status.INTERNAL)

    def block(
        self,
        flow: http.HTTPFlow,
        route: Route | None,
        reason: str,
        *,
        word: str = "",
        closes: bool = False,
        occasion: str = "",
        status: Status = Status.PERMISSION_DENIED,
    ) -> None:
        """Answer the request with a 502 that says why, now or when its body is there.

        `route` is None where an error of our own came before it was found. The log tells each `word` once, and again
        on another `occasion`. A call of gRPC gets `status`.
        """
        line = record.blocked(flow, route, reason, word=word)
        self._log_once(route.environment if route is not None else None, word, f"request blocked: {reason}", occasion)
        if route is not None:
            route.counts.blocked += 1
        if not flows.may_stream(flow.request):
            flow.response = refusal(flow.request, line, status)
            if grpc_calls.is_call(flow.request) and flow.request.is_http2:
                relay.answer_at_once(flow)
            if closes and not (flow.request.is_http2 or flow.request.is_http3):
                flow.response.headers["Connection"] = "close"
            elif closes:  # nothing in an answer of HTTP/2 says so
                asyncio.get_running_loop().call_later(CLOSE_AFTER, internals.disconnect, flow.client_conn)
            return
        if route is not None and (route.environment.production or route.environment.confirm) and flow.killable:
            flow.kill()  # type: ignore[no-untyped-call] # nothing of it may leave, so its client gets no reason
            return
        # mitmproxy crashes on a response that is set before the body streams. Whether it streams is known in `request`.
        # If it does, the request goes out, so it must carry no credential; then the API refuses it.
        if route is not None:
            route.credential.remove(flow.request.data)
        self._pending[flow.id] = route, reason, word, status

    def body_is_there(self, flow: http.HTTPFlow) -> None:
        """Answer a blocked request that could not be answered before; where its body streamed, it cannot be at all."""
        if flow.id not in self._pending:
            return
        route, reason, word, status = self._pending.pop(flow.id)
        if flow.request.stream:
            record.blocked(flow, route, reason, word=word, streams=True)
        elif flow.response is None:
            flow.response = refusal(flow.request, record.blocked(flow, route, reason, word=word), status)

    def ended(self, flow: http.HTTPFlow) -> None:
        """The flow ended in an error."""
        self._pending.pop(flow.id, None)

    def _log_once(self, environment: Environment | None, kind: str, line: str, occasion: str = "") -> None:
        """Log each kind of reason once per environment; the flow always records it."""
        name = environment.name if environment is not None else "credential injector"
        if self._logged.get((name, kind)) != occasion:
            self._logged[name, kind] = occasion
            logger.warning(f"{name}: {line}{options.see()}")

"""What METHODS and CONFIRM want beyond a request's head.

A person agrees to it, its body names no other method, and nobody makes another request of it on its way.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from weakref import WeakSet

from mitmproxy import http

from credential_injector import messages
from credential_injector.environments.environment import Environment
from credential_injector.oauth.token import NoToken
from credential_injector.proxy import flows, internals, record, streams
from credential_injector.proxy.asked_methods import asked_methods, forbidden, methods_in_body
from credential_injector.proxy.departure import Departure
from credential_injector.proxy.outcome import Outcome
from credential_injector.proxy.policy import Verdict
from credential_injector.proxy.route_table import Route

LOOKS_FOR_KILL = 0.5  # seconds

_NOBODY = "has nobody to ask; start mitmweb in mitmdump's place"
_STREAMED = "cannot ask, as the body would be sent meanwhile; send a smaller one"
_CHANGED = "asks a person, and who changed the request came too late for that; send it like this in the first place"


class Guard:
    """That of one add-on.

    `decide` is the policy's, and `proceed` gets the token and writes it into a request. A request that `is_sent_again`
    after a 401 has been confirmed.
    """

    def __init__(
        self,
        outcome: Outcome,
        departure: Departure,
        decide: Callable[[http.HTTPFlow], Verdict | None],
        proceed: Callable[[http.HTTPFlow, Route], Awaitable[None]],
        is_sent_again: Callable[[http.HTTPFlow], bool],
    ) -> None:
        self._outcome = outcome
        self._departure = departure
        self._decide = decide
        self._proceed = proceed
        self._is_sent_again = is_sent_again
        self._held: dict[http.HTTPFlow, Route] = {}
        """A person has to agree. They have no credential yet."""
        self._bodies: dict[http.HTTPFlow, Route] = {}
        """Their bodies may name another method than theirs."""
        self._confirmed: WeakSet[http.HTTPFlow] = WeakSet()
        """A person has agreed."""

    def holds(self, flow: http.HTTPFlow, route: Route) -> bool:
        """Whether a person has to agree, who wants to see the body, too; or would have to, and cannot be asked."""
        self._confirmed.discard(flow)  # a replay is another request
        if not self._is_unasked(flow, route.environment):
            self.track(flow, route)
            return False
        if not internals.has_a_person() or flows.may_stream(flow.request) or streams.request_streams(flow.request):
            self._cannot_ask(flow, route, _STREAMED if internals.has_a_person() else _NOBODY)
        else:
            self._held[flow] = route
        return True

    def track(self, flow: http.HTTPFlow, route: Route) -> None:
        """This request is to leave. If METHODS or CONFIRM say something, its body is looked at."""
        if flow not in self._confirmed:  # else that has been done
            self._bodies[flow] = route

    def forget(self, flow: http.HTTPFlow) -> None:
        """The flow has ended."""
        self._held.pop(flow, None)
        self._bodies.pop(flow, None)

    def body_is_there(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        """Ask the person, or block the request for what its body says. Most requests are none of these."""
        if not self._held and not self._bodies:
            return None
        if (route := self._bodies.pop(flow, None)) is not None:
            self._look_at_body(flow, route)
        route = self._held.pop(flow, None)
        return self._ask(flow, route) if route is not None else None

    # --- What changes on the way --------------------------------------------------------------------------------------

    def lets(self, flow: http.HTTPFlow, route: Route | None) -> Route | None:
        """The route whose credential the request may carry, unless it has become one that a person has to see."""
        return route if route is None or not self._is_unasked(flow, route.environment) else None

    def watch(self, flow: http.HTTPFlow) -> None:
        """This request leaves without a credential of ours: look at it again when all others have seen it."""
        internals.set_last_look(flow, partial(self._leave, flow))

    async def _leave(self, flow: http.HTTPFlow) -> None:
        if flow.intercepted:
            await internals.resumed(flow)
        if flow.response is not None or flow.error is not None:
            internals.clear_last_look(flow)
        else:
            self.stop(flow)

    def stop(self, flow: http.HTTPFlow) -> None:
        """Block a request that has become a write which must not leave. It carries no credential of ours (any more)."""
        verdict = self._decide(flow)
        if verdict is None or verdict.action == "skip":
            return
        route = verdict.route
        write = forbidden(sorted(asked_methods(flow.request.data)), flow.request.path, route.environment)
        if write is not None:
            self._outcome.block(flow, route, write, word=messages.word("method"))
        elif verdict.action != "block" and self._is_unasked(flow, route.environment):
            self._cannot_ask(flow, route, _CHANGED)

    # --- A body -------------------------------------------------------------------------------------------------------

    def _look_at_body(self, flow: http.HTTPFlow, route: Route) -> None:
        if flow.response is not None or streams.has_left(flow.request):
            return
        named, environment = _methods_in_body(flow), route.environment
        write = _forbidden(named, flow, environment)
        asks = write is None and self._is_unasked(flow, environment, named)
        if write is None and not asks:
            return
        if self._departure.never_left(flow) is not None:
            route.counts.injected -= 1
        if write is not None:
            self._outcome.block(flow, route, write, word=messages.word("method"))
        elif internals.has_a_person():
            self._held[flow] = route
        else:
            self._cannot_ask(flow, route, _NOBODY)

    # --- A person -----------------------------------------------------------------------------------------------------

    def _is_unasked(self, flow: http.HTTPFlow, environment: Environment, named: set[str] | None = None) -> bool:
        """Whether a person has to agree to the methods that are named, by default in its head, and has not."""
        confirm = environment.confirm
        if confirm is None or flow in self._confirmed or self._is_sent_again(flow):
            return False
        methods = asked_methods(flow.request.data) if named is None else named
        return any(confirm.may_mean(method, flow.request.path) for method in methods)

    def _cannot_ask(self, flow: http.HTTPFlow, route: Route, why: str) -> None:
        environment = route.environment
        reason = f"CONFIRM={environment.confirm} of {environment.file} {why}"
        self._outcome.block(flow, route, reason, word=messages.word("confirm"))

    async def _ask(self, flow: http.HTTPFlow, route: Route) -> None:
        """Hold the request until a person resumes it. Then decide anew: it may be another one by now."""
        try:
            record.held(flow, route)
            flow.intercept()  # type: ignore[no-untyped-call]
            await internals.show_again(flow)
            await _resumed_or_killed(flow)
            if not flow.live or flow.error is not None or flow.response is not None:
                return
            self._confirmed.add(flow)
            verdict = self._decide(flow)
            if verdict is None:
                record.forget(flow)
            elif verdict.action in ("skip", "block"):
                self._outcome.decline(flow, verdict)
            elif (write := _forbidden(_methods_in_body(flow), flow, verdict.route.environment)) is not None:
                self._outcome.block(flow, verdict.route, write, word=messages.word("method"))
            elif verdict.action == "keep":
                self._outcome.decline(flow, verdict)
                self.watch(flow)
            else:
                await self._proceed(flow, verdict.route)
        except asyncio.CancelledError:  # it would hang the flow
            self._outcome.block(flow, route, "mitmproxy ended the wait for a person")
        except NoToken as error:
            self._outcome.no_token(flow, route, error)
        except Exception as error:  # noqa: BLE001 - mitmproxy would send it on, bare
            self._outcome.fail(flow, route, error)


def _methods_in_body(flow: http.HTTPFlow) -> set[str]:
    kind = flow.request.headers.get("content-type", "")
    return methods_in_body(kind, flow.request.get_content(strict=False) or b"")


def _forbidden(named: set[str], flow: http.HTTPFlow, environment: Environment) -> str | None:
    """Why METHODS does not let in what the body names."""
    write = forbidden(sorted(named), flow.request.path, environment)
    return f"{write}, and its body asks for it" if write is not None else None


async def _resumed_or_killed(flow: http.HTTPFlow) -> None:
    """Wait until a person resumes or kills the intercepted flow. HACK: `flow.kill` wakes nobody (11.0.2, 12.3.1)."""
    waits = asyncio.ensure_future(internals.resumed(flow))
    try:
        while flow.intercepted:
            await asyncio.wait([waits], timeout=LOOKS_FOR_KILL)
    finally:
        waits.cancel()

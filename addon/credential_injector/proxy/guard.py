"""Requests that are looked at again when their bodies are there: a person has to agree, or a form names a method."""

import asyncio
from collections.abc import Awaitable, Callable

from mitmproxy import http

from credential_injector import messages
from credential_injector.environments.environment import Environment
from credential_injector.oauth.token import NoToken
from credential_injector.proxy import flows, internals, record, streams
from credential_injector.proxy.asked_methods import asked_methods, forbidden, methods_in_form
from credential_injector.proxy.departure import Departure
from credential_injector.proxy.outcome import Outcome
from credential_injector.proxy.policy import Verdict
from credential_injector.proxy.route_table import Route

LOOKS_FOR_KILL = 0.5  # seconds

_NOBODY = "has nobody to ask; start mitmweb in mitmdump's place"
_STREAMED = "cannot ask, as the body would be sent meanwhile; send a smaller one"


class Guard:
    """Those of one add-on.

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
        self._forms: dict[http.HTTPFlow, Route] = {}
        """Their form may name another method than theirs."""

    def holds(self, flow: http.HTTPFlow, route: Route) -> bool:
        """Whether a person has to agree, who wants to see the body, too; or would have to, and cannot be asked."""
        environment = route.environment
        if self._is_sent_again(flow) or not _needs_confirmation(flow, environment):
            return False
        if not internals.has_a_person() or flows.may_stream(flow.request) or streams.request_streams(flow.request):
            why = _STREAMED if internals.has_a_person() else _NOBODY
            reason = f"CONFIRM={environment.confirm} of {environment.file} {why}"
            self._outcome.block(flow, route, reason, word=messages.word("confirm"))
        else:
            self._held[flow] = route
        return True

    def track(self, flow: http.HTTPFlow, route: Route) -> None:
        """A credential goes into this request. If METHODS forbids something, its form is looked at."""
        if "form-urlencoded" in flow.request.headers.get("content-type", ""):
            self._forms[flow] = route

    def forget(self, flow: http.HTTPFlow) -> None:
        """The flow has ended."""
        self._held.pop(flow, None)
        self._forms.pop(flow, None)

    def body_is_there(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        """Ask the person, or block the request for what its form says. Most requests are none of these."""
        if not self._held and not self._forms:
            return None
        if (route := self._forms.pop(flow, None)) is not None:
            self._look_at_form(flow, route)
        route = self._held.pop(flow, None)
        return self._ask(flow, route) if route is not None else None

    def _look_at_form(self, flow: http.HTTPFlow, route: Route) -> None:
        if streams.has_left(flow.request):
            return
        named = methods_in_form(flow.request.get_content(strict=False) or b"")
        reason = forbidden(sorted(named), flow.request.path, route.environment)
        if reason is not None and self._departure.never_left(flow) is not None:
            route.counts.injected -= 1
            self._outcome.block(flow, route, f"{reason}, and its form asks for it", word=messages.word("method"))

    async def _ask(self, flow: http.HTTPFlow, route: Route) -> None:
        """Hold the request until a person resumes it. Then decide anew: it may be another one by now."""
        try:
            record.held(flow, route)
            flow.intercept()  # type: ignore[no-untyped-call]
            await internals.show_again(flow)
            await _resumed_or_killed(flow)
            if not flow.live or flow.error is not None or flow.response is not None:
                return
            verdict = self._decide(flow)
            if verdict is None:
                record.forget(flow)
            elif verdict.action != "inject":
                self._outcome.decline(flow, verdict)
            else:
                await self._proceed(flow, verdict.route)
        except asyncio.CancelledError:  # it would hang the flow
            self._outcome.block(flow, route, "mitmproxy ended the wait for a person")
        except NoToken as error:
            self._outcome.no_token(flow, route, error)
        except Exception as error:  # noqa: BLE001 - mitmproxy would send it on, bare
            self._outcome.fail(flow, route, error)


def _needs_confirmation(flow: http.HTTPFlow, environment: Environment) -> bool:
    confirm = environment.confirm
    return confirm is not None and any(
        confirm.allows(method, flow.request.path) for method in asked_methods(flow.request.data)
    )


async def _resumed_or_killed(flow: http.HTTPFlow) -> None:
    """Wait until a person resumes or kills the intercepted flow. HACK: `flow.kill` wakes nobody (11.0.2, 12.3.1)."""
    waits = asyncio.ensure_future(internals.resumed(flow))
    try:
        while flow.intercepted:
            await asyncio.wait([waits], timeout=LOOKS_FOR_KILL)
    finally:
        waits.cancel()

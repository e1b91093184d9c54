"""What the API says to requests with a credential: counted and remembered, and diagnosed where it refuses one."""

import logging
from collections.abc import Callable
from weakref import WeakKeyDictionary

from mitmproxy import ctx, http

from credential_injector import messages
from credential_injector.diagnosis import answer, doctor
from credential_injector.diagnosis.diagnosis import Diagnosis
from credential_injector.diagnosis.evidence import Evidence
from credential_injector.environments.environment import Environment
from credential_injector.oauth.jwt_claims import JwtClaims
from credential_injector.oauth.token import AccessToken
from credential_injector.proxy import flows, grpc_calls, options, record
from credential_injector.proxy.route_table import Route
from credential_injector.status import RefusalStatus

logger = logging.getLogger(__name__)


class Refusals:
    """The answers that may be refusals, until their flows end."""

    def __init__(self, owner: Callable[[JwtClaims, Environment], str]) -> None:
        self._owner = owner
        """The name of another environment, whose token these claims are."""
        self._sent: WeakKeyDictionary[http.HTTPFlow, tuple[Route, AccessToken]] = WeakKeyDictionary()
        """What the requests carried. A client that leaves may end a flow in no hook at all."""
        self._logged: set[tuple[str, str]] = set()
        """The causes that the log has told, by environment."""

    def answers(self, flow: http.HTTPFlow, route: Route, token: AccessToken) -> None:
        """The API begins to answer a request with this token."""
        if flow.response is None:
            return
        # A page of another origin may be kept from reading an answer that accepts the token.
        # What a call of gRPC says, its trailers may tell.
        if flow.response.status_code >= 300 or route.environment.page_origins or grpc_calls.is_call(flow.response):
            self._sent[flow] = route, token
        else:
            route.counts.refusal = None

    def sent(self, flow: http.HTTPFlow) -> tuple[Route, AccessToken] | None:
        """What the request carried, if its answer may be a refusal; then the flow is forgotten here."""
        return self._sent.pop(flow, None)

    def preflight(self, flow: http.HTTPFlow, route: Route) -> None:
        """Say why a page of a browser's gets no answer, where the API refuses the preflight of its request."""
        if flow.response is None or flow.response.status_code not in (401, 403, 405):
            return
        found = answer.preflight(route.environment.file, flow.response.status_code)
        record.refused_preflight(flow, route, flow.response.status_code, found)
        self._log_once(route, found.code, f"{found.cause}; {found.advice}")

    def judge(self, flow: http.HTTPFlow, route: Route, token: AccessToken, *, counts: bool = True) -> None:
        """Write into the flow why the API refuses its request, if it does. Where it `counts`, the status tells it, too.

        It does not where the same request has another flow that the client sees.
        """
        if flow.response is None or not record.was_injected(flow):
            return
        try:
            found = doctor.diagnose(self._evidence(flow, flow.response, route, token))
        except Exception as error:  # noqa: BLE001 - the client's answer is worth more than its diagnosis
            logger.warning(f"{route.environment.name}: no diagnosis: {messages.own_error(error)}")
            return
        if found is not None:
            record.diagnosed(flow, grpc_calls.shown(flow.response), found)
        if counts:
            self._count(route, flow.response, found)

    def _count(self, route: Route, response: http.Response, found: Diagnosis | None) -> None:
        counts, status = route.counts, grpc_calls.as_http(response)
        counts.refused += status == 401
        counts.forbidden += status == 403
        if found is None:
            counts.refusal = None if status < 400 else counts.refusal
            return
        counts.refusal = RefusalStatus(status, found.code, found.cause, found.advice, response.timestamp_start)
        # Without evidence, what follows are the token's claims, which belong on the flow.
        cause = found.cause if found.code != "unknown" else found.cause.partition("; ")[0]
        self._log_once(route, found.code, f"the API answered {grpc_calls.shown(response)}: {cause}; {found.advice}")

    def _log_once(self, route: Route, code: str, line: str) -> None:
        name = route.environment.name
        if (name, code) not in self._logged:
            self._logged.add((name, code))
            logger.warning(f"{name}: {line}{options.see()}")

    def _evidence(self, flow: http.HTTPFlow, response: http.Response, route: Route, token: AccessToken) -> Evidence:
        headers = flow.request.headers
        cors = headers.get("sec-fetch-mode") == "cors" and headers.get("sec-fetch-site") != "same-origin"
        return Evidence(
            route.environment,
            token,
            grpc_calls.as_http(response),
            response.headers if response.trailers is None else _joined(response.headers, response.trailers),
            now=response.timestamp_start,
            header_size=sum(len(name) + len(value) + 4 for name, value in headers.fields),
            page=headers.get("origin", "") if cors else "",
            url=flow.request.url.partition("?")[0],
            proxy=flows.upstream(flow),
            replaced_too=bool(flow.metadata[record.KEY]["retried"]),
            shows_certificate=bool(ctx.options.client_certs),
            outdated=not route.source.holds(token.fingerprint),
            failure=route.source.status().failure,
            owner=lambda claims: self._owner(claims, route.environment),
        )


def _joined(headers: http.Headers, trailers: http.Headers) -> http.Headers:
    return http.Headers((*headers.fields, *trailers.fields))

"""The mitmproxy add-on: hooks.

A hook asks the policy and acts on its verdict. Where the token is at hand, a request is changed without awaiting
anything; where it is not, the hook hands mitmproxy a coroutine, and only this one request (or HTTP/2 stream) waits.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from mitmproxy import http
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Client
from mitmproxy.tls import ClientHelloData

from credential_injector import messages, status_lines
from credential_injector.oauth import fingerprints
from credential_injector.oauth.token import AccessToken, NoToken, Served
from credential_injector.proxy import choice, flows, internals, options, page, phone, record, unopened, web_guard
from credential_injector.proxy.audit import Audit
from credential_injector.proxy.client_tls import ClientTls
from credential_injector.proxy.commands import Commands
from credential_injector.proxy.credentials import earlier
from credential_injector.proxy.departure import Departure
from credential_injector.proxy.flows import FlowRequest
from credential_injector.proxy.grpc_calls import Status
from credential_injector.proxy.guard import Guard
from credential_injector.proxy.outcome import Outcome
from credential_injector.proxy.phone import Phone
from credential_injector.proxy.policy import Policy, Verdict
from credential_injector.proxy.refusals import Refusals
from credential_injector.proxy.retry import Retry
from credential_injector.proxy.route_table import Route
from credential_injector.proxy.routes import Routes
from credential_injector.proxy.server_connections import Connections
from credential_injector.proxy.server_tls import ServerTls
from credential_injector.proxy.settings import Settings
from credential_injector.proxy.streams import Streams, has_left
from credential_injector.proxy.waiting import Waiting
from credential_injector.proxy.web_guard import WebGuard

logger = logging.getLogger(__name__)

_CONNECTIONS = "credential_injector_connections"
_ENDED = "the add-on ended while it waited for its token"


class CredentialInjector:
    """Requests to the hosts of a configured environment get its token; everything else passes untouched."""

    name = internals.NAME

    def __init__(self, routes: Routes | None = None) -> None:
        self._routes = routes or Routes()
        self._connections = connections = Connections()
        self._policy = policy = Policy(self._routes)
        self._outcome = Outcome(self._routes.other_owner)
        self._refusals = Refusals(self._routes.other_owner)
        self._departure = Departure(self._may_carry, self._withdraw, connections)
        self._retry = Retry(self._routes.named, url=self._departure.url)
        self._guard = Guard(self._outcome, self._departure, self._decide, self._wait, self._retry.is_own)
        self._streams = Streams()
        self._waiting = Waiting()
        self._commands = Commands(policy)
        self._phone = Phone()
        self._audit = Audit(connections)
        client = ClientTls(self._routes)
        self.tls_failed_client, self.tls_established_client = client.failed, client.established
        self._server_tls = server = ServerTls(policy, connections, self._departure)
        self.tls_start_server = self.quic_start_server = server.starts  # the second one for HTTP/3
        self.tls_failed_server, self.server_connect_error = server.failed, server.not_connected
        uses: dict[str, Callable[[Any], None]] = {
            "inject_clients": self._admit,
            "inject_log": self._audit.use,
            "inject_mask": self._departure.mask,
            "inject_phone": self._phone.admit,
            "stickyauth": options.refuse_stickyauth,
        }
        if web_guard.is_needed():
            self.addons = [WebGuard()]
            uses["web_port"] = web_guard.refuse_any_port
        self._settings = Settings(policy, self._routes, uses)
        self.configure = self._settings.configure
        self._ended = False

    # --- Life cycle: plain functions, as an async one would end mitmproxy's script watcher silently -------------------

    def load(self, loader: Loader) -> None:
        # First, so that a connection which is made between here and `running` is seen.
        self._connections.restore(internals.left_by_last_script(_CONNECTIONS) or {}, internals.clients())
        fingerprints.key()  # here, so that no hook of a request reads a file
        options.add(loader)
        self._commands.add(loader)
        web_guard.tell_taken_port()

    def _admit(self, clients: str) -> None:
        process = options.process_of(clients)
        self._policy.admit(clients)
        self._connections.let_in_only(process)

    def running(self) -> None:
        self._settings.running = True
        self._streams.start()
        self._routes.watch()
        self._routes.preload_requests()
        options.warn_of_open_door()
        page.open_page(self._routes)
        phone.show()

    def done(self) -> Awaitable[None] | None:
        """mitmproxy waits for what this returns when it ends, but not when it loads the script anew."""
        self._ended = True
        page.close_page()
        self._routes.close()
        self._streams.end()
        self._departure.finish_all()
        internals.leave_for_next_script(_CONNECTIONS, self._connections.export())
        for flow, route in self._waiting.end():  # before the summary, which counts them
            self._outcome.block(flow, route, _ENDED, status=Status.UNAUTHENTICATED)
        self._audit.end()
        for line in status_lines.summary(self._routes.status()):
            logger.info(line)
        return self._routes.provider.unfinished_refreshes()

    # --- A request ----------------------------------------------------------------------------------------------------

    def requestheaders(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        """Decide here and not in `request`: by then, the headers of a streamed body have been sent."""
        if self._departure.masks:
            flows.hide_proxyauth(flow)
        if flow.response is not None or flow.error is not None or not flow.live:
            return None
        try:
            replays = flow.is_replay == "request" and record.was_injected(flow)
            if replays:
                earlier.take_back(flow.request.data, flow.metadata[record.KEY])
            verdict = self._decide(flow)
            if verdict is None or verdict.action != "inject":
                self._decline(flow, verdict, replays=replays)
                return None
            route = verdict.route
            if route.environment.confirm is not None and self._guard.holds(flow, route):
                return None
            served = route.source.cached()
            if served is None:
                return self._wait(flow, route)
            self._inject(flow, route, served)
        except Exception as error:  # noqa: BLE001 - mitmproxy would send the request on, bare
            self._outcome.fail(flow, None, error)
        return None

    def _decide(self, flow: http.HTTPFlow) -> Verdict | None:
        verdict = self._policy.decide(FlowRequest(flow, self._connections))
        if verdict is not None and verdict.route.choices is not None:
            choice.forget_header(flow.request.headers)
        return verdict

    def _decline(self, flow: http.HTTPFlow, verdict: Verdict | None, *, replays: bool) -> None:
        if replays:
            record.forget(flow)
        if verdict is None:
            return
        route = verdict.route
        if verdict.action != "block" and route.environment.is_guarded:
            if verdict.action == "keep" and self._guard.holds(flow, route):
                return
            self._guard.watch(flow)
        self._outcome.decline(flow, verdict)

    def _may_carry(self, flow: http.HTTPFlow) -> Route | None:
        return self._guard.lets(flow, self._policy.may_carry(FlowRequest(flow, self._connections)))

    def _withdraw(self, flow: http.HTTPFlow, route: Route, reason: str) -> None:
        self._outcome.withdraw(flow, route, reason)
        self._guard.stop(flow)

    def _inject(self, flow: http.HTTPFlow, route: Route, served: Served) -> None:
        try:
            self._outcome.inject(flow, route, served)
        except NoToken as error:  # its place cannot hold this one
            self._outcome.no_token(flow, route, error)
            return
        self._departure.track(flow, route, served)
        if route.environment.methods is not None:
            self._guard.track(flow, route)
        self._streams.leaves(flow)

    async def _wait(self, flow: http.HTTPFlow, route: Route) -> None:
        """Get the token, then ask the policy again: options may have changed, or a token endpoint become known."""
        try:
            try:
                served = await self._waiting.token(flow, route)
            except NoToken as error:
                if (objection := self._policy.objection(FlowRequest(flow, self._connections), route)) is not None:
                    self._outcome.decline(flow, objection)
                else:
                    self._outcome.no_token(flow, route, error)
                return
            if served is None or not flow.live:
                return
            if self._ended:
                self._outcome.block(flow, route, _ENDED, status=Status.UNAUTHENTICATED)
            elif (objection := self._policy.objection(FlowRequest(flow, self._connections), route)) is not None:
                self._outcome.decline(flow, objection)
            else:
                self._inject(flow, route, served)
        except asyncio.CancelledError:  # it would hang the flow
            self._outcome.block(flow, route, "mitmproxy ended the wait for its token", status=Status.UNAUTHENTICATED)
        except Exception as error:  # noqa: BLE001 - as above
            self._outcome.fail(flow, route, error)

    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        if has_left(flow.request):
            self._departure.headers_sent(flow)
        self._outcome.body_is_there(flow)
        return self._guard.body_is_there(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        is_own = self._retry.is_own(flow)
        self._outcome.ended(flow)
        self._guard.forget(flow)
        self._refusals.sent(flow)
        self._retry.forget(flow)
        failure = self._server_tls.failure(flow)
        if failure is not None and (route := self._departure.never_left(flow)) is not None:
            self._outcome.never_left(flow, route, failure)
        self._departure.finish(flow)
        self._streams.finish(flow)
        if self._audit.is_on and not is_own:
            self._audit.ended(flow)

    # --- How the server is connected: once for each connection --------------------------------------------------------

    def client_connected(self, client: Client) -> None:
        self._phone.look_at(client)
        self._connections.connected(client)

    def client_disconnected(self, client: Client) -> None:
        self._departure.finish_all_of(client)
        self._streams.finish_all_of(client)
        self._connections.disconnected(client)

    def tls_clienthello(self, data: ClientHelloData) -> None:
        if self._settings.opens_only_ours and unopened.passes_unopened(data, self._routes):
            data.ignore_connection = True

    # --- Its answer ---------------------------------------------------------------------------------------------------

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        sent = self._departure.answers(flow)
        if sent is not None:
            route, token = sent
            if not route.counts.answered:
                route.counts.answered = True
                gets = messages.noun(route.environment.token_request.grant_type)
                logger.info(f"{route.environment.name}: first request with a {gets} went to {flow.request.host}")
            if route.credential.signs and flow.response is not None:
                route.credential.learn(flow.response, self._departure.url(flow))
            self._refusals.answers(flow, route, token)
        if not self._retry.buffer_answer(flow):
            self._streams.answers(flow, sent[1] if sent is not None else None)
            self._retry.relay_answer(flow)

    def response(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        self._departure.finish(flow)
        if flow.response is None or flow.response.status_code != 101:
            self._streams.finish(flow)
        sent = self._refusals.sent(flow)
        route = self._retry.refused_route(flow) if self._retry.forget(flow) else None
        if route is not None:
            return self._send_again(flow, route, sent[1] if sent is not None else None)
        self._judge(flow, sent)
        # A WebSocket is told at its end, and what is sent again with the request that the client sent.
        if self._audit.is_on and flow.websocket is None and not self._retry.is_own(flow):
            self._audit.ended(flow)
        return None

    def _judge(self, flow: http.HTTPFlow, sent: tuple[Route, AccessToken] | None) -> None:
        """Find out why the API refuses a request."""
        if sent is not None:
            self._refusals.judge(flow, *sent, counts=not self._retry.is_own(flow))
        elif flow.response is not None and flow.response.status_code >= 400 and flow.request.method == "OPTIONS":
            to = self._policy.preflight(FlowRequest(flow, self._connections))
            if to is not None:
                self._refusals.preflight(flow, to)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        self._streams.finish(flow)
        if self._audit.is_on:
            self._audit.ended(flow)

    async def _send_again(self, flow: http.HTTPFlow, route: Route, token: AccessToken | None) -> None:
        """A CancelledError would hang the flow, so none leaves `Retry.send_again`."""
        answered = await self._retry.send_again(flow, route, token)
        if answered is not None:
            self._refusals.judge(flow, route, answered)
        if self._audit.is_on:
            self._audit.ended(flow)

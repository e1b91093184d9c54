"""Checks a request that carries a credential again, just before mitmproxy sends it, and masks it afterwards.

Between our `requestheaders` and the moment in which mitmproxy sends the request on, others may change it: map_remote,
modify_headers, another script, a person in mitmweb's intercept. An add-on at the end of the chain would come before the
person, and would make every request of every host slower, as mitmproxy visits each add-on eight times a request. So
`internals.set_last_look` is used, in flows that carry a credential only.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from mitmproxy import http
from mitmproxy.connection import Client

from credential_injector import messages
from credential_injector.oauth.token import AccessToken, Served
from credential_injector.origins.origin import Origin
from credential_injector.proxy import flows, internals, masking, options
from credential_injector.proxy.credentials.fields import drop_header
from credential_injector.proxy.flows import FlowRequest
from credential_injector.proxy.masking import Mask
from credential_injector.proxy.request_fields import RequestFields
from credential_injector.proxy.route_table import Route
from credential_injector.proxy.server_connections import Connections


class _Sent(NamedTuple):
    route: Route
    token: AccessToken
    addressed: tuple[object, ...]
    connections: object
    """Those of its client to servers, at that time."""
    answered: bool = False
    """The server has begun to answer."""

    @property
    def masks(self) -> tuple[Mask, ...]:
        return self.route.credential.masks(self.token)


class Departure:
    """The requests that carry a credential, until they end.

    `may_carry` tells whose credential a request may carry as it is now; `withdraw` records that it carries none any
    more.
    """

    def __init__(
        self,
        may_carry: Callable[[http.HTTPFlow], Route | None],
        withdraw: Callable[[http.HTTPFlow, Route, str], None],
        connections: Connections,
    ) -> None:
        self.masks = False
        """Whether flows keep a mask instead of the credential (inject_mask)."""
        self._may_carry = may_carry
        self._connections = connections
        self._withdraw = withdraw
        self._sent: dict[http.HTTPFlow, _Sent] = {}

    def mask(self, masks: bool) -> None:
        """The option inject_mask."""
        self.masks = masks

    def track(self, flow: http.HTTPFlow, route: Route, served: Served) -> None:
        """The credential is in this request now."""
        self._sent[flow] = _Sent(route, served.token, _addressed(flow), self._connections.of(flow))
        internals.set_last_look(flow, partial(self._leave, flow))

    def headers_sent(self, flow: http.HTTPFlow) -> None:
        """The headers are sent; later changes do not matter."""
        internals.clear_last_look(flow)

    # --- After all other add-ons --------------------------------------------------------------------------------------

    async def _leave(self, flow: http.HTTPFlow) -> None:
        """After `requestheaders`, as the headers of a streamed body go out then; and after `request`."""
        if flow.intercepted:
            await self._while_intercepted(flow)
            if flow in self._sent:  # options may have changed meanwhile
                self._decide_again(flow, "when it was resumed, it would not have got the token any more")
        self._check(flow)
        if flow in self._sent and flow.response is not None:
            self._strip(flow, "mitmproxy or a script answered it, so it never left")
        elif flow in self._sent and self._connections.of(flow) is not self._sent[flow].connections:
            self._decide_again(flow, "its client has connected to the server in another way since its headers came")
        if flow in self._sent and self._sent[flow].route.credential.signs:
            self._sign(flow)

    def _sign(self, flow: http.HTTPFlow) -> None:
        """Sign what leaves now: all of it, or the headers of a body that streams."""
        request, sent = flow.request, self._sent[flow]
        if not request.stream and request.timestamp_end is None:
            return  # its body is still coming
        try:
            why = sent.route.credential.sign(request.data, sent.token, self.url(flow), sent.route.source.now())
        except Exception as error:  # noqa: BLE001 - mitmproxy would send it on without a signature, and tell nobody
            why = messages.own_error(error)
        if why is not None:
            self._strip(flow, why)
        else:
            self._sent[flow] = sent._replace(addressed=_addressed(flow))

    def url(self, flow: http.HTTPFlow) -> str:
        """The URL to which the request goes, with the name against which its server is verified."""
        scheme, host, port, path = FlowRequest(flow, self._connections).destination
        return Origin(scheme, host, port).base + path

    async def _while_intercepted(self, flow: http.HTTPFlow) -> None:
        sent = self._sent[flow]
        if self.masks:
            masking.hide(RequestFields(flow.request.data), sent.masks, escaped=False)
            await internals.show_again(flow)  # mitmweb has shown the credential already
        await internals.resumed(flow)
        if self.masks and flow in self._sent:  # it has not been stripped meanwhile
            masking.show(RequestFields(flow.request.data), sent.masks)

    def _check(self, flow: http.HTTPFlow) -> None:
        sent = self._sent.get(flow)
        if sent is None or _addressed(flow) == sent.addressed:
            return
        who = " or ".join([*options.what_changes_requests(), "another script", "a person"])
        self._decide_again(flow, f"{who} has sent the request elsewhere")
        credential = sent.route.credential
        if flow in self._sent and not credential.is_in(flow.request.data, sent.token):
            self._strip(flow, f"{who} has replaced its {credential.place}")

    def _decide_again(self, flow: http.HTTPFlow, reason: str) -> None:
        """Strip the credential, for that reason, from a request that would not get it now."""
        given = self._sent[flow].route
        try:
            route = self._may_carry(flow)
        except Exception as error:  # noqa: BLE001 - mitmproxy would send it on, or let it hang
            self._strip(flow, messages.own_error(error))
            return
        # The name alone may be another identity's by now.
        if route is None or route.environment.name != given.environment.name or route.source is not given.source:
            self._strip(flow, reason)

    def _strip(self, flow: http.HTTPFlow, reason: str) -> None:
        sent = self._sent.pop(flow)
        self.headers_sent(flow)
        _remove(flow, sent)
        self._withdraw(flow, sent.route, reason)

    # --- How its server is connected ----------------------------------------------------------------------------------

    def tls_starts(self, waiting: Iterable[http.HTTPFlow], verified: str | None) -> None:
        """These requests go out on a connection that is verified against this name, or by nobody."""
        for flow in waiting:
            if flow not in self._sent:
                continue
            host = FlowRequest(flow, self._connections).destination.host
            if verified is None and not flows.ends_here(flow, host):
                self._strip(flow, "ssl_insecure was set before the server was verified")
            elif verified is not None and verified != host:
                self._strip(flow, f"the server is not verified as {host}")

    def never_left(self, flow: http.HTTPFlow) -> Route | None:
        """The server could not be connected. Returns whose credential was not sent."""
        sent = self._sent.pop(flow, None)
        if sent is None or sent.answered:
            return None
        self.headers_sent(flow)
        _remove(flow, sent)
        return sent.route

    # --- Afterwards ---------------------------------------------------------------------------------------------------

    def answers(self, flow: http.HTTPFlow) -> tuple[Route, AccessToken] | None:
        """The server begins to answer. Returns whose credential was sent, and the token."""
        sent = self._sent.get(flow)
        if sent is None:
            return None
        self._sent[flow] = sent._replace(answered=True)
        self.finish(flow, ended=False)
        return sent.route, sent.token

    def finish(self, flow: http.HTTPFlow, *, ended: bool = True) -> None:
        """The request is sent, or never will be: mask the credential in the flow.

        Until the flow has `ended`, more of the answer may come and repeat the credential.
        """
        sent = self._sent.get(flow)
        if sent is None:
            return
        self.headers_sent(flow)
        if ended or not self.masks:
            del self._sent[flow]
        if not self.masks:
            return
        masks = sent.masks
        for name in sent.route.credential.signs:  # a signature is good for some minutes
            if name in flow.request.headers:
                flow.request.headers[name] = f"<{sent.route.environment.name} signature>"
        answer = (flow.response.headers, flow.response.trailers) if flow.response is not None else ()
        for fields in (RequestFields(flow.request.data), flow.request.trailers, *answer):
            if fields is not None:
                masking.hide(fields, masks)
        # mitmproxy quotes from a malformed answer.
        if flow.error is not None:
            flow.error.msg = masking.masked(flow.error.msg, masks)
        internals.replace_in_backup(flow, lambda backup: masking.masked(backup, masks))

    def finish_all_of(self, client: Client) -> None:
        """The client disconnected: forget its flows that no hook ended."""
        for flow in [flow for flow in self._sent if flow.client_conn is client]:
            self.finish(flow)

    def finish_all(self) -> None:
        """mitmproxy ends, and saves the flows that are on their way; or the script is loaded anew."""
        for flow in list(self._sent):
            if flow.intercepted and internals.has_last_look(flow):
                self._strip(flow, "the add-on ended while the request was intercepted")
            elif flow.request.stream or flow.request.timestamp_end is not None:
                self.finish(flow)
            else:
                self._strip(flow, "the add-on ended before all of the request was there")


def _remove(flow: http.HTTPFlow, sent: _Sent) -> None:
    """Remove the credential, and what signs it."""
    masking.drop(RequestFields(flow.request.data), sent.masks)
    for name in sent.route.credential.signs:
        drop_header(flow.request.headers, name)


def _addressed(flow: http.HTTPFlow) -> tuple[object, ...]:
    """Everything that decides where a request goes and what it carries.

    mitmproxy replaces `fields` as a whole, so that this copies nothing.
    """
    data = flow.request.data
    return data.method, data.scheme, data.host, data.port, data.path, data.authority, data.headers.fields

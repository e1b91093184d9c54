"""The last look at a request that carries a credential, and the mask that is kept of it afterwards.

Between our `requestheaders` and the moment in which mitmproxy sends the request on, others may change it: map_remote,
modify_headers, another script, a person in mitmweb's intercept. After each hook mitmproxy awaits the flow's
`wait_for_resume`, and then calls nobody any more (`handle_hook`, the same in mitmproxy 11 and 12). So that is where we
look, in flows that carry a credential. An add-on at the end of the chain would come before the person, and would make
every request of every host dearer: mitmproxy visits each add-on eight times a request.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from mitmproxy import ctx, http
from mitmproxy.connection import Client
from mitmproxy.hooks import UpdateHook

from credential_injector import messages
from credential_injector.environments.environment import Environment
from credential_injector.oauth.token import AccessToken, Served
from credential_injector.proxy import flows, masking, record
from credential_injector.proxy.masking import Mask
from credential_injector.proxy.routes import Route

_CHANGES_REQUESTS = ("map_remote", "modify_headers", "upstream_auth")  # mitmproxy's options, as messages name them


class _Sent(NamedTuple):
    route: Route
    token: AccessToken
    addressed: tuple[object, ...]
    connections: object
    """Those of its client to servers, at that moment."""
    answered: bool = False
    """The server has begun to answer."""

    @property
    def masks(self) -> tuple[Mask, ...]:
        """Of the token, and of what goes with it."""
        environment = self.route.environment
        label = record.fingerprint(environment, self.token) or masking.unnamed()
        return masking.mask_of(environment.name, environment.header, self.token.value, label), *self.route.extra_masks


class Departure:
    """The way out of a request with a credential.

    `find` tells whose credential a request would get as it is now; `withdraw` tells a person that it carries none.
    `connections` are those of the request's client to servers: another object where one has been made since.
    """

    def __init__(
        self,
        find: Callable[[http.HTTPFlow], Route | None],
        withdraw: Callable[[http.HTTPFlow, Environment, str], None],
        connections: Callable[[http.HTTPFlow], object],
    ) -> None:
        self.masks = False
        """Whether flows keep a mask instead of the credential (inject_mask)."""
        self._find = find
        self._connections = connections
        self._withdraw = withdraw
        self._sent: dict[http.HTTPFlow, _Sent] = {}

    def expect(self, flow: http.HTTPFlow, route: Route, served: Served) -> None:
        """The credential is in this request now."""
        self._sent[flow] = _Sent(route, served.token, _addressed(flow), self._connections(flow))
        flow.wait_for_resume = partial(self._leave, flow)  # type: ignore[method-assign]

    def gone(self, flow: http.HTTPFlow) -> None:
        """The headers have gone out: what happens to them from now on is no matter."""
        vars(flow).pop("wait_for_resume", None)

    # --- Behind all others --------------------------------------------------------------------------------------------

    async def _leave(self, flow: http.HTTPFlow) -> None:
        """After `requestheaders`, as the headers of a streamed body go out then; and after `request`."""
        if flow.intercepted:
            await self._held_back(flow)
            if flow in self._sent:  # options may have changed meanwhile
                self._decide_again(flow, "it would not get the token any more when it was resumed")
        self._look(flow)
        if flow in self._sent and flow.response is not None:
            self._take_off(flow, "mitmproxy or a script answered it, so it never left")
        elif flow in self._sent and self._connections(flow) is not self._sent[flow].connections:
            self._decide_again(flow, "its client has connected to the server in another way since its headers came")

    async def _held_back(self, flow: http.HTTPFlow) -> None:
        sent = self._sent[flow]
        if self.masks:
            masking.hide(flow.request.headers, sent.masks, escaped=False)
            await ctx.master.addons.trigger_event(UpdateHook([flow]))  # mitmweb has shown the credential already
        await type(flow).wait_for_resume(flow)  # type: ignore[no-untyped-call]
        if self.masks and flow in self._sent:  # it has not been taken off meanwhile
            masking.show(flow.request.headers, sent.masks)

    def _look(self, flow: http.HTTPFlow) -> None:
        sent = self._sent.get(flow)
        if sent is None or _addressed(flow) == sent.addressed:
            return
        options = [option for option in _CHANGES_REQUESTS if option in ctx.options and getattr(ctx.options, option)]
        who = " or ".join([*options, "another script", "a person"])
        self._decide_again(flow, f"{who} has sent the request elsewhere")
        if flow in self._sent and not masking.carries(flow.request.headers, sent.masks[0]):
            self._take_off(flow, f"{who} has replaced its {sent.route.environment.header}")

    def _decide_again(self, flow: http.HTTPFlow, reason: str) -> None:
        """Take the credential off where it would not be given now, for that reason."""
        given = self._sent[flow].route
        try:
            route = self._find(flow)
        except Exception as error:  # noqa: BLE001 - mitmproxy would send it on, or let it hang
            self._take_off(flow, messages.own_error(error))
            return
        # The name alone may be another identity's by now.
        if route is None or route.environment.name != given.environment.name or route.source is not given.source:
            self._take_off(flow, reason)

    def _take_off(self, flow: http.HTTPFlow, reason: str) -> None:
        sent = self._sent.pop(flow)
        self.gone(flow)
        masking.drop(flow.request.headers, sent.masks)
        self._withdraw(flow, sent.route.environment, reason)

    # --- How its server is connected ----------------------------------------------------------------------------------

    def tls_starts(self, waiting: Iterable[http.HTTPFlow], verified: str | None) -> None:
        """These requests go out on a connection that is verified against this name, or by nobody."""
        for flow in waiting:
            if flow not in self._sent:
                continue
            host = flows.destination(flow).host
            if verified is None and not flows.is_this_machine(flow, host):
                self._take_off(flow, "ssl_insecure was set before the server was verified")
            elif verified is not None and verified != host:
                self._take_off(flow, f"the server is not verified as {host}")

    def never_left(self, flow: http.HTTPFlow) -> Route | None:
        """The server could not be connected. Returns whose credential was not sent."""
        sent = self._sent.pop(flow, None)
        if sent is None or sent.answered:
            return None
        self.gone(flow)
        masking.drop(flow.request.headers, sent.masks)
        return sent.route

    # --- Afterwards ---------------------------------------------------------------------------------------------------

    def answers(self, flow: http.HTTPFlow) -> Route | None:
        """The server begins to answer. Returns whose credential was sent."""
        sent = self._sent.get(flow)
        if sent is None:
            return None
        self._sent[flow] = sent._replace(answered=True)
        self.settle(flow, ended=False)
        return sent.route

    def settle(self, flow: http.HTTPFlow, *, ended: bool = True) -> None:
        """The request has gone out, or never will: from now on the credential is only remembered.

        Until the flow has `ended`, more of the answer may come, and repeat the credential.
        """
        sent = self._sent.get(flow)
        if sent is None:
            return
        self.gone(flow)
        if ended or not self.masks:
            del self._sent[flow]
        if not self.masks:
            return
        masks = sent.masks
        for message in (flow.request, flow.response):
            for headers in (message.headers, message.trailers) if message is not None else ():
                if headers is not None:
                    masking.hide(headers, masks)
        # What mitmproxy quotes of a malformed answer, and what it keeps of the flow for a person who has changed it.
        if flow.error is not None:
            flow.error.msg = masking.masked(flow.error.msg, masks)
        flow._backup = masking.masked(flow._backup, masks)

    def settle_all_of(self, client: Client) -> None:
        """It has gone: whatever ended in no hook at all must not stay here."""
        for flow in [flow for flow in self._sent if flow.client_conn is client]:
            self.settle(flow)

    def settle_all(self) -> None:
        """mitmproxy ends, and saves what is still on its way; or the script is loaded anew, and nobody looks at it."""
        for flow in list(self._sent):
            if flow.intercepted and "wait_for_resume" in vars(flow):
                self._take_off(flow, "the add-on ended while a person held the request back")
            elif flow.request.stream or flow.request.timestamp_end is not None:
                self.settle(flow)
            else:
                self._take_off(flow, "the add-on ended before all of the request was there")


def _addressed(flow: http.HTTPFlow) -> tuple[object, ...]:
    """All that decides where a request goes and what it carries. Cheap: mitmproxy replaces `fields` as a whole."""
    data = flow.request.data
    return data.method, data.scheme, data.host, data.port, data.path, data.authority, data.headers.fields

"""Who gets a token: a request -> a Verdict.

It awaits nothing and changes nothing. Requests whose token is at hand pass through here: each question costs them all.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from credential_injector.environments.environment import Environment
from credential_injector.origins.claims import Claim
from credential_injector.origins.clients import admission
from credential_injector.origins.hosts import is_address, is_loopback, is_name
from credential_injector.origins.index import Destination, difference
from credential_injector.origins.origin import DEFAULT_PORTS, PAGE_ORIGIN, Origin
from credential_injector.origins.paths import is_maybe_below
from credential_injector.proxy.asked_methods import asked_methods, forbidden
from credential_injector.proxy.malformed import malformed
from credential_injector.proxy.request import Head, Request
from credential_injector.proxy.route_table import Route
from credential_injector.proxy.routes import Routes

BRINGS_ITS_OWN = "it goes to the token endpoint, where clients bring their own credentials"


class Verdict(NamedTuple):
    """What becomes of a request to an environment's host."""

    action: Literal["inject", "keep", "skip", "block"]
    """`keep`: it keeps the credential that the client sent. `skip`: it goes on as the client sent it."""
    route: Route
    kind: str = ""
    """The log tells each kind once; without one, never."""
    reason: str = ""
    closes: bool = False
    """On another connection it may get a token, so the client's is closed."""
    marked: bool = True
    """Whether the flow is marked, so that a person sees it in the list."""


class Rule(NamedTuple):
    """What the policy asks about a request before it gets a token."""

    kind: str
    """That of the verdict which says that the request breaks it."""
    words: str
    """What holds where the request keeps it."""
    key: str = ""
    """The key of the environment's file, or mitmproxy's option, that decides it."""
    scheme: str = ""
    """The only scheme in which it is asked."""


RULES = (
    Rule("host", "an environment names its scheme, host, port and path", "HOST"),
    Rule("preflight", "it is no CORS preflight, which never carries a credential"),
    Rule("names", "every name in it is that of the server to which the connection goes"),
    Rule("malformed", "servers read it in one way only"),
    Rule("client", "its client is let in", "inject_clients"),
    Rule("token endpoint", "it does not go to the token endpoint", "TOKEN_ENDPOINT"),
    Rule("page", "no page of another site makes it, or ORIGINS lets the page in", "ORIGINS"),
    Rule("ssl_insecure", "mitmproxy verifies the server, or the request ends on this machine", "ssl_insecure", "https"),
    Rule("verified name", "the server is verified as its host", "", "https"),
    Rule("upstream", "no upstream proxy sends it to another server", "mode", "http"),
    Rule("method", "METHODS lets its method in", "METHODS"),
    Rule("as", "one file serves it: AS names who asks, or DEFAULT=true is in a file", "AS"),
    Rule("overwrite", "OVERWRITE lets a token in", "OVERWRITE"),
)
"""In the order in which `Policy.decide` asks. A table for people: a loop over it would make each request slower."""


class Policy:
    """Decides about the requests to the environments in use."""

    def __init__(self, routes: Routes) -> None:
        self.ssl_insecure = False
        """mitmproxy's option: it verifies no server."""
        self.replays_go_upstream = False
        """Whether mitmproxy itself sends replays to an upstream proxy."""
        self.routes = routes
        self.clients = ""
        """inject_clients."""
        self._admits: Callable[[str], bool] = admission("")

    def admit(self, clients: str) -> None:
        """Which clients get credentials (inject_clients). Raises ValueError."""
        self._admits = admission(clients)
        self.clients = clients

    def decide(self, request: Request) -> Verdict | None:
        """What becomes of a new request. None: it is none of ours, and the flow says nothing about it."""
        route = self.routes.find(request.destination)
        if route is None:
            if claims := request.claims():
                return self._near_miss(request, claims)
            route = self.routes.nearest(request.destination)
            return self._other_form(request, route) if route is not None else None
        if _is_preflight(request.head):  # a browser asks whether it may send the request, never with a credential
            return _bare(Verdict("skip", route, "preflight"), request)
        if route.choices is not None:
            chosen = route.choices.choose(request)
            if isinstance(chosen, str):
                return _bare(self.objection(request, route) or Verdict("block", route, "as", chosen), request)
            route = chosen
        if (objection := self.objection(request, route)) is not None:
            return _bare(objection, request)
        if route.environment.overwrite != "always" and (kept := _kept(request, route)) is not None:
            return kept
        return tuple.__new__(Verdict, ("inject", route, "", "", False, True))  # in half the time of Verdict()

    def may_carry(self, request: Request) -> Route | None:
        """The route whose credential the request may carry as it is now."""
        route = self.routes.find(request.destination)
        if route is not None and route.choices is not None:
            chosen = route.choices.choose(request)
            route = chosen if not isinstance(chosen, str) else None
        return route if route is not None and self.objection(request, route) is None else None

    def preflight(self, request: Request) -> Route | None:
        """The route to which the request that follows this CORS preflight goes; None where it is no preflight."""
        return self.routes.find(request.destination) if _is_preflight(request.head) else None

    def objection(self, request: Request, route: Route) -> Verdict | None:
        """Why this request must not get the token of the environment to which its destination belongs."""
        destination, environment = request.destination, route.environment
        if claims := request.claims():
            return Verdict("skip", route, "names", f"the connection goes to {destination.host}, but {claims[0]}")
        if (odd := malformed(request.head)) is not None:
            return Verdict("skip", route, "malformed", f"{odd}, and servers read that in different ways")
        client = request.client
        admitted = client is not None and self._admits(client)
        if not (admitted or request.is_let_in or request.is_replay):
            reason = f"client {client or 'unknown'} is not in inject_clients ({self.clients})"
            if client is not None:
                reason += f"; to let it in: --set inject_clients={','.join(filter(None, (self.clients, client)))}"
            return Verdict("skip", route, "client", reason)
        if self.routes.is_token_endpoint(destination):
            return Verdict("skip", route, "token endpoint", BRINGS_ITS_OWN)
        if (page := _page_elsewhere(request, environment)) is not None:
            reason = f"{page}; to let it in, add its origin to ORIGINS in {environment.file}"
            return Verdict("skip", route, "page", reason)
        if (unsafe := self._unsafe(request, route)) is not None or environment.methods is None:
            return unsafe
        return _other_method(request, route)

    def _unsafe(self, request: Request, route: Route) -> Verdict | None:
        """Why the token might reach another server than the one in the file."""
        scheme, host, *_ = request.destination
        if scheme != "https":
            return self._unsafe_proxy(request, route) if scheme == "http" else None
        verified = request.verified()
        if (self.ssl_insecure or None in verified) and not request.ends_here:
            reason = (
                "ssl_insecure is or was set, or the add-on is newer than the connection, so nobody verified who gets"
                " the token; unset it, and connect again"
            )
            return Verdict("block", route, "ssl_insecure", reason, closes=not self.ssl_insecure)
        if any(name is not None and name != host for name in verified):
            return Verdict("skip", route, "verified name", f"its connection is not verified as {host}")
        return None

    def _unsafe_proxy(self, request: Request, route: Route) -> Verdict | None:
        host, proxy = request.destination.host, request.proxy
        if proxy is None:
            return None
        if is_loopback(host):
            reason = f"the upstream proxy {proxy} would send it to its own {host}, not to this machine"
            return Verdict("block", route, "upstream", reason)
        if request.is_replay and not self.replays_go_upstream:
            return Verdict("block", route, "upstream", "it is a replay by a proxy that only the capture names")
        return None

    def _near_miss(self, request: Request, claims: Sequence[Claim]) -> Verdict | None:
        """The request names a configured host, and the connection goes to another one."""
        for claim in claims:
            route = self.routes.of_host(claim.host) if claim.host is not None else None
            if route is not None:
                host = request.destination.host
                goes_to = host if is_name(host) or is_address(host) else "something that is no host's name"
                return Verdict("skip", route, "near miss", f"{claim}, but the connection goes to {goes_to}")
        return None

    def _other_form(self, request: Request, route: Route) -> Verdict | None:
        """The environment names the request's host, but not its scheme, port or path. Say so: it may be a mistake."""
        destination = request.destination
        if self.routes.is_token_endpoint(destination) or _is_preflight(request.head):
            return None
        kind, reason = difference(destination, route.origin)
        # Another server on this machine, or another part of one server, is seldom a mistake.
        common = kind == "path" or (kind == "port" and is_loopback(destination.host))
        if not common:
            reason += f"; {in_another_form(destination, kind, route.environment.file)}"
        verdict = Verdict("skip", route, f"other {kind}", reason, marked=not common)
        may_be_below = kind == "path" and is_maybe_below(destination.path, route.origin.path)
        return _bare(verdict, request) if may_be_below else verdict


def in_another_form(destination: Destination, kind: str, file: str) -> str:
    """What to do about a request to an environment's host, whose scheme, port or path (`kind`) HOST does not name."""
    scheme, host, port, _ = destination
    if kind == "path":
        return f"change the client's URL, or the path of HOST in {file}"
    # Nobody should be told to send tokens where the network can read them.
    if scheme not in DEFAULT_PORTS or (kind == "scheme" and scheme == "http" and not is_loopback(host)):
        return f"change the client's URL to HOST of {file}"
    return f"change the client's URL, or add {Origin(scheme, host, port).base} to HOST in {file}"


def _is_preflight(head: Head) -> bool:
    """A CORS preflight (Fetch standard, section 4.8)."""
    return head.method.upper() == b"OPTIONS" and any(
        field.lower() == b"access-control-request-method" for field, _ in head.headers.fields
    )


def _page_elsewhere(request: Request, environment: Environment) -> str | None:
    """Why the request was made by a page of another origin, which must not act in our name; None where it was not.

    A browser adds these headers itself (Fetch Metadata; Fetch standard, section 3.2), and no page can change them.
    """
    site, origins = [], []
    for field, value in request.head.headers.fields:
        if len(field) == 14 and field.lower() == b"sec-fetch-site":
            site.append(_text(value).lower())
        elif len(field) == 6 and field.lower() == b"origin":
            origins.append(_text(value).lower())
    if not site and not origins:
        return None
    if origins and environment.page_origins.issuperset(origins):
        return None
    if "cross-site" in site:
        return f"{_page(origins)} made it, which is another site"
    # In reverse mode the page has this proxy's own origin, of which only the browser knows.
    if site == ["same-origin"] and request.is_reverse:
        return None
    own = Origin(*request.destination[:3]).base
    return f"{_page(origins)} made it, which is of another origin" if set(origins) - {own} else None


def _page(origins: list[str]) -> str:
    if not origins or not PAGE_ORIGIN.fullmatch(origins[0]):
        return "a page"
    return "a page whose origin is null" if origins[0] == "null" else f"a page of {origins[0]}"


def _other_method(request: Request, route: Route) -> Verdict | None:
    """METHODS."""
    reason = forbidden(sorted(asked_methods(request.head)), request.destination.path, route.environment)
    return Verdict("block", route, "method", reason) if reason is not None else None


def _bare(verdict: Verdict, request: Request) -> Verdict | None:
    """The verdict, where the request may go on without a token: no write goes on to production like that, either.

    A preflight that may go on gets none.
    """
    is_preflight = verdict.kind == "preflight"
    if verdict.action == "skip" and verdict.route.environment.production and verdict.kind != "token endpoint":
        methods = asked_methods(request.head) - ({"OPTIONS"} if is_preflight else set())
        write = forbidden(sorted(methods), request.destination.path, verdict.route.environment)
        if write is not None or verdict.kind == "malformed":  # who knows its method
            reason = "; ".join(filter(None, (verdict.reason, write)))
            return verdict._replace(action="block", reason=reason, marked=True)
    return verdict if not is_preflight else None


def _kept(request: Request, route: Route) -> Verdict | None:
    """OVERWRITE, where it forbids a token."""
    overwrite, place = route.environment.overwrite, route.credential.place
    found = route.credential.found_in(request.head) or request.replaced_before
    if overwrite == "never" and found is not None:
        return Verdict("keep", route, "", f"the client sent its own {place}, and OVERWRITE=never keeps it")
    if overwrite == "only" and found is None:
        return Verdict("skip", route, "", f"it has no {place}, and OVERWRITE=only adds none")
    return None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")

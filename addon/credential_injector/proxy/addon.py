"""The mitmproxy add-on: hooks and options.

A hook is guard, match, act. Where the token is at hand, a request is changed without awaiting anything; where it is
not, the hook hands mitmproxy a coroutine, and only this one request (or HTTP/2 stream) waits.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from mitmproxy import command, ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Client
from mitmproxy.proxy.mode_specs import ProxyMode, UpstreamMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData
from mitmproxy.types import Choice

from credential_injector import messages
from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import DEFAULT_FOLDER, Folder, InvalidEnvironments, open_folder
from credential_injector.environments.spelling import did_you_mean
from credential_injector.oauth import fingerprints
from credential_injector.oauth.token import NoToken, Served
from credential_injector.origins.claims import Claim
from credential_injector.origins.clients import admission, admits_everybody
from credential_injector.origins.hosts import is_address, is_loopback, is_name, normalise_host
from credential_injector.origins.index import Destination, difference
from credential_injector.proxy import flows, record, web_guard
from credential_injector.proxy.departure import Departure
from credential_injector.proxy.retry import Retry
from credential_injector.proxy.routes import Route, Routes
from credential_injector.proxy.server_connections import Connections, waiting_for
from credential_injector.proxy.web_guard import WebGuard
from credential_injector.tokens.provider import open_store

if TYPE_CHECKING:
    from credential_injector.tokens.store import TokenStore

logger = logging.getLogger(__name__)

OPTIONS: dict[str, tuple[str | bool, str]] = {
    "inject_envs": (
        DEFAULT_FOLDER,
        "Folder of environment files: from the working directory, else the one beside addon/.",
    ),
    "inject_env": ("", "Only these environments (names, comma-separated). Empty: all of them."),
    "inject_clients": (
        "loopback",
        "Networks whose clients get credentials (CIDR or 'loopback', comma-separated). "
        "A client that proxyauth let in always does.",
    ),
    "inject_tokens": (
        "memory",
        "Where tokens live: memory, a file that outlives mitmproxy, or redis://host:port/0 for several proxies.",
    ),
    "inject_mask": (False, "Flows keep a fingerprint instead of the credential, once the request has gone out."),
    "inject_retry": (True, "When the API answers 401: get another token and send the request once more."),
}


_KEPT = "credential_injector_connections"
CLOSE_AFTER = 1.0  # seconds, in which the answer that says why goes out


class CredentialInjector:
    """Requests to the hosts of a configured environment get its token; everything else passes untouched."""

    name = "credential_injector"

    def __init__(self) -> None:
        self._routes = Routes()
        self._store: TokenStore | None = None
        self._retry = Retry()
        self._admits: Callable[[str], bool] = admission("")
        self._pending: dict[str, tuple[Environment | None, str]] = {}
        """The blocked requests, by their flows' ids, that cannot be answered before their bodies are there."""
        self._ssl_insecure = False
        """The option: mitmproxy copies an option's value, deeply, whenever it is asked for it."""
        self._connections = Connections()
        self._failures: dict[str, str] = {}
        """Why the server of a request that waits for it could not be verified, by the flow's id."""
        self._told: set[tuple[str, str]] = set()
        """The reasons for which a request was left alone that the log has told, by environment."""
        self._departure = Departure(self._found, self._withdraw, self._connections.of)
        self._uses: dict[str, Callable[[Any], None]] = {
            "inject_clients": self._use_clients,
            "inject_mask": self._use_mask,
            "inject_tokens": self._use_tokens,
            "stickyauth": _refuse_stickyauth,
        }
        if web_guard.is_needed():
            self.addons = [WebGuard()]
            self._uses["web_port"] = web_guard.refuse_any_port
        self._running = self._ended = False

    # --- Life cycle: plain functions, as an async one would end mitmproxy's script watcher without a word -------------

    def load(self, loader: Loader) -> None:
        self._take_over_connections()
        fingerprints.key()  # here, so that no hook of a request reads a file
        for option, (default, text) in OPTIONS.items():
            loader.add_option(option, type(default), default, text)
        # mitmproxy ignores an option that nobody knows, and drops a script whose option is malformed; either way
        # requests would go out without a token and nobody would know why.
        for option, given in list(ctx.options.deferred.items()):
            meant = option.lower().replace("-", "_")
            if not meant.startswith("inject_"):
                continue
            values = getattr(given, "val", [given])
            if option not in OPTIONS:
                # What somebody calls a folder is nearer to inject_env, letter by letter.
                meant = "inject_envs" if re.search("dir|folder|path|file", meant) else meant
                wrong = "unknown option" + (
                    did_you_mean(meant, OPTIONS) or f", one of {', '.join(OPTIONS)} was expected"
                )
            elif not values:
                wrong = f"has no value, --set {option}=value was expected"
            elif len(values) > 1:
                wrong = f"is given {len(values)} times, once was expected"
            elif isinstance(OPTIONS[option][0], bool):
                if values[0] in (True, False, "true", "false"):
                    continue
                wrong = "is neither true nor false, one of them was expected"
            elif not isinstance(values[0], str):
                wrong = "is not a text, a text was expected"
            else:
                continue
            logger.error(f"{option}: {wrong}")
            del ctx.options.deferred[option]
        web_guard.tell_taken_port()

    def configure(self, updated: set[str]) -> None:
        mistakes: list[str] = []
        self._ssl_insecure = ctx.options.ssl_insecure
        self._routes.reach(ca_file=ctx.options.ssl_verify_upstream_trusted_ca or "", proxy=_upstream_proxy())
        for option in updated & self._uses.keys():
            try:
                self._uses[option](getattr(ctx.options, option))
            except ValueError as error:
                mistakes.append(f"{option}: {error}")
        if updated & {"inject_envs", "inject_env", "inject_tokens"}:
            try:
                self._routes.load(_folder(), self._store)
            except InvalidEnvironments as error:
                mistakes += error.mistakes
        if not mistakes:
            if self._running and updated & {"inject_clients", "proxyauth", "listen_host", "mode"}:
                self._warn_of_open_door()
            return
        if self._running:
            raise exceptions.OptionsError("\n".join(mistakes))  # type: ignore[no-untyped-call]
        # An exception at start would show as a traceback. An error in the log ends mitmproxy just as well.
        for mistake in mistakes:
            logger.error(mistake)

    def _use_clients(self, value: str) -> None:
        self._admits = admission(value)

    def _use_mask(self, value: bool) -> None:
        self._departure.masks = value

    def _use_tokens(self, value: str) -> None:
        self._store = open_store(value)

    def running(self) -> None:
        self._running = True
        self._routes.follow()
        self._routes.prepare()
        self._warn_of_open_door()

    def _take_over_connections(self) -> None:
        """First of all: a connection that is made between here and `running` is already seen."""
        self._connections.restore(vars(ctx.master).pop(_KEPT, {}))
        proxyserver = ctx.master.addons.get("proxyserver")  # type: ignore[no-untyped-call]
        for handler in list(proxyserver.connections.values()) if proxyserver is not None else ():
            self._connections.distrust(handler.client)

    def _hand_over_connections(self) -> None:
        """To the add-on that follows when the script is loaded anew, as the next thing that the event loop does.

        HACK: of all that outlives a script, only mitmproxy's master can be reached from both sides. If no add-on
        follows at once, connections are made that nobody sees, and what is known here is too old.
        """
        kept = vars(ctx.master)
        kept[_KEPT] = self._connections.export()
        asyncio.get_running_loop().call_soon(kept.pop, _KEPT, None)

    def _warn_of_open_door(self) -> None:
        proxyserver = ctx.master.addons.get("proxyserver")  # type: ignore[no-untyped-call]
        if proxyserver is None or not admits_everybody(ctx.options.inject_clients) or ctx.options.proxyauth:
            return
        reachable = [host for host, *_ in proxyserver.listen_addrs() if not is_loopback(normalise_host(host))]
        if reachable:
            logger.warning(
                f"inject_clients={ctx.options.inject_clients} lets every client in, and mitmproxy listens on"
                f" {', '.join(dict.fromkeys(reachable))}: whoever reaches it acts with your credentials. Name your"
                " clients (inject_clients=loopback,192.168.1.23/32), set proxyauth, or set listen_host=127.0.0.1"
            )

    def done(self) -> Awaitable[None] | None:
        """mitmproxy waits for what this returns where it ends, and not where it loads the script anew."""
        self._ended = True
        self._routes.close()
        self._departure.settle_all()
        self._hand_over_connections()
        for line in self._routes.summary():
            logger.info(line)
        return self._routes.farewell()

    # --- Commands -----------------------------------------------------------------------------------------------------

    @command.command("inject.status")  # type: ignore[untyped-decorator]
    def status(self) -> Sequence[str]:
        """Each environment: its hosts, its token, what has happened, the last error and the next try."""
        return self._routes.status()

    @command.command("inject.environments")  # type: ignore[untyped-decorator]
    def environments(self) -> Sequence[str]:
        """The names of the environments."""
        return self._routes.names()

    @command.command("inject.refresh")  # type: ignore[untyped-decorator]
    @command.argument("environment", type=Choice("inject.environments"))  # type: ignore[untyped-decorator,no-untyped-call]
    def refresh(self, environment: str = "") -> None:
        """Ask for a new token now: for one environment, or for all that have been used."""
        self._routes.refresh(environment)

    # --- A request ----------------------------------------------------------------------------------------------------

    def requestheaders(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        """`requestheaders`, as in `request` the headers of a streamed body are already gone."""
        if self._departure.masks:
            flows.hide_proxyauth(flow)
        if flow.response is not None or flow.error is not None or not flow.live:
            return None
        try:
            if flow.is_replay == "request":
                flows.take_back(flow)
            route = self._match(flow)
            if route is None:
                return None
            served = route.source.cached()
            if served is None:
                return self._wait(flow, route)
            self._inject(flow, route, served)
        except Exception as error:  # noqa: BLE001 - mitmproxy would send the request on, bare
            self._unforeseen(flow, None, error)
        return None

    async def _wait(self, flow: http.HTTPFlow, route: Route) -> None:
        environment = route.environment
        try:
            try:
                served = await route.source.token()
            except NoToken as error:
                if self._objects(flow, environment):
                    return  # it goes to the token endpoint, say, which is known now
                reason = messages.no_token(environment, error)
                if environment.without_token == "pass":  # noqa: S105 - not a password
                    self._skip(flow, environment, "no token", f"{reason} (WITHOUT_TOKEN=pass)")
                else:
                    self._block(flow, environment, reason)
            else:
                if self._ended:
                    self._block(flow, environment, "the add-on ended while it waited for its token")
                elif flow.live and not self._objects(flow, environment):  # options may have changed meanwhile
                    self._inject(flow, route, served)
        except asyncio.CancelledError:  # it would hang the flow
            self._block(flow, environment, "mitmproxy ended the wait for its token")
        except Exception as error:  # noqa: BLE001 - as above
            self._unforeseen(flow, environment, error)

    def _match(self, flow: http.HTTPFlow) -> Route | None:
        """The route of a request that is to get a token. None: it is left as it is, or it has been blocked."""
        destination = flows.destination(flow)
        route = self._routes.find(destination)
        claims = flows.contradictions(flow, destination)
        if route is None:
            if flow.is_replay == "request" and record.was_injected(flow):
                record.forget(flow)
            if claims:
                self._near_miss(flow, destination.host, claims)
            elif (named := self._routes.of_host(destination.host)) is not None:
                self._other_form(flow, destination, named.environment)
            return None
        if flows.is_preflight(flow.request):
            return None  # a browser asks whether it may send the request at all, and never with a credential
        objection = self._objection(flow, destination, route.environment, claims)
        if objection is None:
            return route if _overwrites(flow, route.environment) else None
        self._obey(flow, route.environment, objection)
        return None

    def _objects(self, flow: http.HTTPFlow, environment: Environment) -> bool:
        """Whether something has come up since the request was matched. If so, it has been dealt with."""
        destination = flows.destination(flow)
        objection = self._objection(flow, destination, environment, flows.contradictions(flow, destination))
        if objection is not None:
            self._obey(flow, environment, objection)
        return objection is not None

    def _obey(self, flow: http.HTTPFlow, environment: Environment, objection: "_Objection") -> None:
        if objection.blocks:
            self._block(flow, environment, objection.reason, closes=objection.closes)
        else:
            self._skip(flow, environment, objection.kind, objection.reason)

    def _found(self, flow: http.HTTPFlow) -> Route | None:
        """The route whose token the request may carry as it is now."""
        destination = flows.destination(flow)
        route = self._routes.find(destination)
        if route is None:
            return None
        claims = flows.contradictions(flow, destination)
        return None if self._objection(flow, destination, route.environment, claims) else route

    def _objection(
        self, flow: http.HTTPFlow, destination: Destination, environment: Environment, claims: list[Claim]
    ) -> "_Objection | None":
        """Why this request must not get the token of the environment that its destination belongs to."""
        if claims:
            return _Objection("destination", f"the connection goes to {destination.host}, but {claims[0]}")
        if (odd := flows.malformed(flow.request)) is not None:
            return _Objection("malformed", f"{odd}, and servers read that in different ways")
        if not self._admits_client(flow):
            client = flow.client_conn.peername[0] if flow.client_conn.peername else "unknown"
            return _Objection(
                "client",
                f"client {client} is not in inject_clients ({ctx.options.inject_clients}); add it there to let it in",
            )
        if self._routes.is_token_endpoint(destination):
            return _Objection(
                "token endpoint", "it goes to the token endpoint, where clients bring their own credentials"
            )
        if (page := flows.is_from_elsewhere(flow, destination, environment)) is not None:
            return _Objection("page", f"{page}; to let it in, add its origin to ORIGINS in {environment.file}")
        if (unsafe := self._unsafe(flow, destination)) is not None:
            return unsafe
        if environment.methods is not None and (more := flows.methods(flow.request) - environment.methods):
            allowed, method = ",".join(sorted(environment.methods)), min(more)
            method = method if method.isascii() and method.isalpha() else "its method"
            return _Objection("method", f"{method} is not in METHODS={allowed} of {environment.file}", blocks=True)
        return None

    def _unsafe(self, flow: http.HTTPFlow, destination: Destination) -> "_Objection | None":
        """Why the server, or somebody on the way to it, may be another than the one that the file means."""
        if (proxy := flows.proxy_elsewhere(flow)) is not None and destination.scheme == "http":
            if is_loopback(destination.host):
                reason = f"the upstream proxy {proxy} would send it to its own {destination.host}, not to this machine"
                return _Objection("upstream", reason, blocks=True)
            if flow.is_replay == "request" and not ctx.options.mode[0].startswith("upstream:"):
                return _Objection("upstream", "it is a replay by a proxy that only the capture names", blocks=True)
        if destination.scheme != "https":
            return None
        verified = self._connections.verified(flow)
        if (self._ssl_insecure or None in verified) and not flows.is_this_machine(flow, destination.host):
            reason = (
                "ssl_insecure is or was set, or the add-on is newer than the connection, so nobody verified who gets"
                " the token; unset it, and connect again"
            )
            return _Objection("ssl_insecure", reason, blocks=True, closes=not self._ssl_insecure)
        if any(name is not None and name != destination.host for name in verified):
            return _Objection("destination", f"its connection is not verified as {destination.host}")
        return None

    def _near_miss(self, flow: http.HTTPFlow, name: str, claims: list[Claim]) -> None:
        """Whoever wrote the request names a configured host, and the connection goes to another one."""
        for claim in claims:
            route = self._routes.of_host(claim.host) if claim.host is not None else None
            if route is not None:
                goes_to = name if is_name(name) or is_address(name) else "something that is no host's name"
                self._skip(flow, route.environment, "near miss", f"{claim}, but the connection goes to {goes_to}")
                return

    def _other_form(self, flow: http.HTTPFlow, destination: Destination, environment: Environment) -> None:
        """The environment names the request's host, but not its scheme, port or path: a person may wonder why."""
        if self._routes.is_token_endpoint(destination) or flows.is_preflight(flow.request):
            return
        kind, reason = difference(destination, environment.origins)
        # Of the many servers on this machine, and the many parts of one server, most are nobody's mistake.
        common = kind == "path" or (kind == "port" and is_loopback(destination.host))
        self._skip(flow, environment, f"other {kind}", reason, marked=not common)

    def _admits_client(self, flow: http.HTTPFlow) -> bool:
        # A replay is made by whoever sits at this proxy, whatever address the first request came from.
        peer = flow.client_conn.peername
        return (
            (peer is not None and self._admits(peer[0])) or "proxyauth" in flow.metadata or flow.is_replay == "request"
        )

    def _inject(self, flow: http.HTTPFlow, route: Route, served: Served) -> None:
        request = flow.request
        http2 = request.is_http2 or request.is_http3
        header = route.header_http2 if http2 else route.header
        replaced = flows.replaced(flow, route.environment)
        flows.write(request, header, route.prefix + served.token.value, replaces=replaced is not None)
        for name, value in route.extra_headers_http2 if http2 else route.extra_headers:
            flows.write(request, name, value, replaces=True)
        record.injected(flow, route.environment, served, replaced)
        self._departure.expect(flow, route, served)
        route.counts.injected += 1

    def request(self, flow: http.HTTPFlow) -> None:
        if flow.request.stream:
            self._departure.gone(flow)
        if flow.id not in self._pending:
            return
        environment, reason = self._pending.pop(flow.id)
        if flow.request.stream:
            record.blocked(flow, environment, reason, streams=True)
        elif flow.response is None:
            flow.response = _refusal(record.blocked(flow, environment, reason))

    def error(self, flow: http.HTTPFlow) -> None:
        self._pending.pop(flow.id, None)
        self._retry.refused(flow)
        failure = self._failures.pop(flow.id, None) or self._connections.failure(flow)
        if failure is not None and (route := self._departure.never_left(flow)) is not None:
            route.counts.injected -= 1
            route.counts.blocked += 1
            reason = messages.not_connected(route.environment, failure)
            record.blocked(flow, route.environment, reason)
            self._tell(route.environment, "connection", f"request blocked: {reason}")
        self._departure.settle(flow)

    # --- How the server is connected: once for each connection --------------------------------------------------------

    def client_connected(self, client: Client) -> None:
        self._connections.connected(client)

    def client_disconnected(self, client: Client) -> None:
        self._departure.settle_all_of(client)
        self._connections.disconnected(client)

    def tls_start_server(self, data: TlsData) -> None:
        if data.conn is not data.context.server:
            return  # TLS to an upstream proxy; that to the server comes later
        verified = self._connections.tls_starts(data, verifies=not self._ssl_insecure)
        self._departure.tls_starts(waiting_for(data.context), verified)

    quic_start_server = tls_start_server  # HTTP/3

    def tls_failed_server(self, data: TlsData) -> None:
        if data.conn is data.context.server and data.conn.error is not None:
            self._failures.update((flow.id, data.conn.error) for flow in waiting_for(data.context))

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        self._connections.failed(data.client, data.server)

    # --- Its answer ---------------------------------------------------------------------------------------------------

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        route = self._departure.answers(flow)
        if route is not None and not route.counts.answered:
            route.counts.answered = True
            logger.info(f"{route.environment.name}: first request with a token went to {flow.request.host}")
        self._retry.hold_back(flow)

    def response(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        self._departure.settle(flow)
        if not self._retry.refused(flow) or not self._retry.wants(flow):
            return None
        route = self._routes.named(flow.metadata[record.KEY]["environment"])
        return self._send_again(flow, route) if route is not None else None

    async def _send_again(self, flow: http.HTTPFlow, route: Route) -> None:
        if await self._retry.send_again(flow, route.environment, route.source):
            route.counts.replays += 1

    # --- What becomes of a request that gets no token -----------------------------------------------------------------

    def _skip(
        self, flow: http.HTTPFlow, environment: Environment, kind: str, reason: str, *, marked: bool = True
    ) -> None:
        record.skipped(flow, environment, reason, marked=marked)
        self._tell(environment, kind, f"request left as the client sent it: {reason}")

    def _tell(self, environment: Environment, kind: str, line: str) -> None:
        """Each flow tells it; the log, once for each kind."""
        if (environment.name, kind) not in self._told:
            self._told.add((environment.name, kind))
            logger.warning(f"{environment.name}: {line}")

    def _withdraw(self, flow: http.HTTPFlow, environment: Environment, reason: str) -> None:
        record.withdrawn(flow, environment, reason)
        route = self._routes.named(environment.name)
        if route is not None:
            route.counts.injected -= 1
        self._tell(environment, "withdrawn", f"token withdrawn: {reason}")

    def _block(
        self, flow: http.HTTPFlow, environment: Environment | None, reason: str, *, closes: bool = False
    ) -> None:
        line = record.blocked(flow, environment, reason)
        logger.warning(line)
        route = self._routes.named(environment.name) if environment is not None else None
        if route is not None:
            route.counts.blocked += 1
        if not flows.may_stream(flow.request):
            flow.response = _refusal(line)
            if closes and not (flow.request.is_http2 or flow.request.is_http3):
                flow.response.headers["Connection"] = "close"
            elif closes:  # nothing in an answer of HTTP/2 says so
                asyncio.get_running_loop().call_later(CLOSE_AFTER, _disconnect, flow.client_conn)
            return
        # mitmproxy crashes on a response that is set before the body streams. In `request` it is known whether it did;
        # until then no credential may go out with it, and where it did, the API itself will refuse the request.
        if environment is not None:
            for name in (environment.header, *dict(environment.extra_headers)):
                flow.request.headers.pop(name, None)
        self._pending[flow.id] = environment, reason

    def _unforeseen(self, flow: http.HTTPFlow, environment: Environment | None, error: BaseException) -> None:
        self._block(flow, environment, messages.own_error(error))


class _Objection(NamedTuple):
    kind: str
    reason: str
    blocks: bool = False
    """The request is not sent on at all."""
    closes: bool = False
    """On another connection it may be, so the client's is closed."""


def _disconnect(client: Client) -> None:
    proxyserver = ctx.master.addons.get("proxyserver")  # type: ignore[no-untyped-call]
    for handler in list(proxyserver.connections.values()) if proxyserver is not None else ():
        if handler.client is client and client in handler.transports:
            handler.transports[client].writer.close()


def _refuse_stickyauth(value: str | None) -> None:
    if value:
        raise ValueError(
            "copies credentials to other requests of the same host, whichever client or scheme they have, so it cannot"
            " be used together with this add-on; unset it"
        )


def _folder() -> Folder:
    only = [name.strip() for name in ctx.options.inject_env.split(",") if name.strip()]
    return open_folder(ctx.options.inject_envs, only)


def _upstream_proxy() -> str:
    """The URL of the proxy through which mitmproxy itself goes out; empty where there is none."""
    try:
        modes = [ProxyMode.parse(spec) for spec in ctx.options.mode]
    except ValueError:
        return ""  # mitmproxy refuses it in a moment
    upstream = next((mode for mode in modes if isinstance(mode, UpstreamMode)), None)
    if upstream is None:
        return ""
    (host, port), login = upstream.address, ctx.options.upstream_auth
    user, _, password = login.partition(":") if login else ("", "", "")
    at = f"{quote(user, safe='')}:{quote(password, safe='')}@" if login else ""
    return f"{upstream.scheme}://{at}{f'[{host}]' if ':' in host else host}:{port}"


def _refusal(line: str) -> http.Response:
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
    return http.Response.make(502, f"{line}\n", headers)


def _overwrites(flow: http.HTTPFlow, environment: Environment) -> bool:
    """OVERWRITE. Where it forbids a token, the flow says so."""
    overwrite = environment.overwrite
    if overwrite == "always" or (flows.replaced(flow, environment) is None) == (overwrite == "never"):
        return True
    if overwrite == "never":
        record.kept(flow, environment)
    else:
        record.skipped(flow, environment, f"it has no {environment.header}, and OVERWRITE=only adds none")
    return False

"""The mitmproxy add-on: hooks and options.

A hook is guard, match, act. Where the token is at hand, a request is changed without awaiting anything; where it is
not, the hook hands mitmproxy a coroutine, and only this one request (or HTTP/2 stream) waits.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from mitmproxy import command, ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.mode_specs import ProxyMode, UpstreamMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData
from mitmproxy.types import Choice

from credential_injector import flows, record
from credential_injector.clients import admission
from credential_injector.destinations import is_loopback, normalise_host
from credential_injector.environments import Environment, nearest
from credential_injector.folder import DEFAULT_FOLDER, Folder, InvalidEnvironments, open_folder
from credential_injector.retry import Retry
from credential_injector.routes import Route, Routes, open_store
from credential_injector.token_source import NoToken, Served

if TYPE_CHECKING:
    from credential_injector.token_store import TokenStore

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
    "inject_retry": (True, "When the API answers 401: get another token and send the request once more."),
}


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
        self._insecure: set[str] = set()
        """The ids of the connections that were made while ssl_insecure was set."""
        self._told: set[tuple[str, str]] = set()
        """The reasons for which a request was left alone that the log has told, by environment."""
        self._running = False

    # --- Life cycle: plain functions, as an async one would end mitmproxy's script watcher without a word -------------

    def load(self, loader: Loader) -> None:
        for option, (default, text) in OPTIONS.items():
            loader.add_option(option, type(default), default, text)
        # mitmproxy ignores an option that nobody knows, and drops a script whose option is malformed; either way
        # requests would go out without a token and nobody would know why.
        for option, given in list(ctx.options.deferred.items()):
            if not option.startswith("inject_"):
                continue
            values = getattr(given, "val", [given])
            if option not in OPTIONS:
                wrong = "unknown option" + (nearest(option, OPTIONS) or f", one of {', '.join(OPTIONS)} was expected")
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

    def configure(self, updated: set[str]) -> None:
        mistakes: list[str] = []
        self._routes.reach(ca_file=ctx.options.ssl_verify_upstream_trusted_ca or "", proxy=_upstream_proxy())
        if "inject_clients" in updated:
            try:
                self._admits = admission(ctx.options.inject_clients)
            except ValueError as error:
                mistakes.append(f"inject_clients: {error}")
        if "inject_tokens" in updated:
            try:
                self._store = open_store(ctx.options.inject_tokens)
            except ValueError as error:
                mistakes.append(f"inject_tokens: {error}")
        if updated & {"inject_envs", "inject_env", "inject_tokens"}:
            try:
                self._routes.load(_folder(), self._store)
            except InvalidEnvironments as error:
                mistakes += error.mistakes
        if not mistakes:
            return
        if self._running:
            raise exceptions.OptionsError("\n".join(mistakes))  # type: ignore[no-untyped-call]
        # An exception at start would show as a traceback. An error in the log ends mitmproxy just as well.
        for mistake in mistakes:
            logger.error(mistake)

    def running(self) -> None:
        self._running = True
        self._routes.follow()

    def done(self) -> None:
        self._routes.close()
        for line in self._routes.summary():
            logger.info(line)

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
        if flow.response is not None or flow.error is not None or not flow.live:
            return None
        try:
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
                reason = record.no_token(environment, error)
                if environment.without_token == "pass":  # noqa: S105 - not a password
                    self._skip(flow, environment, "no token", f"{reason} (WITHOUT_TOKEN=pass)")
                else:
                    self._block(flow, environment, reason)
            else:
                if flow.live:
                    self._inject(flow, route, served)
        except asyncio.CancelledError:  # it would hang the flow
            self._block(flow, environment, "mitmproxy ended the wait for its token")
        except Exception as error:  # noqa: BLE001 - as above
            self._unforeseen(flow, environment, error)

    def _match(self, flow: http.HTTPFlow) -> Route | None:
        """The route of a request that is to get a token. None: it is left as it is, or it has been blocked."""
        request = flow.request
        name = flows.destination(flow)
        route = self._routes.find(request.scheme, name, request.port, request.path)
        if route is None:
            return None
        environment = route.environment
        if (wrong := flows.disagreement(flow, name)) is not None:
            self._skip(flow, environment, "destination", f"the connection goes to {name}, but {wrong}")
        elif request.scheme == "https" and self._unverified(flow, name):
            self._block(
                flow, environment, "ssl_insecure is or was set, so nobody verified who gets the token; unset it"
            )
        elif not self._admits_client(flow):
            client = flow.client_conn.peername[0] if flow.client_conn.peername else "unknown"
            reason = (
                f"client {client} is not in inject_clients ({ctx.options.inject_clients}); add it there to let it in"
            )
            self._skip(flow, environment, "client", reason)
        elif flows.is_preflight(request):
            return None  # a browser asks whether it may send the request at all, and never with a credential
        elif environment.methods is not None and request.method not in environment.methods:
            allowed = ",".join(sorted(environment.methods))
            method = request.method if request.method.isascii() and request.method.isalpha() else "its method"
            self._block(flow, environment, f"{method} is not in METHODS={allowed} of {environment.file}")
        elif _overwrites(flow, environment):
            return route
        return None

    def _unverified(self, flow: http.HTTPFlow, name: str) -> bool:
        if not ctx.options.ssl_insecure and flow.server_conn.id not in self._insecure:
            return False
        return not (is_loopback(name) and is_loopback(normalise_host(flow.request.host)))

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
        request.headers[header] = route.prefix + served.token.value
        for name, value in route.extra_headers_http2 if http2 else route.extra_headers:
            request.headers[name] = value
        record.injected(flow, route.environment, served, replaced)
        route.counts.injected += 1
        if route.counts.injected == 1:
            logger.info(f"{route.environment.name}: first request with a token goes to {request.host}")

    def request(self, flow: http.HTTPFlow) -> None:
        if (blocked := self._pending.pop(flow.id, None)) is None:
            return
        environment, reason = blocked
        if flow.request.stream:
            record.blocked(flow, environment, reason, streams=True)
        elif flow.response is None:
            flow.response = _refusal(record.blocked(flow, environment, reason))

    def error(self, flow: http.HTTPFlow) -> None:
        self._pending.pop(flow.id, None)

    # --- How the server is connected: once for each connection --------------------------------------------------------

    def tls_start_server(self, data: TlsData) -> None:
        if ctx.options.ssl_insecure:
            self._insecure.add(data.conn.id)

    def server_disconnected(self, data: ServerConnectionHookData) -> None:
        self._insecure.discard(data.server.id)

    # --- Its answer ---------------------------------------------------------------------------------------------------

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        self._retry.hold_back(flow)

    def response(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        if not self._retry.wants(flow):
            return None
        route = self._routes.named(flow.metadata[record.KEY]["environment"])
        return self._send_again(flow, route) if route is not None else None

    async def _send_again(self, flow: http.HTTPFlow, route: Route) -> None:
        if await self._retry.send_again(flow, route.environment, route.source):
            route.counts.replays += 1

    # --- What becomes of a request that gets no token -----------------------------------------------------------------

    def _skip(self, flow: http.HTTPFlow, environment: Environment, kind: str, reason: str) -> None:
        record.skipped(flow, environment, reason)
        if (environment.name, kind) not in self._told:  # each flow tells it; the log, once
            self._told.add((environment.name, kind))
            logger.warning(f"{environment.name}: request left as the client sent it: {reason}")

    def _block(self, flow: http.HTTPFlow, environment: Environment | None, reason: str) -> None:
        line = record.blocked(flow, environment, reason)
        logger.warning(line)
        route = self._routes.named(environment.name) if environment is not None else None
        if route is not None:
            route.counts.blocked += 1
        if not flows.may_stream(flow.request):
            flow.response = _refusal(line)
            return
        # mitmproxy crashes on a response that is set before the body streams. In `request` it is known whether it did;
        # until then no credential may go out with it, and where it did, the API itself will refuse the request.
        if environment is not None:
            for name in (environment.header, *dict(environment.extra_headers)):
                flow.request.headers.pop(name, None)
        self._pending[flow.id] = environment, reason

    def _unforeseen(self, flow: http.HTTPFlow, environment: Environment | None, error: BaseException) -> None:
        self._block(flow, environment, record.own_error(error))


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

"""The mitmproxy add-on: hooks and options. The only module that knows mitmproxy.

A hook is guard, match, act. Where the token is at hand, a request is changed without awaiting anything; where it is
not, the hook hands mitmproxy a coroutine, and only this one request (or HTTP/2 stream) waits.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import cast

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.mode_specs import ReverseMode

from credential_injector import record
from credential_injector.clients import admission
from credential_injector.destinations import Destinations, contradiction, is_address, is_loopback, normalise_host
from credential_injector.environments import Environment, InvalidEnvironments, TokenRequest, load, nearest
from credential_injector.retry import Retry
from credential_injector.token_source import AccessToken, NoToken, Served, TokenSource, fingerprint

logger = logging.getLogger(__name__)

OPTIONS: dict[str, tuple[str | bool, str]] = {
    "inject_envs": ("envs", "Folder of environment files: from the working directory, else the one beside addon/."),
    "inject_env": ("", "Only these environments (names, comma-separated). Empty: all of them."),
    "inject_clients": (
        "loopback",
        "Networks whose clients get credentials (CIDR or 'loopback', comma-separated). "
        "A client that proxyauth let in always does.",
    ),
    "inject_retry": (True, "When the API answers 401: get another token and send the request once more."),
}
LISTED = 20  # environments that are named one by one in the log when they are loaded


class _Route:
    """What one destination's requests need, put together once."""

    __slots__ = ("announced", "environment", "header", "header_http2", "prefix", "source")

    def __init__(self, environment: Environment, source: TokenSource) -> None:
        self.environment = environment
        self.source = source
        self.header = environment.header
        self.header_http2 = environment.header.lower()  # RFC 9113 section 8.2: upper case is malformed there
        self.prefix = f"{environment.prefix} " if environment.prefix else ""
        self.announced = False


class CredentialInjector:
    """Requests to the hosts of a configured environment get its token; everything else passes untouched."""

    name = "credential_injector"

    def __init__(self) -> None:
        self._destinations: Destinations[_Route] = Destinations()
        self._sources: dict[TokenRequest, TokenSource] = {}
        self._routes: dict[str, _Route] = {}
        self._retry = Retry()
        self._admits: Callable[[str], bool] = admission("")
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
        if "inject_clients" in updated:
            try:
                self._admits = admission(ctx.options.inject_clients)
            except ValueError as error:
                mistakes.append(f"inject_clients: {error}")
        if updated & {"inject_envs", "inject_env"}:
            try:
                self._use(self._read_environments())
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

    def done(self) -> None:
        for source in self._sources.values():
            source.close()

    def _read_environments(self) -> tuple[Environment, ...]:
        given = ctx.options.inject_envs
        folder = _folder(given)
        only = [name.strip() for name in ctx.options.inject_env.split(",") if name.strip()] or None
        if folder is None and given != OPTIONS["inject_envs"][0]:
            raise InvalidEnvironments(
                [f"inject_envs: {given}: no such folder, the folder of the environment files was expected"]
            )
        if folder is None:
            folder = Path(given)
        environments = load(folder, only=only)
        if not environments:
            logger.warning(
                f"No environment file in {folder.absolute()}: every request passes untouched. To make one, write HOST="
                f"https://api.example.com, CLIENT_ID=... and CLIENT_SECRET=..., a line each, to {folder / 'dev.env'}"
            )
        return environments

    def _use(self, environments: tuple[Environment, ...]) -> None:
        """Environments of one token identity share a source, and a source outlives changes that do not concern it."""
        sources: dict[TokenRequest, TokenSource] = {}
        entries = []
        self._routes = {}
        for environment in environments:
            request = environment.token_request
            if request not in sources:
                fetch = partial(_fetch, environment.name, request)
                sources[request] = self._sources.get(request) or TokenSource(fetch)
            route = self._routes[environment.name] = _Route(environment, sources[request])
            entries += [(origin, route) for origin in environment.origins]
        for request in self._sources.keys() - sources.keys():
            self._sources[request].close()
        self._sources, self._destinations = sources, Destinations(entries)
        for environment in environments[:LISTED]:
            origins = ", ".join(map(str, environment.origins))
            logger.info(f"{environment.name}: {origins} with tokens from {environment.token_request.endpoint}")
        if len(environments) > LISTED:
            logger.info(f"... and {len(environments) - LISTED} more environments")

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

    async def _wait(self, flow: http.HTTPFlow, route: _Route) -> None:
        environment = route.environment
        try:
            try:
                served = await route.source.token()
            except NoToken as error:
                reason = record.no_token(environment, error)
                if environment.without_token == "pass":  # noqa: S105 - not a password
                    self._skip(flow, environment, f"{reason} (WITHOUT_TOKEN=pass)")
                else:
                    self._block(flow, environment, reason)
            else:
                if flow.live:
                    self._inject(flow, route, served)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a CancelledError would hang the flow
            self._unforeseen(flow, environment, error)

    def _match(self, flow: http.HTTPFlow) -> _Route | None:
        """The route of a request that is to get a token. None: it is left as it is, or it has been blocked."""
        request = flow.request
        scheme, name = request.scheme, normalise_host(request.host)
        reverse = isinstance(flow.client_conn.proxy_mode, ReverseMode)
        # In reverse mode the client's SNI names this proxy. Elsewhere mitmproxy sends it on and verifies the server
        # against it, so where the client dialled an address (transparent, wireguard, socks5) it is the name.
        sni = None if reverse or scheme != "https" else flow.client_conn.sni
        if sni is not None and is_address(name):
            name = normalise_host(sni)
        route = self._destinations.find(scheme, name, request.port, request.path)
        if route is None:
            return None
        environment = route.environment
        authorities = request.headers.get_all("host")
        if request.authority:
            authorities.append(request.authority)
        wrong = contradiction(
            name, scheme, request.port, client_sni=sni, upstream_sni=flow.server_conn.sni, authorities=authorities
        )
        if wrong is not None:
            self._skip(flow, environment, f"the connection goes to {name}, but {wrong}")
        elif scheme == "https" and ctx.options.ssl_insecure and not is_loopback(name):
            self._block(flow, environment, "ssl_insecure is set, so nobody verifies who gets the token; unset it")
        elif not self._admits_client(flow):
            client = flow.client_conn.peername[0] if flow.client_conn.peername else "unknown"
            reason = (
                f"client {client} is not in inject_clients ({ctx.options.inject_clients}); add it there to let it in"
            )
            self._skip(flow, environment, reason)
        elif environment.methods is not None and request.method.upper() not in environment.methods:
            allowed = ",".join(sorted(environment.methods))
            self._block(flow, environment, f"{request.method} is not in METHODS={allowed} of {environment.file}")
        elif _overwrites(flow, environment):
            return route
        return None

    def _admits_client(self, flow: http.HTTPFlow) -> bool:
        # A replay is made by whoever sits at this proxy, whatever address the first request came from.
        peer = flow.client_conn.peername
        return (
            (peer is not None and self._admits(peer[0])) or "proxyauth" in flow.metadata or flow.is_replay == "request"
        )

    def _inject(self, flow: http.HTTPFlow, route: _Route, served: Served) -> None:
        request = flow.request
        header = route.header_http2 if request.is_http2 or request.is_http3 else route.header
        replaced = _replaced(flow, route.environment)
        request.headers[header] = route.prefix + served.token.value
        record.injected(flow, route.environment, served, replaced)
        if not route.announced:
            route.announced = True
            logger.info(f"{route.environment.name}: first request with a token goes to {request.host}")

    # --- Its answer ---------------------------------------------------------------------------------------------------

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        self._retry.hold_back(flow)

    def response(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        if not self._retry.wants(flow):
            return None
        route = self._routes.get(flow.metadata[record.KEY]["environment"])
        return self._retry.send_again(flow, route.environment, route.source) if route is not None else None

    # --- What becomes of a request that gets no token -----------------------------------------------------------------

    def _skip(self, flow: http.HTTPFlow, environment: Environment, reason: str) -> None:
        record.skipped(flow, environment, reason)
        logger.warning(f"{environment.name}: request left as the client sent it: {reason}")

    def _block(self, flow: http.HTTPFlow, environment: Environment | None, reason: str) -> None:
        if _may_stream(flow.request):
            # No response can be set any more. Without a credential the API itself will refuse the request.
            if environment is not None:
                flow.request.headers.pop(environment.header, None)
            reason += " (its body is streamed, so it went on without any credential)"
        line = record.blocked(flow, environment, reason)
        logger.warning(line)
        if not _may_stream(flow.request):
            headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
            flow.response = http.Response.make(502, f"{line}\n", headers)

    def _unforeseen(self, flow: http.HTTPFlow, environment: Environment | None, error: BaseException) -> None:
        self._block(flow, environment, record.own_error(error))


def _overwrites(flow: http.HTTPFlow, environment: Environment) -> bool:
    """OVERWRITE. Where it forbids a token, the flow says so."""
    overwrite = environment.overwrite
    if overwrite == "always" or (_replaced(flow, environment) is None) == (overwrite == "never"):
        return True
    if overwrite == "never":
        record.kept(flow, environment)
    else:
        record.skipped(flow, environment, f"it has no {environment.header}, and OVERWRITE=only adds none")
    return False


def _replaced(flow: http.HTTPFlow, environment: Environment) -> str | None:
    """What the client sent in the credential's place, by its scheme; None where it sent nothing.

    In a replay our own earlier token stands there, which is none of the client's.
    """
    value = flow.request.headers.get(environment.header)
    if value is None:
        return None
    if flow.is_replay == "request" and record.was_injected(flow):
        earlier = flow.metadata[record.KEY]
        if earlier["token"] == fingerprint(value.removeprefix(environment.prefix).lstrip()):
            return cast("str | None", earlier["replaced"])
    return record.scheme(value)


def _folder(given: str) -> Path | None:
    """The folder of the environment files, as short as it can be named."""
    path = Path(given).expanduser()
    clone = Path(__file__).parents[1]
    places = [path, clone.parent / path] if (clone / "inject.py").is_file() else [path]
    return next((place for place in places if place.is_dir()), None)


def _may_stream(request: http.Request) -> bool:
    """Whether the body is, or may come to be, sent on while it arrives: mitmproxy crashes on a response set then."""
    if request.stream:
        return True
    if not ctx.options.stream_large_bodies or "content-length" in request.headers:
        return False  # a body of known length that is to be streamed is marked as such by now
    multiplexed = request.is_http2 or request.is_http3
    return "transfer-encoding" in request.headers or (multiplexed and request.method in ("POST", "PUT", "PATCH"))


def _import_token_endpoint() -> ModuleType:
    from credential_injector import token_endpoint

    return token_endpoint


async def _fetch(name: str, request: TokenRequest, asked_at: float, _replaces: str | None) -> AccessToken:
    # requests and Authlib take a while to import: with the first token, and not on the event loop.
    token_endpoint = await asyncio.to_thread(_import_token_endpoint)
    token: AccessToken = await token_endpoint.request_token(request, asked_at)
    left = record.duration(token.expires_at - token.issued_at)
    logger.info(f"{name}: token fetched ({token.fingerprint}), it lives for {left}")
    return token

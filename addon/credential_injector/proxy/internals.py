"""Every undocumented part of mitmproxy that the add-on uses. A new mitmproxy is checked here and in `relay.py`, which
changes the answer of one flow, and nowhere else.

Read in mitmproxy 11.0.2 and 12.3.1, where all of it is the same.
"""

import asyncio
import socket
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any

from mitmproxy import ctx, http
from mitmproxy.addonmanager import traverse
from mitmproxy.addons.clientplayback import ReplayHandler
from mitmproxy.addons.proxyauth import REALM
from mitmproxy.connection import Client
from mitmproxy.flow import Flow
from mitmproxy.hooks import UpdateHook
from mitmproxy.net import local_ip
from mitmproxy.proxy import server
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import HttpLayer
from mitmproxy.proxy.mode_specs import RegularMode, WireGuardMode
from mitmproxy.utils import human

NAME = "credential_injector"
"""Our add-on's."""

PROXYAUTH_CHALLENGE = f'Basic realm="{REALM}"'
"""The `WWW-Authenticate` header with which the add-on proxyauth refuses a client in reverse mode."""


# --- A flow -----------------------------------------------------------------------------------------------------------


def set_last_look(flow: http.HTTPFlow, look: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Call `look` after each hook of this flow, when all add-ons have seen it, in place of the wait for a person.

    mitmproxy awaits `flow.wait_for_resume()` there (`ConnectionHandler.handle_hook`), and calls nobody between that and
    sending the request.
    """
    flow.wait_for_resume = look  # type: ignore[method-assign]


def has_last_look(flow: http.HTTPFlow) -> bool:
    """Whether `set_last_look` is in effect."""
    return "wait_for_resume" in vars(flow)


def clear_last_look(flow: http.HTTPFlow) -> None:
    """Undo `set_last_look`."""
    vars(flow).pop("wait_for_resume", None)


async def resumed(flow: http.HTTPFlow) -> None:
    """Wait until a person resumes the intercepted flow."""
    await type(flow).wait_for_resume(flow)  # type: ignore[no-untyped-call]


async def show_again(flow: http.HTTPFlow) -> None:
    """Let mitmweb and the console draw the flow as it is now."""
    await ctx.master.addons.trigger_event(UpdateHook([flow]))


def replace_in_backup(flow: http.HTTPFlow, replaced: Callable[[Any], Any]) -> None:
    """Change what mitmproxy keeps of the flow for a person who has edited it and may press Revert."""
    flow._backup = replaced(flow._backup)


def backup(flow: Flow) -> Flow | None:
    """The flow as it was before a person edited it."""
    state = flow.get_state()["backup"]
    return Flow.from_state(state) if state else None


# --- A replay ---------------------------------------------------------------------------------------------------------


class _Replaying(ReplayHandler):
    """Reads on only while there is room for more."""

    def __init__(self, flow: http.HTTPFlow, room: asyncio.Event) -> None:
        super().__init__(flow, ctx.options)
        self._room = room

    async def drain_writers(self) -> None:
        await super().drain_writers()  # type: ignore[no-untyped-call]
        await self._room.wait()


class Replay:
    """Sends a flow's request through mitmproxy, as client replay does, which cannot be awaited."""

    def __init__(self, flow: http.HTTPFlow, room: asyncio.Event) -> None:
        self._handler = _Replaying(flow, room)

    async def run(self) -> None:
        """Send it. Then the flow has a response or an error."""
        await self._handler.replay()

    def cancel(self) -> None:
        """Close its connections. `run` returns a moment later."""
        for transport in self._handler.transports.values():
            if transport.handler is not None:
                transport.handler.cancel()


# --- Connections ------------------------------------------------------------------------------------------------------


def waiting_for(context: Context) -> list[http.HTTPFlow]:
    """The flows whose requests go out as soon as the context's server is connected.

    They are in HttpLayer's table of whom to tell.
    """
    layer = next((layer for layer in reversed(context.layers) if isinstance(layer, HttpLayer)), None)
    if layer is None:
        return []
    commands = layer.waiting_for_establishment.get(context.server, [])
    return [layer.command_sources[command].flow for command in commands]  # type: ignore[attr-defined]


def clients() -> list[Client]:
    """The clients that are connected."""
    return [handler.client for handler in handlers()]


def disconnect(client: Client) -> None:
    """Close a client's connection."""
    for handler in handlers():
        if handler.client is client and client in handler.transports:
            handler.transports[client].writer.close()


def longest_silence() -> float:
    """Seconds without a byte after which mitmproxy ends a connection. An option since 12.2."""
    return float(getattr(server, "TCP_TIMEOUT", None) or ctx.options.tcp_timeout)


def keep_connected(clients: Collection[Client]) -> None:
    """Let mitmproxy take these clients' connections, and theirs to servers, for active ones.

    HACK: `TimeoutWatchdog` ends whatever is silent, and only hooks can stop it. It is there for peers that have gone
    without a word, so TCP's keep-alive looks for these instead.
    """
    for handler in handlers():
        if handler.client not in clients:
            continue
        handler.timeout_watchdog.register_activity()
        for transport in handler.transports.values():
            if isinstance(transport.writer, asyncio.StreamWriter):
                made = transport.writer.get_extra_info("socket")
                made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def listens_on() -> list[tuple[str, int]]:
    """The addresses and ports on which mitmproxy listens."""
    proxyserver = ctx.master.addons.get("proxyserver")  # type: ignore[no-untyped-call]
    return [(host, port) for host, port, *_ in proxyserver.listen_addrs()] if proxyserver is not None else []


def has_certificates() -> bool:
    """Whether mitmproxy can open TLS. At its first start it listens before it has made its authority."""
    tlsconfig = ctx.master.addons.get("tlsconfig")  # type: ignore[no-untyped-call]
    return tlsconfig is None or tlsconfig.certstore is not None


def web_url() -> str:
    """mitmweb's, with its login token where there is one; empty in mitmdump."""
    if "web_port" not in ctx.options:
        return ""
    return getattr(ctx.master, "web_url", f"http://{ctx.options.web_host}:{ctx.options.web_port}/")


def client_refuses_certificate(error: str) -> bool | None:
    """Whether a client's handshake failed because of the certificate. None: because of something else.

    HACK: only mitmproxy's words tell an alert (True) from a client that hung up, which need not be a refusal (False).
    """
    if error.startswith("The client does not trust the proxy's certificate"):
        return True
    return False if error.startswith(("The client disconnected during the", "The client may not trust")) else None


def proxies_listen_on() -> list[tuple[str, int]]:
    """The addresses and ports of the mode `regular`."""
    addresses = [at for one in _servers() if isinstance(one.mode, RegularMode) for at in one.listen_addrs]
    return [(host, port) for host, port, *_ in addresses]


def wireguard_conf() -> str:
    """What a WireGuard client needs to know, as its file has it; empty where mitmproxy does not listen for one."""
    return next((str(one.client_conf()) for one in _servers() if isinstance(one.mode, WireGuardMode)), "")


def own_address_towards(address: str) -> str | None:
    """This machine's address as the other one sees it. Nothing is sent."""
    return local_ip.get_local_ip6(address) if ":" in address else local_ip.get_local_ip(address)


def _servers() -> list[Any]:
    proxyserver = ctx.master.addons.get("proxyserver")  # type: ignore[no-untyped-call]
    return [one for one in proxyserver.servers if one.is_running] if proxyserver is not None else []


def handlers() -> list[Any]:
    """What mitmproxy runs for each client that is connected."""
    proxyserver = ctx.master.addons.get("proxyserver")  # type: ignore[no-untyped-call]
    return list(proxyserver.connections.values()) if proxyserver is not None else []


# --- Options and scripts ----------------------------------------------------------------------------------------------


def unread_options() -> Iterator[tuple[str, list[Any]]]:
    """The options that were set before any add-on had added them, with their values, as `--set` gives them."""
    for option, given in list(ctx.options.deferred.items()):
        yield option, getattr(given, "val", [given])


def drop_unread_option(option: str) -> None:
    """Let mitmproxy never read it."""
    del ctx.options.deferred[option]


def are_scripts_loaded_at_start() -> bool:
    """Whether mitmproxy loads its scripts because it starts, and not because a file or an option has changed."""
    loader = ctx.master.addons.get("scriptloader")  # type: ignore[no-untyped-call]
    return loader is not None and not loader.is_running


def scripts_have(hook: str) -> bool:
    """Whether a script other than ours has this hook, and so may change a request or an answer there."""
    loader = ctx.master.addons.get("scriptloader")  # type: ignore[no-untyped-call]
    scripts = loader.addons if loader is not None else ()
    return any(
        hasattr(addon, hook) and getattr(addon, "name", "") != NAME
        for addon in traverse(scripts)  # type: ignore[no-untyped-call]
    )


def leave_for_next_script(name: str, value: object) -> None:
    """Leave something to the add-on that follows where the script is loaded anew, at once or never.

    HACK: of all that outlives a script, only mitmproxy's master can be reached from both sides. mitmproxy loads the
    new script before the event loop runs anything else; later the value would be too old, so it is dropped.
    """
    kept = vars(ctx.master)
    kept[name] = value
    asyncio.get_running_loop().call_soon(kept.pop, name, None)


def left_by_last_script(name: str) -> Any:
    """What `leave_for_next_script` left, or None."""
    return vars(ctx.master).pop(name, None)


def size(text: str | None) -> int:
    """Bytes, of a size as mitmproxy's options write it, such as `1m`. 0 where there is none."""
    return human.parse_size(text) or 0


def pretty_size(size: int) -> str:
    """A size for people."""
    return human.pretty_size(size)


# --- mitmweb ----------------------------------------------------------------------------------------------------------

_PAGES = "credential_injector"


def mitmweb() -> Any:
    """mitmweb's tornado.web.Application; None in mitmdump and mitmproxy."""
    return getattr(ctx.master, "app", None) if "web_port" in ctx.options else None


def has_a_person() -> bool:
    """Whether somebody can resume an intercepted flow: in mitmweb and the console, and not in mitmdump."""
    return ctx.master.addons.get("view") is not None  # type: ignore[no-untyped-call]


def serve_in_mitmweb(web: Any, pages: list[Any]) -> bool:
    """Serve these handlers of tornado's in place of those before, on mitmweb 11's hosts. Whether they are the first.

    mitmweb 12 serves every host, behind its login. Tornado finds the first rule, so the old one must go when the script
    is loaded anew; `add_handlers` puts a new one before the last, which is for any host.
    """
    rules, first = web.default_router.rules, _PAGES not in web.settings
    web.settings[_PAGES] = True
    rules[:] = [rule for rule in rules if rule.name != _PAGES]
    if pages:
        web.add_handlers(r"^(localhost|[0-9.]+|\[[0-9a-fA-F:]+\])$", pages)
        rules[-2].name = _PAGES
    return first

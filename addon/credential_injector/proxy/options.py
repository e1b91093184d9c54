"""The options `inject_*`, and what mitmproxy's own options mean for the add-on."""

import logging
import re
from collections.abc import Iterable
from urllib.parse import quote

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.mode_specs import ProxyMode, UpstreamMode

from credential_injector.environments.folder import DEFAULT_FOLDER, Folder, open_folder
from credential_injector.environments.spelling import did_you_mean
from credential_injector.origins import clients as clients_module
from credential_injector.origins.clients import admits_everybody
from credential_injector.origins.hosts import is_loopback, normalise_host
from credential_injector.proxy import internals, processes

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
    "inject_phone": (
        "",
        "Nobody on the network may connect but this phone: its address, or 'wireguard' for who holds WireGuard's key.",
    ),
    "inject_tokens": (
        "memory",
        "Where tokens live: memory, a file that outlives mitmproxy, or redis://host:port/0 for several proxies.",
    ),
    "inject_mask": (False, "Flows keep a fingerprint instead of the credential, once the request has gone out."),
    "inject_only": (
        False,
        "Decrypt the TLS of configured hosts only, and pass all other TLS unopened, so that pinned apps keep working.",
    ),
    "inject_log": ("", "A file to which a line of JSON is appended for each request to a configured host. No secret."),
    "inject_retry": (True, "When the API answers 401: get another token and send the request once more."),
}

# mitmproxy's own:
_CHANGES_REQUESTS = ("map_remote", "modify_headers", "upstream_auth")
# What does nothing to a request or an answer whose body streams, as it acts when all of that is there.
_ACTS_ON_REQUESTS = (
    "anticache",
    "anticomp",
    "block_list",
    "intercept",
    "map_local",
    "map_remote",
    "modify_body",
    "server_replay",
    "stickycookie",
)
_ACTS_ON_ANSWERS = ("intercept", "modify_body")


def add(loader: Loader) -> None:
    """Add the options. A mistake in what was given for them is an error in the log, which ends the start.

    mitmproxy ignores an unknown option, and drops a script whose option is malformed. Either way requests would go out
    without a token, and nothing would say why.
    """
    for option, (default, text) in OPTIONS.items():
        loader.add_option(option, type(default), default, text)
    for option, values in internals.unread_options():
        if (mistake := _mistake(option, values)) is not None:
            logger.error(f"{option}: {mistake}")
            internals.drop_unread_option(option)


def _mistake(option: str, values: list[object]) -> str | None:
    """What is wrong with an option and its values, as `--set` gives them; None where nothing is."""
    meant = option.lower().replace("-", "_")
    if not meant.startswith("inject_"):
        return None
    if option not in OPTIONS:
        # What somebody calls a folder is nearer to inject_env, letter by letter.
        meant = "inject_envs" if re.search("dir|folder|path|file", meant) else meant
        return "unknown option" + (did_you_mean(meant, OPTIONS) or f"; expected one of {', '.join(OPTIONS)}")
    if not values:
        return f"has no value; expected --set {option}=value"
    if len(values) > 1:
        return f"is given {len(values)} times; expected once"
    if isinstance(OPTIONS[option][0], bool):
        known = values[0] in (True, False, "true", "false")
        return None if known else "is malformed; expected true or false"
    return None if isinstance(values[0], str) else "is malformed; expected a text"


def folder() -> Folder:
    """The folder of environment files. Raises InvalidEnvironments."""
    only = [name.strip() for name in ctx.options.inject_env.split(",") if name.strip()]
    return open_folder(ctx.options.inject_envs, only)


def upstream_proxy() -> str:
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


def replays_go_upstream() -> bool:
    """Whether mitmproxy sends replays to an upstream proxy: it takes the first `mode` for all of them."""
    return bool(ctx.options.mode[0].startswith("upstream:"))


def process_of(clients: str) -> int | None:
    """The process of inject_clients. Raises ValueError."""
    process = clients_module.process_of(clients)
    if process is not None and not processes.CAN_TELL:
        raise ValueError("process: needs Linux; set proxyauth instead")
    return process


def refuse_stickyauth(value: str | None) -> None:
    """The option stickyauth. Raises ValueError where it is set."""
    if value:
        raise ValueError(
            "copies credentials to other requests of the same host, whichever client or scheme they have, so it cannot"
            " be used together with this add-on; unset it"
        )


def warn_of_open_door() -> None:
    """Log a warning where everybody can reach this proxy and gets credentials there."""
    if not admits_everybody(ctx.options.inject_clients):
        return
    reachable = [host for host, _ in internals.listens_on() if not is_loopback(normalise_host(host))]
    if reachable and not ctx.options.proxyauth:
        logger.warning(
            f"inject_clients={ctx.options.inject_clients} lets every client in, and mitmproxy listens on"
            f" {', '.join(dict.fromkeys(reachable))}: whoever reaches it acts with your credentials. Name your"
            " clients (inject_clients=loopback,192.168.1.23/32), set proxyauth, or set listen_host=127.0.0.1"
        )


def page() -> str:
    """The URL of the add-on's page under mitmweb's port, without mitmweb's login token; empty where there is none."""
    if "web_port" not in ctx.options:
        return ""
    host, port = ctx.options.web_host, ctx.options.web_port
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - all addresses, this one included
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/inject"


def see() -> str:
    """Where a person sees more, to be added to a line of the log; empty where there is no such page."""
    return f". See it: {url}" if (url := page()) else ""


def what_changes_requests() -> list[str]:
    """The options in use by which mitmproxy changes requests on their way."""
    return _in_use(_CHANGES_REQUESTS)


def acts_on_complete_requests() -> bool:
    """Whether an option is in use that wants a request's body complete before the request leaves."""
    return bool(_in_use(_ACTS_ON_REQUESTS))


def acts_on_complete_answers() -> bool:
    """Whether an option is in use that wants an answer's body complete before the client gets any of it."""
    return bool(_in_use(_ACTS_ON_ANSWERS))


def _in_use(options: Iterable[str]) -> list[str]:
    return [option for option in options if option in ctx.options and getattr(ctx.options, option)]

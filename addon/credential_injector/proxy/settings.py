"""Takes mitmproxy's options into use, the add-on's own and those that matter to it."""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mitmproxy import ctx, exceptions

from credential_injector.environments.folder import InvalidEnvironments
from credential_injector.proxy import options
from credential_injector.proxy.policy import Policy
from credential_injector.proxy.routes import Routes
from credential_injector.tokens.open_store import open_store

if TYPE_CHECKING:
    from credential_injector.tokens.store import TokenStore

logger = logging.getLogger(__name__)


class Settings:
    """Those in use. `uses` says what to do with an option's new value; each may raise ValueError."""

    def __init__(self, policy: Policy, routes: Routes, uses: Mapping[str, Callable[[Any], None]]) -> None:
        self._policy = policy
        self._routes = routes
        self._uses = {**uses, "inject_tokens": self._use_tokens}
        self._store: TokenStore | None = None
        self.running = False
        """mitmproxy has started: from now on a bad value is refused, and the old one stays."""
        self.opens_only_ours = False
        """inject_only."""

    def configure(self, updated: set[str]) -> None:
        """As mitmproxy's hook. Raises OptionsError."""
        mistakes: list[str] = []
        # Cached: reading `ctx.options` deep-copies the value each time.
        self._policy.ssl_insecure = ctx.options.ssl_insecure
        self.opens_only_ours = ctx.options.inject_only
        self._policy.replays_go_upstream = options.replays_go_upstream()
        self._routes.set_defaults(
            ca_file=ctx.options.ssl_verify_upstream_trusted_ca or "", proxy=options.upstream_proxy()
        )
        for option in updated & self._uses.keys():
            try:
                self._uses[option](getattr(ctx.options, option))
            except ValueError as error:
                mistakes.append(f"{option}: {error}")
        if updated & {"inject_envs", "inject_env", "inject_tokens"}:
            try:
                self._routes.load(options.folder(), self._store)
            except InvalidEnvironments as error:
                mistakes += error.mistakes
        if not mistakes:
            if self.running and updated & {"inject_clients", "proxyauth", "listen_host", "mode"}:
                options.warn_of_open_door()
            return
        if self.running:
            raise exceptions.OptionsError("\n".join(mistakes))  # type: ignore[no-untyped-call]
        # An exception at start would show as a traceback. An error in the log ends mitmproxy just as well.
        for mistake in mistakes:
            logger.error(mistake)

    def _use_tokens(self, value: str) -> None:
        self._store = open_store(value)

"""The page at /inject under mitmweb's own port: how the environments stand, and the last requests."""

import logging

from mitmproxy import ctx

from credential_injector.proxy import internals
from credential_injector.proxy.routes import Routes

logger = logging.getLogger(__name__)

COLUMNS = ["method", "path", "status", "comment", "time"]
"""Of mitmweb's list; wide enough for the path at 1280 pixels."""


def open_page(routes: Routes) -> None:
    """Serve the page of these environments, where this is mitmweb. At the first time, say where it is."""
    web = internals.mitmweb()
    if web is None:
        return
    # Late: tornado and mitmweb's handlers are there in mitmweb only.
    from credential_injector.proxy.page import handlers

    if internals.serve_in_mitmweb(web, handlers.table(routes)):
        logger.info(f"Environments and refusals: {address(ctx.options.web_host, ctx.options.web_port)}")
        # Once: what a person chooses later stays.
        if ctx.options.web_columns == ctx.options.default("web_columns"):
            ctx.options.web_columns = COLUMNS


def close_page() -> None:
    """Serve it no more."""
    web = internals.mitmweb()
    if web is not None:
        internals.serve_in_mitmweb(web, [])


def address(host: str, port: int) -> str:
    """The page's URL. Never with mitmweb's login token, which its own line has."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - mitmweb listens on all addresses, this one included
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/inject"

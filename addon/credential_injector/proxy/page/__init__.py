"""The page at /inject under mitmweb's own port: how the environments stand, and the last requests."""

import logging

from mitmproxy import ctx

from credential_injector.proxy import internals, options
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
        logger.info(f"Environments and refusals: {options.page()}")
        # Once: what a person chooses later stays.
        if ctx.options.web_columns == ctx.options.default("web_columns"):
            ctx.options.web_columns = COLUMNS


def close_page() -> None:
    """Serve it no more."""
    web = internals.mitmweb()
    if web is not None:
        internals.serve_in_mitmweb(web, [])

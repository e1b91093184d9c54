"""A mitmproxy script: it resolves the names of the attack suite, and tells each client what became of its flow."""

import json
import socket
from pathlib import Path
from typing import Any

import mitmproxy.platform
from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader

from credential_injector.origins.hosts import is_name, normalise_host

GOOD, EVIL = "127.0.0.1", "127.0.0.2"
HIJACKED = "hijacked.wild.test"
"""A name of the good server's, of which somebody told us a wrong address."""
HEADER = "X-Flow"


def address(name: str) -> str:
    """That of the good server for *.qa.test and *.wild.test, but one; the evil one's for other names in .test."""
    host = normalise_host(name)
    if not is_name(host) or not host.endswith(".test"):
        return name
    return GOOD if host.endswith((".qa.test", ".wild.test")) and host != HIJACKED else EVIL


def load(loader: Loader) -> None:
    # Not in `server_connect`, which would let the rest of mitmproxy see the address in the name's place.
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, *more: Any, **options: Any) -> Any:
        return resolve(address(host), *more, **options)

    socket.getaddrinfo = getaddrinfo  # type: ignore[assignment]
    text = "A file with the address and port that the next transparent connection was meant for."
    loader.add_option("original_address", str, "", text)


def configure(updated: set[str]) -> None:
    if "original_address" in updated and ctx.options.original_address:
        file = Path(ctx.options.original_address)

        def original_address(_: object) -> tuple[str, int]:
            host, port = file.read_text().split()
            return host, int(port)

        mitmproxy.platform.original_addr = original_address


def requestheaders(flow: http.HTTPFlow) -> None:
    """A request may set ssl_insecure for whatever comes after it."""
    if (setting := flow.request.headers.get("X-Insecure")) is not None:
        ctx.options.ssl_insecure = setting == "true"


def response(flow: http.HTTPFlow) -> None:
    """A flow's record, where there is one, and its mark."""
    assert flow.response is not None
    flow.response.headers[HEADER] = json.dumps({"marked": flow.marked, **flow.metadata.get("inject", {})})

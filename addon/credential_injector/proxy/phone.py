"""A phone on the network: mitmproxy lets it in and nobody else there, and shows it what to scan."""

import logging
import sys
from collections.abc import Callable
from typing import NamedTuple

from mitmproxy import ctx
from mitmproxy.connection import Client

from credential_injector.origins.clients import admission
from credential_injector.origins.hosts import is_loopback, normalise_host
from credential_injector.proxy import internals, options, qr
from credential_injector.proxy.flows import LET_IN_BY_MODE

logger = logging.getLogger(__name__)

WIREGUARD = "wireguard"
MITM_IT = "http://mitm.it"

_MOST_TOLD = 100  # strangers that the log names


class Phone:
    """Who may connect while the option inject_phone is set: this machine, WireGuard's peer, and the phone it names."""

    def __init__(self) -> None:
        self._admits: Callable[[str], bool] | None = None
        self._value = ""
        self._told: set[str] = set()

    def admit(self, value: str) -> None:
        """The option inject_phone. Raises ValueError."""
        named = "" if value == WIREGUARD else value
        self._admits = admission(f"loopback,{named}") if value else None
        self._value = value

    def look_at(self, client: Client) -> None:
        """Let mitmproxy close the connection of a stranger before it reads a byte.

        A proxy that serves a whole network is a danger by itself, whoever gets tokens there.
        """
        if self._admits is None or isinstance(client.proxy_mode, LET_IN_BY_MODE):
            return
        address = client.peername[0]
        if self._admits(address):
            return
        client.error = "not the phone that inject_phone names"
        if address not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(address)
            logger.warning(
                f"{address} is not the phone (inject_phone={self._value}), so its connections are closed;"
                f" if it is yours, start with --phone={address}"
            )


class Code(NamedTuple):
    """Something to scan."""

    name: str
    text: str
    """What the QR code holds."""
    how: str


def codes() -> list[Code]:
    """What the phone scans, in this order; nothing without the option inject_phone."""
    if not ctx.options.inject_phone:
        return []
    conf = internals.wireguard_conf()
    tunnel = (
        Code("WireGuard", conf, "In the WireGuard app: + and Scan from QR code, then switch it on.") if conf else None
    )
    trust = Code(
        "Certificate",
        MITM_IT,
        "With the camera, once the phone goes through mitmproxy: install it. On an iPhone also switch it on: Settings →"
        " General → About → Certificate Trust Settings.",
    )
    return [trust] if tunnel is None else [tunnel, trust]


def proxy() -> str:
    """What to enter in the Wi-Fi settings of a phone whose address is known; empty where it is not."""
    value = ctx.options.inject_phone
    if value in ("", WIREGUARD):
        return ""
    for host, port in internals.proxies_listen_on():
        if host in ("", "0.0.0.0", "::"):  # noqa: S104 - all addresses, one of which the phone reaches
            return f"{internals.own_address_towards(value) or 'this machine'}, port {port}"
        if not is_loopback(normalise_host(host)):
            return f"{host}, port {port}"
    return ""


def show() -> None:
    """Print the codes."""
    scanned = codes()
    if not scanned:
        return
    told = [f"\n{code.name}. {code.how}\n{qr.terminal(code.text)}" for code in scanned]
    if entered := proxy():
        told.insert(-1, f"\nOr, without WireGuard, as HTTP proxy in the phone's Wi-Fi settings: {entered}\n")
    try:
        sys.stdout.write("".join(told))
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):  # closed, or of an encoding without blocks
        logger.warning("The QR codes cannot be printed here")
    if page := options.page():
        logger.info(f"The QR codes as a page: {page}/phone")

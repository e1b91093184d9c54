"""Connections to authorization servers. All environments share them, and they are kept for a while.

Importing this imports urllib3, which takes a while: the add-on does it with requests.
"""

import functools
import logging
import os
import re
import socket
import ssl
import tempfile
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig

from credential_injector.oauth.request import Transport
from credential_injector.origins.hosts import is_loopback, normalise_host

MOST_KEPT = 32  # connections in all
KEPT_FOR = 30.0  # seconds after which a connection that nobody has used is closed
MOST_CONTEXTS = 16  # TLS contexts: with certifi's authorities each takes 0.7 MB

TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")  # http.client's words

# mitmweb's event log keeps debug records, which hold requests and tokens; urllib3's warnings hold what a server wrote.
logging.getLogger("urllib3").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and how it is reached. A kept connection serves any exchange with an equal target."""

    scheme: str
    host: str
    port: int
    transport: Transport
    certificate: tuple[str, str] | None = field(repr=False)
    """The client's, with its chain, and its private key, both in PEM form."""

    @property
    def proxy(self) -> str:
        """The proxy's URL; empty: none. Never to this machine: a proxy would see its http in clear."""
        return "" if is_loopback(normalise_host(self.host)) else self.transport.proxy or ""


class Connections:
    """TLS contexts and kept connections. Any thread may call its methods."""

    def __init__(self, make_context: "Callable[..., ssl.SSLContext] | None" = None) -> None:
        self._kept: dict[int, tuple[Target, HTTPConnection]] = {}
        """By number, the oldest first."""
        self._lock = threading.Lock()
        self._tls = functools.lru_cache(MOST_CONTEXTS)(make_context or tls_context)
        self._tls_lock = threading.Lock()
        self.last_kept = 0
        """The number of the newest kept connection."""
        weakref.finalize(self, _close, self._kept)

    def take(self, target: Target) -> HTTPConnection | None:
        """Hand a kept connection over to the caller, if there is one."""
        while True:
            with self._lock:
                number = next((number for number in reversed(self._kept) if self._kept[number][0] == target), None)
                if number is None:
                    return None
                _, connection = self._kept.pop(number)
            if connection.is_connected:
                return connection
            connection.close()

    def keep(self, target: Target, connection: HTTPConnection) -> None:
        """Keep a connection for the next exchange. The caller has read its last answer to the end."""
        with self._lock:
            self.last_kept += 1
            self._kept[self.last_kept] = target, connection
            surplus = self._kept.pop(next(iter(self._kept)))[1] if len(self._kept) > MOST_KEPT else None
        if surplus is not None:
            surplus.close()

    def close(self, last: int) -> None:
        """Close the kept connections with this number or a lower one."""
        with self._lock:
            old = {number: self._kept.pop(number) for number in list(self._kept) if number <= last}
        _close(old)

    def open(self, target: Target, dial: Callable[[str, int], socket.socket]) -> HTTPConnection:
        """Make a connection, on the socket that `dial` connects to a host and port.

        Raises ProxyUnreachable, and what urllib3 raises.
        """
        connection = self._new(target)
        connection.dial = dial
        try:
            connection.connect()
        except Exception as error:
            at_proxy = target.proxy and not connection.has_connected_to_proxy
            connection.close()
            # A proxy that refuses the tunnel has been reached, though http.client has closed the connection by now.
            if at_proxy and not TUNNEL_REFUSED.match(str(error)):
                raise ProxyUnreachable from error
            raise
        finally:
            del connection.dial  # a kept connection must not hold on to its first caller
        return connection

    def _new(self, target: Target) -> "_HTTP | _HTTPS":
        transport = target.transport
        if target.scheme == "http":  # only to this machine, so never through a proxy
            return _HTTP(target.host, target.port, timeout=transport.timeout)
        tls = self._context(transport, target.certificate, insecure=transport.insecure_tls)
        if not target.proxy:
            return _HTTPS(target.host, target.port, timeout=transport.timeout, ssl_context=tls)
        proxy = urlsplit(target.proxy)
        address = urllib3.util.parse_url(f"{proxy.scheme}://{proxy.netloc.rpartition('@')[2]}")
        connection = _HTTPS(
            (address.host or "").strip("[]"),
            address.port or (443 if proxy.scheme == "https" else 80),
            timeout=transport.timeout,
            ssl_context=tls,
            proxy=address,
            proxy_config=ProxyConfig(self._context(transport), False, None, None),
        )
        login = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=login) if proxy.username is not None else None
        if ":" in target.host:  # http.client forgets an IPv6 address's brackets here
            headers = {**(headers or {}), "Host": f"[{target.host}]:{target.port}"}
        connection.set_tunnel(target.host, target.port, headers, scheme=proxy.scheme)
        return connection

    def _context(
        self, transport: Transport, certificate: tuple[str, str] | None = None, *, insecure: bool = False
    ) -> ssl.SSLContext:
        with self._tls_lock:  # else those that ask at the same time each make one
            return self._tls(transport.ca, transport.ca_file, certificate, insecure)


class ProxyUnreachable(OSError):
    """There was no connection to the proxy; the cause says why."""


class _HTTP(HTTPConnection):
    auto_open = 0  # http.client's: once closed it stays closed
    dial: Callable[[str, int], socket.socket]

    def _new_conn(self) -> socket.socket:
        return self.dial(self._dns_host, self.port)


class _HTTPS(HTTPSConnection, _HTTP):
    """TLS on it."""


def _close(kept: dict[int, tuple[Target, HTTPConnection]]) -> None:
    for _, connection in kept.values():
        connection.close()


def tls_context(ca: str, ca_file: str, certificate: tuple[str, str] | None, insecure: bool) -> ssl.SSLContext:
    """The TLS context of a transport and a client's certificate. Raises OSError."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        tls.load_verify_locations(cadata=ca)
    else:
        tls.load_verify_locations(ca_file or certifi.where())
    if insecure:
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        _show_certificate(tls, *certificate)
    return tls


def _show_certificate(tls: ssl.SSLContext, certificate: str, key: str) -> None:
    """Python's ssl reads a client's certificate from a file only, so write one that only this user can read."""
    with tempfile.TemporaryDirectory(prefix="credential-injector-") as folder:
        path = Path(folder, "client.pem")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(f"{key}\n{certificate}\n")
        tls.load_cert_chain(path)

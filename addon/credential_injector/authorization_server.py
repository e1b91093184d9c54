"""HTTP exchanges with an authorization server. The only room that opens connections.

Importing this imports requests, which takes a while: the add-on does it soon after its start, or with its first token.
"""

import asyncio
import contextlib
import logging
import os
import re
import socket
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import certifi
import requests
import urllib3
from requests.adapters import HTTPAdapter

from credential_injector import __version__
from credential_injector.destinations import is_loopback, normalise_host
from credential_injector.threads import in_thread
from credential_injector.token_request import Transport, shown
from credential_injector.token_source import NoToken

T = TypeVar("T")

LARGEST_ANSWER = 1 << 20  # bytes
_UNTRUSTED = "its certificate is not trusted"

# Their debug records hold requests and tokens, and mitmweb's event log keeps debug records.
for _name in ("authlib", "requests", "urllib3"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the authorization server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class AuthorizationServer:
    """An authorization server, and the way to it. One conversation at a time; its connections are kept for the next.

    `certificate` is the client's, with its chain, and its private key, both in PEM form.
    """

    def __init__(self, transport: Transport, certificate: tuple[str, str] | None = None) -> None:
        self._transport = transport
        self._certificate = certificate
        self._conversation: Conversation | None = None

    async def converse(self, conversation: Callable[["Conversation"], T], about: str) -> T:
        """Run a blocking function of some exchanges within the transport's timeout. Raises what it raises, and NoToken.

        `about` is the URL that a message names.
        """
        current = self._conversation = self._conversation or Conversation(self._transport, self._certificate)
        try:
            async with asyncio.timeout(self._transport.timeout):
                return await in_thread(lambda: conversation(current), "token request")
        except (asyncio.CancelledError, TimeoutError) as error:
            self._conversation = None
            current.abort()
            if isinstance(error, TimeoutError):
                seconds = f"{self._transport.timeout:.0f} s"
                raise NoToken("timeout", f"{shown(about)} did not answer within {seconds}") from None
            raise


class Conversation:
    """Exchanges over kept connections, in one thread; another thread can abort them."""

    def __init__(self, transport: Transport, certificate: tuple[str, str] | None) -> None:
        self._transport = transport
        self._certificate = certificate
        self._session = requests.Session()
        # Even where none is followed, requests reads all of a redirect's body, however long, to know the next request.
        self._session.get_redirect_target = lambda _: None  # type: ignore[assignment]
        self._session.trust_env = False  # no .netrc, and no proxy from the environment, which may be ourselves
        self._session.headers.clear()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, _Adapter(self._way))
        self._ways: dict[str, Any] = {}
        """urllib3's pools of connections, by proxy."""
        self._connection: Any = None
        self._connected = False
        """The exchange that runs has made a connection of its own."""
        self._aborted = False

    def get(self, url: str) -> Answer:
        """Raises NoToken where no answer came."""
        return self._exchange("GET", url, {}, None)

    def post(self, url: str, headers: Mapping[str, str], form: str) -> Answer:
        """Raises NoToken where no answer came."""
        return self._exchange("POST", url, {"Content-Type": "application/x-www-form-urlencoded", **headers}, form)

    def abort(self) -> None:
        """End the exchange: a read that blocks returns when its socket is shut down."""
        self._aborted = True
        sock = getattr(self._connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):  # it may have ended by itself
                sock.shutdown(socket.SHUT_RDWR)

    def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: str | None) -> Answer:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # a small answer that inflates to a large one has no place here
            "User-Agent": f"mitmproxy-credential-injector/{__version__}",
            **headers,
        }
        self._connected = False
        try:
            try:
                return self._answer(method, url, headers, body)
            except requests.ConnectionError:
                # The server closed a kept connection in the moment in which it was used again (RFC 9112 section 9.3.1).
                if self._connected or self._aborted:
                    raise
                return self._answer(method, url, headers, body)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            how = " through the proxy" if self._proxy(url) else ""
            cause = _cause(error)
            code = "untrusted" if cause.startswith(_UNTRUSTED) else "unreachable"
            raise NoToken(code, f"{shown(url)} cannot be reached{how} ({cause})") from None

    def _answer(self, method: str, url: str, headers: Mapping[str, str], body: str | None) -> Answer:
        with self._session.request(
            method,
            url,
            data=body,
            headers=headers,
            proxies={"all": self._proxy(url)},
            allow_redirects=False,
            stream=True,
            timeout=self._transport.timeout,
        ) as response:
            content = b""
            for chunk in response.raw.stream(64 * 1024, decode_content=False):
                content += chunk
                if len(content) > LARGEST_ANSWER:
                    raise NoToken("invalid_response", f"{shown(url)} answered more than {LARGEST_ANSWER >> 20} MiB")
            return Answer(response.status_code, response.headers, content)

    def _proxy(self, url: str) -> str:
        # This machine is not the proxy's, and what goes there in clear is for nobody else.
        direct = is_loopback(normalise_host(urlsplit(url).hostname or ""))
        return "" if direct else self._transport.proxy or ""

    def _way(self, url: str) -> Any:
        proxy = self._proxy(url)
        if proxy not in self._ways:
            way = self._ways[proxy] = self._opened(proxy)
            way.pool_classes_by_scheme = {
                "http": self._watched(urllib3.HTTPConnectionPool),
                "https": self._watched(urllib3.HTTPSConnectionPool),
            }
        return self._ways[proxy]

    def _opened(self, proxy: str) -> Any:
        tls = _trust(self._transport)
        if self._transport.insecure_tls:
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        if self._certificate is not None:
            _show_certificate(tls, *self._certificate)
        if not proxy:
            return urllib3.PoolManager(ssl_context=tls)
        parts = urlsplit(proxy)
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        return urllib3.ProxyManager(
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            proxy_headers=urllib3.make_headers(proxy_basic_auth=login) if parts.username is not None else None,
            proxy_ssl_context=_trust(self._transport),
            ssl_context=tls,
        )

    def _watched(self, pool: Any) -> Any:
        """urllib3's pool, which tells of each connection before and after it is made, and when it is used again."""

        def connect(connection: Any) -> None:
            self._connected = True
            self._watch(connection)
            pool.ConnectionCls.connect(connection)
            connection.is_verified = True  # else urllib3 warns on mitmproxy's console of what every flow tells
            self._watch(connection)

        def putrequest(connection: Any, *args: Any, **kwargs: Any) -> None:
            self._watch(connection)
            pool.ConnectionCls.putrequest(connection, *args, **kwargs)

        connection = type("Watched", (pool.ConnectionCls,), {"connect": connect, "putrequest": putrequest})
        return type("WatchedPool", (pool,), {"ConnectionCls": connection})

    def _watch(self, connection: Any) -> None:
        self._connection = connection
        if self._aborted:
            self.abort()


class _Adapter(HTTPAdapter):
    """requests over connections that are made here: it has no place for a TLS context, nor for who watches them."""

    def __init__(self, way: Callable[[str], Any]) -> None:
        super().__init__()
        self._of = way

    def get_connection_with_tls_context(self, request: Any, *_: Any, **__: Any) -> Any:
        return self._of(request.url).connection_from_url(request.url)

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """The context says whom to trust."""


def _trust(transport: Transport) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if transport.ca:
        tls.load_verify_locations(cadata=transport.ca)
    else:
        tls.load_verify_locations(transport.ca_file or certifi.where())
    return tls


def _show_certificate(tls: ssl.SSLContext, certificate: str, key: str) -> None:
    """Python's ssl takes a client's certificate from a file only: for this moment, one that nobody else can read."""
    with tempfile.TemporaryDirectory(prefix="credential-injector-") as folder:
        path = Path(folder, "client.pem")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(f"{key}\n{certificate}\n")
        tls.load_cert_chain(path)


def _cause(error: BaseException) -> str:
    """What the operating system or TLS said; the libraries' own messages repeat URLs and may repeat more."""
    seen: BaseException | None = error
    cause = type(error).__name__
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"{_UNTRUSTED}: {seen.verify_message}"
        if isinstance(seen, ssl.SSLError):
            return "the TLS handshake failed"
        if isinstance(seen, OSError) and seen.strerror:
            cause = seen.strerror
        if refused := re.match(r"Tunnel connection failed: ([0-9]{3})\b", str(seen)):  # http.client's words
            return f"which answered {refused[1]}"
        inner = seen.__cause__ or seen.__context__ or next((a for a in seen.args if isinstance(a, Exception)), None)
        seen = inner or getattr(seen, "reason", None)
        if not isinstance(seen, BaseException):
            break
    return cause

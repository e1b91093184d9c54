"""HTTP exchanges with an authorization server. With connections.py and addresses.py, all that opens connections.

Importing this imports requests, which takes a while: the add-on does it soon after its start, or with its first token.
"""

import asyncio
import contextlib
import http.client
import logging
import re
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.util import parse_url

from credential_injector import __version__
from credential_injector.oauth.addresses import connect
from credential_injector.oauth.answers import Answer
from credential_injector.oauth.connections import KEPT_FOR, Connections, Target
from credential_injector.oauth.request import Transport, without_query
from credential_injector.oauth.token import NoToken
from credential_injector.threads import Turns

T = TypeVar("T")

LARGEST_ANSWER = 1 << 20  # bytes
AT_ONCE = 64  # conversations: each takes up to 8 file descriptors, and a process may have no more than 1,024
AT_ONCE_WITH_ONE = 32  # conversations with one server
# By OpenSSL's verify_code. With any other one, no authority that is trusted has issued it.
_BAD_CERTIFICATES = {
    9: ("certificate_not_yet_valid", "its certificate is not valid yet"),
    10: ("certificate_expired", "its certificate has expired"),
    62: ("certificate_name", "its certificate is for another name"),
    64: ("certificate_name", "its certificate is for another address"),
}

# Their debug records hold requests and tokens, and mitmweb's event log keeps debug records.
for _name in ("authlib", "requests"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Network:
    """What the environments share on the way to authorization servers: kept connections, and turns."""

    def __init__(self) -> None:
        self.connections = Connections()
        self.turns = Turns(AT_ONCE, AT_ONCE_WITH_ONE)


class AuthorizationServer:
    """An authorization server, and the way to it.

    `certificate` is the client's, with its chain, and its private key, both in PEM form.
    """

    def __init__(
        self, transport: Transport, certificate: tuple[str, str] | None = None, network: Network | None = None
    ) -> None:
        self._transport = transport
        self._certificate = certificate
        self._network = network or Network()

    async def converse(
        self, conversation: Callable[["Conversation"], T], about: str, *, began: float | None = None
    ) -> T:
        """Run a blocking function of some exchanges within the transport's timeout. Raises what it raises, and NoToken.

        `about` is the URL that a message names. The timeout counts from `began` on, in the event loop's time, else now.
        """
        loop = asyncio.get_running_loop()
        connections = self._network.connections
        current = Conversation(self._transport, self._certificate, connections)
        has_turn = False

        def run() -> T:
            nonlocal has_turn
            has_turn = True
            return conversation(current)

        seconds = self._transport.timeout
        try:
            async with asyncio.timeout_at((loop.time() if began is None else began) + seconds):
                return await self._network.turns.in_thread(run, "token request", urlsplit(about).netloc)
        except (asyncio.CancelledError, TimeoutError) as error:
            current.abort()
            if not isinstance(error, TimeoutError):
                raise
            what = (
                f"{without_query(about)} did not answer"
                if has_turn
                else "too many token requests are under way: this one had no turn"
            )
            raise NoToken("timeout", f"{what} within {seconds:.0f} s") from None
        finally:
            # A weak one: the connections of something that runs but once, such as a checkup, go with it.
            loop.call_later(KEPT_FOR, _close_kept, weakref.ref(connections), connections.last_kept)


class Conversation:
    """Exchanges in one thread; another thread can abort them."""

    def __init__(self, transport: Transport, certificate: tuple[str, str] | None, connections: Connections) -> None:
        self._transport = transport
        self._certificate = certificate
        self._connections = connections
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        """Another descriptor of the connection's socket, while an exchange runs: TLS hides its own in the handshake."""
        self._aborted = False

    def get(self, url: str) -> Answer:
        """Raises NoToken where no answer came."""
        return self._exchange("GET", url, {}, None)

    def post(self, url: str, headers: Mapping[str, str], form: str) -> Answer:
        """Raises NoToken where no answer came."""
        return self._exchange("POST", url, {"Content-Type": "application/x-www-form-urlencoded", **headers}, form)

    def abort(self) -> None:
        """End the exchange: a read that blocks returns when its socket is shut down."""
        with self._lock:
            self._aborted = True
            self._shut_down()

    def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: str | None) -> Answer:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # a small answer that inflates to a large one has no place here
            "User-Agent": f"mitmproxy-credential-injector/{__version__}",
            **headers,
        }
        how = ""
        try:
            parts = parse_url(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            target = Target(
                parts.scheme or "", (parts.host or "").strip("[]"), port, self._transport, self._certificate
            )
            how = " through the proxy" if target.proxy else ""
            ask = partial(self._answer, target, requests.Request(method, url, headers, data=body))
            if (kept := self._connections.take(target)) is not None:
                try:
                    return ask(kept)
                except requests.ConnectionError as error:
                    # The server closed it in the moment in which it was used again (RFC 9112 section 9.3.1).
                    if self._aborted or not isinstance(error.args[0], ConnectionError | ssl.SSLError):
                        raise
            return ask(self._connections.open(target, self._dial))
        # All that requests raises is an OSError.
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            code, cause = _cause(error)
            raise NoToken(code, f"{without_query(url)} cannot be reached{how} ({cause})") from None
        finally:
            self._watch(None)

    def _answer(self, target: Target, request: requests.Request, connection: HTTPConnection) -> Answer:
        """Raises requests.ConnectionError only before an answer begins; later, what urllib3 raises."""
        ended = False
        try:
            self._watch(connection.sock)
            with _session(connection) as session:
                prepared = session.prepare_request(request)
                with session.send(prepared, stream=True, allow_redirects=False) as response:
                    content = b""
                    for chunk in response.raw.stream(64 * 1024, decode_content=False):
                        content += chunk
                        if len(content) > LARGEST_ANSWER:
                            most = f"{LARGEST_ANSWER >> 20} MiB"
                            raise NoToken("invalid_response", f"{without_query(request.url)} answered more than {most}")
            ended = True
            return Answer(response.status_code, response.headers, content)
        finally:
            self._watch(None)
            if ended and connection.sock is not None:
                self._connections.keep(target, connection)
            else:
                connection.close()

    def _dial(self, host: str, port: int) -> socket.socket:
        sock = connect(host, port, lambda: self._aborted)
        sock.settimeout(self._transport.timeout)
        self._watch(sock)
        return sock

    def _watch(self, sock: socket.socket | None) -> None:
        """Let `abort` shut down this one, and no other: another conversation may use the last one by now."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = None if sock is None else socket.fromfd(sock.fileno(), socket.AF_INET, socket.SOCK_STREAM)
            if self._aborted:
                self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it may have ended by itself
                self._socket.shutdown(socket.SHUT_RDWR)


def _session(connection: HTTPConnection) -> requests.Session:
    """requests, on this connection."""
    session = requests.Session()
    # Even where none is followed, requests reads all of a redirect's body, however long, to know the next request.
    session.get_redirect_target = lambda _: None  # type: ignore[assignment]
    session.trust_env = False  # no .netrc, and no proxy from the environment, which may be ourselves
    session.headers.clear()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(connection))
    return session


class _Adapter(HTTPAdapter):
    """requests takes its connections from urllib3's pools: here, a pool of one, which is connected already."""

    def __init__(self, connection: HTTPConnection) -> None:
        super().__init__()
        self._connection = connection

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Any:
        return self

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Whoever connected it has verified the server."""

    def urlopen(self, method: str, url: str, body: Any, headers: Mapping[str, str], **_: Any) -> Any:
        """As of urllib3's pool."""
        self._connection.request(method, url, body, headers, preload_content=False, decode_content=False)
        return self._connection.getresponse()


def _close_kept(connections: "weakref.ref[Connections]", last: int) -> None:
    if (still_there := connections()) is not None:
        still_there.close(last)


def _cause(error: BaseException) -> tuple[str, str]:
    """NoToken's code, and what the operating system or TLS said; the libraries' own messages repeat URLs."""
    seen: BaseException | None = error
    cause = type(error).__name__
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            untrusted = "untrusted", f"its certificate is not trusted: {seen.verify_message}"
            return _BAD_CERTIFICATES.get(seen.verify_code, untrusted)
        if isinstance(seen, ssl.SSLError):
            return "unreachable", "the TLS handshake failed"
        if isinstance(seen, OSError) and seen.strerror:
            cause = seen.strerror
        if refused := re.match(r"Tunnel connection failed: ([0-9]{3})\b", str(seen)):  # http.client's words
            return "unreachable", f"which answered {refused[1]}"
        inner = seen.__cause__ or seen.__context__ or next((a for a in seen.args if isinstance(a, Exception)), None)
        seen = inner or getattr(seen, "reason", None)
        if not isinstance(seen, BaseException):
            break
    return "unreachable", cause

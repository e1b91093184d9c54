"""HTTP exchanges with an authorization server, or of a checkup with an API, over connections of connections.py.

Slow to import, as it imports requests: the add-on does that soon after its start, or with its first token request.
"""

import asyncio
import contextlib
import http.client
import logging
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
from credential_injector.oauth.connections import KEPT_FOR, TUNNEL_REFUSED, Connections, ProxyUnreachable, Target
from credential_injector.oauth.login_recipe import Message
from credential_injector.oauth.request import Transport, without_query
from credential_injector.oauth.token import NoToken
from credential_injector.threads import Turns

T = TypeVar("T")

LARGEST_ANSWER = 1 << 20  # bytes
AT_ONCE = 64  # conversations: each takes up to 8 file descriptors, and a process may have no more than 1,024
AT_ONCE_WITH_ONE = 32  # conversations with one server
# By OpenSSL's verify_code. Any other one means that no trusted authority issued the certificate.
_BAD_CERTIFICATES = {
    9: ("certificate_not_yet_valid", "its certificate is not valid yet"),
    10: ("certificate_expired", "its certificate has expired"),
    62: ("certificate_name", "its certificate is for another name"),
    64: ("certificate_name", "its certificate is for another address"),
}
# OpenSSL's reasons where an answer is no TLS record, such as one in plain HTTP.
_NO_TLS = ("HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "WRONG_VERSION_NUMBER")

# mitmweb's event log keeps debug records, and theirs hold requests and tokens.
for _name in ("authlib", "requests"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Network:
    """What all environments share: kept connections, and turns.

    A connection that nobody has used for `kept_for` seconds is closed.
    """

    def __init__(self, connections: Connections | None = None, *, kept_for: float = KEPT_FOR) -> None:
        self.connections = connections or Connections()
        self.kept_for = kept_for
        self.turns = Turns(AT_ONCE, AT_ONCE_WITH_ONE)


class AuthorizationServer:
    """An authorization server.

    `certificate` is the client's: its certificate with the chain, and its private key, both in PEM form.
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
        """Run a blocking function that makes some exchanges, within the transport's timeout.

        Raises NoToken, which names the URL `about`, and what the function raises. The timeout counts from `began`, in
        the event loop's time, or from now.
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
            if current.dials_proxy:
                reason = f"{without_query(about)} cannot be reached through the proxy (no connection to it in time)"
                raise NoToken("proxy_unreachable", reason) from None
            what = (
                f"{without_query(about)} did not answer"
                if has_turn
                else "too many token requests at once: this one did not start"
            )
            raise NoToken("timeout", f"{what} within {seconds:.0f} s") from None
        finally:
            # Weak, so that the connections of a short use, such as a checkup, end with it.
            loop.call_later(self._network.kept_for, _close_kept, weakref.ref(connections), connections.last_kept)


class Conversation:
    """Exchanges, one after the other, in one thread. Another thread can abort them."""

    def __init__(self, transport: Transport, certificate: tuple[str, str] | None, connections: Connections) -> None:
        self._transport = transport
        self._certificate = certificate
        self._connections = connections
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        """While an exchange runs, a second descriptor of its socket: during a handshake TLS hides the first one."""
        self._aborted = False
        self.dials_proxy = False
        """It is connecting to the proxy."""

    def get(self, url: str) -> Answer:
        """Send a GET. Raises NoToken where no answer comes."""
        return self._exchange("GET", url, {}, None)

    def post(self, url: str, headers: Mapping[str, str], form: str) -> Answer:
        """Send a form. Raises NoToken where no answer comes."""
        return self._exchange("POST", url, {"Content-Type": "application/x-www-form-urlencoded", **headers}, form)

    def send(self, url: str, message: Message) -> Answer:
        """Send any request. Raises NoToken where no answer comes."""
        method, headers, body = message
        return self._exchange(method, url, headers, body)

    def head(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        """Send a request without a body, and read what comes before the answer's. Raises NoToken."""
        return self._exchange(method, url, {"Accept": "*/*", **headers}, None, reads_body=False)

    def abort(self) -> None:
        """End the exchange. Shutting down its socket makes a read that blocks return."""
        with self._lock:
            self._aborted = True
            self._shut_down()

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: str | None, *, reads_body: bool = True
    ) -> Answer:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # else a small answer could inflate to a large one
            "User-Agent": f"mitmproxy-credential-injector/{__version__}",
            **headers,
        }
        through = ""
        try:
            parts = parse_url(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            target = Target(
                parts.scheme or "", (parts.host or "").strip("[]"), port, self._transport, self._certificate
            )
            through = " through the proxy" if target.proxy else ""
            ask = partial(self._answer, target, requests.Request(method, url, headers, data=body), reads_body)
            if (kept := self._connections.take(target)) is not None:
                try:
                    return ask(kept)
                except requests.ConnectionError as error:
                    # The server closed it just when it was used again (RFC 9112 section 9.3.1): use a new one.
                    if self._aborted or not isinstance(error.args[0], ConnectionError | ssl.SSLError):
                        raise
            return ask(self._connections.open(target, partial(self._dial, proxy=bool(target.proxy))))
        # All that requests raises is an OSError.
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            code, cause = _cause(error)
            raise NoToken(code, f"{without_query(url)} cannot be reached{through} ({cause})") from None
        finally:
            self._watch(None)

    def _answer(
        self, target: Target, request: requests.Request, reads_body: bool, connection: HTTPConnection
    ) -> Answer:
        """Raises requests.ConnectionError before an answer begins, and what urllib3 raises from then on."""
        ended = False
        try:
            self._watch(connection.sock)
            with _session(connection) as session:
                prepared = session.prepare_request(request)
                with session.send(prepared, stream=True, allow_redirects=False) as response:
                    content = b""
                    if not reads_body:
                        return Answer(response.status_code, response.headers, content)
                    for chunk in response.raw.stream(64 * 1024, decode_content=False):
                        content += chunk
                        if len(content) > LARGEST_ANSWER:
                            most = f"{LARGEST_ANSWER >> 20} MiB"
                            raise NoToken("invalid_response", f"{without_query(request.url)} answered more than {most}")
            ended = True
            return Answer(response.status_code, response.headers, content, _cookies(response))
        finally:
            self._watch(None)
            if ended and connection.sock is not None:
                self._connections.keep(target, connection)
            else:
                connection.close()

    def _dial(self, host: str, port: int, *, proxy: bool) -> socket.socket:
        self.dials_proxy = proxy
        sock = connect(host, port, lambda: self._aborted)
        self.dials_proxy = False
        sock.settimeout(self._transport.timeout)
        self._watch(sock)
        return sock

    def _watch(self, sock: socket.socket | None) -> None:
        """Let `abort` shut down this socket, and no longer the last one, which another conversation may use by now."""
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


def _cookies(response: requests.Response) -> tuple[str, ...]:
    """Each Set-Cookie header: joined with commas, as requests has them, they cannot be told apart."""
    return tuple(response.raw.headers.getlist("Set-Cookie"))


def _session(connection: HTTPConnection) -> requests.Session:
    """A session of requests that uses this connection."""
    session = requests.Session()
    # requests reads the whole body of a redirect, however long, even where it is told to follow none.
    session.get_redirect_target = lambda _: None  # type: ignore[assignment]
    session.trust_env = False  # no .netrc, and no proxy of the environment, which may be this mitmproxy
    session.headers.clear()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(connection))
    return session


class _Adapter(HTTPAdapter):
    """A urllib3 pool of one connection, which is connected already: requests takes its connections from pools."""

    def __init__(self, connection: HTTPConnection) -> None:
        super().__init__()
        self._connection = connection

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Any:
        return self

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """The server was verified when the connection was made."""

    def urlopen(self, method: str, url: str, body: Any, headers: Mapping[str, str], **_: Any) -> Any:
        """As of urllib3's pool."""
        self._connection.request(method, url, body, headers, preload_content=False, decode_content=False)
        return self._connection.getresponse()


def _close_kept(connections: "weakref.ref[Connections]", last: int) -> None:
    if (still_there := connections()) is not None:
        still_there.close(last)


def _cause(error: BaseException) -> tuple[str, str]:
    """NoToken's code, and what the operating system or TLS said. The libraries' own messages repeat URLs."""
    if isinstance(error, ProxyUnreachable):
        return "proxy_unreachable", f"no connection to it: {_cause(error.__cause__ or OSError())[1]}"
    seen: BaseException | None = error
    cause = type(error).__name__
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            untrusted = "untrusted", f"its certificate is not trusted: {seen.verify_message}"
            return _BAD_CERTIFICATES.get(seen.verify_code, untrusted)
        if isinstance(seen, ssl.SSLError):
            plain = seen.reason in _NO_TLS
            return "unreachable", "it does not speak TLS on this port" if plain else "the TLS handshake failed"
        if isinstance(seen, OSError) and seen.strerror:
            cause = seen.strerror
        if refused := TUNNEL_REFUSED.match(str(seen)):
            return "proxy_refused", f"it answered {refused[1]}"
        inner = seen.__cause__ or seen.__context__ or next((a for a in seen.args if isinstance(a, Exception)), None)
        seen = inner or getattr(seen, "reason", None)
        if not isinstance(seen, BaseException):
            break
    return "unreachable", cause

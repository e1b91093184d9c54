"""An authorization server and an API that bind tokens to keys (RFC 9449), and verify each proof with Authlib."""

import base64
import hashlib
import json
import ssl
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its successor joserfc is not there with Python 3.11
    from authlib.jose import JsonWebKey, JsonWebToken

_JWT = JsonWebToken(["ES256"])


class DpopApi(ThreadingHTTPServer):
    """It verifies the token first, and tells its nonce only to who has a good one.

    A nonce serves `uses` requests. `calls` counts those to the API, `refused` has why one was refused, but for nonces.
    """

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None, *, uses: int = 1_000_000) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tls, self.uses = tls, uses
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.bound: dict[str, str] = {}
        """The thumbprint of the key to which each token is bound."""
        self.calls = self.token_requests = self.rotations = self._used = 0
        self.is_mute = False
        """It wants a nonce, and says none."""
        self.refused: list[str] = []
        self.accepted: list[tuple[str, str]] = []
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http{'' if self.tls is None else 's'}://127.0.0.1:{self.server_port}"

    @property
    def nonce(self) -> str:
        return f"nonce-{self.rotations}"

    def __enter__(self) -> "DpopApi":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def issued(self, headers: dict[str, str]) -> tuple[int, dict[str, str], dict[str, Any]]:
        """The answer to a token request."""
        claims, thumbprint = self._verified("POST", "/token", headers)
        if claims.get("nonce") != "of the authorization server":
            return 400, {"DPoP-Nonce": "of the authorization server"}, {"error": "use_dpop_nonce"}
        with self._lock:
            self.token_requests += 1
            token = f"canary-token-{self.token_requests}"
            self.bound[token] = thumbprint
        return 200, {}, {"access_token": token, "token_type": "DPoP", "expires_in": 3600}

    def answered(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], dict[str, Any]]:
        """The answer to a call."""
        self.calls += 1
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme != "DPoP" or token not in self.bound:
            return 401, {"WWW-Authenticate": 'DPoP error="invalid_token"'}, {}
        try:
            claims, thumbprint = self._verified(method, target, headers)
            ath = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).decode().rstrip("=")
            if (claims.get("ath"), thumbprint) != (ath, self.bound[token]):
                raise ValueError("another token or key")
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it
            self.refused.append(f"{method} {target}: {type(error).__name__}: {error}")
            return 401, {"WWW-Authenticate": 'DPoP error="invalid_dpop_proof"'}, {}
        with self._lock:
            if self.is_mute or claims.get("nonce") != self.nonce:
                nonce = {} if self.is_mute else {"DPoP-Nonce": self.nonce}
                return 401, {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', **nonce}, {}
            self._used += 1
            if self._used % self.uses == 0:
                self.rotations += 1
        self.accepted.append((method, target))
        return 200, {}, {"method": method, "target": target}

    def _verified(self, method: str, target: str, headers: dict[str, str]) -> tuple[dict[str, Any], str]:
        """Claims of a proof (RFC 9449 section 4.3), and the thumbprint of its key. Raises if it is none."""
        proof = headers["dpop"]
        first = proof.partition(".")[0]
        header = json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
        key: Any = JsonWebKey.import_key(header["jwk"])
        if header["typ"] != "dpop+jwt" or "d" in header["jwk"]:
            raise ValueError("header")
        claims = dict(_JWT.decode(proof, key))
        origin = f"{self.url.partition(':')[0]}://{headers['host']}"
        if (claims["htm"], claims["htu"]) != (method, origin + target.partition("?")[0]):
            raise ValueError(f"for {claims['htm']} {claims['htu']}")
        if abs(claims["iat"] - time.time()) > 60:
            raise ValueError("time")
        with self._lock:
            if claims["jti"] in self._seen:
                raise ValueError("seen before")
            self._seen.add(claims["jti"])
        return claims, str(key.thumbprint())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: DpopApi

    def _answer(self) -> None:
        headers = {name.lower(): ", ".join(self.headers.get_all(name, [])) for name in self.headers}
        if "transfer-encoding" in headers:
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        self.rfile.read(int(headers.get("content-length", 0)))
        if self.path == "/token":
            status, more, said = self.server.issued(headers)
        else:
            status, more, said = self.server.answered(self.command, self.path, headers)
        content = json.dumps(said).encode()
        if self.path.startswith("/events"):
            more = {**more, "Content-Type": "text/event-stream"}
        self.send_response(status)
        for name, value in {**more, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - names of the base class

    def log_message(self, *_: Any) -> None:
        pass

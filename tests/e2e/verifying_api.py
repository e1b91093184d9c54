"""An authorization server that issues JWTs, and an API that verifies them with Authlib (RFC 9068 section 4)."""

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import flask

from tests.certificates import KEYS, pem_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its successor joserfc is not there with Python 3.11
    from authlib.jose import JsonWebToken
    from authlib.jose.errors import JoseError

ISSUER, AUDIENCE = "https://login.example.com", "https://orders.example.com"
_JWT = JsonWebToken(["ES256"])


class VerifyingApi:
    """`claims` are those of the next token. `url` is the origin of both servers."""

    def __init__(self) -> None:
        self.url = ""
        self.claims: dict[str, Any] = {}
        self.ahead = 0.0
        """Seconds by which the API's clock is ahead."""
        self.app = flask.Flask("verifying API")
        self._key = pem_of(KEYS["P-256"]())

        @self.app.post("/token")
        def token() -> Any:
            return flask.jsonify(access_token=self.signed(**self.claims), token_type="Bearer", expires_in=3600)

        @self.app.get("/dpop")
        def dpop() -> Any:
            return refused(401, 'DPoP algs="ES256", error="invalid_token"')

        @self.app.get("/step-up")
        def step_up() -> Any:
            return refused(401, 'Bearer error="insufficient_user_authentication", acr_values="urn:mfa", max_age=300')

        @self.app.get("/basic")
        def basic() -> Any:
            return refused(401, 'Basic realm="orders"')

        @self.app.get("/page")
        def page() -> Any:
            return flask.redirect("/users/sign-in?next=/page")

        @self.app.get("/<name>")
        def resource(name: str) -> Any:
            if "Authorization" not in flask.request.headers:  # no error code then (RFC 6750 section 3.1)
                return refused(401, 'Bearer realm="orders"')
            try:
                claims = self._verified(flask.request.headers.get("Authorization", "").removeprefix("Bearer "))
            except JoseError as error:
                return refused(401, f'Bearer error="invalid_token", error_description="{error}"')
            if name not in claims.get("scope", "").split():
                return refused(403, f'Bearer error="insufficient_scope", scope="{name}"')
            return flask.jsonify(claims)

        def refused(status: int, challenge: str) -> Any:
            date = formatdate(time.time() + self.ahead, usegmt=True)
            return flask.Response("", status, {"WWW-Authenticate": challenge, "Date": date})

    def signed(self, *, key: str = "", **claims: Any) -> str:
        """A token that the API takes, but for these claims and maybe another key (PEM)."""
        now = int(time.time())
        usual = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 3600, "scope": "read"}
        return str(_JWT.encode({"alg": "ES256"}, {**usual, **claims}, key or self._key), "ascii")

    def _verified(self, token: str) -> Any:
        rules = {"iss": {"essential": True, "value": ISSUER}, "aud": {"essential": True, "value": AUDIENCE}}
        claims = _JWT.decode(token, self._key, claims_options=rules)
        claims.validate(now=int(time.time() + self.ahead))
        return claims


class _Server(ThreadingMixIn, WSGIServer):
    """The standard library's: with the demonstration's, a clock of one's own would be a second Date header."""

    daemon_threads = True
    block_on_close = False


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def running() -> Iterator[VerifyingApi]:
    api = VerifyingApi()
    with make_server("127.0.0.1", 0, api.app, _Server, _Quiet) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()

"""The embedded authorization server (Authlib's, on Flask) and an API that accepts its tokens."""

import secrets
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector, current_token
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc6750 import BearerTokenGenerator, BearerTokenValidator
from flask import Flask, jsonify, request
from werkzeug.serving import WSGIRequestHandler, make_server


class Client(ClientMixin):
    """A confidential client (RFC 6749 section 2.1)."""

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        *,
        scope: str = "read write",
        grant_types: Collection[str] = ("client_credentials",),
    ) -> None:
        self.client_id = client_id
        self.client_secret = client_secret
        self.scope = scope
        self.grant_types = grant_types

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: Collection[str] | str) -> str:
        asked = scope.split() if isinstance(scope, str) else scope or ()
        return " ".join(item for item in asked if item in self.scope.split())

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(self.client_secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return endpoint == "token" and method in ("client_secret_post", "client_secret_basic")

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grant_types


class Token(TokenMixin):
    """An issued token."""

    def __init__(self, answer: dict[str, Any], client: Client) -> None:
        self.scope = str(answer.get("scope", ""))
        self.client = client
        self.expires_in = int(answer["expires_in"])
        self.expires_at = time.time() + self.expires_in
        self.revoked: bool = False

    def check_client(self, client: Client) -> bool:
        return client is self.client

    def get_scope(self) -> str:
        return self.scope

    def get_expires_in(self) -> int:
        return self.expires_in

    def is_expired(self) -> bool:
        return bool(time.time() > self.expires_at)

    def is_revoked(self) -> bool:
        return self.revoked

    def get_client(self) -> Client:
        return self.client

    def get_user(self) -> None:
        return None


class DemoAuthorizationServer:
    """Checks the client's credentials, issues short tokens, and counts.

    `token_requests` holds the form of each one, without the secret. `status`, where it is set, is all that it answers.
    `lifetime` is that of the next token, in seconds. `grants` are further ones, in Authlib's form.
    """

    def __init__(self, clients: Iterable[Client], *, lifetime: int = 300, grants: Iterable[Any] = ()) -> None:
        self.tokens: dict[str, Token] = {}
        self.token_requests: list[dict[str, Any]] = []
        self.status: int | None = None
        self.clients = {client.client_id: client for client in clients}
        self.app = Flask("authorization server")
        self.lifetime = lifetime
        server = AuthorizationServer(self.app, query_client=self.clients.get, save_token=self._save)
        for grant in (_ClientCredentials, *grants):
            server.register_grant(grant)
        generator = BearerTokenGenerator(
            lambda *_, **__: secrets.token_urlsafe(30), expires_generator=lambda *_: self.lifetime
        )
        server.register_token_generator("default", generator)

        @self.app.post("/oauth2/v2.0/token")
        def token() -> Any:
            form = request.form.to_dict(flat=False)
            form.pop("client_secret", None)
            self.token_requests.append(
                {**form, "authorization": request.headers.get("Authorization", "").split(" ")[0]}
            )
            return server.create_token_response() if self.status is None else ("", self.status)

        # Authlib refuses plain http. These servers only ever listen on loopback, where RFC 8252 section 8.3 allows it.
        self.app.wsgi_app = _as_https(self.app.wsgi_app)  # type: ignore[method-assign]

    def _save(self, token: dict[str, Any], oauth_request: Any) -> None:
        self.tokens[token["access_token"]] = Token(token, oauth_request.client)


class _ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class ProtectedApi:
    """Answers 401 without a valid token. `received` holds each request as it arrived, `statuses` counts the answers."""

    def __init__(self, authorization_server: DemoAuthorizationServer) -> None:
        self.received: list[tuple[str, list[tuple[str, str]]]] = []
        self.statuses: Counter[int] = Counter()
        self.go_on = threading.Event()
        """Lets the answers to /slow go out."""
        self.app = Flask("protected API")
        protector = ResourceProtector()
        protector.register_token_validator(_Validator(authorization_server))

        @self.app.before_request
        def receive() -> None:
            line = f"{request.method} {request.full_path.removesuffix('?')} {request.environ['SERVER_PROTOCOL']}"
            self.received.append((line, list(request.headers.items())))

        @self.app.after_request
        def count(response: Any) -> Any:
            self.statuses[response.status_code] += 1
            return response

        @self.app.route("/open", methods=["GET", "POST"])
        def without_protection() -> Any:
            return jsonify(authorization=request.headers.get("Authorization"))

        @self.app.route("/always/<int:status>", methods=["GET", "POST"])
        def always(status: int) -> Any:
            error = "insufficient_scope" if request.query_string == b"insufficient_scope" else "invalid_token"
            padding = "x" * 1_000_000 if request.query_string == b"large" else ""
            return jsonify(error=error, padding=padding), status, {"WWW-Authenticate": f'Bearer error="{error}"'}

        @self.app.get("/slow")
        def slow() -> Any:
            known = authorization_server.tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
            if known is None or known.revoked:
                return "", 401
            self.go_on.wait(timeout=30)
            return "at last"

        @self.app.get("/large")
        @protector()  # type: ignore[untyped-decorator]
        def large() -> Any:
            return "x" * 1_000_000

        @self.app.route("/", defaults={"path": ""}, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
        @self.app.route("/<path:path>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
        @protector()  # type: ignore[untyped-decorator]
        def resource(path: str) -> Any:
            body = request.get_data()
            token = cast(Token, current_token)
            return jsonify(path=f"/{path}", client_id=token.client.client_id, bytes=len(body))

        _add_stock(self.app, protector)


def _add_stock(app: Flask, protector: ResourceProtector) -> None:
    """A resource that wants a scope of its own."""

    @app.post("/stock/<path:path>")
    @protector()  # type: ignore[untyped-decorator]
    def stock(path: str) -> Any:
        if "write" in cast(Token, current_token).get_scope().split():
            return jsonify(path=f"/stock/{path}")
        challenge = 'Bearer error="insufficient_scope", scope="write"'  # RFC 6750 section 3.1
        return jsonify(error="insufficient_scope"), 403, {"WWW-Authenticate": challenge}


class _Validator(BearerTokenValidator):
    def __init__(self, authorization_server: DemoAuthorizationServer) -> None:
        super().__init__()
        self._server = authorization_server

    def authenticate_token(self, token_string: str) -> Token | None:
        return self._server.tokens.get(token_string)


def _as_https(app: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(environ: dict[str, Any], start_response: Any) -> Any:
        return app({**environ, "wsgi.url_scheme": "https"}, start_response)

    return wrapped


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's own name
        pass


@contextmanager
def serve(app: Any, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[str]:
    """Serve a WSGI application on a loopback port (0: on a free one). Yields its origin."""
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet, ssl_context=tls)
    server.daemon_threads = True  # type: ignore[attr-defined]  # an idle keep-alive connection must not hold up the end
    server.block_on_close = False  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""An authorization server that replaces refresh tokens, with its API on the same origin."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from flask import Flask, Response, jsonify, request

from credential_injector.demo.servers import serve

TOKEN_PATH = "/connect/token"


@dataclass
class Issuer:
    """What it saw and what it does."""

    origin: str = ""
    lifetime: int = 300
    """Seconds of the next token."""
    grace: float = 0.0
    """Seconds for which a refresh token that has been used is taken once more."""
    may_answer: Event = field(default_factory=Event)
    """Lets the answers to token requests go out; a refresh token counts as used before."""
    credentials: list[str | None] = field(default_factory=list)
    """The Authorization header of each token request."""
    shown: list[str] = field(default_factory=list)
    """The refresh token of each one that showed any."""
    refused: list[str] = field(default_factory=list)
    """Those that had been used before; the login ends with the first."""
    tokens: set[str] = field(default_factory=set)
    _used_at: dict[str, float] = field(default_factory=dict)
    _numbers: Any = field(default_factory=itertools.count)

    @property
    def env(self) -> list[str]:
        """The lines of an environment file that names it as ISSUER."""
        return [f"HOST={self.origin}", f"ISSUER={self.origin}", "SCOPE="]

    def answer(self) -> Response:
        self.credentials.append(request.headers.get("Authorization"))
        refresh_token = request.form.get("refresh_token", "")
        if refresh_token:
            self.shown.append(refresh_token)
            now = time.monotonic()
            if self.refused or now > self._used_at.setdefault(refresh_token, now) + self.grace:
                self.refused.append(refresh_token)
        self.may_answer.wait(timeout=60)
        if self.refused:
            return Response('{"error": "invalid_grant"}', 400, mimetype="application/json")
        token = f"token-{next(self._numbers)}"
        self.tokens.add(token)
        said: dict[str, object] = {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime}
        if refresh_token:
            said["refresh_token"] = f"refresh-{next(self._numbers)}"
        return jsonify(said)


@contextmanager
def issuer() -> Iterator[Issuer]:
    """One, until the block ends."""
    one = Issuer()
    one.may_answer.set()
    app = Flask("issuer")

    @app.get("/.well-known/oauth-authorization-server")
    def metadata() -> Any:
        return jsonify(
            issuer=one.origin,
            token_endpoint=one.origin + TOKEN_PATH,
            token_endpoint_auth_methods_supported=["client_secret_post"],
            mtls_endpoint_aliases={"token_endpoint": f"{one.origin}/mtls/token"},
        )

    @app.post(TOKEN_PATH)
    def token() -> Response:
        return one.answer()

    @app.post("/mtls/token")
    def alias() -> Response:
        return one.answer()

    @app.get("/orders")
    def orders() -> Response:
        known = request.headers.get("Authorization", "").removeprefix("Bearer ") in one.tokens
        return Response(status=200 if known else 401)

    with serve(app) as origin:
        one.origin = origin
        try:
            yield one
        finally:
            one.may_answer.set()

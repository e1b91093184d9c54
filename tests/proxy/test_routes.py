"""The environments in use: how they stand, as values."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from credential_injector import status_lines
from credential_injector.environments.folder import open_folder
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.origins.index import Destination
from credential_injector.origins.origin import DEFAULT_PORTS
from credential_injector.proxy.routes import Routes
from credential_injector.status import Counts, FailureStatus
from credential_injector.tokens.provider import Provider

SECRET = "canary-secret"


async def token(asked_at: float, refresh_token: str = "") -> AccessToken:
    return AccessToken("canary-token", asked_at, asked_at + 3600)


async def refused(asked_at: float, refresh_token: str = "") -> AccessToken:
    raise NoToken("invalid_scope", "it answered 400", lasting=True)


def loaded(folder: Path, asks: Any, *lines: str) -> Routes:
    async def open_endpoint(request: TokenRequest, transport: Transport) -> Any:
        return SimpleNamespace(published=(), token=asks)

    text = "\n".join(["HOST=https://api.example.com, *.example.org", *lines, ""])
    (folder / "qa.env").write_text(text)
    routes = Routes(Provider(open_endpoint=open_endpoint))
    routes.load(open_folder(str(folder), []), None)
    return routes


CLIENT = (
    "CLIENT_ID=me",
    f"CLIENT_SECRET={SECRET}",
    "SCOPE=read write",
    "TOKEN_ENDPOINT=https://login.example.com/token",
)


async def test_no_token_yet(tmp_path: Path) -> None:
    """An environment that nobody has used has neither a token nor a failure."""
    (one,) = loaded(tmp_path, token, *CLIENT).status().environments
    assert (one.name, one.file) == ("qa", f"{tmp_path}/qa.env")
    assert one.origins == ("https://api.example.com", "https://*.example.org")
    assert (one.grant_type, one.scope) == ("client_credentials", "read write")
    assert (one.token, one.failure, one.counts) == (None, None, Counts())


async def test_token(tmp_path: Path) -> None:
    """A token is told by its fingerprint, its source and its times, and by nothing of itself."""
    routes = loaded(tmp_path, token, *CLIENT)
    route = routes.named("qa")
    assert route is not None
    served = await route.source.token()
    (one,) = routes.status().environments
    assert one.token is not None
    assert (one.token.fingerprint, one.token.source) == (served.token.fingerprint, "fetched")
    assert (one.token.issued_at, one.token.expires_at) == (served.token.issued_at, served.token.issued_at + 3600)
    assert one.counts == Counts(token_requests=1)
    assert one.counts is not route.counts
    assert "canary" not in json.dumps(asdict(routes.status()))


async def test_failure(tmp_path: Path) -> None:
    """A failure is told by its code, with what to do and when the next try comes."""
    routes = loaded(tmp_path, refused, *CLIENT)
    route = routes.named("qa")
    assert route is not None
    with pytest.raises(NoToken):
        await route.source.token()
    (one,) = routes.status().environments
    assert one.failure is not None
    assert 59 < one.failure.next_try <= 60
    advice = f"check SCOPE in {tmp_path}/qa.env"
    assert one.failure == FailureStatus(
        "invalid_scope", "it answered 400", advice, one.failure.next_try, one.failure.at
    )
    assert one.failure.at == pytest.approx(time.time(), abs=60)
    (line,) = status_lines.overview(routes.status())
    at = time.strftime("%H:%M:%S on %d %b", time.localtime(one.failure.at))
    assert f"no token (invalid_scope) at {at}: it answered 400; {advice}; next try in 60 s" in line


async def test_fixed(tmp_path: Path) -> None:
    """A credential taken from the file has no end, which JSON can say, and no fingerprint, by which to guess it."""
    routes = loaded(tmp_path, token, "GRANT_TYPE=static", f"VALUE={SECRET}")
    route = routes.named("qa")
    assert route is not None
    await route.source.token()
    (one,) = routes.status().environments
    assert one.token is not None
    assert (one.token.fingerprint, one.token.expires_at, one.token.seconds_left) == (None, None, None)
    assert "Infinity" not in json.dumps(asdict(one))
    assert "static credential" in status_lines.status(one)


async def test_mistakes(tmp_path: Path) -> None:
    """Mistakes in changed files are told beside the environments that stay in use."""
    routes = loaded(tmp_path, token, *CLIENT)
    (tmp_path / "qa.env").write_text("HOST=ftp://x\n")
    await routes.read_again()
    now = routes.status()
    assert [one.name for one in now.environments] == ["qa"]
    assert now.mistakes
    assert all(mistake.startswith(f"{tmp_path}/qa.env: ") for mistake in now.mistakes)
    assert [f"not in use: {mistake}" for mistake in now.mistakes] == status_lines.overview(now)[1:]


@pytest.mark.parametrize(
    ("url", "nearest"),
    [
        ("http://localhost:3001/", "web"),  # its scheme differs, and it is nobody else's port
        ("http://127.0.0.1:3001/", "web"),
        ("http://localhost:3003/", "orders"),
        ("http://127.0.0.1:3002/v1", "orders"),
        ("http://localhost:3004/v3", "users"),
        ("https://api.example.com:8443/", "secure"),
        ("http://api.example.com/", "secure"),
        ("http://api.example.com:8081/", "plain"),
        ("gopher://api.example.com:8080/", "plain"),
        ("http://other.example.com/", None),
    ],
)
async def test_nearest(tmp_path: Path, url: str, nearest: str | None) -> None:
    """Of several environments on one host, that comes nearest which differs least; the port tells most."""
    hosts = {
        "orders": "http://127.0.0.1:3002/v2, http://localhost:3002",
        "plain": "http://api.example.com:8080",
        "secure": "https://api.example.com",
        "users": "http://127.0.0.1:3004",
        "web": "https://localhost:3001",
    }
    for name, host in hosts.items():
        (tmp_path / f"{name}.env").write_text(f"HOST={host}\nGRANT_TYPE=static\nVALUE=canary\n")
        (tmp_path / f"{name}.env").chmod(0o600)
    routes = Routes()
    routes.load(open_folder(str(tmp_path), []), None)
    parts = urlsplit(url)
    route = routes.nearest(
        Destination(parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme], parts.path)
    )
    assert (route.environment.name if route is not None else None) == nearest

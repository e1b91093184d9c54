"""Both servers of the demonstration, with the environment files that fit them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from credential_injector.demo.servers import Client, DemoAuthorizationServer, ProtectedApi, serve

CLIENT_ID, CLIENT_SECRET = "demo-client", "demo-secret"
LIFETIME = 60  # seconds that a token lives
TIMEOUT = 20.0  # seconds for a request; the first one may wait for a token


class DemoFailure(Exception):
    """Something is not as it should be; the text says what."""


@dataclass
class Stage:
    """Both servers, and a folder in which mitmproxy runs."""

    authorization_server: DemoAuthorizationServer
    token_endpoint: str
    api: ProtectedApi
    api_origin: str
    folder: Path

    @property
    def env_file(self) -> Path:
        """Of the environment `demo`."""
        return self.folder / "envs" / "demo.env"

    def write_env(self, name: str, host: str, *lines: str, secret: str = CLIENT_SECRET) -> None:
        """Write the file of an environment whose tokens come from the authorization server."""
        file = self.env_file.with_name(f"{name}.env")
        file.parent.mkdir(mode=0o700, exist_ok=True)
        given = (f"HOST={host}", f"TOKEN_ENDPOINT={self.token_endpoint}", f"CLIENT_ID={CLIENT_ID}")
        file.write_text("\n".join([*given, f"CLIENT_SECRET={secret}", *lines, ""]))
        file.chmod(0o600)


@contextmanager
def set_stage(token_port: int = 0, api_port: int = 0) -> Iterator[Stage]:
    """Start both servers, on these ports (0: on a free one); the environment is called `demo`."""
    authorization_server = DemoAuthorizationServer([Client(CLIENT_ID, CLIENT_SECRET)], lifetime=LIFETIME)
    api = ProtectedApi(authorization_server)
    with (
        serve(authorization_server.app, port=token_port) as token_origin,
        serve(api.app, port=api_port) as api_origin,
        tempfile.TemporaryDirectory(prefix="credential-injector-") as folder,
    ):
        stage = Stage(authorization_server, f"{token_origin}/oauth2/v2.0/token", api, api_origin, Path(folder))
        stage.write_env("demo", api_origin, "SCOPE=read")
        yield stage


def any_client(proxy: str | None = None) -> requests.Session:
    """An HTTP client that knows nothing of tokens."""
    session = requests.Session()
    session.trust_env = False
    if proxy is not None:
        session.proxies = {"http": proxy}
    return session

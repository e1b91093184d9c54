"""npm's oidc-provider, a certified authorization server, with an API; see node/authorization_server.mjs."""

import base64
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from credential_injector.oauth import pem
from tests.certificates import KEYS, pem_of, self_signed
from tests.conftest import node_package, tool

NODE = Path(__file__).with_name("node")
SECRET = "canary-secret-of-at-least-32-characters"
STRANGE = 'p@ss:w%rd +&=/"~'


@dataclass(frozen=True)
class OidcProvider:
    issuer: str
    tls: str
    """The same over TLS, for clients that show a certificate."""
    api: str
    keys: dict[str, str] = field(repr=False)
    """The private keys (PEM) of the clients that are named after an algorithm of signatures."""
    self_signed: tuple[str, str] = field(repr=False)
    """The certificate and the key of the client `self-signed`."""
    earlier: Mapping[str, int] = field(default_factory=dict)
    """The figures of before."""

    def stats(self) -> dict[str, int]:
        figures: dict[str, int] = requests.get(f"{self.api}/stats", timeout=10).json()
        return {name: figure - self.earlier.get(name, 0) for name, figure in figures.items()}

    def refresh_token(self) -> str:
        """A refresh token of the client `refresh`, as somebody who logs in gets it."""
        return str(requests.get(f"{self.api}/refresh_token", timeout=10).json()["refresh_token"])

    def end_access_tokens(self) -> None:
        """The API refuses those that are out from now on; refresh tokens stay."""
        assert requests.get(f"{self.api}/end_access_tokens", timeout=10).json()["ended"] > 0


@contextmanager
def running(ca: Path, server: Path) -> Iterator[OidcProvider]:
    node = tool("node", package="nodejs")
    node_package("oidc-provider")
    private = {kind: pem_of(make()) for kind, make in KEYS.items()}
    by_algorithm = {algorithm: key for key in private.values() for algorithm in pem.algorithms(key)}
    own = self_signed("self-signed")
    jwks = {algorithm: public(key, alg=algorithm) for algorithm, key in by_algorithm.items()}
    der = x509.load_pem_x509_certificate(own[0].encode()).public_bytes(Encoding.DER)
    jwks["self-signed"] = public(own[1], x5c=[base64.b64encode(der).decode()])
    process = subprocess.Popen(
        [node, "authorization_server.mjs"],
        cwd=NODE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # oidc-provider warns at length that this is a development setup
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        config = {"server": server.read_text(), "ca": ca.read_text(), "jwks": jwks}
        process.stdin.write(f"{json.dumps(config)}\n")
        process.stdin.flush()
        yield OidcProvider(**json.loads(process.stdout.readline()), keys=by_algorithm, self_signed=own)
    finally:
        process.terminate()
        process.communicate()


def public(key: str, **more: Any) -> dict[str, Any]:
    """The public part of a key, as a JSON Web Key."""
    jwk = {name: value for name, value in pem.jwk(key).items() if name in ("kty", "crv", "x", "y", "n", "e")}
    return {**jwk, "use": "sig", **more}

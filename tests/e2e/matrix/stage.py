"""Servers for all clients, and what the clients say of them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from credential_injector.demo.servers import serve
from credential_injector.launch.variables import VARIABLES
from tests.conftest import tool
from tests.e2e.conftest import Stage
from tests.e2e.matrix import driver
from tests.e2e.matrix.api import api
from tests.e2e.matrix.clients import CLIENTS, LIBRARIES, NODE, PROGRAMS, ROOT, Client, lacks

TRUST = [name for row in VARIABLES if not row.for_proxy for name in row.names if name != "PATH"]
"""The variables that make a client trust the CA."""

# A sitecustomize.py for mitmproxy and for run, which the clients do not get: for them, the name is nowhere. A script of
# mitmproxy's that gives it an address would not do: mitmproxy then takes plain http inside a CONNECT for another host.
_NAMES = """import socket
resolve = socket.getaddrinfo
def names(host, *rest, **more):
    name = host.decode() if isinstance(host, bytes) else host
    return resolve("127.0.0.1" if name == "api.qa.test" else host, *rest, **more)
socket.getaddrinfo = names
"""


@dataclass
class Column:
    """What the clients of one way said, by case."""

    said: dict[str, str]
    token_requests: int
    told: str
    """What the program that ran them said."""


@dataclass
class Matrix:
    """The servers."""

    stage: Stage
    folder: Path
    origins: Mapping[str, str]
    """By kind."""
    grpc: str
    _columns: dict[str, Column] = field(default_factory=dict)

    def column(self, way: Sequence[str], clients: Sequence[Client], without_ca: Sequence[Client]) -> Column:
        """Run these clients as one command that follows these words, once."""
        name = " ".join(way)
        if name not in self._columns:
            cases = [self._case(client, kind) for client in clients if not lacks(client) for kind in client.kinds]
            cases += [self._case(client, "https", TRUST) for client in without_ca if not lacks(client)]
            self._columns[name] = self._run(way, cases)
        return self._columns[name]

    def _run(self, way: Sequence[str], cases: list[driver.Case]) -> Column:
        number, before = len(self._columns), self.stage.token_requests
        given, written = self.folder / f"cases-{number}", self.folder / f"said-{number}"
        for turn, case in enumerate(cases):
            case["folder"] = str(self.folder / f"clients-{number}" / str(turn))
        given.write_text(json.dumps(cases))
        told = self.run([*way, sys.executable, driver.__file__, str(given), str(written)])
        assert written.exists(), told
        return Column(json.loads(written.read_text()), self.stage.token_requests - before, told)

    def run(self, words: Sequence[str]) -> str:
        """What a command says."""
        environ = {name: value for name, value in os.environ.items() if not name.lower().startswith(("pip_", "npm_"))}
        environ |= {
            "HOME": str(self.folder / "home"),
            "PYTHONPATH": os.pathsep.join([str(self.folder / "names"), str(ROOT)]),
            "PIP_CONFIG_FILE": os.devnull,
            "npm_config_globalconfig": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        done = subprocess.run(words, cwd=self.stage.folder, env=environ, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def _case(self, client: Client, kind: str, without: Sequence[str] = ()) -> driver.Case:
        origin = self.grpc if "grpc" in client.words else self.origins[kind]
        values = {
            "url": f"{origin}/orders",
            "api": origin,
            "scheme": urlsplit(origin).scheme,
            "built": f"{self.folder}",
        }
        words = list(client.words)
        for name, value in values.items():
            words = [word.replace(f"{{{name}}}", value) for word in words]
        return driver.Case(
            name=case_name(client, kind, without=bool(without)),
            words=words,
            folder="",
            without=[str(self.folder / "names"), str(ROOT), *without],
        )


def case_name(client: Client, kind: str, *, without: bool = False) -> str:
    return f"{client.name} {kind}{' without the CA' if without else ''}"


@contextmanager
def matrix(stage: Stage, certificate: Path) -> Iterator[Matrix]:
    """The servers, until the block ends. The certificate is in one file with its key."""
    folder = stage.folder.parent
    (folder / "home" / ".mitmproxy").mkdir(parents=True)
    (folder / "home" / ".mitmproxy" / "config.yaml").write_text(f"ssl_verify_upstream_trusted_ca: {stage.ca}\n")
    (folder / "names").mkdir()
    (folder / "names" / "sitecustomize.py").write_text(_NAMES)
    _build(folder)
    with ExitStack() as stack:
        http = stack.enter_context(serve(api(stage.authorization_server, folder)))
        port = http.rpartition(":")[2]
        https_port = stack.enter_context(server(tool("node", package="nodejs"), NODE / "front.mjs", certificate, port))
        origins = {
            "http": f"http://api.qa.test:{port}",
            "https": f"https://api.qa.test:{https_port}",
            "http://localhost": f"http://localhost:{port}",
            "https://127.0.0.1": f"https://127.0.0.1:{https_port}",
        }
        grpc = ""
        if LIBRARIES.exists():
            words = (CLIENTS / "python", PROGRAMS / "grpc_server.py", certificate, f"{http}/orders")
            grpc = f"https://api.qa.test:{stack.enter_context(server(*words))}"
        stage.env(",".join(filter(None, [*origins.values(), grpc])))
        yield Matrix(stage, folder, origins, grpc)


@contextmanager
def server(*words: str | Path) -> Iterator[str]:
    """A program that prints its port and serves until its input ends. Its port."""
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield str(int(process.stdout.readline()))
        process.stdin.close()


def _build(folder: Path) -> None:
    """The clients that are compiled."""
    environ = {**os.environ, "GOCACHE": str(CLIENTS.parent / "go-cache"), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    go = [str(CLIENTS / "go"), "build", "-o", str(folder / "client"), str(PROGRAMS / "client.go")]
    javac = ["javac", "-d", str(folder), str(PROGRAMS / "Client.java")]
    for words in (go, javac):
        if shutil.which(words[0]):
            subprocess.run(words, check=True, env=environ)

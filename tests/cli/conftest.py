"""The command line in its own process, as people and scripts use it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from credential_injector.demo.servers import Client, DemoAuthorizationServer, serve

SECRET = "canary-secret"
Run = Callable[..., subprocess.CompletedProcess[str]]
Server = tuple[DemoAuthorizationServer, str]
"""An authorization server, and its token endpoint."""


def start(folder: Path, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "credential_injector.cli", *arguments],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "USERPROFILE": str(folder), "PYTHONUNBUFFERED": "1", **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        with start(tmp_path, *arguments) as process:
            printed, told = process.communicate()
        assert SECRET not in printed + told
        return subprocess.CompletedProcess(arguments, process.returncode, printed, told)

    return run


@pytest.fixture
def server() -> Iterator[Server]:
    authorization_server = DemoAuthorizationServer([Client("abc", SECRET)])
    with serve(authorization_server.app) as origin:
        yield authorization_server, f"{origin}/oauth2/v2.0/token"


def env(folder: Path, name: str, endpoint: str, *lines: str, secret: str = SECRET, folder_name: str = "envs") -> Path:
    file = folder / folder_name / f"{name}.env"
    file.parent.mkdir(exist_ok=True)
    given = [f"HOST=*.{name}.example.com", f"TOKEN_ENDPOINT={endpoint}", "CLIENT_ID=abc"]
    file.write_text("\n".join([*given, f"CLIENT_SECRET={secret}", *lines, ""]))
    file.chmod(0o600)
    return file

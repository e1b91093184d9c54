"""git, curl and npm ask `credential-injector token` themselves."""

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, jsonify, request

from credential_injector.demo.servers import serve
from tests.conftest import tool
from tests.e2e.conftest import Stage

OWN = Path(sys.executable).with_name("credential-injector")


class Guarded:
    """A git server and an npm registry, as far as they are asked here. `sent` holds what came in Authorization."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.app = Flask("guarded")

        @self.app.route("/<path:path>")
        def any_path(path: str) -> Any:
            sent = request.headers.get("Authorization", "")
            if not sent:
                return "", 401, {"WWW-Authenticate": 'Basic realm="git"'}
            self.sent.append(sent)
            if path.endswith("info/refs"):
                line = b"0" * 40 + b" refs/heads/main\n"
                service = b"# service=git-upload-pack\n"
                refs = b"%04x%b0000%04x%b0000" % (len(service) + 4, service, len(line) + 4, line)
                return refs, 200, {"Content-Type": "application/x-git-upload-pack-advertisement"}
            return jsonify(
                name="pkg",
                versions={"1.0.0": {"name": "pkg", "version": "1.0.0"}},
                **{"dist-tags": {"latest": "1.0.0"}},
            )


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


def run(stage: Stage, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    variables = {"HOME": str(stage.folder), "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", **variables}
    return subprocess.run(
        words,
        cwd=stage.folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def login(sent: str) -> str:
    kind, _, value = sent.partition(" ")
    return base64.b64decode(value).decode() if kind == "Basic" else value


def test_git(stage: Stage, guarded: Guarded) -> None:
    """git gets the token for the file's host, and none for another one."""
    git, origin = tool("git", package="git"), stage.enter(serve(guarded.app))
    stage.env(origin)
    helper = f"credential.helper=!{OWN} token qa --format git --envs {stage.folder / 'envs'}"
    done = run(stage, git, "-c", helper, "ls-remote", f"{origin}/repository.git")
    assert (done.returncode, "refs/heads/main" in done.stdout) == (0, True), done.stderr
    (token,) = stage.authorization_server.tokens
    assert login(guarded.sent[-1]) in (f"oauth2:{token}", token)
    other = stage.enter(serve(Guarded().app))
    assert run(stage, git, "-c", helper, "ls-remote", f"{other}/repository.git").returncode != 0
    assert token not in done.stderr


def test_curl(stage: Stage, guarded: Guarded) -> None:
    """curl reads the lines of netrc."""
    origin = stage.enter(serve(guarded.app))
    stage.env(origin)
    netrc = run(stage, str(OWN), "token", "qa", "--format", "netrc")
    (stage.folder / "tokens.netrc").write_text(netrc.stdout)
    done = run(stage, tool("curl", package="curl"), "--netrc-file", "tokens.netrc", f"{origin}/x")
    assert done.returncode == 0
    (token,) = stage.authorization_server.tokens
    assert login(guarded.sent[0]) == f"oauth2:{token}"
    (stage.folder / "tokens.netrc").unlink()


def test_npm(stage: Stage, guarded: Guarded) -> None:
    """npm reads the line of its .npmrc."""
    npm, origin = tool("npm", package="npm"), stage.enter(serve(guarded.app))
    stage.env(origin)
    (stage.folder / "npmrc").write_text(run(stage, str(OWN), "token", "qa", "--format", "npm").stdout)
    variables = {"userconfig": str(stage.folder / "npmrc"), "cache": str(stage.folder / "cache"), "update_notifier": ""}
    settings = {f"npm_config_{name}": value for name, value in variables.items()}
    done = run(stage, npm, "view", "pkg", "version", "--registry", f"{origin}/", **settings)
    assert (done.returncode, done.stdout.strip()) == (0, "1.0.0"), done.stderr
    (token,) = stage.authorization_server.tokens
    assert guarded.sent[0] == f"Bearer {token}"
    (stage.folder / "npmrc").unlink()


def test_docker(stage: Stage) -> None:
    """docker's protocol: a server on standard input, and the exit code 1 for another one."""
    stage.env(stage.http)
    words = [str(OWN), "token", "qa", "--format", "docker", "get", "--envs", str(stage.folder / "envs")]
    right = subprocess.run(words, input=f"{stage.http}\n", capture_output=True, text=True, timeout=60, check=False)
    assert right.returncode == 0
    assert '"Username": "oauth2"' in right.stdout
    other = subprocess.run(
        words, input="https://evil.example\n", capture_output=True, text=True, timeout=60, check=False
    )
    assert (other.returncode, other.stdout) == (1, "credentials not found in native keychain\n")

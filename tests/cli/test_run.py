"""`credential-injector run`. What its command's requests get: tests/e2e/test_run.py."""

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run, env

ENDPOINT = "https://login.example.com/token"
SHOW = "import os, sys; print(os.environ['https_proxy'], os.environ.get('SSL_CERT_DIR')); sys.exit(3)"


def test_environment(run: Run, tmp_path: Path) -> None:
    """The command gets the variables; -v tells each of them and for whom it is, on standard error."""
    env(tmp_path, "qa", ENDPOINT)
    ran = run("run", "-v", "--", sys.executable, "-c", SHOW)
    assert ran.returncode == 3
    assert ran.stdout.startswith("http://127.0.0.1:")
    assert ran.stdout.endswith(" None\n")
    assert "credential-injector: qa: https://*.qa.example.com with tokens from" in ran.stderr
    assert "credential-injector: SSL_CERT_DIR is not set any more" in ran.stderr
    assert "credential-injector: no request got a token" in ran.stderr


def test_web(run: Run, tmp_path: Path) -> None:
    """With --web mitmweb's address is told."""
    env(tmp_path, "qa", ENDPOINT)
    ran = run("run", "--web", "--password", "--", sys.executable, "-c", SHOW)
    assert ran.stdout.startswith("http://run:")
    assert "credential-injector: mitmweb shows the requests: http://127.0.0.1:" in ran.stderr


def test_wrong_file(run: Run, tmp_path: Path) -> None:
    """A mistake in a file is told, and the command does not run."""
    env(tmp_path, "qa", ENDPOINT, "SCOPES=read")
    ran = run("run", "--", sys.executable, "-c", SHOW)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "qa.env" in ran.stderr
    assert "SCOPES" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "inject_mask", "--", "true"], "has no value; expected NAME=VALUE"),
        (["--proxy", "http://127.0.0.1:1", "--web", "--", "true"], "that proxy runs already"),
        (["--proxy", "http://127.0.0.1:1", "--ca", "none.pem", "--", "true"], "none.pem"),
        (["--"], "Missing argument"),
    ],
)
def test_wrong_call(run: Run, arguments: list[str], said: str) -> None:
    """One line says what is wrong."""
    ran = run("run", *arguments)
    assert ran.returncode in (1, 2)
    assert said in ran.stderr
    assert ran.stdout == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="namespaces")
def test_isolate(run: Run, tmp_path: Path) -> None:
    """Nothing leads to the proxy but the network."""
    env(tmp_path, "qa", ENDPOINT)
    script = "import os; print(sorted(name for name in os.environ if name.lower() == 'https_proxy'))"
    ran = run("run", "--isolate", "-v", "--", sys.executable, "-c", script)
    assert (ran.returncode, ran.stdout) == (0, "[]\n"), ran.stderr
    assert "SSL_CERT_FILE=" in ran.stderr

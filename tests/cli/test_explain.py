"""`credential-injector explain`."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.cli.conftest import SECRET, Run, Server, env

URL = "https://api.qa.example.com/orders"
# A script that ends the process where anything is connected, bound or resolved.
OFFLINE = """
import os, sys
sys.addaudithook(lambda event, _: event.startswith("socket.") and event != "socket.gethostname" and os._exit(77))
from credential_injector.cli.main import main
main()
"""


def test_good(run: Run, tmp_path: Path, server: Server) -> None:
    """A request that gets a token: what it gets, and each rule with what decides it. Nobody is asked for a token."""
    env(tmp_path, "qa", server[1])
    done = run("explain", f"{URL}?a=b")
    assert (done.returncode, done.stderr) == (0, "")
    first, second, *more = done.stdout.splitlines()
    assert first == f"injected: GET {URL} gets Authorization: Bearer <token> of qa (envs/qa.env)"
    assert second.endswith(": HOST=https://*.qa.example.com in envs/qa.env")
    assert {line.partition(":")[0] for line in more} == {"passed", "note"}
    assert server[0].token_requests == []


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (
            ["--method", "DELETE"],
            f"blocked: DELETE {URL} is answered with a 502: DELETE is not in METHODS=GET of envs/qa",
        ),
        (
            ["--client", "192.168.1.23"],
            f"skipped: GET {URL} goes on as the client sent it: client 192.168.1.23 is not ",
        ),
        (["--clients", ""], f"skipped: GET {URL} goes on as the client sent it: client 127.0.0.1 is not in inject_cli"),
        (
            ["--origin", "http://localhost:3000"],
            f"skipped: GET {URL} goes on as the client sent it: a page of http://l",
        ),
        (["--client", "192.168.1.23", "--clients", "192.168.1.0/24"], f"injected: GET {URL} gets Authorization"),
    ],
)
def test_options(run: Run, tmp_path: Path, words: list[str], first: str) -> None:
    """The method, the client, the page and the clients that are let in are the caller's to name."""
    env(tmp_path, "qa", "https://login.example.com/token", "METHODS=GET")
    done = run("explain", URL, *words)
    assert done.stdout.startswith(first)
    assert done.returncode == (0 if first.startswith("injected") else 1)


def test_json(run: Run, tmp_path: Path) -> None:
    """Everything is in the JSON, of which programs read the keys."""
    env(tmp_path, "qa", "https://login.example.com/token", folder_name="other")
    done = run("explain", "http://api.qa.example.com/?a=b", "--json", "--envs", "other")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told == {
        "ok": False,
        "method": "GET",
        "url": "http://api.qa.example.com/",
        "client": "127.0.0.1",
        "verdict": "skipped",
        "environment": "qa",
        "file": "other/qa.env",
        "credential": None,
        "without_token": None,
        "failed": "host",
        "cause": "HOST is https://*.qa.example.com, and this was http",
        "advice": "change the client's URL to HOST of other/qa.env",
        "steps": [
            {
                "rule": "host",
                "passed": False,
                "words": "an environment names its scheme, host, port and path",
                "key": "HOST",
                "value": None,
                "file": None,
            }
        ],
        "nearest": {
            "environment": "qa",
            "file": "other/qa.env",
            "origin": "https://*.qa.example.com",
            "differs": "scheme",
        },
        "notes": [],
    }


def test_nothing_near(run: Run, tmp_path: Path) -> None:
    """Where nothing comes near, the folder is named, and the scheme that was assumed."""
    env(tmp_path, "qa", "https://login.example.com/token")
    done = run("explain", "www.other.example")
    assert done.returncode == 1
    assert f"HOST of a file in {tmp_path / 'envs'}" in done.stdout
    assert done.stdout.splitlines()[-1] == "note: the URL names no scheme, so it is taken for https"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([f"https://me:{SECRET}@api.qa.example.com"], "the URL holds a user name or password; expected only scheme, "),
        ([URL, "--method", "G T"], "the method is malformed"),
        ([URL, "--client", "me"], "the client is no IP address"),
        ([URL, "--origin", "me"], "the origin is malformed"),
        ([URL, "--clients", "me"], "--clients: 'me' is not a network"),
        ([URL, "--envs", "nowhere"], "--envs: nowhere: no such folder"),
    ],
)
def test_wrong_call(run: Run, tmp_path: Path, words: list[str], error: str) -> None:
    """A wrong call is one line, and exit code 2."""
    env(tmp_path, "qa", "https://login.example.com/token")
    done = run("explain", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {error}")
    assert done.stderr.count("\n") == 1


def test_broken_file(run: Run, tmp_path: Path) -> None:
    """mitmproxy does not start with a broken file, so its mistakes are named instead."""
    env(tmp_path, "qa", "https://login.example.com/token")
    env(tmp_path, "uat", "https://login.example.com/token", "SCOP=read")
    done = run("explain", URL)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: envs/uat.env: SCOP: unknown key (line 5), did you mean SCOPE?\n"


def test_offline(tmp_path: Path) -> None:
    """No connection is opened and no name looked up, not even for an issuer's metadata."""
    envs = tmp_path / "envs"
    envs.mkdir()
    given = f"HOST=*.qa.example.com\nISSUER=https://localhost:1\nCLIENT_ID=abc\nCLIENT_SECRET={SECRET}\n"
    (envs / "qa.env").write_text(given)
    (envs / "qa.env").chmod(0o600)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", OFFLINE, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    explained = run("explain", URL)
    assert (explained.returncode, explained.stderr) == (0, "")
    assert "ISSUER=https://localhost:1 in envs/qa.env, as far as its token endpoint is known" in explained.stdout
    assert run("token", "qa").returncode == 77


def test_docs(run: Run, tmp_path: Path) -> None:
    """The examples in docs/command-line.md are what the command prints."""
    envs = tmp_path / "envs"
    envs.mkdir()
    given = "HOST=https://api.qa.example.com\nTOKEN_ENDPOINT=https://login.qa.example.com/oauth2/token\nMETHODS=GET\n"
    (envs / "qa.env").write_text(f"{given}CLIENT_ID=abc\nCLIENT_SECRET={SECRET}\n")
    (envs / "qa.env").chmod(0o600)
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
    examples = re.findall(
        r"^    credential-injector (explain .+)\n((?:    .+\n)+)\n", page.partition("## explain")[2], re.M
    )
    assert len(examples) == 2
    for command, printed in examples:
        assert run(*command.split()).stdout == textwrap.dedent(printed)

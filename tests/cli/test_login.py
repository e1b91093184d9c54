"""`credential-injector login`; how a person logs in is the subject of tests/tokens/test_login.py."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from credential_injector.demo.servers import serve
from tests.cli.conftest import start
from tests.tokens.test_login import DEVICE, TOKEN, Server


def env(folder: Path, *lines: str) -> None:
    (folder / "envs").mkdir()
    endpoints = "TOKEN_ENDPOINT=http://127.0.0.1:9/token\nAUTHORIZATION_ENDPOINT=https://login.example.com/authorize"
    grant = "GRANT_TYPE=authorization_code"
    (folder / "envs" / "qa.env").write_text(
        "\n".join(["HOST=https://api.example.com", "CLIENT_ID=abc", *(lines or [endpoints, grant]), ""])
    )


def test_browser(tmp_path: Path) -> None:
    """The browser is opened, and a refusal ends the command."""
    env(tmp_path)
    browser = tmp_path / "browser.py"
    browser.write_text(
        "import sys, urllib.parse as up, urllib.request as ur, urllib.error as ue\n"
        "asked = dict(up.parse_qsl(up.urlsplit(sys.argv[1]).query))\n"
        "answer = up.urlencode({'error': 'access_denied', 'state': asked['state']})\n"
        "try: ur.urlopen(asked['redirect_uri'] + '?' + answer)\n"
        "except ue.HTTPError as error: print(error.code)\n"
    )
    with start(tmp_path, "login", "qa", BROWSER=f"{sys.executable} {browser} %s") as process:
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert told.splitlines()[-1] == (
        "Error: qa: no token (access_denied): the authorization server refused the login; ask whoever runs the"
        " authorization server to allow this client"
    )


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT for one process")
def test_ctrl_c(tmp_path: Path) -> None:
    """Ctrl-C ends the wait without a traceback."""
    env(tmp_path)
    with start(tmp_path, "login", "qa", "--no-browser") as process:
        assert process.stderr is not None
        shown = [process.stderr.readline() for _ in range(3)]
        assert "code_challenge_method=S256" in shown[-1]
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert (process.returncode, told.strip()) == (1, "Error: qa: login given up; nothing was stored")


def test_wrong_grant(tmp_path: Path) -> None:
    """A grant that needs no login is a wrong call."""
    env(tmp_path, "CLIENT_SECRET=canary")
    with start(tmp_path, "login", "qa") as process:
        _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert told == (
        "Error: envs/qa.env: GRANT_TYPE=client_credentials needs no login; only authorization_code and device_code do\n"
    )


@pytest.mark.parametrize(
    ("answer", "blocked", "code", "told"),
    [
        ({**TOKEN, "refresh_token": None}, False, 0,
         "qa: the server gave no refresh token, so the login lasts for 60 min; for a longer one, SCOPE may need"
         " offline_access\n"),
        (TOKEN, True, 1, "Error: qa: the login cannot be stored ("),
    ],
)  # fmt: skip
def test_cannot(tmp_path: Path, answer: dict[str, Any], blocked: bool, code: int, told: str) -> None:
    """What a login cannot do is told."""
    if blocked:
        (tmp_path / ".mitmproxy").write_text("a file, where a folder is needed")
    with serve(Server(DEVICE, answer)) as origin:
        lines = f"DEVICE_AUTHORIZATION_ENDPOINT={origin}/device", f"TOKEN_ENDPOINT={origin}/token"
        env(tmp_path, "GRANT_TYPE=device_code", *lines)
        with start(tmp_path, "login", "qa") as process:
            printed, said = process.communicate(timeout=60)
    assert (process.returncode, printed) == (code, "" if code else "qa: logged in\n")
    assert told in said
    assert "Traceback" not in said

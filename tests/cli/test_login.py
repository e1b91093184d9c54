"""`credential-injector login`; how a person logs in is tests/tokens/test_login.py's."""

import signal
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import env, start


@pytest.mark.skipif(sys.platform == "win32", reason="no process can be interrupted from outside")
def test_given_up(tmp_path: Path) -> None:
    """Ctrl-C ends it with a line that says what was stored: nothing."""
    endpoint = "https://login.example.com/token"
    env(tmp_path, "qa", endpoint, "GRANT_TYPE=authorization_code", f"AUTHORIZATION_ENDPOINT={endpoint}")
    with start(tmp_path, "login", "qa", "--no-browser", "--tokens", "tokens.json") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("qa: log in in the browser")
        process.send_signal(signal.SIGINT)
        printed, told = process.communicate(timeout=60)
    assert (process.returncode, printed) == (1, "")
    assert told.splitlines()[-1] == "Error: qa: login given up; nothing was stored"
    assert not (tmp_path / "tokens.json").exists()

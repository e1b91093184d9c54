"""The command line beside real clients."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from credential_injector.cli.main import main
from credential_injector.demo.servers import serve
from tests.conftest import tool
from tests.e2e.conftest import Stage


@pytest.mark.parametrize("command", [[], ["token"]])
def test_curl(stage: Stage, command: list[str]) -> None:
    """The example with curl shows the token to the API alone: every user may read other users' command lines."""
    ps, _ = tool("ps", package="procps"), tool("curl", package="curl")
    received, processes = list[str](), list[str]()

    def api(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        received.append(environ.get("HTTP_AUTHORIZATION", ""))
        processes.append(subprocess.check_output([ps, "-A", "-ww", "-o", "args"], text=True))
        start_response("200 OK", [("Content-Length", "0")])
        return []

    example = re.search(
        r"^ *(.*curl .*https://.*)$", CliRunner().invoke(main, [*command, "--help"]).output, re.MULTILINE
    )
    assert example is not None
    with serve(api) as origin:
        stage.env(origin)
        line, count = re.subn(r"https://api.qa.example.com\S*", f"{origin}/orders", example[1])
        assert count == 1
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        subprocess.run(line, shell=True, cwd=stage.folder, env={**os.environ, "PATH": path}, check=True, timeout=60)
    (token,) = stage.authorization_server.tokens
    assert received == [f"Bearer {token}"]
    assert f"{origin}/orders" in processes[0]
    assert token not in processes[0]

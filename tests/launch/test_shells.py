"""Variables in the words of a shell."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest
from dotenv import dotenv_values

from credential_injector.launch.shells import SHELLS, shell_of
from tests.conftest import tool

ODD = {
    "QUOTES": 'it\'s "here" `now`',
    "DOLLAR": "$HOME ${HOME} $(id)",
    "BACKSLASH": r"C:\new\table \' \\ end\\",
    "SPACES": "  a  b ",
    "EMPTY": "",
    "HASH": "a #b",
    "PATH": "/of/ours:/usr/bin:/bin",
}
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def shown(program: str, shell: str, given: Mapping[str, str | None]) -> dict[str, str]:
    """The variables of a program that a shell starts, which has read the lines."""
    script = "\n".join(
        [*(SHELLS[shell](name, value) for name, value in given.items()), f'{sys.executable} -c "{SHOW}"']
    )
    environ = {**os.environ, "GONE": "still here"}
    ran = subprocess.run([program], input=script, env=environ, check=True, capture_output=True, text=True, timeout=60)
    assert ran.stderr == ""
    return dict(json.loads(ran.stdout))


@pytest.mark.skipif(sys.platform == "win32", reason="shells of POSIX")
@pytest.mark.parametrize(("name", "shell"), [("sh", "bash"), ("bash", "bash"), ("fish", "fish")])
def test_read_back(name: str, shell: str) -> None:
    """A real shell reads each value as it is, and what must not be set is gone."""
    found = shown(tool(name, package=name), shell, {**ODD, "GONE": None})
    assert {name: found.get(name) for name in ODD} == ODD
    assert "GONE" not in found


def test_dotenv() -> None:
    """python-dotenv reads each value as it is; what must not be set is a comment.

    But for a backslash at the end, which some of its releases take together with the quote.
    """
    values = {**ODD, "BACKSLASH": ODD["BACKSLASH"].rstrip("\\")}
    lines = [SHELLS["dotenv"](name, value) for name, value in {**values, "GONE": None}.items()]
    assert dotenv_values(stream=io.StringIO("\n".join(lines)), interpolate=False) == values


def test_powershell() -> None:
    """In single quotes PowerShell takes all as it is, but for the quote, which is doubled."""
    powershell = SHELLS["powershell"]
    assert powershell("NAME", "it's $HOME `n") == "$Env:NAME = 'it''s $HOME `n'"
    assert powershell("NAME", None) == "Remove-Item Env:NAME -ErrorAction SilentlyContinue"


@pytest.mark.parametrize(
    ("path", "windows", "expected"),
    [
        ("/bin/bash", False, "bash"),
        ("/usr/bin/zsh", False, "bash"),
        ("/usr/bin/fish", False, "fish"),
        ("/usr/bin/pwsh", False, "powershell"),
        (None, False, "bash"),
        (None, True, "powershell"),
        (r"C:\Program Files\Git\usr\bin\bash.exe", True, "bash"),
    ],
)
def test_shell_of(path: str | None, windows: bool, expected: str) -> None:
    """The user's, by its name."""
    assert shell_of({} if path is None else {"SHELL": path}, windows=windows) == expected

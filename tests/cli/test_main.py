"""The command line as a whole: help, start, output, completion."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from credential_injector.cli.main import main
from tests.cli.conftest import SECRET, env


def test_path() -> None:
    """It prints the path of the script that mitmproxy loads."""
    result = CliRunner().invoke(main, ["path"])
    assert result.exit_code == 0
    assert Path(result.output.strip()).name == "inject.py"
    assert Path(result.output.strip()).is_file()


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ([], 'mitmdump -s "$(credential-injector path)"'),
        (["token"], "credential-injector token qa --header | curl -H @- "),
        (["check"], "credential-injector check qa uat --json"),
    ],
)
def test_help(command: list[str], example: str) -> None:
    """It shows an example."""
    assert example in CliRunner().invoke(main, [*command, "--help"]).output


def test_imports() -> None:
    """The commands are there at once: what takes long is imported by the command that needs it."""
    slow = {"authlib", "mitmproxy", "requests", "urllib3"}
    script = f"import sys, credential_injector.cli.main; print(sorted({slow} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


_FULL = [">/dev/full"] if Path("/dev/full").exists() else []


@pytest.mark.parametrize("command", [["token", "key"], ["token", "key", "--json"], ["check"], ["path"]])
@pytest.mark.parametrize("where", ["| closed", *([">&-", *_FULL] if os.name == "posix" else [])])
def test_output(tmp_path: Path, command: list[str], where: str) -> None:
    """Standard output that cannot be written is one line and an exit code."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "key.env").write_text(f"HOST=*.example.com\nGRANT_TYPE=static\nVALUE={SECRET}\n")
    (tmp_path / "envs" / "key.env").chmod(0o600)
    words = [sys.executable, "-m", "credential_injector.cli", *command]
    # Unbuffered, nothing is left to write at the end.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    run = partial(
        subprocess.run, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=buffered, timeout=60, check=False
    )
    if where == "| closed":
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            done = run(words, stdout=pipe)
    else:
        done = run(["sh", "-c", f'exec "$@" {where}', "sh", *words])
    *progress, error = done.stderr.splitlines()
    assert done.returncode == 1
    assert re.fullmatch(r"Error: standard output cannot be written \([A-Z][\w ]+\); check the .* it goes to", error)
    assert progress == (["key: checking its file and its API ..."] if command == ["check"] else [])


def test_completion(tmp_path: Path) -> None:
    """Names of environments are completed from the folder that is given."""
    for folder, name in (("envs", "qa"), ("envs", "quality"), ("envs", "prod"), ("other", "q2")):
        env(tmp_path, name, "not even a URL: no file is read", folder_name=folder)

    def completed(*words: str) -> list[str]:
        line = " ".join(("credential-injector", *words))
        done = subprocess.run(
            [sys.executable, "-m", "credential_injector.cli"],
            cwd=tmp_path,
            env={
                **os.environ,
                "_CREDENTIAL_INJECTOR_COMPLETE": "bash_complete",
                "COMP_WORDS": line,
                "COMP_CWORD": str(len(words)),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    assert completed("token", "q") == ["plain,qa", "plain,quality"]
    assert completed("check", "qa", "p") == ["plain,prod"]
    assert completed("token", "--envs", "other", "q") == ["plain,q2"]
    assert completed("token", "--envs", "nowhere", "q") == []

"""Where the commands find environments."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from credential_injector.cli.main import main
from tests.cli.conftest import Run


@pytest.mark.parametrize(("arguments", "name"), [(["check"], "dev"), (["token", "qa"], "qa")])
def test_empty_folder(run: Run, tmp_path: Path, arguments: list[str], name: str) -> None:
    """A folder without environment files is a wrong call, and the error says what writes one."""
    (tmp_path / "envs").mkdir()
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: --envs: no environment file in {tmp_path / 'envs'}; name another folder, or run:"
        f" credential-injector init {name}\n"
    )


def test_misnamed_file(tmp_path: Path) -> None:
    """A file whose name is not read is a mistake, in the words that mitmproxy uses."""
    envs = tmp_path / "envs"
    envs.mkdir()
    (envs / ".env").write_text("HOST=https://api.example.com\n")
    done = CliRunner().invoke(main, ["check", "--envs", str(envs)])
    assert done.exit_code == 2
    assert ".env: the file's name: is not read" in done.output

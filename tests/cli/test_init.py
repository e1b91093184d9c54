"""`credential-injector init`."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run

EXAMPLE = (Path(__file__).parents[2] / "envs" / "dev.env.example").read_text()
KEYS = re.findall(r"^([A-Z_]+)=", EXAMPLE, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "file", "option", "setting"),
    [
        ([], "envs/dev.env", "", ""),
        (["qa"], "envs/qa.env", "", ""),
        (["qa-2.eu", "--envs", "my apis/of work"], "my apis/of work/qa-2.eu.env", " --envs 'my apis/of work'",
         " --set inject_envs='my apis/of work'"),
        (["qa", "--envs", "~/envs"], "~/envs/qa.env", " --envs '~/envs'", " --set inject_envs='~/envs'"),
    ],
)  # fmt: skip
def test_written(run: Run, tmp_path: Path, arguments: list[str], file: str, option: str, setting: str) -> None:
    """It writes the file, in a folder that need not exist, and says what to fill in and what to run next."""
    done = run("init", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    name = Path(file).stem
    assert done.stdout == (
        f"{file} is written; fill in {', '.join(KEYS[:-1])} and {KEYS[-1]}\n\nThen run:\n"
        f"  credential-injector check {name}{option}\n"
        f'  mitmweb -s "$(credential-injector path)"{setting}\n'
    )
    written = (tmp_path / file.removeprefix("~/")).read_text().splitlines()
    for line, example in zip(written, EXAMPLE.splitlines(), strict=True):
        assert line == (f"{example.partition('=')[0]}=" if re.match(r"[A-Z]", example) else example)


@pytest.mark.skipif(os.name != "posix", reason="on Windows, programs have other names")
@pytest.mark.parametrize("is_on_path", [False, True])
def test_program(tmp_path: Path, is_on_path: bool) -> None:
    """A program that the shell would not find is named by its path, as in a virtual environment that is not active."""
    programs = Path(sys.executable).parent
    search = f"{programs}{os.pathsep}{os.defpath}" if is_on_path else str(tmp_path)
    done = subprocess.run(
        [programs / "credential-injector", "init", "qa"],
        cwd=tmp_path, env={**os.environ, "PATH": search}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    before = "" if is_on_path else f"{programs}/"
    assert f"\n  {before}credential-injector check qa\n" in done.stdout
    assert f'\n  {before}mitmweb -s "$({before}credential-injector path)"\n' in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="files have no modes")
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_mode(run: Run, tmp_path: Path, umask: int) -> None:
    """Only this user can read the file and its folder, whatever the umask is."""
    before = os.umask(umask)
    try:
        assert run("init").returncode == 0
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("envs", "envs/dev.env")]
    assert modes == [0o700, 0o600]


def test_to_fill_in(run: Run) -> None:
    """`check` then tells exactly what is still to be filled in."""
    run("init", "qa")
    done = run("check", "qa")
    assert done.returncode == 1
    told = re.findall(r"^qa: envs/qa\.env: ([A-Z_]+): is empty\b", done.stdout, re.MULTILINE)
    assert told == KEYS
    assert done.stdout.count("\nqa: ") == len(KEYS)


@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_existing(run: Run, tmp_path: Path, kind: str) -> None:
    """It overwrites nothing, and follows no symlink."""
    (tmp_path / "envs").mkdir()
    file = tmp_path / "envs" / "dev.env"
    if kind == "file":
        file.write_text("mine")
    else:
        file.symlink_to(tmp_path / "elsewhere")
    done = run("init")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: envs/dev.env exists already; nothing was written\n"
    assert not (tmp_path / "elsewhere").exists()
    assert kind == "symlink" or file.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["qa.env"], 2, "NAME: 'qa.env' ends with .env; expected the name alone, such as qa"),
        (["../qa"], 2, "NAME: '../qa' is malformed; expected letters, digits, -, _ and dots, such as qa"),
        ([".qa"], 2, "NAME: '.qa' is malformed; expected letters, digits, -, _ and dots, such as qa"),
        ([""], 2, "NAME: '' is malformed; expected letters, digits, -, _ and dots, such as qa"),
        (["q\na"], 2, "NAME: 'q\\na' is malformed; expected letters, digits, -, _ and dots, such as qa"),
        (["qa", "--envs", "file"], 2, "--envs: file is a file; expected a folder"),
        (["qa", "--envs", "file/below"], 1, "file/below/qa.env cannot be written (Not a directory)"),
    ],
)
def test_mistake(run: Run, tmp_path: Path, arguments: list[str], code: int, told: str) -> None:
    """A mistake is one line and an exit code, and nothing is written."""
    (tmp_path / "file").write_text("")
    done = run("init", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"Error: {told}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

"""A secret that a test leaves behind makes the run fail, whichever of its processes wrote it."""

import subprocess
import sys
from pathlib import Path

from tests.e2e.canaries import Canaries

ROOT = Path(__file__).parents[2]
LEAKY = """
import pytest
from credential_injector.demo.servers import Client, DemoAuthorizationServer

def server():
    return DemoAuthorizationServer([Client("me", "canary-{name}")])

def test_writes_nothing(tmp_path):
    server()

def test_writes_a_secret(tmp_path):
    server()
    (tmp_path / "{name}.txt").write_text("it is canary-{name}")

@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("module-{name}")

def test_writes_a_secret_into_the_folder_of_all(folder):
    server()
    (folder / "of-all.txt").write_text("it is canary-{name}")
"""


def test_planted(tmp_path: Path) -> None:
    """In a run of two processes, each secret that is planted fails the test that wrote it, or the last one."""
    for name in ("one", "two"):
        (tmp_path / f"test_{name}.py").write_text(LEAKY.format(name=name))
    options = ["-n", "2", "--dist", "loadfile", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    plugins = ["-p", "tests.conftest", "-p", "tests.e2e.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *plugins, f"--basetemp={tmp_path / 'base'}", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "6 passed, 4 errors" in done.stdout, done.stdout + done.stderr
    for name in ("one", "two"):
        assert f"test_writes_a_secret0/{name}.txt" in done.stdout
        assert f"module-{name}0/of-all.txt" in done.stdout


def test_where_it_looks(tmp_path: Path) -> None:
    """Inputs may hold secrets, and what keeps flows may hold tokens."""
    for name in ("qa.env", "saved.mitm", "notes.txt"):
        (tmp_path / name).write_text("canary-secret and canary-token")
    canaries = Canaries()
    canaries.look_into(tmp_path, {"canary-secret"}, {"canary-token"})
    assert sorted(canaries.sightings) == [str(tmp_path / name) for name in ("notes.txt", "notes.txt", "saved.mitm")]

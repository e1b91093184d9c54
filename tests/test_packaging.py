"""What is shipped, and what is installed with it."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import tool

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = [
    *PROJECT["dependencies"],
    *PROJECT["optional-dependencies"]["redis"],
    *PROJECT["optional-dependencies"]["aws"],
    *PROJECT["optional-dependencies"]["envoy"],
]
SECRETS = [
    ".env",
    "qa.env",
    "qa.secret",
    "credentials.json",
    "tokens.json",
    "tokens.json.corrupt-1",
    "tokens.json.lock",
    "tokens.json.lock-abcd",
    "tokens.json.new",
    "id_rsa",
    ".netrc",
    "_netrc",
    ".pypirc",
    "mitmdump.log",
    "capture.mitm",
    "flows",
    "capture.har",
    "client.p12",
    "client.pem",
    "client.key",
    "sslkeylog.txt",
    "notes.md",
    "dump.rdb",
    ".DS_Store",
    "authorization_server.mjs.orig",
    "inject.py~",
    ".addon.py.swp",
]
FOLDERS = [
    ".",
    ".ci",
    ".idea",
    "addon",
    "addon/credential_injector",
    "addon/credential_injector/cli",
    "addon/credential_injector/demo",
    "addon/credential_injector/proxy",
    "addon/envs",
    "benchmarks",
    "benchmarks/results",
    "docs",
    "envs",
    "tests",
    "tests/cli",
    "tests/e2e",
    "tests/e2e/node",
    "tests/e2e/node/node_modules/x",
    "tests/fuzz",
]


def built(kind: str, source: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True, timeout=100)
    (file,) = folder.iterdir()
    return file


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository, with what may lie about in a developer's clone."""
    folder = tmp_path_factory.mktemp("clone") / "clone"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", ".venv*", ".*_cache", "node_modules", "dist"))
    for path in planted():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("canary")
    return folder


def planted() -> set[str]:
    """Paths of files that nobody means to publish, each kind in each folder."""
    return {str(Path(place, name)) for place in FOLDERS for name in SECRETS}


def content(archive: Path) -> dict[str, bytes]:
    """The files of a wheel, or of a source distribution, by their path."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(archive) as sdist:
        files = {member.name.partition("/")[2]: sdist.extractfile(member) for member in sdist.getmembers()}
        return {name: file.read() for name, file in files.items() if file is not None}


def test_wheel(clone: Path, tmp_path: Path) -> None:
    """It holds the package with the script and the example, and nothing else."""
    names = content(built("wheel", clone, tmp_path)).keys()
    package = ROOT / "addon" / "credential_injector"
    page = [path for path in (package / "proxy" / "page").iterdir() if path.suffix in {".css", ".html", ".js"}]
    ours = {
        str(path.relative_to(ROOT / "addon"))
        for path in [*package.rglob("*.py"), *package.rglob("*.cjs"), *page, package / "py.typed"]
    }
    assert {name for name in names if ".dist-info/" not in name} == ours | {
        "credential_injector/inject.py",
        "credential_injector/dev.env.example",
    }
    about = {Path(name).name for name in names if ".dist-info/" in name}
    assert about == {"METADATA", "WHEEL", "RECORD", "LICENSE", "entry_points.txt"}


def test_installed(clone: Path, tmp_path: Path) -> None:
    """From a wheel that is unpacked, the commands find the script and the example."""
    with zipfile.ZipFile(built("wheel", clone, tmp_path / "wheel")) as wheel:
        wheel.extractall(tmp_path / "site")

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "credential_injector.cli", *arguments]
        environ = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
        return subprocess.run(command, cwd=tmp_path, env=environ, check=True, capture_output=True, text=True).stdout

    assert run("path").strip() == str(tmp_path / "site" / "credential_injector" / "inject.py")
    assert run("init").startswith("envs/dev.env is written; ")
    assert len((tmp_path / "envs" / "dev.env").read_text().splitlines()) > 100


def test_sdist(clone: Path, tmp_path: Path) -> None:
    """It holds what the repository tracks but for results, and nothing that lies about in a clone."""
    names = set(content(built("sdist", clone, tmp_path)))
    git = [tool("git", package="git"), "ls-files", "--", ":!benchmarks/results"]
    tracked = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True, timeout=10).stdout.split()
    assert {name for name in tracked if (ROOT / name).exists()} - names == set()
    assert {name for name in names.difference(tracked) if not name.endswith(".py")} == {"PKG-INFO"}
    assert names & planted() == set()


def test_sdist_builds(clone: Path, tmp_path: Path) -> None:
    """The wheel that is built of the source distribution is the one that is built of the clone."""
    sdist = built("sdist", clone, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    again = built("wheel", tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "again")
    assert content(again) == content(built("wheel", clone, tmp_path / "wheel"))


@pytest.mark.parametrize("requirement", RUNTIME)
def test_dependency(requirement: str) -> None:
    """It has bounds, and its reason in the README."""
    requirement, _, marker = requirement.partition("; ")
    assert marker in {"", "python_version < '3.12'", "python_version >= '3.12'"}, "the two stacks"
    name, bounds = re.fullmatch(r"([\w.-]+)(.*)", requirement).groups()  # type: ignore[union-attr]
    if name == "certifi":  # a bundle of certificates by its date: the newest is the one to have
        assert re.fullmatch(r">=[\d.]+", bounds)
    else:
        assert re.fullmatch(r">=[\d.]+,<[\d.]+", bounds)
    table = (ROOT / "README.md").read_text().partition("| dependency | what for |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
    reasons = [reason for names, *reason in rows if name in re.split(r"[ ,()]+", names)]
    assert len(reasons) == 1
    assert len(reasons[0][0]) > 5


def test_script() -> None:
    """It asks for all that it imports and that nothing else brings."""
    told = set(re.findall(r'^    "\w+": "([\w-]+)",$', (ROOT / "addon" / "inject.py").read_text(), re.MULTILINE))
    needed = names(PROJECT["dependencies"]) - {"mitmproxy", "click"}  # click is the command line's
    brought = names(metadata.requires("mitmproxy")) | names(metadata.requires("requests"))
    assert told <= needed <= told | brought


def names(requirements: list[str] | None) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements or ()}


def test_readme() -> None:
    """It tells of no dependency that is not there."""
    table = (ROOT / "README.md").read_text().partition("| dependency | what for |\n|---|---|\n")[2].partition("\n\n")[0]
    told = {name for line in table.splitlines() for name in re.findall(r"[\w.-]+", line.split(" | ")[0])} - {"optional"}
    assert told == {re.split(r"[<>=]", requirement)[0] for requirement in RUNTIME}

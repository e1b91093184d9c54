"""What is shipped, and what is installed with it."""

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

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["redis"]]
SECRETS = [
    "envs/qa.env",
    "envs/qa.secret",
    "qa.env",
    "addon/envs/qa.env",
    "addon/credential_injector/qa.env",
    "addon/credential_injector/client.pem",
    "addon/credential_injector/demo/client.key",
    "tests/client.key",
    "capture.mitm",
    "tests/e2e/node/node_modules/x/index.js",
]
NOT_OURS = re.compile(r"\.(env|pem|key|p12|mitm|flow|har|secret)$|node_modules|\.hypothesis|\.venv|\.git/")


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
    for name in SECRETS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("canary")
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(clone: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(built("wheel", clone, tmp_path)) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        about = {Path(name).name for name in wheel.namelist() if ".dist-info/" in name}
    package = clone / "addon" / "credential_injector"
    ours = {str(path.relative_to(clone / "addon")) for path in package.rglob("*") if path.is_file()}
    ours -= {name.removeprefix("addon/") for name in SECRETS}
    assert names == {name for name in ours if "__pycache__" not in name} | {"credential_injector/inject.py"}
    assert about == {"METADATA", "WHEEL", "RECORD", "LICENSE", "entry_points.txt"}


def test_the_source_distribution_holds_no_secret_and_nothing_made_here(clone: Path, tmp_path: Path) -> None:
    with tarfile.open(built("sdist", clone, tmp_path)) as sdist:
        names = [name.partition("/")[2] for name in sdist.getnames()]
    assert {"pyproject.toml", "addon/inject.py", "addon/credential_injector/addon.py", "README.md"} <= set(names)
    assert [name for name in names if NOT_OURS.search(name) or name in SECRETS] == []


@pytest.mark.parametrize("requirement", RUNTIME)
def test_a_dependency_has_bounds_and_its_reason_in_the_readme(requirement: str) -> None:
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


def test_the_script_asks_for_all_that_it_imports_and_that_nothing_else_brings() -> None:
    told = set(re.findall(r'^    "\w+": "([\w-]+)",$', (ROOT / "addon" / "inject.py").read_text(), re.MULTILINE))
    needed = names(PROJECT["dependencies"]) - {"mitmproxy", "click"}  # click is the command line's
    brought = names(metadata.requires("mitmproxy")) | names(metadata.requires("requests"))
    assert told <= needed <= told | brought


def names(requirements: list[str] | None) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements or ()}


def test_the_readme_tells_of_no_dependency_that_is_not_there() -> None:
    table = (ROOT / "README.md").read_text().partition("| dependency | what for |\n|---|---|\n")[2].partition("\n\n")[0]
    told = {name for line in table.splitlines() for name in re.findall(r"[\w-]+", line.split(" | ")[0])} - {"optional"}
    assert told == {re.split(r"[<>=]", requirement)[0] for requirement in RUNTIME}

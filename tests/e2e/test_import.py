"""Import, check, request, 200: each format against real servers, and the real tools as judges."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from credential_injector.cli.main import main
from credential_injector.environments.env_file import EnvFile
from credential_injector.environments.environment import read
from tests.conftest import tool
from tests.e2e.conftest import Stage
from tests.imports import fixtures
from tests.imports.fixtures import CLIENT, FORMATS, GIVES_NO_HOST, GIVES_NO_SECRET, SECRET

NODE = Path(__file__).with_name("node") / "node_modules" / ".bin"


@pytest.fixture
def files() -> Iterator[Path]:
    """Where exports are, which hold secrets. Not among the test's own, which must hold none."""
    with tempfile.TemporaryDirectory(prefix="import-") as folder:
        yield Path(folder)


def imported(stage: Stage, files: list[str], *options: str) -> tuple[Path, str]:
    """The one file that is written, and what is told."""
    result = CliRunner().invoke(main, ["import", *files, "--envs", str(stage.folder / "envs"), *options])
    assert result.exit_code == 0, result.output
    (path,) = (stage.folder / "envs").glob("*.env")
    return path, result.stdout


def get(proxy: str, url: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, proxies={"http": proxy}, timeout=60)


@pytest.mark.parametrize("name", FORMATS)
def test_format(stage: Stage, files: Path, name: str) -> None:
    """What is imported works, as soon as what the format does not hold is filled in."""
    login = stage.token_endpoint.removesuffix("/oauth2/v2.0/token")
    path, told = imported(stage, FORMATS[name](files / name, login, stage.http))
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert (SECRET in text) == (name not in GIVES_NO_SECRET)
    assert SECRET not in told
    if name in GIVES_NO_SECRET:
        assert "fill in CLIENT_ID, CLIENT_SECRET" in told
        text = text.replace("CLIENT_ID=\n", f"CLIENT_ID={CLIENT}\n").replace(
            "CLIENT_SECRET=\n", f"CLIENT_SECRET={SECRET}\n"
        )
    if name in GIVES_NO_HOST:
        assert "fill in HOST" in told
        text = text.replace("\nHOST=\n", f"\nHOST={stage.http}\n")
    path.write_text(text)
    checked = CliRunner().invoke(main, ["check", path.stem, "--probe", "/orders", "--envs", str(path.parent)])
    assert checked.exit_code == 0, checked.output
    assert get(stage.mitmdump().url, f"{stage.http}/orders").status_code == 200


def test_secrets_in_variables(stage: Stage, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --secrets env the file holds none."""
    login = stage.token_endpoint.removesuffix("/oauth2/v2.0/token")
    path, told = imported(stage, FORMATS["postman_oauth2"](files, login, stage.http), "--secrets", "env")
    assert "CLIENT_SECRET=${QA_CLIENT_SECRET}" in path.read_text()
    assert SECRET not in path.read_text()
    assert "set QA_CLIENT_SECRET in the environment" in told
    monkeypatch.setenv("QA_CLIENT_SECRET", SECRET)
    checked = CliRunner().invoke(main, ["check", "qa", "--envs", str(path.parent)])
    assert checked.exit_code == 0, checked.output


def newman(*options: str, proxy: str = "") -> tuple[int, list[int]]:
    """Its exit code, and the status of each answer."""
    program = tool("node", package="nodejs")
    if not (NODE / "newman").exists():
        pytest.skip("newman is not installed")
    report = Path(options[0]).with_name("report.json")
    environment = {**os.environ, **({"HTTP_PROXY": proxy, "NO_PROXY": ""} if proxy else {})}
    done = subprocess.run(
        [program, str(NODE / "newman"), "run", *options, "-r", "json", "--reporter-json-export", str(report)],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    run = json.loads(report.read_text())["run"]
    # A request whose script sends another one is told twice.
    asked = {one["item"]["id"]: one["response"]["code"] for one in run["executions"]}
    return done.returncode, list(asked.values())


def test_newman(stage: Stage, files: Path) -> None:
    """A collection with its own script, and its copy without any through the proxy, get the same answers."""
    folder = files
    login = stage.token_endpoint.removesuffix("/oauth2/v2.0/token")
    collection, environment = FORMATS["postman_script"](folder, login, stage.http)
    direct = newman(collection, "-e", environment)
    assert direct == (0, [200, 200])
    assert stage.token_requests == 1
    imported(stage, [collection, environment])
    without = fixtures.postman_without_auth(folder)
    assert newman(without, "-e", environment)[1] == [401, 401]
    assert newman(without, "-e", environment, proxy=stage.mitmdump().url) == direct
    assert stage.token_requests == 2


def test_bruno(stage: Stage, files: Path) -> None:
    """The same with Bruno's own OAuth2, and a copy of its collection without it."""
    folder = files
    login = stage.token_endpoint.removesuffix("/oauth2/v2.0/token")
    (collection,) = FORMATS["bruno"](folder, login, stage.http)

    def run(where: Path, proxy: str = "") -> tuple[int, list[Any]]:
        program = tool("node", package="nodejs")
        if not (NODE / "bru").exists():
            pytest.skip("Bruno's command line is not installed")
        environment = {**os.environ, **({"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": ""} if proxy else {})}
        report = folder / "report.json"
        words = ["run", "--env", "qa", "--output", str(report), "--format", "json"]
        done = subprocess.run(
            [program, str(NODE / "bru"), *words],
            check=False,
            cwd=where,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        results = json.loads(report.read_text())[0]["results"]
        return done.returncode, sorted((one["response"]["status"]) for one in results)

    assert run(Path(collection)) == (0, [200, 200]), "directly"
    direct = stage.token_requests
    imported(stage, [collection])
    without = folder / "without"
    shutil.copytree(collection, without)
    (without / "collection.bru").write_text("auth {\n  mode: none\n}\n")
    assert run(without)[1] == [401, 401]
    assert run(without, stage.mitmdump().url) == (0, [200, 200])
    assert stage.token_requests == direct + 1


def test_equal(stage: Stage, files: Path) -> None:
    """The same credentials from different programs are the same environment."""
    login = stage.token_endpoint.removesuffix("/oauth2/v2.0/token")
    requested = set()
    for name in ("postman_script", "postman_alone", "jetbrains", "bruno", "insomnia_4"):
        path, _ = imported(stage, FORMATS[name](files / name, login, stage.http))
        environment = read(EnvFile(path, "qa.env"))
        assert environment is not None
        requested.add((environment.token_request, environment.origins))
        path.unlink()
    assert len(requested) == 1

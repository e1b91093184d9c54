"""Programs that know no proxy, with what `--preload` loads into them: each request gets its token."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from credential_injector.launch.files import write_files
from credential_injector.launch.variables import variables
from tests.conftest import tool
from tests.e2e.conftest import Stage

NODE = """
const [library, url] = process.argv.slice(1);
const own = url.startsWith('https:') ? require('https') : require('http');
const by = (options) => new Promise((resolve, reject) => {
  const request = own.request(url, options, (answer) => resolve(answer.resume().statusCode));
  request.on('error', reject).write('a'.repeat(100000));
  setImmediate(() => request.end('a'.repeat(100000)));
});
const WITH = {
  fetch: async () => (await fetch(url)).status,
  http: () => by({ method: 'POST' }),
  agent: () => by({ method: 'POST', agent: new own.Agent({ keepAlive: true }) }),
};
WITH[library]().then((status) => { console.log(status); process.exit(); });
"""
URLLIB3 = """
import sys, urllib3
print(urllib3.PoolManager().request("GET", sys.argv[1]).status, "tests_own" in sys.modules)
"""


def said(stage: Stage, folder: Path, *words: str, **environ: str) -> str:
    """What the program prints."""
    folder.mkdir(exist_ok=True)
    before = {**os.environ, **environ}
    proxy = stage.mitmdump().url
    given = variables(proxy, write_files(folder, stage.mitmproxy_ca, before, preload=True), before)
    environment = {name: value for name, value in {**before, **given}.items() if value is not None}
    ran = subprocess.run(words, check=False, env=environment, capture_output=True, text=True, timeout=60)
    return ran.stdout.strip() or ran.stderr


@pytest.mark.parametrize("library", ["fetch", "http", "agent"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_node(stage: Stage, tmp_path: Path, library: str, scheme: str) -> None:
    """Node, whatever its version is, on this machine's addresses, too."""
    url = stage.http if scheme == "http" else stage.https
    stage.env(url)
    assert (
        said(stage, tmp_path / "files", tool("node", package="nodejs"), "-e", NODE, library, f"{url}/orders") == "200"
    )
    assert stage.token_requests == 1


def test_node_refused(stage: Stage, tmp_path: Path) -> None:
    """Where the proxy reaches no server, the program's error says so."""
    stage.env("nobody.invalid")
    assert "CONNECT nobody.invalid:443" in said(
        stage, tmp_path / "files", tool("node", package="nodejs"), "-e", NODE, "http", "https://nobody.invalid/"
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_urllib3(stage: Stage, tmp_path: Path, scheme: str) -> None:
    """urllib3 alone. The user's own sitecustomize runs as well."""
    url = stage.http if scheme == "http" else stage.https
    stage.env(url)
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import tests_own")
    (own / "tests_own.py").touch()
    printed = said(stage, tmp_path / "files", sys.executable, "-c", URLLIB3, f"{url}/orders", PYTHONPATH=str(own))
    assert printed == "200 True"
    assert stage.token_requests == 1


def test_aiohttp(stage: Stage, tmp_path: Path) -> None:
    """A session of aiohttp's heeds the environment, unless its program says otherwise."""
    stage.env(stage.http)
    package = tmp_path / "own" / "aiohttp"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from aiohttp.client import ClientSession")
    (package / "client.py").write_text(
        "class ClientSession:\n    def __init__(self, *, trust_env=False): self.heeds = trust_env\n"
    )
    asked = "from aiohttp import ClientSession as S; print(S().heeds, S(trust_env=False).heeds)"
    printed = said(stage, tmp_path / "files", sys.executable, "-c", asked, PYTHONPATH=str(tmp_path / "own"))
    assert printed == "True False"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_urllib3_password(stage: Stage, tmp_path: Path, scheme: str) -> None:
    """The login in the proxy's URL is sent as it is, not as a URL spells it."""
    url = stage.http if scheme == "http" else stage.https
    stage.env(url)
    (tmp_path / "files").mkdir()
    proxy = stage.mitmdump(proxyauth="user:p@s/s%").url.replace("://", "://user:p%40s%2Fs%25@")
    given = variables(proxy, write_files(tmp_path / "files", stage.mitmproxy_ca, preload=True))
    environment = {name: value for name, value in {**os.environ, **given}.items() if value is not None}
    command = [sys.executable, "-c", URLLIB3, f"{url}/orders"]
    ran = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.stdout.startswith("200 "), ran.stderr


@pytest.mark.parametrize(("package", "name"), [("aiohttp", "client"), ("urllib3", "poolmanager")])
def test_unknown_shape(stage: Stage, tmp_path: Path, package: str, name: str) -> None:
    """A module of this name that looks different is imported as it is."""
    folder = tmp_path / "own" / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / f"{name}.py").touch()
    asked = f"import {package}.{name}; print('imported')"
    own = str(tmp_path / "own")
    assert said(stage, tmp_path / "files", sys.executable, "-c", asked, PYTHONPATH=own) == "imported"

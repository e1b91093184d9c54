import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from credential_injector.environments.folder import Folder
from credential_injector.envoy import configuration, filters
from credential_injector.envoy.configuration import Wanted
from credential_injector.envoy.feeder import Feeder
from credential_injector.envoy.files import Files
from credential_injector.envoy.listeners import Address, networks
from credential_injector.envoy.paths import Paths
from credential_injector.launch.envoy import Envoy
from credential_injector.oauth.token import AccessToken
from credential_injector.origins.clients import parse_networks
from credential_injector.tokens.source import TokenSource
from tests.environments.files import WHOLE
from tests.envoy.made import environment, ready
from tests.fakes import http, keeping

TOKEN = "canary-token"
LIFE = 600.0  # seconds


async def fetch(asked_at: float, replaces: str | None) -> AccessToken:
    return AccessToken(TOKEN, asked_at, asked_at + LIFE)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Files(tmp_path / "envoy")
    made.make()
    pipe = os.open(made.paths.refusals, os.O_RDWR)  # Envoy waits until somebody listens
    yield made
    os.close(pipe)


def asked(proxy: str, url: str) -> tuple[int, str]:
    """What a client gets through the proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://{proxy}"}))
    try:
        with opener.open(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize(("ended", "status"), [(-LIFE, 200), (60.0, 502)])
async def test_ends(files: Files, tmp_path: Path, ended: float, status: int) -> None:
    """A token that has ended is not sent, although nobody has taken it away, and the answer says so."""
    with keeping(http(200, b"hello")) as (url, api):
        host = WHOLE.replace("https://api.qa.example.com", url.removesuffix("/token"))
        (tmp_path / "qa.env").write_text(host)
        (one,) = Folder(tmp_path, shown_as="envs").read()
        wanted = Wanted(Address("127.0.0.1", 0), (), tuple(networks(parse_networks("loopback"))))
        built = configuration.build([one], wanted, files.paths, lambda site: "")
        # What a feeder wrote that has been dead for as long as this.
        source = TokenSource(fetch, clock=lambda: time.time() - LIFE - ended)
        await Feeder(one, source, files, lambda: None).step()
        files.write(files.paths.of("envoy.yaml"), configuration.start((), 0, files.paths))
        for path, message in built.files.items():
            files.write(path, message)
        running = Envoy(files.paths.of("envoy.yaml"), Path(files.paths.of("admin")), lambda line: None)
        try:
            code, text = asked(running.listeners(ready(running))["proxy"], url)
        finally:
            running.end()
    assert code == status
    if status == 200:
        assert [f"Bearer {TOKEN}" in head.decode() for head in api.heads] == [True]
    else:
        assert text.startswith("qa: request blocked: its token has ended")
        assert api.heads == []


def test_names(tmp_path: Path) -> None:
    """All filters are off, and a route turns on those of its environment, by their names."""
    qa = environment(tmp_path, "HEADER_X-Tenant=acme\n")
    uat = environment(tmp_path, "HEADER=X-Key\n", name="uat")
    made = filters.of([qa, uat], Paths("/run/envoy"))
    assert all(one["disabled"] for one in made)
    names = [one["name"] for one in made]
    assert len(set(names)) == len(names) == 5
    assert {*filters.turned_on(qa), *filters.turned_on(uat)} == set(names)
    assert not filters.turned_on(qa).keys() & filters.turned_on(uat).keys()


@pytest.mark.parametrize(("lines", "passes"), [("", False), ("WITHOUT_TOKEN=pass\n", True)])
def test_without_token(tmp_path: Path, lines: str, passes: bool) -> None:
    """WITHOUT_TOKEN says whether a request goes on where the file is empty."""
    _, injector = filters.of([environment(tmp_path, lines)], Paths("/run/envoy"))
    assert injector["typed_config"]["allow_request_without_credential"] is passes
    assert injector["typed_config"]["overwrite"] is True

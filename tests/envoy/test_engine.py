"""The folder follows the environments. What that does to requests on their way is in tests/e2e."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from credential_injector.environments.folder import Folder
from credential_injector.envoy import patterns
from credential_injector.envoy.configuration import Wanted
from credential_injector.envoy.engine import Engine
from credential_injector.envoy.files import Files
from credential_injector.envoy.listeners import Address, Reverse, networks
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.oauth.token import AccessToken
from credential_injector.origins.clients import parse_networks
from credential_injector.proxy.leaf import Authority
from credential_injector.proxy.routes import Routes
from credential_injector.tokens.provider import Provider
from tests.certificates import Authority as Root
from tests.environments.files import WHOLE
from tests.envoy.made import credential


class Endpoint:
    """Gives each client its own token."""

    published: tuple[str, ...] = ()

    def __init__(self, request: TokenRequest) -> None:
        self._value = f"token-of-{request.client_id}"

    async def token(self, asked_at: float, refresh_token: str = "") -> AccessToken:
        return AccessToken(self._value, asked_at, asked_at + 3600)


async def open_endpoint(request: TokenRequest, _: Transport) -> Endpoint:
    return Endpoint(request)


class Running:
    """An engine, and the environment files that it follows."""

    def __init__(self, folder: Path, authority: Authority, *reverses: Reverse) -> None:
        self.envs = folder / "envs"
        self.envs.mkdir()
        self._ended = False
        self.files = Files(folder / "envoy")
        self.changed = asyncio.Event()
        self.routes = Routes(Provider(open_endpoint=open_endpoint), self.changed.set)
        self.root = Root().certificate
        self.engine = Engine(
            self.routes,
            self.changed,
            wanted=Wanted(Address("127.0.0.1", 0), reverses, tuple(networks(parse_networks("loopback")))),
            files=self.files,
            authority=authority,
            trusted=self.root,
        )

    def write(self, name: str, *, client: str, host: str = "https://api.qa.example.com", lines: str = "") -> None:
        text = WHOLE.replace("https://api.qa.example.com", host).replace("CLIENT_ID=abc", f"CLIENT_ID={client}")
        (self.envs / f"{name}.env").write_text(f"{text}{lines}")

    async def begin(self) -> None:
        self.routes.load(Folder(self.envs, shown_as="envs"), None)
        await self.engine.begin()
        await self.until(lambda: all(self.token(name) for name in self.routes.names()))

    async def follow(self) -> None:
        """Take the files into use as they are now."""
        await self.routes.read_again()
        self.changed.clear()
        await self.engine.follow()

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self.engine.end()
            self.routes.close()
            self.files.end()

    def token(self, name: str) -> str:
        path = Path(self.files.paths.token(name))
        return credential(path) if path.exists() else ""

    def text(self, name: str) -> str:
        return Path(self.files.paths.of(name)).read_text("utf-8")

    def names(self) -> set[str]:
        return {one.name for one in self.files.folder.iterdir()}

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until this is true: tokens come in tasks of their own, and are written to files."""
        async with asyncio.timeout(20):
            while not true():  # noqa: ASYNC110 - a file is no event
                await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("mitmproxy"))


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(tmp_path: Path, authority: Authority) -> AsyncIterator[Start]:
    """Starts an engine for qa."""
    made: list[Running] = []

    async def begin(*reverses: Reverse, lines: str = "") -> Running:
        running = Running(tmp_path, authority, *reverses)
        made.append(running)
        running.write("qa", client="qa", lines=lines)
        await running.begin()
        return running

    yield begin
    for running in made:
        running.end()


async def test_begin(start: Start) -> None:
    """All that Envoy needs is there, with the token."""
    running = await start()
    assert running.token("qa") == "Bearer token-of-qa"
    named = {"envoy.yaml", "clusters.json", "listeners.json", "routes-proxy.json", "until-qa.json", "reason-qa.txt"}
    assert named <= running.names()
    assert {"trusted.pem", "leaf-0.json", "refusals"} <= running.names()
    assert running.text("trusted.pem") == running.root
    assert "has_token" in running.text("metrics.prom")
    assert "What Envoy does otherwise" in running.text("envoy.yaml")


async def test_lacks(start: Start) -> None:
    """What Envoy does not do for an environment is told, and stands in the file."""
    running = await start(lines="CONFIRM=DELETE\n")
    (line,) = running.engine.lacks
    assert line.startswith("qa: CONFIRM ")
    assert f"# - {line}" in running.text("envoy.yaml")


async def test_added(start: Start) -> None:
    """A new file is fed; what was there before stays as it was."""
    running = await start()
    number = Path(running.files.paths.token("qa")).stat().st_ino  # noqa: ASYNC240 - a test
    running.write("uat", client="uat", host="https://api.uat.example.com")
    await running.follow()
    await running.until(lambda: running.token("uat") != "")
    assert running.token("uat") == "Bearer token-of-uat"
    assert Path(running.files.paths.token("qa")).stat().st_ino == number  # noqa: ASYNC240 - a test
    assert "api.uat.example.com" in running.text("clusters.json")


async def test_removed(start: Start) -> None:
    """A file that is gone leaves no token, no server and no figure."""
    running = await start()
    running.write("uat", client="uat", host="https://api.uat.example.com")
    await running.follow()
    await running.until(lambda: running.token("uat") != "")
    (running.envs / "uat.env").unlink()
    await running.follow()
    assert running.token("uat") == ""
    assert running.token("qa") == "Bearer token-of-qa"
    assert "uat" not in running.text("clusters.json") + running.text("listeners.json")
    assert 'environment="uat"' not in running.text("metrics.prom")


async def test_changed(start: Start) -> None:
    """Another client in the file is another token."""
    running = await start()
    running.write("qa", client="another")
    await running.follow()
    await running.until(lambda: running.token("qa") == "Bearer token-of-another")


async def test_company(start: Start) -> None:
    """CA_FILE is trusted beside all others."""
    running = await start()
    company = Root().certificate
    (running.envs / "company.pem").write_text(company)
    running.write("qa", client="qa", lines="CA_FILE=company.pem\n")
    await running.follow()
    (name,) = running.names() - {"trusted.pem"} & {one for one in running.names() if one.startswith("trusted-")}
    assert company.strip() in running.text(name)
    assert running.root.strip() in running.text(name)
    assert name in running.text("clusters.json")


async def test_reverse_gone(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A reverse proxy whose environment is gone serves nobody, has no token, and says why; then it serves again."""
    running = await start(Reverse("qa", Address("127.0.0.1", 0)))
    following = asyncio.create_task(running.engine.run())
    try:
        (running.envs / "qa.env").rename(running.envs / "other.env")
        await running.routes.read_again()
        await running.until(lambda: "until then nobody is served there" in caplog.text)
        assert "--reverse qa: there is no such environment" in caplog.text
        assert "reverse qa" not in running.text("listeners.json")
        assert "no environment file names this host any more" in running.text("routes-reverse_qa.json")
        assert running.token("qa") == ""
        (running.envs / "other.env").rename(running.envs / "qa.env")
        await running.routes.read_again()
        await running.until(lambda: "reverse qa" in running.text("listeners.json"))
    finally:
        following.cancel()


async def test_published(start: Start) -> None:
    """An issuer's token endpoint at a configured host gets no token, as soon as it is known."""
    running = await start()
    following = asyncio.create_task(running.engine.run())
    try:
        running.routes.published(["https://api.qa.example.com/published"])
        routes = Path(running.files.paths.routes("inside https://api.qa.example.com")).name
        await running.until(lambda: patterns.spelt("/published") in expressions(running.text(routes)))
    finally:
        following.cancel()


def expressions(text: str) -> set[str]:
    """Those in routes."""
    (found,) = json.loads(text)["resources"]
    routes = [route for host in found["virtual_hosts"] for route in host["routes"]]
    return {route["match"]["safe_regex"]["regex"] for route in routes if "safe_regex" in route["match"]}


async def test_end(start: Start) -> None:
    """Nothing that could be sent is left."""
    running = await start()
    running.end()
    assert not {name for name in running.names() if name.startswith(("token-", "header-", "leaf-"))}


async def test_left(start: Start, tmp_path: Path) -> None:
    """A token that a killed run has left is emptied."""
    left = tmp_path / "envoy" / "token-gone.json"
    left.parent.mkdir()
    left.write_text('{"resources": [{"generic_secret": {"secret": {"inline_string": "Bearer old"}}}]}')
    running = await start()
    assert running.token("gone") == ""

"""One environment's token, as Envoy has it. What comes and goes while requests pass is in tests/e2e."""

import time
from pathlib import Path

import pytest

from credential_injector.environments.environment import Environment
from credential_injector.envoy.feeder import Feeder
from credential_injector.envoy.files import Files
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.tokens.source import TokenSource
from tests.envoy.made import credential, environment, words
from tests.tokens.test_source import settle

NEVER = "9999-12-31T23:59:59Z"


class Source:
    """What a test has the authorization server do."""

    def __init__(self) -> None:
        self.now = time.time()
        self.life = 3600.0
        self.fails: NoToken | None = None
        self.asked = 0
        self.source = TokenSource(self.fetch, clock=lambda: self.now, jitter=lambda: 0.0)

    async def fetch(self, asked_at: float, replaces: str | None) -> AccessToken:
        if self.fails is not None:
            raise self.fails
        self.asked += 1
        return AccessToken(f"token-{self.asked}", asked_at, asked_at + self.life)


class Fed:
    """A feeder, and what it has written."""

    def __init__(self, files: Files, one: Environment) -> None:
        self.server = Source()
        self.told = 0
        self.files = files
        self.name = one.name
        self.feeder = Feeder(one, self.server.source, files, self._tell)

    def _tell(self) -> None:
        self.told += 1

    @property
    def token(self) -> str:
        return credential(self.files.paths.token(self.name))

    @property
    def until(self) -> str:
        return Path(self.files.paths.until(self.name)).read_text("utf-8")

    @property
    def reason(self) -> str:
        return Path(self.files.paths.reason(self.name)).read_text("utf-8").rstrip("\n")

    @property
    def number(self) -> int:
        """Of the token's file: another one, if it was written again."""
        return Path(self.files.paths.token(self.name)).stat().st_ino


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path / "envoy")
    made.make()
    return made


@pytest.fixture
def fed(files: Files, tmp_path: Path) -> Fed:
    return Fed(files, environment(tmp_path, "HEADER_X-Tenant=acme\n"))


async def test_token(fed: Fed) -> None:
    """A token comes with its word and its end, and the headers that go with it."""
    rest = await fed.feeder.step()
    assert fed.token == "Bearer token-1"
    assert NEVER not in fed.until
    assert credential(fed.files.paths.header("qa", "x-tenant")) == "acme"
    assert rest > 0
    assert fed.told


async def test_once(fed: Fed) -> None:
    """While it serves, no file is written again."""
    await fed.feeder.step()
    before = fed.told, fed.number
    fed.server.now += 60
    await fed.feeder.step()
    assert (fed.told, fed.number) == before
    assert fed.server.asked == 1


async def test_renewed(fed: Fed) -> None:
    """Before it ends, the next one comes in its place, without any request."""
    await fed.feeder.step()
    fed.server.now += fed.server.life - 30
    await fed.feeder.step()
    await settle()
    rest = await fed.feeder.step()
    assert fed.token == "Bearer token-2"
    assert rest > 1


async def test_lost(fed: Fed) -> None:
    """Where none can be had, no secret is left, and the reason is there for clients; then all is as before."""
    await fed.feeder.step()
    fed.server.now += fed.server.life
    fed.server.fails = NoToken("invalid_client", "the server answered 401", lasting=True)
    rest = await fed.feeder.step()
    assert rest >= 1
    assert fed.token == credential(fed.files.paths.header("qa", "x-tenant")) == ""
    assert fed.reason.startswith("qa: request blocked: no token (invalid_client): the server answered 401; ")
    assert NEVER in fed.until
    assert fed.feeder.failures == 1
    assert fed.feeder.token is None
    fed.server.fails = None
    fed.server.now += 3600
    await fed.feeder.step()
    assert fed.token == "Bearer token-2"


async def test_clock_set_back(fed: Fed) -> None:
    """Nobody knows how long a token lives that is from the future, so it is replaced."""
    await fed.feeder.step()
    fed.server.now -= 7200
    await fed.feeder.step()
    assert fed.token == "Bearer token-2"


async def test_prefix(files: Files, tmp_path: Path) -> None:
    """PREFIX stands before it, if there is one."""
    fed = Fed(files, environment(tmp_path, "HEADER=X-Key\n", name="key"))
    await fed.feeder.step()
    assert fed.token == "token-1"


async def test_endless(fed: Fed) -> None:
    """A token that does not end has no end in Envoy."""
    fed.server.life = float("inf")
    await fed.feeder.step()
    assert fed.token == "Bearer token-1"
    assert NEVER in fed.until


async def test_withheld(fed: Fed) -> None:
    """What Envoy must not send any more is taken away with a reason."""
    await fed.feeder.step()
    fed.feeder.withhold("its file has been removed")
    assert fed.token == ""
    assert fed.reason == "qa: request blocked: its file has been removed"


async def test_production(files: Files, tmp_path: Path) -> None:
    """The reason has production's sign."""
    fed = Fed(files, environment(tmp_path, "PRODUCTION=true\n"))
    fed.feeder.withhold("no token yet")
    assert fed.reason == "\N{HEAVY EXCLAMATION MARK SYMBOL}qa: request blocked: no token yet"


async def test_no_secret(fed: Fed) -> None:
    """The token is in its own file only."""
    await fed.feeder.step()
    holds = [one.name for one in fed.files.folder.iterdir() if one.is_file() and "token-1" in one.read_text("utf-8")]
    assert holds == ["token-qa.json"]
    assert "acme" not in words(fed.until)

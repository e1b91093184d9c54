"""What the feeder does when something goes wrong."""

import asyncio
import errno
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from credential_injector.envoy.feeder import Feeder
from credential_injector.envoy.files import Files
from credential_injector.envoy.typed import Message
from credential_injector.oauth.token import NoToken
from credential_injector.tokens.source import TokenSource
from tests.envoy.made import content, credential, environment
from tests.tokens.test_source import Clock, TokenEndpoint, settle


class FullDisk(Files):
    """A folder whose disk may be full."""

    full = False

    def write(self, path: str, content: Message | str) -> bool:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        return super().write(path, content)

    def overwrite(self, path: str, text: str) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        super().overwrite(path, text)


@pytest.fixture
def endpoint() -> TokenEndpoint:
    return TokenEndpoint()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FullDisk]:
    files = FullDisk(tmp_path / "envoy")
    files.make()
    yield files
    files.end()


@pytest.fixture
def feeder(tmp_path: Path, files: FullDisk, endpoint: TokenEndpoint, clock: Clock) -> Feeder:
    source = TokenSource(endpoint, clock=clock, jitter=lambda: 0.0)
    return Feeder(environment(tmp_path), source, files, lambda: None)


def sent(files: Files) -> str:
    """What Envoy sends."""
    return credential(files.paths.token("qa")).removeprefix("Bearer ")


def until(files: Files) -> tuple[str, str]:
    """Until when Envoy sends it, and its mark."""
    matcher = content(files.paths.until("qa"))["resources"][0]["typed_config"]["matcher"]["matcher_list"]["matchers"][0]
    expression = matcher["predicate"]["single_predicate"]["custom_match"]["typed_config"]["expr_match"]
    _, time = expression["cel_expr_parsed"]["expr"]["call_expr"]["args"]
    return time["const_expr"]["timestamp_value"], matcher["on_match"]["action"]["name"]


async def refuse(feeder: Feeder, mark: str) -> None:
    feeder.refused(mark)
    await settle()
    await settle()


async def test_late_refusals(
    feeder: Feeder, files: Files, endpoint: TokenEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """Many refusals of one token replace it once. Those that come later say nothing about the next one."""
    await feeder.step()
    _, mark = until(files)
    for _ in range(3):
        feeder.refused(mark)
    await refuse(feeder, mark)
    await refuse(feeder, mark)
    assert (sent(files), endpoint.requests) == ("token-2", 2)
    assert until(files)[1] != mark
    assert not caplog.messages


async def test_refuses_everything(
    feeder: Feeder, files: Files, endpoint: TokenEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """An API that refuses every token costs one more token request, and one line."""
    await feeder.step()
    for _ in range(20):
        await refuse(feeder, until(files)[1])
    assert endpoint.requests == 2
    assert [line for line in caplog.messages if "refuses" in line] == [
        "qa: the API refuses a new token, too, so it is not replaced for a while;"
        " run: credential-injector check --probe / qa"
    ]


async def test_refused_while_down(feeder: Feeder, files: Files, endpoint: TokenEndpoint) -> None:
    """Where no other token can be had, the refused one stays: the 401 may have been about something else."""
    await feeder.step()
    endpoint.fails_with = NoToken("http_503", "it answered 503")
    endpoint.may_answer.clear()
    feeder.refused(until(files)[1])
    await settle()
    looks = asyncio.create_task(feeder.step())  # meanwhile
    await settle()
    endpoint.may_answer.set()
    await looks
    await settle()
    assert sent(files) == "token-1"
    for _ in range(5):
        await refuse(feeder, until(files)[1])
    assert endpoint.requests == 2


async def test_same_token(feeder: Feeder, files: Files, endpoint: TokenEndpoint, clock: Clock) -> None:
    """A server may hand out the same token again, with a later end."""
    await feeder.step()
    before = until(files)[0]
    clock.now += 3570
    await feeder.step()  # which begins to ask
    endpoint.requests = 0  # the number in its name
    await settle()
    await feeder.step()
    assert sent(files) == "token-1"
    assert until(files)[0] > before


@pytest.mark.parametrize("seconds", [-60.0, 3600.0])
async def test_clock_set(feeder: Feeder, files: Files, endpoint: TokenEndpoint, clock: Clock, seconds: float) -> None:
    """A token whose end nobody knows is taken from Envoy before another one is asked for."""
    await feeder.step()
    clock.now += seconds
    endpoint.may_answer.clear()
    looks = asyncio.create_task(feeder.step())
    await settle()
    assert sent(files) == ""
    endpoint.may_answer.set()
    await looks
    assert sent(files) == "token-2"


async def test_full_disk(
    feeder: Feeder, files: FullDisk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk is told once, and the token is written when there is space again."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("credential_injector.envoy.feeder.RETRY", 0.0)
    files.full = True
    runs = asyncio.create_task(feeder.run())
    for _ in range(10):
        await settle()
    assert caplog.messages == [
        f"qa: {files.paths.reason('qa')}: cannot be written (No space left on device), so Envoy gets no new token"
        " until that is mended"
    ]
    files.full = False
    await asyncio.wait_for(feeder.looked.wait(), 10)
    assert sent(files) == "token-1"
    assert caplog.messages[1:] == ["qa: has a token again"]
    runs.cancel()


def test_two_runs(files: Files) -> None:
    """A folder belongs to one run at a time."""
    other = Files(files.folder)
    with pytest.raises(ValueError, match="another credential-injector envoy feeds it; end that one, or name another"):
        other.make()
    other.end()  # harms nobody
    assert Path(files.paths.refusals).exists()


def test_half_written(files: Files) -> None:
    """What could not be written as a whole leaves nothing, and says which file it was."""
    with pytest.raises(OSError, match=r"nowhere/token-qa\.json"):
        files.write(files.paths.of("nowhere/token-qa.json"), "secret")
    assert [path.name for path in files.folder.iterdir()] == ["refusals"]

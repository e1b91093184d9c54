"""What a store is told by: the value of inject_tokens and of --tokens."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from credential_injector.tokens.open_store import open_store
from credential_injector.tokens.sharing import shared
from tests.tokens.stores import NOW, REQUEST, TokenEndpoint, opened


def test_memory() -> None:
    """`memory` is no store."""
    assert open_store("memory") is None


@pytest.mark.parametrize("where", ["memroy", "mem", "Memory"])
def test_misspelt_memory(where: str) -> None:
    """A misspelt `memory` is no file, which would hold the tokens."""
    with pytest.raises(ValueError, match=r"did you mean memory\? For a file of this name write \./ before it"):
        open_store(where)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "is not a file"),
        (".", "is not a file"),
        (os.devnull, "is not a file"),
        ("no/such/canary/tokens.json", "in a folder that does not exist; expected .* or redis://host:6379/0"),
        ("~no-such-user-canary/tokens.json", "is malformed"),
        ("canary\0", "is malformed"),
        ("canary" * 1000, "is malformed|does not exist"),
        ("http://:canary@host/", "is of no known kind"),
        ("REDIS://:canary@host/", "is of no known kind"),
        ("redis:canary:6379", r"is malformed; expected a URL such as redis://host:6379/0"),
        ("Rediss:/canary/0", r"is malformed; expected a URL such as redis://host:6379/0"),
        ("redis://:canary@host:port", "is malformed"),
        ("redis://:canary@host:99999999", "is malformed"),
        ("redis://:can/ary@host", "is malformed"),
        ("redis://:can#ary@host", "is malformed"),
        ("redis://:can?ary@host", "is malformed"),
        ("redis://can/ary@host", "is malformed"),
        ("redis://host/canary", "is malformed"),
        ("redis://:canary@host/?no_such_option=canary", "is malformed"),
        ("redis://:canary@host/?db=canary", "is malformed"),
        ("redis://[canary", "is malformed"),
        ("unix://canary", "is malformed"),
    ],
)
def test_malformed(where: str, message: str) -> None:
    """A malformed store is told without repeating it."""
    with pytest.raises(ValueError, match=message) as error:
        open_store(where)
    assert "canary" not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or error.value.__context__ is None


@pytest.mark.parametrize(
    "url", ["redis://", "redis://:canary@host:1/2", "rediss://u:canary@host", "unix:///tmp/s?db=1"]
)
async def test_repr(url: str) -> None:
    """A store shows no password."""
    async with opened(url) as store:
        assert "canary" not in f"{store!r}{store}"


async def test_rediss() -> None:
    """A rediss:// server has to prove its name."""
    async with opened("rediss://host") as store:
        options = vars(store)["_client"].connection_pool.connection_kwargs
        assert options["ssl_check_hostname"] is True


def test_no_redis_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package redis the message says how to install it here, within the bounds of this project."""
    bounds = next(one for one in metadata.requires("mitmproxy-credential-injector") or () if one.startswith("redis"))
    upper = re.search(r"<[0-9.]+", bounds)
    assert upper is not None
    for name in ("redis", "redis.asyncio"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=re.escape(f"{sys.executable} -m pip install 'redis{upper[0]}'")):
        open_store("redis://:canary@host")


def test_redis_import(tmp_path: Path) -> None:
    """redis is imported for a redis URL only."""
    program = (
        "import sys; from credential_injector.tokens.open_store import open_store; open_store(sys.argv[1]);"
        "sys.exit('redis' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "tokens")], check=True, timeout=30)


async def test_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    async with opened("~/tokens.json") as store:
        await shared(store, REQUEST, TokenEndpoint())(NOW, None)
    assert (tmp_path / "tokens.json").exists()

"""Other scripts in the same mitmproxy, which import what is called as our script is."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from credential_injector.demo.processes import Mitmproxy, mitmproxy
from credential_injector.launch.programs import SCRIPT
from tests.e2e.conftest import Curl, Stage

ROOT = Path(__file__).parents[2]
# An error while a script is loaded at the start would end mitmdump.
OTHER = """\
import logging
try:
    import inject
except ImportError as error:
    logging.info(f"no library: {error}")
else:
    logging.info(f"the library is {inject.__file__}")
"""
LATE = """\
import logging, sys
def done():
    ours = {name: module for name, module in sys.modules.items() if name.startswith("credential_injector")}
    late = [name for name in ours if name.endswith((".jwt", ".file_store", ".endpoint"))]
    folders = {module.__file__.partition("credential_injector/")[0] for module in ours.values()}
    logging.info(f"{sorted(late)} from {sorted(folders)}")
"""


@pytest.fixture
def inside() -> Sequence[str]:
    """mitmproxy as it is, not warm: which folders it imports from is the subject here."""
    return ()


def started(stage: Stage, place: str, script: Path = SCRIPT, **environ: str) -> Mitmproxy:
    """mitmdump with our script, and another one that imports `inject`: before, after, or in our script's folder."""
    folder = script.parent if place == "beside" else stage.folder
    other = folder / "other.py"
    other.write_text(OTHER)
    first, second = (other, script) if place == "before" else (script, other)
    words = [*stage.options({}), "-s", str(second)]
    return stage.enter(mitmproxy("mitmdump", *words, folder=stage.folder, script=first, environ=environ))


def clone(stage: Stage) -> Path:
    """The script of a clone that is another one than the installed one."""
    folder = stage.folder / "clone" / "addon"
    shutil.copytree(ROOT / "addon", folder, ignore=shutil.ignore_patterns("__pycache__", "demo"))
    return folder / "inject.py"


def blocked(stage: Stage, curl: Curl, proxy: Mitmproxy) -> str:
    """What a request is told whose token request is refused."""
    proxy.wait_for("with tokens from")
    return curl("--proxy", proxy.url, f"{stage.http}/orders").body


@pytest.mark.parametrize("place", ["before", "after", "beside"])
def test_no_library(stage: Stage, curl: Curl, place: str) -> None:
    """Where no library is called inject, that script learns it, and we tell failures as ever."""
    stage.env(stage.http, "CLIENT_SECRET=wrong")
    proxy = started(stage, place, clone(stage))
    proxy.wait_for("no library: No module named 'inject'")
    assert "no token (invalid_client)" in blocked(stage, curl, proxy)


@pytest.mark.parametrize("place", ["before", "after"])
def test_library(stage: Stage, curl: Curl, place: str) -> None:
    """Where a library is called inject, that script gets it."""
    stage.env(stage.http, "CLIENT_SECRET=wrong")
    library = stage.folder / "site" / "inject" / "__init__.py"
    library.parent.mkdir(parents=True)
    library.touch()
    proxy = started(stage, place, PYTHONPATH=str(library.parents[1]))
    proxy.wait_for(f"the library is {library}")
    assert "no token (invalid_client)" in blocked(stage, curl, proxy)


def test_loaded_anew(stage: Stage, curl: Curl) -> None:
    """A clone that is loaded anew still imports late what it needs, and all of it is its own."""
    (stage.folder / "late.py").write_text(LATE)
    script = clone(stage)
    stage.env(stage.http, "TOKEN_ENDPOINT_AUTH_METHOD=client_secret_jwt")
    words = [*stage.options({"inject_tokens": "tokens.json"}), "-s", str(stage.folder / "late.py")]
    with mitmproxy("mitmdump", *words, folder=stage.folder, script=script) as proxy:
        proxy.wait_for("with tokens from")
        for times in (2, 3):
            os.utime(script, (script.stat().st_atime + 10, script.stat().st_mtime + 10))
            proxy.wait_for("with tokens from", times=times)
        # The demonstration's server knows no such method, and says so in the words of RFC 6749.
        assert "no token (invalid_client)" in curl("--proxy", proxy.url, f"{stage.http}/orders").body
    late = [f"credential_injector.{name}" for name in ("oauth.endpoint", "oauth.jwt", "tokens.file_store")]
    assert f"{late} from ['{script.parent}/']" in "\n".join(proxy.log)

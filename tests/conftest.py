"""What every test may use."""

import gc
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

from tests.reporting import Reporting

# The same examples in each run of the suite; HYPOTHESIS_PROFILE=fuzz looks for new ones.
settings.register_profile("suite", max_examples=100, deadline=None, derandomize=True)
settings.register_profile("fuzz", max_examples=10_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

# This machine's settings must not decide how a client in a test finds its proxy or whom it trusts.
for _name in list(os.environ):
    if _name.lower().endswith("_proxy") or "CA_BUNDLE" in _name or _name.startswith("SSL_CERT") or "CA_CERTS" in _name:
        del os.environ[_name]

# A shell that runs the tests in the background has it ignored, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.umask(0o077)  # files with secrets that others can read get a warning


@pytest.hookimpl(trylast=True)  # when there is a terminal reporter
def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # which a worker of pytest-xdist has
        config.pluginmanager.register(Reporting(config))


LONG = [
    "test_attacks",
    "test_client_matrix",
    "test_import_large",
    "test_envoy_attacks",
    "test_envoy_table",
    "test_envoy_life",
    "test_envoy_clients",
    "test_start",
    "test_main_job",
    "test_differential",
    "test_connections",
    "test_retry",
    "test_ending",
    "test_endurance",
    "test_login",
    "test_page_in_chromium",
    "test_oidc_provider",
    "test_doctor",
    "test_redact",
    "test_demo",
    "test_recovery",
    "test_life_cycle",
    "test_token_endpoint_faults",
    "test_store_faults",
    "test_token_store",
    "test_env_files",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests come first, and then the files that take long, so that no process is left alone with one."""

    def turn(item: pytest.Item) -> int:
        if item.path.parent.name not in ("e2e", "fuzz"):
            return 0
        return LONG.index(item.path.stem) + 1 if item.path.stem in LONG else len(LONG) + 1

    items.sort(key=turn)


@pytest.fixture(autouse=True)
def start() -> Iterator[None]:
    """Of mitmproxy: routes.py freezes what is there then (`gc.freeze`), and a test may be the start of several."""
    yield
    gc.unfreeze()


def tool(name: str, *, package: str) -> str:
    """The path of a program that a test needs. Without it the test is skipped by name; in CI it fails."""
    path = shutil.which(name)
    if path is None:
        missing(f"{name} is not installed (package {package})")
    return path


def node_package(name: str) -> Path:
    """The folder of an npm package that a test needs. Skipped or failed like a missing tool."""
    folder = Path(__file__).parent / "e2e" / "node" / "node_modules" / name
    if not folder.is_dir():
        missing(f"npm's {name} is not installed (npm ci in tests/e2e/node)")
    return folder


def missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)

"""Who may use a command's own proxy."""

import os
from urllib.parse import urlsplit

import pytest

from credential_injector.launch import confinement as module
from credential_injector.launch.confinement import CAN_FOLLOW, confinement


@pytest.fixture(autouse=True)
def no_subreaper(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own process stays as it is; tests/proxy/test_processes.py has what this does."""
    monkeypatch.setattr(module, "_keep_descendants", lambda: None)


@pytest.mark.skipif(not CAN_FOLLOW, reason="/proc of Linux")
def test_process() -> None:
    """By default what descends from this process, without a password."""
    confined = confinement(by_password=False)
    assert confined == ({"inject_clients": f"process:{os.getpid()}"}, {}, "")


@pytest.mark.parametrize(("can_follow", "by_password"), [(True, True), (False, False)])
def test_password(monkeypatch: pytest.MonkeyPatch, can_follow: bool, by_password: bool) -> None:
    """Whoever knows it, and no address: it is another one each time, and not in what everybody may see."""
    monkeypatch.setattr(module, "CAN_FOLLOW", can_follow)
    first, second = (confinement(by_password=by_password) for _ in range(2))
    assert first.settings == {"inject_clients": ""}
    assert first.secret != second.secret
    url = urlsplit(f"http://{first.login}127.0.0.1:8080")
    assert f"{url.username}:{url.password}" == first.secret["proxyauth"]
    assert len(url.password or "") >= 32

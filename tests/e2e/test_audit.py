"""inject_log: a line for each request to a configured host, and no secret in it."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.conftest import Stage


def get(proxy: str, url: str, method: str = "GET", **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, proxies={"http": proxy}, timeout=60, **options)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_lines(stage: Stage) -> None:
    """Injected, refused, healed, kept and blocked requests; none of other hosts."""
    log = stage.folder / "audit.jsonl"
    stage.env(f"{stage.http}", "METHODS=GET,POST")
    with stage.mitmproxy("mitmdump", inject_log=str(log)) as proxy:
        assert get(proxy.url, f"{stage.http}/orders/7?key=canary-query").status_code == 200
        assert get(proxy.url, f"{stage.http}/always/403?insufficient_scope").status_code == 403
        for token in stage.authorization_server.tokens.values():
            token.revoked = True
        assert get(proxy.url, f"{stage.http}/orders", "POST", data="canary-body").status_code == 200
        assert get(proxy.url, f"{stage.http}/orders", "DELETE").status_code == 502
        assert get(proxy.url, f"{stage.http}/large").status_code == 200
    told = lines(log)
    assert [(one["method"], one["path"], one["status"], one["action"], one["retried"]) for one in told] == [
        ("GET", "/orders/7", 200, "injected", False),
        ("GET", "/always/403", 403, "injected", False),
        ("POST", "/orders", 200, "injected", True),
        ("DELETE", "/orders", 502, "blocked", False),
        ("GET", "/large", 200, "injected", False),
    ]
    assert {(one["environment"], one["host"], one["client"]) for one in told} == {("qa", "127.0.0.1", "127.0.0.1")}
    assert told[0]["token"] != told[2]["token"]
    assert told[1]["diagnosis"] == "scope"
    assert "canary" not in log.read_text()
    assert not any(token in log.read_text() for token in stage.authorization_server.tokens)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_appended(stage: Stage) -> None:
    """What is there stays, a file that was moved away is made again, and a lost folder hurts no request."""
    log = stage.folder / "logs" / "audit.jsonl"
    log.parent.mkdir()
    log.write_text("{}\n")
    stage.env(stage.http)
    with stage.mitmproxy("mitmdump", inject_log=str(log)) as proxy:
        assert get(proxy.url, f"{stage.http}/a").status_code == 200
        while log.read_text().count("\n") < 2:
            pass
        log.rename(log.with_suffix(".1"))
        assert get(proxy.url, f"{stage.http}/b").status_code == 200
        while not log.exists():
            pass
        log.unlink()
        log.with_suffix(".1").rename(stage.folder / "first")
        log.parent.rmdir()
        assert get(proxy.url, f"{stage.http}/c").status_code == 200
        proxy.wait_for("inject_log: .* cannot be written .*; requests go on without a line")
        assert get(proxy.url, f"{stage.http}/d").status_code == 200
    assert (stage.folder / "first").read_text().count("\n") == 2
    assert sum("cannot be written" in line for line in proxy.log) == 1


@pytest.mark.parametrize("value", ["missing/audit.jsonl", ".", "link", "pipe"])
def test_mistake(stage: Stage, value: str) -> None:
    """What cannot be a file ends the start, with the reason."""
    stage.env(stage.http)
    (stage.folder / "link").symlink_to(stage.folder / "elsewhere")
    os.mkfifo(stage.folder / "pipe")
    proxy = stage.mitmdump("--set", f"inject_log={stage.folder / value}")
    proxy.wait_for("inject_log: .* cannot be written .*; expected a file in a folder that exists")
    assert proxy.process.wait(30) == 1
    assert not (stage.folder / "elsewhere").exists()

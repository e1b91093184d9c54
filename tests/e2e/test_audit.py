"""inject_log: a line for each request to a configured host, and no secret in it."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.conftest import Stage
from tests.e2e.mitmweb_api import WebApi
from tests.e2e.test_afterwards import wait_for_flow
from tests.e2e.test_websocket import connected, echoing
from tests.ports import free_port


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


async def test_websocket(stage: Stage) -> None:
    """A WebSocket gets one line, at its end."""
    log = stage.folder / "audit.jsonl"
    async with echoing(stage, None) as url:
        stage.env(url.replace("ws", "http"), "PRODUCTION=true")
        with stage.mitmproxy("mitmdump", inject_log=str(log)) as proxy:
            async with connected(stage, proxy, f"{url}/socket?canary-query") as connection:
                await connection.send("hello")
                assert await connection.recv() == "hello"
                assert log.read_text() == ""
    told = [(one["method"], one["path"], one["status"], one["action"], one["production"]) for one in lines(log)]
    assert told == [("GET", "/socket", 101, "injected", True)]


def test_killed(stage: Stage) -> None:
    """What a person kills, and what fails, gets a line, too."""
    log = stage.folder / "audit.jsonl"
    stage.env(stage.http, "CONFIRM=POST")
    with (
        stage.mitmproxy("mitmweb", web_port=free_port(), web_open_browser="false", inject_log=str(log)) as proxy,
        ThreadPoolExecutor() as pool,
    ):
        web, answer = WebApi(proxy), pool.submit(get, proxy.url, f"{stage.http}/orders", "POST")
        held = wait_for_flow(web, lambda flow: bool(flow["intercepted"]))
        assert web.ask("POST", f"/flows/{held['id']}/kill").status_code == 200
        assert isinstance(answer.exception(30), requests.ConnectionError)
    assert [(one["action"], one["status"], one["token"]) for one in lines(log)] == [("blocked", None, None)]


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

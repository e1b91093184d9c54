"""A person's login through oidc-provider's own pages in a real browser, and the proxy that uses what comes of it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from credential_injector.demo.processes import Mitmproxy
from tests.e2e.conftest import Chromium, Curl, Stage
from tests.e2e.oidc_provider import OidcProvider

WAIT = 30  # seconds


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a user who has never started mitmproxy."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    return folder


@pytest.fixture
def browser(chromium: Chromium) -> webdriver.Chrome:
    # Its pages want a font from there.
    return chromium("--host-resolver-rules=MAP fonts.googleapis.com 127.0.0.1")


@pytest.fixture
def login(stage: Stage) -> Iterator[Callable[..., Mitmproxy]]:
    """Start `credential-injector login`."""
    with ExitStack() as stack:

        def start(*arguments: str) -> Mitmproxy:
            process = subprocess.Popen(
                [sys.executable, "-m", "credential_injector.cli", "login", "--no-browser", *arguments],
                cwd=stage.folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            running = Mitmproxy(process)
            stack.callback(running.end)
            return running

        yield start


def env(stage: Stage, server: OidcProvider, *lines: str) -> None:
    scope = "SCOPE=openid offline_access read"
    stage.env(server.api, f"ISSUER={server.issuer}", scope, *lines, without="TOKEN_ENDPOINT,CLIENT_SECRET")


def authenticate(browser: webdriver.Chrome, url: str, until: str) -> str:
    """Log in and consent, as the pages ask, until the text comes; the page's text."""
    browser.get(url)

    def proceed(browser: webdriver.Chrome) -> str | None:
        text = browser.find_element(By.TAG_NAME, "body").text
        if re.search(until, text):
            return text
        for field in browser.find_elements(By.NAME, "login"):
            field.send_keys("alice")
            browser.find_element(By.NAME, "password").send_keys("anything")
        for button in browser.find_elements(By.CSS_SELECTOR, "button[type=submit]")[:1]:
            button.click()
        return None

    shown = WebDriverWait(browser, WAIT, ignored_exceptions=[Exception]).until(proceed)
    assert shown is not None
    return shown


def test_a_login_in_the_browser_serves_a_proxy_that_runs_already(
    stage: Stage,
    oidc_provider: OidcProvider,
    browser: webdriver.Chrome,
    login: Callable[..., Mitmproxy],
    curl: Curl,
    home: Path,
) -> None:
    env(stage, oidc_provider, "GRANT_TYPE=authorization_code", "CLIENT_ID=native")
    proxy = stage.mitmdump()
    blocked = curl("--proxy", proxy.url, f"{oidc_provider.api}/orders")
    assert blocked.status == 502
    assert "nobody has logged in; run: credential-injector login qa; next try" in blocked.body
    assert oidc_provider.stats()["token_requests"] == 0

    running = login("qa")
    page = authenticate(browser, running.wait_for(r"^(http://\S+)$")[1], until="back to the terminal")
    assert page == "qa: back to the terminal, which tells how it went; this page can be closed"
    running.wait_for("^qa: logged in$")
    assert running.process.wait(WAIT) == 0
    WebDriverWait(curl, WAIT).until(
        lambda curl: curl("--proxy", proxy.url, f"{oidc_provider.api}/orders").status == 200
    )
    assert oidc_provider.stats()["token_requests"] == 1
    store = home / ".mitmproxy" / "credential-injector.tokens"
    assert store.stat().st_mode & 0o077 == 0

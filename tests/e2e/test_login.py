"""A person's login through oidc-provider's own pages in a real browser, and the proxy that uses what comes of it."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from credential_injector.demo.processes import Mitmproxy
from tests.e2e.conftest import Chromium, Curl, Reply, Stage
from tests.e2e.oidc_provider import OidcProvider
from tests.ports import free_port

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


def in_the_browser(browser: webdriver.Chrome, running: Mitmproxy) -> None:
    page = authenticate(browser, running.wait_for(r"^(http://\S+)$")[1], until="go back to the terminal")
    assert page == "qa: go back to the terminal to see how it went; you can close this page"
    running.wait_for("^qa: logged in$")
    assert running.process.wait(WAIT) == 0


def answered(curl: Curl, proxy: Mitmproxy, server: OidcProvider, status: int) -> Reply:
    """The first answer with this status: it takes up to a second until the proxy looks for a login again."""

    def answer(_: object) -> Reply | None:
        reply = curl("--proxy", proxy.url, f"{server.api}/orders")
        return reply if reply.status == status else None

    reply = WebDriverWait(proxy, WAIT).until(answer)  # type: ignore[type-var]  # it waits for anything
    assert reply is not None
    return reply


def test_browser(
    stage: Stage,
    oidc_provider: OidcProvider,
    browser: webdriver.Chrome,
    login: Callable[..., Mitmproxy],
    curl: Curl,
    home: Path,
) -> None:
    """A login in the browser serves a proxy that runs already."""
    env(stage, oidc_provider, "GRANT_TYPE=authorization_code", "CLIENT_ID=native")
    proxy = stage.mitmdump()
    blocked = curl("--proxy", proxy.url, f"{oidc_provider.api}/orders")
    assert blocked.status == 502
    assert "nobody has logged in; run: credential-injector login qa; next try" in blocked.body
    assert oidc_provider.stats()["token_requests"] == 0

    in_the_browser(browser, login("qa"))
    answered(curl, proxy, oidc_provider, 200)
    assert oidc_provider.stats()["token_requests"] == 1
    store = home / ".mitmproxy" / "credential-injector.tokens"
    assert store.stat().st_mode & 0o077 == 0


def test_edited_redirect_uri(
    stage: Stage,
    oidc_provider: OidcProvider,
    browser: webdriver.Chrome,
    login: Callable[..., Mitmproxy],
    curl: Curl,
) -> None:
    """A stored login serves on after an edit of REDIRECT_URI's port: in a proxy that runs, and in the next one."""
    lines = "GRANT_TYPE=authorization_code", "CLIENT_ID=native"
    one, other = (f"REDIRECT_URI=http://127.0.0.1:{free_port()}/callback" for _ in range(2))
    env(stage, oidc_provider, *lines, one)
    in_the_browser(browser, login("qa"))
    with stage.mitmproxy("mitmdump") as running:
        answered(curl, running, oidc_provider, 200)
        env(stage, oidc_provider, *lines, other, "HEADER_X-Edited=yes")  # an edit of a login's key alone is not told
        running.wait_for("^.*qa: http.* with tokens from ", times=2)
        assert curl("--proxy", running.url, f"{oidc_provider.api}/orders").status == 200
    oidc_provider.end_access_tokens()
    answered(curl, stage.mitmdump(), oidc_provider, 200)
    assert oidc_provider.stats()["token_requests"] == 2


def test_device(
    stage: Stage,
    oidc_provider: OidcProvider,
    browser: webdriver.Chrome,
    login: Callable[..., Mitmproxy],
    curl: Curl,
) -> None:
    """A code on another device is a login, too."""
    (stage.folder / "envs").mkdir()
    env(stage, oidc_provider, "GRANT_TYPE=device_code", "CLIENT_ID=native")
    (stage.folder / "envs").rename(stage.folder / "other envs")
    proxy = stage.mitmdump(inject_envs="other envs", inject_tokens="shared tokens")
    blocked = curl("--proxy", proxy.url, f"{oidc_provider.api}/orders")
    command = re.search(r"run: credential-injector login (.*); next try", blocked.body)
    assert command is not None
    arguments = shlex.split(command[1])
    assert arguments == [
        *("qa", "--envs", str(stage.folder / "other envs")),
        *("--tokens", str(stage.folder / "shared tokens")),
    ]

    running = login(*arguments)
    code = running.wait_for(r"^and enter ([A-Z-]+), or open$")[1]
    url = running.wait_for(r"^(http://\S+user_code=\S+)$")[1]
    assert url.endswith(code)
    authenticate(browser, url, until="Sign-in Success")
    running.wait_for("^qa: logged in$")
    assert running.process.wait(WAIT) == 0
    answered(curl, proxy, oidc_provider, 200)


def test_two_proxies(
    stage: Stage,
    oidc_provider: OidcProvider,
    browser: webdriver.Chrome,
    login: Callable[..., Mitmproxy],
    curl: Curl,
) -> None:
    """Two proxies that share a login never show a used refresh token: oidc-provider would end the login."""
    env(stage, oidc_provider, "GRANT_TYPE=authorization_code", "CLIENT_ID=native")
    in_the_browser(browser, login("qa"))
    urls = [stage.mitmdump().url for _ in range(2)]

    def call(url: str) -> int:
        return curl("--proxy", url, f"{oidc_provider.api}/orders").status

    # Four at once, and then each alone, so that either one refreshes with what the other one got.
    rounds = [urls * 2] * 5 + [urls[:1], urls[1:], urls[:1]]
    with ThreadPoolExecutor(4) as pool:
        for callers in rounds:
            oidc_provider.end_access_tokens()
            assert set(pool.map(call, callers)) == {200}
    assert oidc_provider.stats()["token_requests"] == 1 + len(rounds)
    # Neither do the other commands, of which the first refreshes in any case.
    for arguments in (["check"], ["token", "qa", "--header"]):
        command = [sys.executable, "-m", "credential_injector.cli", *arguments]
        done = subprocess.run(command, cwd=stage.folder, capture_output=True, text=True, check=True)
    assert curl("-H", done.stdout.strip(), f"{oidc_provider.api}/orders").status == 200
    assert [call(url) for url in urls] == [200, 200]


def test_ended_by_server(
    stage: Stage,
    oidc_provider: OidcProvider,
    browser: webdriver.Chrome,
    login: Callable[..., Mitmproxy],
    curl: Curl,
    home: Path,
) -> None:
    """A login that the server has ended is asked for again, and the next one is found at once."""
    env(stage, oidc_provider, "GRANT_TYPE=authorization_code", "CLIENT_ID=short")
    proxy = stage.mitmdump()

    in_the_browser(browser, login("qa"))
    answered(curl, proxy, oidc_provider, 200)
    store = home / ".mitmproxy" / "credential-injector.tokens"
    (entry,) = json.loads(store.read_text())["tokens"].values()
    for _ in range(2):  # shown twice, which ends the login
        requests.post(
            f"{oidc_provider.issuer}/token",
            data={"grant_type": "refresh_token", "client_id": "short", "refresh_token": entry["refresh_token"]},
            timeout=WAIT,
        )
    ended = answered(curl, proxy, oidc_provider, 502)
    assert re.search("the login (has )?ended", ended.body)
    assert "; run: credential-injector login qa; next try" in ended.body
    in_the_browser(browser, login("qa"))
    answered(curl, proxy, oidc_provider, 200)

"""Verification: what a person sees in mitmweb, in a real browser."""

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from credential_injector.demo import web
from credential_injector.proxy.page import COLUMNS
from tests.e2e.conftest import Chromium, Stage
from tests.e2e.mitmweb_api import WebApi
from tests.ports import free_port
from tests.test_docs import table

ROWS = ".flow-table tbody tr:not([style])"
WAIT = 20  # seconds


@pytest.fixture
def browser(chromium: Chromium) -> webdriver.Chrome:
    return chromium()


def rows(browser: webdriver.Chrome) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, ".flow-table tbody tr.has-request")


def wait_for_rows(browser: webdriver.Chrome, count: int) -> list[WebElement]:
    WebDriverWait(browser, WAIT).until(lambda _: len(rows(browser)) == count, f"{count} flows were expected")
    return rows(browser)


def search(browser: webdriver.Chrome, text: str) -> None:
    field = browser.find_element(By.CSS_SELECTOR, "input[placeholder='Search']")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(text, Keys.ENTER)


def test_flow(stage: Stage, browser: webdriver.Chrome) -> None:
    """A modified request shows its header, mark and comment, and can be searched."""
    stage.env(stage.http, "METHODS=GET")
    options = [f"web_port={free_port()}", "web_open_browser=false"]
    words = [word for option in options for word in ("--set", option)]
    with stage.mitmproxy("mitmweb", *words) as proxy, requests.Session() as session:
        session.proxies = {"http": proxy.url}
        other = f"http://localhost:{stage.http.rpartition(':')[2]}"
        assert session.get(f"{stage.http}/orders", timeout=30).status_code == 200
        assert session.get(f"{stage.http}/mine", auth=("me", "mine"), timeout=30).status_code == 200
        assert session.delete(f"{stage.http}/orders", timeout=30).status_code == 502
        assert session.get(f"{other}/open", timeout=30).status_code == 200

        browser.get(proxy.web_url)
        first, second, blocked, untouched = (row.text for row in wait_for_rows(browser, 4))
        assert "qa: +Bearer" in _comment(browser, 0)
        assert "🔑" in first
        assert "🔑" in second
        assert "⛔" in blocked
        assert "qa: other host" in untouched

        search(browser, "~comment injected")
        assert all("/orders" in row.text or "/mine" in row.text for row in wait_for_rows(browser, 2))
        search(browser, "~marked")
        wait_for_rows(browser, 4)
        search(browser, "~comment injected & ~u mine")
        (row,) = wait_for_rows(browser, 1)

        row.click()
        token = stage.api.received[1][1]
        shown = browser.find_element(By.CSS_SELECTOR, ".flow-detail").text
        assert f"Authorization: {dict(token)['Authorization']}" in shown.replace("Authorization:\n", "Authorization: ")
        browser.find_element(By.LINK_TEXT, "Comment").click()
        comment = browser.find_element(By.CSS_SELECTOR, ".flow-detail").text
        assert "qa: Basic→Bearer" in comment
        assert "- before: Authorization: Basic" in comment
        assert "- token injected (cached, " in comment
        assert "<sha256:" in comment
        assert "envs/qa.env" in comment


FOUND = {
    "~comment injected": 6,
    '~comment injected & ~comment "why:"': 1,
    '~comment "sent again"': 1,
    "~marked & !~comment injected": 3,
    '~comment "^qa:"': 1,
    '~comment "before: .*a token for"': 1,
}
"""The filters of docs/verify.md, and how many of the demonstration's requests each one finds."""


def test_filters(browser: webdriver.Chrome) -> None:
    """Each filter that docs/verify.md names finds what it says."""
    told = [one.strip("`") for one, _ in table("docs/verify.md", "## Find requests")]
    assert [one for one in told if not one.startswith("~meta")] == list(FOUND)
    with web.showing() as (_, proxy):
        api = WebApi(proxy)
        left_as_is = next(flow for flow in api.flows() if "other page" in flow["comment"])
        comment = "qa: uat→Bearer\n- before: Authorization: Bearer, a token for uat\n- nothing"
        assert api.ask("PUT", f"/flows/{left_as_is['id']}", {"comment": comment}).ok
        browser.get(proxy.web_url)
        wait_for_rows(browser, 9)
        for one, count in FOUND.items():
            search(browser, one)
            wait_for_rows(browser, count)


def _comment(browser: webdriver.Chrome, row: int) -> str:
    cells = rows(browser)[row].find_elements(By.CSS_SELECTOR, "td")
    return cells[COLUMNS.index("comment")].get_attribute("textContent") or ""

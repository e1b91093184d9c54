"""The page at /inject in a real browser: by clicks, by keyboard, on a phone, in the dark, and for who hears it."""

import base64
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from credential_injector.demo.processes import Mitmproxy
from tests.conftest import node_package
from tests.e2e.conftest import Chromium, Stage
from tests.e2e.test_page import mitmweb
from tests.fakes import answering, http

WAIT = 20  # seconds
LONG = "/" + "long" * 2500
NASTY = "<img src=x onerror=document.title='pwned'>"
CLAIMS = {"iss": "https://login.example.com", "aud": "https://api.example.com", "scope": "read", "sub": "me"}

# The first lines of the comments in mitmweb's list, as far as they can be read.
HEADLINES = """
return [...document.querySelectorAll(".flow-table td.col-comment")].map(cell => {
  const text = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT).nextNode();
  if (text === null) return "";
  const line = text.data.split("\\n")[0], range = document.createRange();
  range.setStart(text, 0);
  range.setEnd(text, line.length);
  // Behind the line comes an ellipsis: the rest of the comment is cut off.
  return range.getBoundingClientRect().right + 14 <= cell.getBoundingClientRect().right ? line : "cut off: " + line;
})"""

VIOLATIONS = """
axe.run({resultTypes: ["violations"]}).then(({violations}) =>
  arguments[0](violations.map(one => `${one.id}: ${one.nodes.map(node => node.html)}`)))"""


@dataclass
class Scene:
    """mitmweb with some requests that went well and some that did not, and a browser that is logged in."""

    stage: Stage
    proxy: Mitmproxy
    browser: webdriver.Chrome
    origin: str

    def ask(self, path: str, **more: object) -> int:
        with requests.Session() as client:
            client.trust_env = False
            client.proxies = {"http": self.proxy.url}
            return client.get(self.stage.http + path, timeout=30, **more).status_code  # type: ignore[arg-type]

    def open(self, path: str = "/inject") -> None:
        self.browser.get(self.origin + path)

    def one(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return str(
            self.browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)
        )

    def rows(self, path: str = "") -> list[WebElement]:
        rows = self.browser.find_elements(By.CSS_SELECTOR, "tr[id^=request-]")
        return [row for row in rows if path in row.find_element(By.CSS_SELECTOR, ".request").text]

    def row(self, path: str) -> WebElement:
        (row,) = self.rows(path)
        return row

    def until(self, true: Callable[[], object], what: str) -> None:
        WebDriverWait(self.browser, WAIT).until(lambda _: true(), what)

    def focused(self) -> str:
        return str(self.browser.execute_script("return document.activeElement.id"))

    def press(self, *keys: str) -> None:
        webdriver.ActionChains(self.browser).send_keys(*keys).perform()

    def tab_to(self, name: str) -> None:
        for _ in range(40):
            self.press(Keys.TAB)
            if self.focused() == name:
                return
        raise AssertionError(f"the keyboard does not reach {name}")

    def next_flow(self) -> None:
        """In mitmweb's list."""
        shown = self.text(".flow-detail")
        self.press(Keys.ARROW_DOWN)
        self.until(lambda: self.text(".flow-detail") != shown, "another flow was expected")

    def size(self, width: int, height: int = 900) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefers(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.fixture
def scene(stage: Stage, chromium: Chromium) -> Iterator[Scene]:
    """Five environments' worth of stories: Basic replaced, healed, forbidden, a bad client, a JWT with an audience."""
    said = {"access_token": jwt(CLAIMS), "token_type": "Bearer", "expires_in": 3600}
    endpoint, _ = stage.enter(answering(http(200, said)))
    stage.env(stage.http, "SCOPE=read write")
    stage.env(f"{stage.http}/uat", "CLIENT_SECRET=wrong", name="uat")
    stage.env(f"{stage.http}/open", f"TOKEN_ENDPOINT={endpoint}", name="jwt")
    browser = chromium()
    with mitmweb(stage) as proxy:
        origin = re.match(r"http://[^/]+", proxy.web_url)
        assert origin is not None
        scene = Scene(stage, proxy, browser, origin[0])
        assert scene.ask("/basic", auth=("alice", "wonder")) == 200
        for token in list(stage.authorization_server.tokens.values()):
            token.revoked = True
        assert scene.ask("/healed") == 200
        assert scene.ask("/always/403?insufficient_scope") == 403
        assert scene.ask("/uat/orders") == 502
        assert scene.ask("/open") == 200
        scene.size(1280)
        browser.get(proxy.web_url)
        yield scene
        assert [entry for entry in browser.get_log("browser") if "/inject" in entry["message"]] == []  # type: ignore[no-untyped-call]


def test_clicks(scene: Scene) -> None:
    """Each question is answered in mitmweb's list, or on the page, and a click on the page leads to the flow."""
    rows = ".flow-table tbody tr.has-request"
    scene.until(lambda: len(scene.browser.find_elements(By.CSS_SELECTOR, rows)) >= 5, "flows were expected")
    seen = scene.browser.execute_script(HEADLINES)
    # Was it changed? 0 clicks, and nothing is cut off.
    assert {"qa: Basic→Bearer", "qa: 401→200", "qa: 403 scope", "uat: bad client"} <= set(seen)

    scene.open()
    basic = scene.row("/basic")
    # By which file, and what stood there before?
    assert "HOST in envs/qa.env" in basic.text
    assert basic.find_element(By.CSS_SELECTOR, ".sent").text == "Basic"
    assert re.match(r"token [0-9a-f]{6}…", basic.find_element(By.CSS_SELECTOR, ".received").text)
    # When does it end?
    assert re.search(r"\d:\d\d\s+ends \d\d:\d\d:\d\d", scene.text("#environment-qa .expires"))
    # Scopes and audience?
    assert "read asked: read write" not in scene.text("#environment-qa")
    assert "scope\nread write" in scene.text("#environment-qa")
    assert "audience\nhttps://api.example.com" in scene.text("#environment-jwt")
    assert "aud https://api.example.com" in scene.row("/open").text
    # Why is it refused?
    refused = scene.row("/always/403")
    assert refused.find_element(By.CSS_SELECTOR, ".answer").text == "403"
    assert "scope" in refused.find_element(By.CSS_SELECTOR, ".why").text
    again, healed = (row.text for row in scene.rows("/healed"))
    assert "sent again" in again
    assert "401→200" in healed
    # Which environments are unhealthy?
    assert "attention" in scene.text("#summary")
    assert "uat" in scene.text("#summary")
    assert "invalid_client" in scene.text("#environment-uat .why")
    assert "next try in" in scene.text("#environment-uat .next")

    scene.one("#show-refused").click()
    scene.until(lambda: len(scene.rows()) == 2, "2 were refused")
    assert scene.one("#show-refused").get_attribute("aria-current") == "page"
    scene.row("/always/403").find_element(By.CSS_SELECTOR, ".time a").click()
    scene.until(lambda: "- before: " in scene.text(".flow-detail"), "the flow's comment was expected")


def test_keyboard(scene: Scene) -> None:
    """The keyboard reaches all of it, sees where it is, and keeps its place when the page changes."""
    scene.open()
    scene.press(Keys.TAB)
    skip = scene.browser.switch_to.active_element
    assert skip.text == "Skip to the last requests"
    assert skip.is_displayed()
    assert skip.rect["x"] >= 0
    assert skip.value_of_css_property("outline-style") == "solid"
    scene.tab_to("refresh-environment-qa")
    before = scene.text("#environment-qa code")
    scene.press(Keys.ENTER)
    scene.until(lambda: scene.text("#environment-qa code") != before, "a new token was expected")
    assert scene.focused() == "refresh-environment-qa"
    scene.until(lambda: scene.text("#news") == "qa: new token", "the change is told")
    scene.open()
    scene.press(Keys.TAB, Keys.ENTER, Keys.TAB)
    assert scene.focused() == "show-all"
    scene.press(Keys.TAB, Keys.TAB, Keys.ENTER)
    scene.until(lambda: scene.one("#show-healed").get_attribute("aria-current"), "healed ones were expected")
    link = scene.one("tr[id^=request-] .time a").get_attribute("id")
    assert link is not None
    scene.tab_to(link)
    scene.press(Keys.ENTER)
    scene.until(lambda: "- before: " in scene.text(".flow-detail"), "the flow's comment was expected")
    # The comment answers the rest: what stood there, by which file, until when, which scope. So does the next one's.
    said = scene.text(".flow-detail")
    assert all(
        line in said
        for line in (
            "qa: 401→200",
            "- before: no Authorization",
            "- rule: HOST=",
            ", expires ",
            "- scope: asked read write",
        )
    )
    for _ in scene.browser.find_elements(By.CSS_SELECTOR, ".flow-table tbody tr.has-request"):
        if "- why: the API " in scene.text(".flow-detail"):
            break
        scene.next_flow()
    assert "qa: 403 scope - why: the API " in " ".join(scene.text(".flow-detail").split())


def test_live(scene: Scene) -> None:
    """What happens appears by itself; the focus, the scroll position, a selected text and what is the same stay."""
    scene.size(1280, 500)
    scene.open()
    link = scene.row("/basic").find_element(By.CSS_SELECTOR, ".time a")
    name = link.get_attribute("id")
    scene.browser.execute_script("document.getElementById(arguments[0]).focus(); scrollTo(0, 300)", name)
    scene.browser.execute_script("document.getElementById('environment-uat').same = true")
    assert scene.ask("/later") == 200
    scene.until(lambda: "/later" in scene.text("#requests"), "it did not appear")
    assert scene.focused() == name
    assert scene.browser.execute_script("return document.getElementById('environment-uat').same")
    assert scene.browser.execute_script("return scrollY") == 300
    scene.browser.execute_script(
        "getSelection().selectAllChildren(document.querySelector('#environment-qa .origins'));"
        "performance.clearResourceTimings()"
    )
    assert scene.ask("/latest") == 200
    scene.until(lambda: polls(scene) >= 2, "it did not ask again")
    assert "/latest" not in scene.text("#requests")
    scene.browser.execute_script("getSelection().removeAllRanges()")
    scene.until(lambda: "/latest" in scene.text("#requests"), "it did not appear")


def test_countdown(scene: Scene) -> None:
    """It moves, by the server's clock: that of the browser may be wrong."""
    script = "const real = Date.now; Date.now = () => real() + 3600000"
    scene.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    scene.open()

    def left() -> int:
        minutes, seconds = scene.text("#environment-qa .left").split(":")
        return 60 * int(minutes) + int(seconds)

    scene.until(lambda: 0 < left() <= 300, "the server's clock counts")
    first = left()
    scene.until(lambda: left() < first, "it does not move")


def test_hidden(scene: Scene) -> None:
    """A tab that nobody sees asks nothing, and shows how things stand as soon as it is seen."""
    scene.open()
    scene.until(lambda: polls(scene) >= 1, "it did not ask")
    hide = "Object.defineProperty(document, 'hidden', {{get: () => {}, configurable: true}});"
    seen = "document.dispatchEvent(new Event('visibilitychange'));"
    scene.browser.execute_script(hide.format("true") + seen + "performance.clearResourceTimings()")
    scene.browser.set_script_timeout(10)
    scene.browser.execute_async_script("setTimeout(arguments[0], 5000)")
    assert polls(scene) <= 1  # one may have been under way
    assert scene.ask("/meanwhile") == 200
    scene.browser.execute_script(hide.format("false") + seen)
    scene.until(lambda: "/meanwhile" in scene.text("#requests"), "it did not appear")


def test_ended(scene: Scene) -> None:
    """When mitmweb has ended, the page says that it is old."""
    scene.open()
    scene.proxy.end()
    scene.until(lambda: "mitmweb does not answer" in scene.text("#news"), "nothing was said")
    assert scene.one("body").get_attribute("class") == "old"
    scene.browser.get_log("browser")  # type: ignore[no-untyped-call]  # that it could not connect


def test_accessible(scene: Scene) -> None:
    """axe-core finds nothing, in light, in the dark and on a phone, and nothing is wider than the window."""
    axe = (node_package("axe-core") / "axe.min.js").read_text()
    with (scene.stage.folder / "envs" / "qa.env").open("a") as file:
        file.write("HOST=twice\n")
    scene.proxy.wait_for("Keeping the previous environments")
    scene.browser.set_script_timeout(60)
    for width, scheme, path in itertools.product((1280, 390), ("light", "dark"), ("/inject", "/inject?show=healed")):
        scene.size(width)
        scene.prefers(scheme)
        scene.open(path)
        scene.browser.execute_script(axe)
        assert scene.browser.execute_async_script(VIOLATIONS) == [], (width, scheme, path)
        assert fits(scene)


def test_nasty(scene: Scene) -> None:
    """Names, paths, schemes and claims that others chose are text, however long."""
    scene.stage.env(scene.stage.http, name=NASTY)
    scene.proxy.wait_for("Keeping the previous environments")
    assert scene.ask(f"/nasty/{NASTY}", headers={"Authorization": f"{NASTY} x"}) == 200
    assert scene.ask(LONG, headers={"Authorization": f"Bearer {jwt(dict.fromkeys(CLAIMS, NASTY))}"}) == 200
    for width in (1280, 390):
        scene.size(width)
        scene.open()
        scene.until(lambda: polls(scene) >= 1, "it did not ask")
        assert NASTY in scene.text("#mistakes")
        assert scene.browser.find_elements(By.TAG_NAME, "img") == []
        assert "pwned" not in scene.browser.title
        assert fits(scene)
        assert scene.row("/longlong").size["height"] < 300


def jwt(claims: dict[str, str]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims)]
    return ".".join([*parts, "c2ln"])


def fits(scene: Scene) -> bool:
    return bool(scene.browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"))


def polls(scene: Scene) -> int:
    """How often the page has asked how things stand."""
    script = "return performance.getEntriesByType('resource').filter(one => one.initiatorType === 'fetch').length"
    return int(scene.browser.execute_script(script))


def test_forms(scene: Scene) -> None:
    """A browser may send both forms: that of the login, and, without a script, the one for a new token."""
    token = scene.proxy.web_url.partition("token=")[2]
    if token:  # mitmweb 11 has no login
        scene.browser.delete_all_cookies()
        scene.open()
        scene.one("[name=token]").send_keys("wrong", Keys.ENTER)
        scene.until(lambda: "not mitmweb's password" in scene.text("h1"), "it was expected to say no")
        scene.one("[name=token]").send_keys(token, Keys.ENTER)
        scene.until(lambda: scene.text("h1") == "Environments", "the page was expected")
        scene.browser.get_log("browser")  # type: ignore[no-untyped-call]  # which has the 403 of a wrong password
    asked = scene.stage.token_requests
    scene.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    scene.open()
    scene.one("#environment-qa button").click()
    scene.until(lambda: scene.stage.token_requests == asked + 1, "a token request was expected")
    scene.until(lambda: scene.browser.current_url.endswith("/inject"), "the page was expected")

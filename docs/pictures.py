"""Make the pictures of the documentation: `make web` in Chromium, in light and in dark colours.

A rerun changes times and fingerprints; sizes, ports and paths stay.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from credential_injector.demo import web
from credential_injector.demo.processes import Mitmproxy, is_free

FOLDER = Path(__file__).parent
PORTS = (9001, 9000)  # of the demonstration's servers: the same in each picture
WIDTHS = {"mitmweb": 1280, "inject": 1100}  # pixels
HIGH = 2000  # pixels, in which all that is shown has room
COLOURS = {"light": "", "dark": "-dark"}
"""What the names of the pictures end in."""
SELECTED = "/stock/7"
ROWS = 9  # one for each request of the demonstration, and one for that which is sent again after a 401
WAIT = 20  # seconds


def missing() -> Iterator[str]:
    """What this machine lacks, with Debian's package."""
    for program, package in (("chromium", "chromium"), ("chromedriver", "chromium-driver")):
        if shutil.which(program) is None:
            yield f"{program} ({package})"
    fonts = shutil.which("fc-list")
    emoji = [fonts or "", ":lang=und-zsye"]
    if fonts is None or not subprocess.run(emoji, check=True, capture_output=True).stdout:  # noqa: S603 - fixed words
        yield "a font with emoji (fontconfig, fonts-noto-color-emoji)"
    for port in (*PORTS, *web.PORTS):
        if not is_free(port):
            yield f"port {port}, on which another program listens"


def chromium() -> webdriver.Chrome:
    """A browser without scroll bars."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver") or ""))


def take(browser: webdriver.Chrome, name: str, look: Callable[[], int]) -> None:
    """Write NAME.png and NAME-dark.png. `look` opens what they show, and tells its height."""
    for colours, ending in COLOURS.items():
        feature = {"name": "prefers-color-scheme", "value": colours}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        _size(browser, WIDTHS[name], HIGH)
        _size(browser, WIDTHS[name], look())
        browser.save_screenshot(str(FOLDER / f"{name}{ending}.png"))


def _size(browser: webdriver.Chrome, width: int, height: int) -> None:
    # --window-size would count the window's frame, too.
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def flows(browser: webdriver.Chrome, proxy: Mitmproxy) -> int:
    """mitmweb's list, and the comment of the request that the API refuses."""
    browser.get(proxy.web_url)

    def rows() -> list[WebElement]:
        return browser.find_elements(By.CSS_SELECTOR, ".flow-table tbody tr.has-request")

    wait = WebDriverWait(browser, WAIT)
    wait.until(lambda _: len(rows()) == ROWS, f"{ROWS} requests did not come")
    next(row for row in rows() if SELECTED in row.text).click()
    tab = (By.XPATH, "//nav//a[normalize-space()='Comment']")
    wait.until(lambda _: browser.find_elements(*tab), "no request was selected")[0].click()
    said = browser.find_elements(By.CSS_SELECTOR, ".connection-indicator")
    wait.until_not(lambda _: any(one.is_displayed() for one in said), "mitmweb has no connection")
    return _end(rows()[-1]) + 40  # with the line at its foot


def page(browser: webdriver.Chrome, proxy: Mitmproxy) -> int:
    """The add-on's page, as far as the request that was sent again."""
    browser.get(web.page_url(proxy))
    row = (By.XPATH, "//tr[contains(., '401→200')]")
    return _end(WebDriverWait(browser, WAIT).until(lambda _: browser.find_elements(*row), "no request came")[0])


def _end(element: WebElement) -> int:
    """Pixels from the page's top."""
    return int(element.rect["y"] + element.rect["height"])


def main() -> None:
    """Write the pictures."""
    if lacks := list(missing()):
        sys.exit(f"pictures: this machine lacks {'; '.join(lacks)}")
    # Masked: a picture shows no token, not even one that has expired.
    with web.showing("inject_mask=true", ports=PORTS) as (_, proxy), chromium() as browser:
        take(browser, "inject", lambda: page(browser, proxy))
        take(browser, "mitmweb", lambda: flows(browser, proxy))


if __name__ == "__main__":
    main()

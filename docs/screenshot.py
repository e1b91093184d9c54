"""Make docs/mitmweb.png: `make web` in Chromium, with a request selected that got a token.

Needs selenium, Chromium with its driver, and a font with emoji (on Debian: fonts-noto-color-emoji).
"""

import shutil
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from credential_injector.demo.web import showing

PICTURE = Path(__file__).with_name("mitmweb.png")
WIDTH, HEIGHT, SCALE = 1280, 600, 1.1  # the page in CSS pixels, and the picture's for each of them
SELECTED = "/orders/1"
ROWS = 8  # one for each request of the demonstration, and one for that which is sent again after a 401
WAIT = 20  # seconds


def chromium() -> webdriver.Chrome:
    """A page of WIDTH and HEIGHT."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver") or ""))
    # --window-size would count the window's frame, too.
    metrics = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": SCALE, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    return browser


def main() -> None:
    """Write the picture."""
    # Masked: a picture shows no token, not even one that has expired.
    with showing("inject_mask=true") as (_, proxy), chromium() as browser:
        browser.get(proxy.web_url)

        def rows() -> list[WebElement]:
            return browser.find_elements(By.CSS_SELECTOR, ".flow-table tbody tr.has-request")

        wait = WebDriverWait(browser, WAIT)
        wait.until(lambda _: len(rows()) == ROWS, f"{ROWS} requests did not come")
        next(row for row in rows() if SELECTED in row.text).click()
        wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, ".flow-detail"), "no request was selected")
        said = browser.find_elements(By.CSS_SELECTOR, ".connection-indicator")
        wait.until_not(lambda _: any(one.is_displayed() for one in said), "mitmweb has no connection")
        browser.save_screenshot(str(PICTURE))


if __name__ == "__main__":
    main()

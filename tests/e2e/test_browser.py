"""A page from another origin, open in a browser behind the proxy: its requests must not act in our name."""

from flask import Flask
from selenium.webdriver.support.ui import WebDriverWait

from credential_injector.demo.servers import serve
from tests.e2e.conftest import Chromium, Stage

PAGE = """<!doctype html><title>asking</title><script>
const api = new URLSearchParams(location.search).get("api");
const loaded = image => new Promise(done => { image.onload = image.onerror = done; });
(async () => {
  await fetch(`${api}/open?cors`).catch(() => {});
  await fetch(`${api}/open?no-cors`, {mode: "no-cors"}).catch(() => {});
  await fetch(`${api}/open?preflight`, {headers: {"X-Mine": "1"}}).catch(() => {});
  const image = new Image();
  image.src = `${api}/open?image`;
  await loaded(image);
  document.title = "asked";
})();
</script>"""


def asked(stage: Stage, chromium: Chromium, *lines: str) -> dict[str, bool]:
    """What reached the API from a page of another site, and whether it carried a token."""
    page = Flask("page")
    page.add_url_rule("/", view_func=lambda: PAGE)
    port = stage.https_port
    api = f"https://api.qa.test:{port}"
    origin = stage.enter(serve(page, stage.tls)).replace("127.0.0.1", "api.test")
    stage.env(api, *(line.format(page=origin) for line in lines))
    proxy = stage.mitmdump()
    browser = chromium(f"--proxy-server={proxy.url}", "--ignore-certificate-errors")
    browser.get(f"{origin}/?api={api}")
    WebDriverWait(browser, 20).until(lambda _: browser.title == "asked")
    browser.get(f"{api}/open?typed")
    paths = [(line.split(" ")[1], dict(sent)) for line, sent in stage.api.received]
    return {path.partition("?")[2]: "Authorization" in sent for path, sent in paths if path.startswith("/open")}


def test_a_page_of_another_site_reaches_the_api_bare(stage: Stage, chromium: Chromium) -> None:
    found = asked(stage, chromium)
    assert found.pop("typed") is True
    assert found == {"cors": False, "no-cors": False, "preflight": False, "image": False}


def test_a_page_whose_origin_is_listed_gets_the_token(stage: Stage, chromium: Chromium) -> None:
    found = asked(stage, chromium, "ORIGINS={page}")
    assert found == {"cors": True, "no-cors": False, "preflight": False, "image": False, "typed": True}

"""A page from another origin, open in a browser behind the proxy: its requests must not act in our name."""

from collections.abc import Iterable
from pathlib import Path

import pytest
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
    origin = stage.enter(serve(page, stage.tls)).replace("127.0.0.1", "api.test")
    return asked_by(stage, chromium, f"{origin}/", *(line.format(page=origin) for line in lines))


def asked_by(stage: Stage, chromium: Chromium, page: str, *lines: str, options: Iterable[str] = ()) -> dict[str, bool]:
    """The same, of the page at this URL."""
    api = f"https://api.qa.test:{stage.https_port}"
    stage.env(api, *lines)
    proxy = stage.mitmdump()
    browser = chromium(f"--proxy-server={proxy.url}", "--ignore-certificate-errors", *options)
    browser.get(f"{page}?api={api}")
    WebDriverWait(browser, 20).until(lambda _: browser.title == "asked")
    browser.get(f"{api}/open?typed")
    paths = [(line.split(" ")[1], dict(sent)) for line, sent in stage.api.received]
    return {path.partition("?")[2]: "Authorization" in sent for path, sent in paths if path.startswith("/open")}


def test_other_site(stage: Stage, chromium: Chromium) -> None:
    """A page of another site reaches the API bare."""
    found = asked(stage, chromium)
    assert found.pop("typed") is True
    assert found == {"cors": False, "no-cors": False, "preflight": False, "image": False}


def test_listed_origin(stage: Stage, chromium: Chromium) -> None:
    """A page whose origin is listed gets the token."""
    found = asked(stage, chromium, "ORIGINS={page}")
    assert found == {"cors": True, "no-cors": False, "preflight": False, "image": False, "typed": True}


@pytest.mark.parametrize(
    ("origin", "options"), [("null", ()), ("file://", ("--allow-file-access-from-files",))], ids=["null", "file"]
)
@pytest.mark.parametrize("listed", [True, False])
def test_a_page_of_a_file(
    stage: Stage, chromium: Chromium, tmp_path: Path, origin: str, options: tuple[str, ...], listed: bool
) -> None:
    """A hybrid app's page has the origin null or file://, and gets the token where ORIGINS lists just that."""
    (tmp_path / "page.html").write_text(PAGE)
    other = "null" if origin == "file://" else "file://"
    line = f"ORIGINS=http://localhost:3000, {origin if listed else other}"
    found = asked_by(stage, chromium, (tmp_path / "page.html").as_uri(), line, options=options)
    assert found == {"cors": listed, "no-cors": False, "preflight": False, "image": False, "typed": True}

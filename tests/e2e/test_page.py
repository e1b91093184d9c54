"""The page at /inject under mitmweb's port: who may see it, and what stands there."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

from credential_injector.demo.processes import Mitmproxy
from credential_injector.launch.programs import SCRIPT
from credential_injector.proxy import web_guard
from credential_injector.proxy.page import COLUMNS
from tests.e2e.conftest import Stage
from tests.e2e.mitmweb_api import WebApi
from tests.e2e.test_life_cycle import eventually
from tests.ports import free_port

HAS_LOGIN = not web_guard.is_needed()
PATHS = ("/inject", "/inject?show=refused", "/inject/page.css", "/inject/page.js")
DEFAULT = ["tls", "icon", "path", "method", "status", "size", "time"]
"""mitmweb's own columns."""


@contextmanager
def mitmweb(stage: Stage, *options: str, script: Path = SCRIPT, **settings: Any) -> Iterator[Mitmproxy]:
    """mitmweb, once the page is there."""
    settings = {"web_port": free_port(), "web_open_browser": "false", **settings}
    with stage.mitmproxy("mitmweb", *options, script=script, **settings) as proxy:
        proxy.wait_for("Environments and refusals")
        yield proxy


@pytest.fixture
def proxy(stage: Stage) -> Iterator[Mitmproxy]:
    """mitmweb with one environment."""
    stage.env(stage.http)
    with mitmweb(stage) as proxy:
        yield proxy


def asked(proxy: Mitmproxy, url: str, method: str = "GET", **more: Any) -> requests.Response:
    with requests.Session() as client:
        client.trust_env = False
        client.proxies = {"http": proxy.url}
        return client.request(method, url, timeout=30, **more)


def bare(proxy: Mitmproxy) -> tuple[requests.Session, str]:
    """A client without login, and mitmweb's origin."""
    session = requests.Session()
    session.trust_env = False
    parts = urlsplit(proxy.web_url)
    return session, f"{parts.scheme}://{parts.netloc}"


def refresh(web: WebApi, name: str = "qa", **headers: str) -> requests.Response:
    """What the button does."""
    data = {"environment": name}
    answer = web.session.post(
        f"{web.origin}/inject/refresh", data=data, headers=headers, timeout=30, allow_redirects=False
    )
    web.answers.append(answer.content)
    return answer


# --- Who may see it ---------------------------------------------------------------------------------------------------


def test_login(proxy: Mitmproxy) -> None:
    """Without mitmweb's login, where it has one, there is a form for it and nothing else."""
    session, origin = bare(proxy)
    with session:
        answers = [session.get(origin + path, timeout=30) for path in PATHS]
        assert {answer.status_code for answer in answers} == {403 if HAS_LOGIN else 200}
        assert any("qa" in answer.text for answer in answers) != HAS_LOGIN
        if not HAS_LOGIN:
            return
        xsrf = re.findall(r'name="_xsrf" value="([^"]+)"', answers[0].text)[0]
        wrong = session.post(f"{origin}/inject", data={"_xsrf": xsrf, "token": "wrong"}, timeout=30)
        assert wrong.status_code == 403
        assert "not mitmweb's password" in wrong.text
        token = proxy.web_url.rpartition("=")[2]
        assert session.post(f"{origin}/inject", data={"_xsrf": xsrf, "token": token}, timeout=30).status_code == 200
        assert session.get(f"{origin}/inject", timeout=30).status_code == 200


def test_headers(proxy: Mitmproxy) -> None:
    """Nothing is cached, framed, or told to other sites, and only our own script runs."""
    web = WebApi(proxy)
    for path in PATHS:
        headers = web.ask("GET", path).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["X-Frame-Options"] == "DENY"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
    page = web.ask("GET", "/inject").text
    assert re.findall(r"<script[^>]*>", page) == ['<script src="/inject/page.js" defer>']
    assert "<style" not in page
    assert " style=" not in page


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "{origin}"}, 303),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://news.example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"X-XSRFToken": ""}, 403),
        ({"X-XSRFToken": "11" * 16}, 403),
    ],
)
def test_who_may_refresh(stage: Stage, proxy: Mitmproxy, headers: dict[str, str], status: int) -> None:
    """Only the page itself asks for a new token."""
    web = WebApi(proxy)
    answer = refresh(web, **{name: value.format(origin=web.origin) for name, value in headers.items()})
    assert answer.status_code == status
    if status == 303:
        proxy.wait_for("qa: token fetched")
    assert stage.token_requests == (status == 303)
    assert not any("Traceback" in line for line in proxy.log)


def test_refresh_without_login(stage: Stage, proxy: Mitmproxy) -> None:
    """Whoever is not logged in asks for nothing, XSRF token or not."""
    web = WebApi(proxy)
    web.session.cookies = requests.cookies.cookiejar_from_dict(  # type: ignore[no-untyped-call]
        {"_xsrf": "00" * 16, "_mitmproxy_xsrf": "00" * 16}
    )
    assert refresh(web).status_code == (403 if HAS_LOGIN else 303)


def test_refresh_of_nothing(stage: Stage, proxy: Mitmproxy) -> None:
    """An environment that is not there is not found, and none is not all."""
    web = WebApi(proxy)
    assert refresh(web, "uat").status_code == 404
    assert refresh(web, "").status_code == 404
    assert stage.token_requests == 0


def test_foreign_host(proxy: Mitmproxy) -> None:
    """A name that somebody has pointed at this machine shows nothing, even with the login's cookie."""
    web = WebApi(proxy)
    cookies = "; ".join(f"{name}={value}" for name, value in web.session.cookies.items())
    for host, refused in (("news.example.com", True), (urlsplit(web.origin).netloc, False)):
        headers = {"Host": host, "Cookie": cookies}  # requests sends its own cookies to the host of this header only
        for path in PATHS:
            answer = web.session.get(web.origin + path, headers=headers, timeout=30)
            assert (answer.status_code in (403, 404)) == refused
        assert (refresh(web, **headers).status_code in (403, 404, 405)) == refused


def test_through_the_proxy(stage: Stage, proxy: Mitmproxy) -> None:
    """A client of the proxy cannot reach it."""
    _, origin = bare(proxy)
    for method, path in [*(("GET", path) for path in PATHS), ("POST", "/inject/refresh")]:
        answer = asked(proxy, origin + path, method)
        assert answer.status_code == (403 if HAS_LOGIN else 502)
        assert "qa" not in answer.text
    assert stage.token_requests == 0


def test_only_in_mitmweb(stage: Stage) -> None:
    """mitmdump knows nothing of it."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    assert asked(proxy, f"{stage.http}/orders").status_code == 200
    assert not any("/inject" in line for line in proxy.log if "Loading script" not in line)


# --- What stands there ------------------------------------------------------------------------------------------------


def test_told_once(stage: Stage, proxy: Mitmproxy) -> None:
    """The log says where it is, without mitmweb's token."""
    (line,) = (line for line in proxy.log if "Environments and refusals" in line)
    assert line.endswith(f"Environments and refusals: http://{urlsplit(proxy.web_url).netloc}/inject")


def test_without_script(stage: Stage, proxy: Mitmproxy) -> None:
    """Links and buttons work as such, in a browser that runs no script."""
    web = WebApi(proxy)
    assert asked(proxy, f"{stage.http}/orders").status_code == 200
    assert asked(proxy, f"{stage.http}/always/403").status_code == 403
    assert web.ask("GET", "/inject").text.count('id="request-') == 2
    assert web.ask("GET", "/inject?show=refused").text.count('id="request-') == 1
    assert web.ask("GET", "/inject?show=healed").text.count('id="request-') == 0
    assert web.ask("GET", "/inject?show=whatever").text.count('id="request-') == 2
    assert web.ask("GET", "/inject/").status_code == 200
    assert refresh(web).headers["Location"] == "/inject"


def test_no_secret(stage: Stage, proxy: Mitmproxy) -> None:
    """The page holds no token, neither ours nor the client's, and no query."""
    web = WebApi(proxy)
    mine = {"Authorization": "Bearer canary-of-the-client"}
    assert asked(proxy, f"{stage.http}/orders?key=canary-of-the-query", headers=mine).status_code == 200
    page = web.ask("GET", "/inject").text
    assert "/orders" in page
    assert "canary" not in page
    assert not any(token in page for token in stage.authorization_server.tokens)


def test_cleared(stage: Stage, proxy: Mitmproxy) -> None:
    """What mitmweb's list no longer holds is not shown."""
    web = WebApi(proxy)
    asked(proxy, f"{stage.http}/orders")
    assert 'id="request-' in web.ask("GET", "/inject").text
    assert web.ask("POST", "/clear").status_code == 200
    assert 'id="request-' not in web.ask("GET", "/inject").text


def test_own_view(stage: Stage) -> None:
    """The newest request comes first, however a person orders and filters mitmweb's list."""
    stage.env(stage.http)
    with mitmweb(stage, "--set", "view_order_reversed=true", "--set", "view_filter=~u other") as proxy:
        for path in ("first", "second", "third"):
            asked(proxy, f"{stage.http}/{path}")
        page = WebApi(proxy).ask("GET", "/inject").text
        assert re.findall("/(first|second|third)<", page) == ["third", "second", "first"]


def test_loaded(stage: Stage) -> None:
    """A capture shows what became of its requests, without their environments, and whatever else it holds."""
    stage.env(stage.http)
    capture = stage.folder / "earlier.mitm"
    with stage.mitmproxy("mitmdump", "-w", str(capture)) as proxy:
        asked(proxy, f"{stage.http}/orders")
    odd = tflow.tflow()
    vars(odd)["metadata"] = None
    with capture.open("ab") as file:
        FlowWriter(file).add(odd)  # type: ignore[no-untyped-call]
    (stage.folder / "envs" / "qa.env").unlink()
    with mitmweb(stage, "-r", str(capture)) as proxy:
        web = WebApi(proxy)
        eventually(lambda: 'id="request-' in web.ask("GET", "/inject").text)
        page = web.ask("GET", "/inject").text
        assert "There is no environment file" in page
        assert "/orders" in page


def test_mistakes(stage: Stage, proxy: Mitmproxy) -> None:
    """A changed file with a mistake is told as not in use."""
    web = WebApi(proxy)
    asked(proxy, f"{stage.http}/orders")
    stage.env("ftp://x")
    proxy.wait_for("Keeping the previous environments")
    page = web.ask("GET", "/inject").text
    assert "Not in use" in page
    assert "envs/qa.env: HOST" in page
    assert "token valid" in page


# --- A script that is loaded anew -------------------------------------------------------------------------------------


@contextmanager
def cloned(stage: Stage, **settings: Any) -> Iterator[tuple[Mitmproxy, Path, Callable[[], None]]]:
    """mitmweb with a copy of the add-on, the copy's folder, and what loads it anew."""
    stage.env(stage.http)
    addon = stage.folder / "clone" / "addon"
    shutil.copytree(SCRIPT.parent, addon, ignore=shutil.ignore_patterns("__pycache__", "demo"))
    script = addon / "inject.py"
    with mitmweb(stage, script=script, **settings) as proxy:
        times = 1

        def load_anew() -> None:
            nonlocal times
            times += 1
            moment = script.stat().st_mtime + 10
            os.utime(script, (moment, moment))
            proxy.wait_for("with tokens from", times=times)

        yield proxy, addon / "credential_injector" / "proxy" / "page", load_anew


def test_loaded_anew(stage: Stage) -> None:
    """The page is that of the new add-on, with its own text, and the log tells of it once."""
    with cloned(stage) as (proxy, folder, load_anew):
        web = WebApi(proxy)
        asked(proxy, f"{stage.http}/orders")
        assert "token valid" in web.ask("GET", "/inject").text
        page = folder / "page.html"
        page.write_text(page.read_text().replace("Last requests", "Latest requests"))
        for _ in range(3):
            load_anew()
        eventually(lambda: "no token yet" in web.ask("GET", "/inject").text)
        shown = web.ask("GET", "/inject").text
        assert "Latest requests" in shown
        assert "/orders" in shown
        assert refresh(web).status_code == 303
        eventually(lambda: "token valid" in web.ask("GET", "/inject").text)
        assert sum("Environments and refusals" in line for line in proxy.log) == 1


def test_unloaded(proxy: Mitmproxy) -> None:
    """Without the add-on there is no page."""
    web = WebApi(proxy)
    assert web.ask("PUT", "/options", {"scripts": []}).status_code == 200
    assert web.ask("GET", "/inject").status_code in (403, 404)  # mitmweb 11 says so of every path that it lacks
    assert web.ask("GET", "/flows").status_code == 200


# --- The columns of mitmweb's list ------------------------------------------------------------------------------------


def columns(web: WebApi) -> list[str]:
    found: list[str] = web.ask("GET", "/options").json()["web_columns"]["value"]
    return found


def test_columns(stage: Stage) -> None:
    """Where nobody has chosen any, the list shows the comment; what a person chooses later stays."""
    with cloned(stage) as (proxy, _, load_anew):
        web = WebApi(proxy)
        assert columns(web) == COLUMNS
        assert {"method", "path", "status", "comment"} <= set(COLUMNS)
        for chosen in (["path", "size"], DEFAULT):
            assert web.ask("PUT", "/options", {"web_columns": chosen}).status_code == 200
            load_anew()
            assert columns(web) == chosen


@pytest.mark.parametrize("where", ["command line", "config.yaml"])
def test_own_columns(stage: Stage, where: str) -> None:
    """A person's own columns stay."""
    stage.env(stage.http)
    words = ["--set", "web_columns=path", "--set", "web_columns=size"]
    settings: dict[str, Any] = {}
    if where == "config.yaml":
        words, settings = [], {"confdir": stage.folder}
        (stage.folder / "config.yaml").write_text("web_columns: [path, size]\n")
    with mitmweb(stage, *words, **settings) as proxy:
        assert columns(WebApi(proxy)) == ["path", "size"]

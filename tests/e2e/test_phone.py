"""A phone on the network is let in, a stranger is not, and the QR codes hold what the phone needs."""

import configparser
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from selenium.webdriver.common.by import By

from credential_injector.demo.processes import Mitmproxy, mitmproxy
from tests.e2e import namespace, qr_codes
from tests.e2e.arena import http1
from tests.e2e.conftest import Chromium, Curl, Stage
from tests.e2e.mitmweb_api import WebApi
from tests.e2e.namespace import CLIENT as PHONE
from tests.e2e.namespace import PROXY_PORT
from tests.e2e.test_page import bare, mitmweb
from tests.ports import free_port

STRANGER = "10.0.0.8"


def conf_of(text: str) -> configparser.ConfigParser:
    """A WireGuard configuration."""
    parser = configparser.ConfigParser()
    parser.read_string(text)
    return parser


def wireguard() -> tuple[str, ...]:
    return "--mode", "regular", "--mode", f"wireguard@127.0.0.1:{free_port()}"


# --- Who may connect --------------------------------------------------------------------------------------------------


@contextmanager
def on_a_network(stage: Stage, **settings: str) -> Iterator[tuple[Mitmproxy, Callable[[str, str], int | None]]]:
    """mitmdump on all addresses of a network, and the status of a GET from an address; None: it is cut off."""
    if (why := namespace.missing()) is not None:
        pytest.skip(why) if not os.environ.get("CI") else pytest.fail(why)
    stage.env(stage.http)
    with namespace.namespace() as network:
        subprocess.run([*network.inside, "ip", "address", "add", f"{STRANGER}/32", "dev", "lo"], check=True)
        for url in (stage.http, stage.token_endpoint):
            stage.enter(network.reaches("127.0.0.1", int(url.split("/")[2].rpartition(":")[2])))
        words = [*stage.options(dict(settings)), "--listen-host", "0.0.0.0", "--listen-port", str(PROXY_PORT)]

        def ask(source: str, url: str) -> int | None:
            host = url.split("/")[2]
            lines = [f"GET {url} HTTP/1.1", f"Host: {host}", "Connection: close", "", ""]
            with network.connect(PHONE, PROXY_PORT, source) as connection:
                answers = http1(connection, "\r\n".join(lines).encode())
            return answers[0].status if answers else None

        with mitmproxy("mitmdump", *words, folder=stage.folder, inside=network.inside) as proxy:
            yield proxy, ask


def test_phone_alone(stage: Stage) -> None:
    """The phone gets a token and mitm.it; a stranger's connection is closed, also where he would get no token."""
    with on_a_network(stage, inject_phone=PHONE, inject_clients=f"loopback,{PHONE}/32") as (proxy, ask):
        assert ask(PHONE, f"{stage.http}/open") == 200
        assert ask(PHONE, "http://mitm.it/") == 200
        assert ask(PHONE, "http://mitm.it/cert/pem") == 200
        assert ask(STRANGER, f"{stage.http}/open") is None
        assert ask(STRANGER, "http://mitm.it/") is None
        proxy.wait_for(rf"{STRANGER} is not the phone \(inject_phone={PHONE}\).+--phone={STRANGER}")
    assert [dict(headers).get("Authorization") is None for _, headers in stage.api.received] == [False]
    assert len([line for line in proxy.log if "is not the phone" in line]) == 1


def test_wireguard_alone(stage: Stage) -> None:
    """With inject_phone=wireguard nobody else on the network may connect; this machine may."""
    with on_a_network(stage, inject_phone="wireguard") as (_, ask):
        assert ask(PHONE, "http://mitm.it/") is None
        assert ask("127.0.0.1", "http://mitm.it/") == 200


def test_without(stage: Stage) -> None:
    """Without inject_phone others may connect and get no token, as ever."""
    with on_a_network(stage) as (_, ask):
        assert ask(STRANGER, f"{stage.http}/open") == 200
    assert [dict(headers).get("Authorization") is None for _, headers in stage.api.received] == [True]


# --- QR codes ---------------------------------------------------------------------------------------------------------


def test_terminal(stage: Stage) -> None:
    """`web --phone` prints a configuration of WireGuard and the address of the certificate, which a camera reads."""
    port = free_port()
    words = [sys.executable, "-m", "credential_injector.cli", "web", "--phone", *stage.options({})]
    words += ["--listen-port", "0", "--web-port", str(free_port()), "--no-web-open-browser"]
    words += ["--mode", "regular", "--mode", f"wireguard@127.0.0.1:{port}"]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(
        words,
        cwd=stage.folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        umask=0o022 if os.name == "posix" else -1,  # as a person has it, unlike the tests
    )
    proxy = Mitmproxy(process)
    try:
        proxy.wait_for("The QR codes as a page: http://127.0.0.1:.+/inject/phone")
        assert proxy.url.startswith("http://127.0.0.1:")
    finally:
        proxy.end()
    conf, trust = qr_codes.read_terminal(proxy.log, stage.folder)
    assert trust == "http://mitm.it"
    assert conf_of(conf)["Peer"]["Endpoint"] == f"127.0.0.1:{port}"
    assert set(conf_of(conf)["Interface"]) == {"privatekey", "address", "dns"}
    if os.name == "posix":
        assert (stage.confdir / "wireguard.conf").stat().st_mode & 0o077 == 0


def test_page(stage: Stage, chromium: Chromium) -> None:
    """The page shows the same codes, and a camera reads them from the screen, in the dark as well."""
    with mitmweb(stage, *wireguard(), inject_phone="wireguard") as proxy:
        browser = chromium("--force-dark-mode", "--window-size=1000,1300")
        browser.get(proxy.web_url)
        browser.get(f"{WebApi(proxy).origin}/inject")
        browser.find_element(By.ID, "phone").click()
        picture = stage.folder / "page.png"
        assert browser.save_screenshot(str(picture))
        texts = sorted(qr_codes.read(picture))
    assert texts[1] == "http://mitm.it"
    assert conf_of(texts[0])["Interface"]["Address"] == "10.0.0.1/32"


def test_page_guarded(stage: Stage) -> None:
    """The page holds a key, so it wants mitmweb's login, as mitmweb's own page does."""
    with mitmweb(stage, *wireguard(), inject_phone="wireguard") as proxy:
        session, origin = bare(proxy)
        with session:
            answer = session.get(f"{origin}/inject/phone", timeout=30)
            assert ("<svg" in answer.text) == (answer.status_code == 200) == ("token=" not in proxy.web_url)
            elsewhere = session.get(f"{origin}/inject/phone", headers={"Host": "evil.test"}, timeout=30)
            assert "<svg" not in elsewhere.text


def test_no_phone(stage: Stage) -> None:
    """Without a phone the page says how one is let in, and nothing is printed."""
    with mitmweb(stage) as proxy:
        text = WebApi(proxy).ask("GET", "/inject/phone").text
        assert "credential-injector web --phone" in text
        assert "<svg" not in text
        assert "/inject/phone" not in WebApi(proxy).ask("GET", "/inject").text
    assert not any("QR" in line for line in proxy.log)


# --- Refused handshakes -----------------------------------------------------------------------------------------------


def test_refused_handshake(stage: Stage, curl: Curl) -> None:
    """A client that does not trust the CA is told by host: in the log once, on the page and in the status."""
    api, other = (f"https://{name}.qa.test:{stage.https_port}/open" for name in ("api", "other"))
    stage.env(api.removesuffix("/open"))
    with mitmweb(stage) as proxy:
        web = WebApi(proxy)
        words = ("--proxy", proxy.url, "--noproxy", "")
        for url in (api, other, api):
            curl(*words, url, check=False)
        proxy.wait_for(
            r"qa: 127\.0\.0\.1 refused a TLS handshake for api\.qa\.test \(pinned or untrusting\).+See it: http"
        )
        told = "127.0.0.1 refused 2 TLS handshakes for api.qa.test (pinned or untrusting)"
        assert told in web.ask("GET", "/inject").text
        status = web.ask("POST", "/commands/inject.status", {"arguments": []}).json()["value"]
        assert any(told in line for line in status)
        assert curl(*words, "--cacert", str(stage.mitmproxy_ca), api).status == 200
        assert "TLS handshake" not in web.ask("GET", "/inject").text
    assert len([line for line in proxy.log if "pinned or untrusting" in line]) == 1


def test_refused_by_a_phone(stage: Stage, curl: Curl) -> None:
    """While mitmproxy listens for a phone, hosts that no file names are told, too, with what lets them pass."""
    stage.env(f"https://api.qa.test:{stage.https_port}")
    with stage.mitmproxy("mitmdump", inject_phone="wireguard") as proxy:
        url = f"https://other.qa.test:{stage.https_port}/open"
        curl("--proxy", proxy.url, "--noproxy", "", url, check=False)
        proxy.wait_for(
            r"127\.0\.0\.1 refused a TLS handshake for other\.qa\.test .+inject_only=true lets it pass unopened"
        )

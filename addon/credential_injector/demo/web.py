"""The demonstration in mitmweb: a request of each kind, with its mark and comment."""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from credential_injector.demo.processes import Mitmproxy, free_port, is_free, mitmproxy
from credential_injector.demo.stage import TIMEOUT, DemoFailure, Stage, any_client, set_stage
from credential_injector.launch.programs import NotStarted

PORTS = (8080, 8081)  # those of the documentation: the proxy's, and mitmweb's own


def run_in_mitmweb() -> None:
    """mitmweb with a few requests already made, until Ctrl-C."""
    with showing() as (stage, proxy):
        print(f"mitmweb:    {proxy.web_url}")
        print(f"page:       {page_url(proxy)}")
        print(f"proxy:      {proxy.url}")
        print(f"try it:     curl --noproxy '' --proxy {proxy.url} {stage.api_origin}/orders")
        print("find them:  type ~comment injected, or ~marked, into mitmweb's Search field")
        print("marks:      a key: with a token; a no entry sign: blocked; a warning sign: without a token")
        print("Ctrl-C ends it.", flush=True)
        _wait_for_ctrl_c(proxy)


def page_url(proxy: Mitmproxy) -> str:
    """Of the add-on's page in mitmweb, with the login token where there is one."""
    return urlsplit(proxy.web_url)._replace(path="/inject").geturl()


@contextmanager
def showing(*settings: str, ports: tuple[int, int] = (0, 0)) -> Iterator[tuple[Stage, Mitmproxy]]:
    """mitmweb with a few requests already made, until the block ends.

    `settings` are further options of mitmproxy's, `ports` those of the demonstration's servers.
    """
    with set_stage(*ports) as stage, contextlib.ExitStack() as stack:
        stage.write_env("demo", stage.api_origin, "SCOPE=read", "METHODS=GET,POST")
        stage.write_env("billing", f"{stage.api_origin}/invoices", secret="last-years-secret")
        stage.write_env("stock", f"{stage.api_origin}/stock", "SCOPE=read")
        proxy = _start(stage, stack, settings)
        make_requests(stage, proxy)
        yield stage, proxy


def make_requests(stage: Stage, proxy: Mitmproxy) -> None:
    """A request of each kind."""
    with any_client(proxy.url) as client:

        def ask(method: str, path: str, headers: dict[str, str] | None = None) -> None:
            client.request(method, stage.api_origin + path, headers=headers, timeout=TIMEOUT)

        password = {"Authorization": "Basic c29tZWJvZHk6ZWxzZQ=="}
        ask("GET", "/orders")
        ask("GET", "/orders/1")
        ask("GET", "/orders/3", {"Origin": "https://news.example.com", "Sec-Fetch-Site": "cross-site"})
        ask("POST", "/customers?page=2", password)
        ask("DELETE", "/orders/2")
        ask("GET", "/invoices/7")
        for token in list(stage.authorization_server.tokens.values()):
            token.revoked = True  # the next request heals it
        ask("GET", "/orders/2")
        ask("POST", "/stock/7", password)


def _start(stage: Stage, stack: contextlib.ExitStack, settings: tuple[str, ...]) -> Mitmproxy:
    """Start mitmweb on PORTS where both are free, else on two others."""
    ports = PORTS if all(map(is_free, PORTS)) else (free_port(), free_port())
    with contextlib.suppress(NotStarted):  # another program may have taken one just now
        return stack.enter_context(_mitmweb(stage, *ports, settings))
    return stack.enter_context(_mitmweb(stage, free_port(), free_port(), settings))


def _mitmweb(
    stage: Stage, port: int, web_port: int, settings: tuple[str, ...]
) -> contextlib.AbstractContextManager[Mitmproxy]:
    settings = (f"confdir={stage.folder}", f"web_port={web_port}", "web_open_browser=false", *settings)
    options = [word for setting in settings for word in ("--set", setting)]
    return mitmproxy("mitmweb", "--listen-port", str(port), *options, folder=stage.folder)


def _wait_for_ctrl_c(proxy: Mitmproxy) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        while proxy.process.poll() is None:
            threading.Event().wait(1)  # an endless wait cannot be interrupted on Windows
        raise DemoFailure("mitmweb has ended")

"""The upgrade to a WebSocket gets the token, and its frames pass untouched."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from selenium.webdriver.support.ui import WebDriverWait
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request, Response

from credential_injector.demo.processes import Mitmproxy
from tests.e2e.conftest import Chromium, Stage
from tests.e2e.mitmweb_api import WebApi
from tests.e2e.test_main_job import saved
from tests.e2e.test_retry import revoke
from tests.e2e.test_streams import LIMIT
from tests.ports import free_port

DEADLINE = 30.0  # seconds
PAGE = """<!doctype html><title>asking</title><script>
const socket = new WebSocket(location.search.slice(1));
socket.onopen = () => socket.send("hello");
socket.onmessage = message => { document.title = `echo: ${message.data}`; };
socket.onerror = () => { document.title = "failed"; };
</script>"""


@asynccontextmanager
async def echoing(stage: Stage, tls: ssl.SSLContext | None) -> AsyncIterator[str]:
    """A server that sends each message back to whoever has a token. Yields its URL."""

    def check(connection: ServerConnection, request: Request) -> Response | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        known = stage.authorization_server.tokens.get(token)
        accepted = known is not None and not known.revoked
        return None if accepted else connection.respond(HTTPStatus.UNAUTHORIZED, "no token\n")

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    server: Server
    async with serve(echo, "127.0.0.1", 0, ssl=tls, process_request=check, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"wss://api.qa.test:{port}" if tls else f"ws://127.0.0.1:{port}"


@asynccontextmanager
async def connected(stage: Stage, proxy: Mitmproxy, url: str) -> AsyncIterator[ClientConnection]:
    """A WebSocket through mitmproxy."""
    trust = ssl.create_default_context(cafile=str(stage.mitmproxy_ca)) if url.startswith("wss") else None
    async with connect(url, proxy=proxy.url, ssl=trust, ping_interval=None, open_timeout=DEADLINE) as connection:
        yield connection


def named(stage: Stage, url: str, *lines: str) -> None:
    """Write the environment of a WebSocket's server."""
    stage.env(url.replace("ws", "http", 1), *lines)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_frames(stage: Stage, scheme: str) -> None:
    """Text, bytes, a large message, a ping and the close code come as they were sent."""
    messages: list[str | bytes] = ["héllo", bytes(range(256)), "x" * 300_000, ""]
    async with echoing(stage, stage.tls if scheme == "wss" else None) as url:
        named(stage, url)
        proxy = await asyncio.to_thread(stage.mitmdump, "-w", str(stage.folder / "flows"))
        async with connected(stage, proxy, url) as connection:
            for message in messages:
                await connection.send(message)
                assert await asyncio.wait_for(connection.recv(), DEADLINE) == message
            await asyncio.wait_for(await connection.ping(), DEADLINE)
            await connection.close(4001, "done")
        assert (connection.close_code, connection.close_reason) == (4001, "done")
        await asyncio.to_thread(proxy.end)
    (flow,) = saved(stage.folder / "flows")
    assert flow.comment.startswith("qa: +Bearer\n")
    assert flow.websocket is not None
    sent = [message.text if message.is_text else message.content for message in flow.websocket.messages]
    assert sent == [message for message in messages for _ in range(2)]


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_chromium(stage: Stage, chromium: Chromium, scheme: str) -> None:
    """A page of a listed origin gets its message back."""
    stage.api.app.add_url_rule("/page", view_func=lambda: PAGE)
    page = stage.http.replace("127.0.0.1", "localhost") if scheme == "ws" else f"https://api.qa.test:{stage.https_port}"
    async with echoing(stage, stage.tls if scheme == "wss" else None) as url:
        named(stage, url, f"ORIGINS={page}")
        proxy = await asyncio.to_thread(stage.mitmdump)
        words = f"--proxy-server={proxy.url}", "--proxy-bypass-list=<-loopback>", "--ignore-certificate-errors"
        browser = await asyncio.to_thread(chromium, *words)
        await asyncio.to_thread(browser.get, f"{page}/page?{url}")
        wait = WebDriverWait(browser, DEADLINE)
        await asyncio.to_thread(wait.until, lambda _: browser.title != "asking")
        assert browser.title == "echo: hello"


async def test_revoked(stage: Stage) -> None:
    """An upgrade that is refused stays so, as nobody can repeat it; the next one gets another token."""
    async with echoing(stage, None) as url:
        named(stage, url)
        proxy = await asyncio.to_thread(stage.mitmdump)
        async with connected(stage, proxy, url):
            pass
        revoke(stage)
        with pytest.raises(InvalidStatus, match="401"):
            async with connected(stage, proxy, url):
                pass
        async with connected(stage, proxy, url) as connection:
            await connection.send("again")
            assert await asyncio.wait_for(connection.recv(), DEADLINE) == "again"


async def test_outlived(stage: Stage) -> None:
    """A WebSocket whose token expires meanwhile goes on, and its flow says so."""
    stage.authorization_server.lifetime = 3
    async with echoing(stage, None) as url:
        named(stage, url)
        context = stage.mitmproxy("mitmweb", web_port=free_port(), web_open_browser="false")
        proxy = await asyncio.to_thread(stage.enter, context)
        web = await asyncio.to_thread(WebApi, proxy)
        async with connected(stage, proxy, url) as connection, asyncio.timeout(DEADLINE):
            while "the token has expired since" not in (await asyncio.to_thread(web.flows))[-1]["comment"]:
                await connection.send("still there?")
                assert await connection.recv() == "still there?"


async def test_silence(stage: Stage) -> None:
    """mitmproxy, which ends whatever is silent for too long, keeps a WebSocket that has a token."""
    (stage.folder / "limit.py").write_text(LIMIT)
    async with echoing(stage, None) as url:
        named(stage, url)
        proxy = await asyncio.to_thread(stage.mitmdump, "-s", str(stage.folder / "limit.py"))
        host, _, port = proxy.url.removeprefix("http://").rpartition(":")
        async with connected(stage, proxy, url) as connection:
            for _ in range(2):  # somebody who says nothing
                reader, writer = await asyncio.open_connection(host, int(port))
                assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
                writer.close()
            await connection.send("still there?")
            assert await asyncio.wait_for(connection.recv(), DEADLINE) == "still there?"

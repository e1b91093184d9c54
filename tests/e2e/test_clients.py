"""Whose requests get credentials: in a network in which a client has an address of its own, and on loopback."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from credential_injector.demo.processes import mitmproxy
from tests.e2e import namespace, tell
from tests.e2e.arena import PATIENCE, Answer, http1
from tests.e2e.conftest import Stage
from tests.e2e.namespace import CLIENT, PROXY_PORT

PASSWORD = "Proxy-Authorization: Basic bWU6cGFzc3dvcmQ="
# Wherever Python knows how to ask for an IPv6 socket that takes no IPv4 client, asyncio does.
DUAL_STACK = """
import socket
from mitmproxy import ctx

def running():
    del socket.IPPROTO_IPV6
    ctx.options.server = True
"""


@contextmanager
def clients(stage: Stage, *options: str, ipv6: bool = False, **settings: str) -> Iterator["Clients"]:
    """mitmdump on all addresses of a network of its own, or else on loopback; who may connect to it."""
    stage.env(stage.http)
    words = ["-s", tell.__file__, *stage.options(settings), *options]
    if namespace.missing() is not None:
        words += ["--listen-host", "::ffff:127.0.0.1" if ipv6 else "127.0.0.1"]
        with mitmproxy("mitmdump", *words, folder=stage.folder, inside=stage.inside) as proxy:
            yield Clients(stage, None, int(proxy.url.rpartition(":")[2]))
        return
    with namespace.namespace() as network:
        for url in (stage.http, stage.token_endpoint):
            stage.enter(network.reaches("127.0.0.1", int(url.split("/")[2].rpartition(":")[2])))
        words += ["--listen-host", "::" if ipv6 else "0.0.0.0", "--listen-port", str(PROXY_PORT)]
        with mitmproxy("mitmdump", *words, folder=stage.folder, inside=network.inside):
            yield Clients(stage, network, PROXY_PORT)


class Clients:
    """One on this machine, and a stranger, whose address is 127.0.0.2 where there is no network of its own."""

    def __init__(self, stage: Stage, network: namespace.Namespace | None, port: int) -> None:
        self.stage = stage
        self._network = network
        self._port = port
        self.stranger = CLIENT if network is not None else "127.0.0.2"

    def ask(self, source: str, *headers: str) -> Answer:
        """A request from this address."""
        connection = (
            self._network.connect("127.0.0.1", self._port, source)
            if self._network is not None
            else socket.create_connection(("127.0.0.1", self._port), PATIENCE, (source, 0))
        )
        lines = [f"GET {self.stage.http}/open HTTP/1.1", f"Host: {self.stage.http[7:]}", "Connection: close", *headers]
        with connection:
            [answer] = http1(connection, "\r\n".join([*lines, "", ""]).encode())
        return answer


def test_other_address(stage: Stage) -> None:
    """A client on another address gets nothing."""
    with clients(stage, inject_clients="127.0.0.1/32") as who:
        answer = who.ask(who.stranger)
        assert answer.outcome == "skipped"
        assert answer.told is not None
        assert f"client {who.stranger} is not in inject_clients (127.0.0.1/32)" in answer.told["reason"]
        assert who.ask("127.0.0.1").outcome == "injected"
    assert [dict(headers).get("Authorization") is None for _, headers in stage.api.received] == [True, False]


def test_inject_clients(stage: Stage) -> None:
    """inject_clients lets a client on another address in."""
    with clients(stage, inject_clients="127.0.0.1/32,10.0.0.0/8,127.0.0.2/32") as who:
        assert who.ask(who.stranger).outcome == "injected"


def test_proxyauth(stage: Stage) -> None:
    """proxyauth lets a client on another address in."""
    with clients(stage, "--proxyauth", "me:password", inject_clients="127.0.0.1/32") as who:
        assert who.ask(who.stranger, PASSWORD).outcome == "injected"
        assert who.ask(who.stranger).status == 407
        assert who.ask("127.0.0.1", PASSWORD.replace("bWU", "eW91")).status == 407
    assert len(stage.api.received) == 1


@pytest.mark.parametrize(("networks", "outcome"), [("127.0.0.1/32", "skipped"), ("10.0.0.9,127.0.0.2", "injected")])
def test_ipv4_on_ipv6(stage: Stage, networks: str, outcome: str) -> None:
    """An IPv4 client of an IPv6 socket is known by its IPv4 address."""
    dual = stage.folder / "dual.py"
    dual.write_text(DUAL_STACK)
    with clients(stage, "-s", str(dual), ipv6=True, server="false", inject_clients=networks) as who:
        answer = who.ask(who.stranger)
        assert answer.outcome == outcome
        assert answer.told is not None
        assert (f"client ::ffff:{who.stranger} is" in (answer.told["reason"] or "")) == (outcome == "skipped")


def test_headers(stage: Stage) -> None:
    """No header of a client makes it another."""
    with clients(stage, inject_clients="127.0.0.1/32") as who:
        for claim in ("X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Real-IP: 127.0.0.1"):
            assert who.ask(who.stranger, claim).outcome == "skipped"

"""The messages of gRPC pass as they come, in both directions."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from credential_injector.demo.processes import Mitmproxy
from tests.e2e.conftest import Stage
from tests.e2e.test_main_job import saved
from tests.e2e.trickle import PATIENCE
from tests.reporting import MEASURED


class Lab:
    """A service of bytes: every method answers to whoever has a token, and says what has arrived."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        """Released for each message that arrives."""
        self.go = threading.Semaphore(0)
        """Released for each message that may be sent after the first one."""
        self.sent: list[float] = []

    def handlers(self) -> grpc.GenericRpcHandler:
        """Of all four kinds."""
        return grpc.method_handlers_generic_handler(
            "lab.Lab",
            {
                "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
                "Down": grpc.unary_stream_rpc_method_handler(self.down),
                "Up": grpc.stream_unary_rpc_method_handler(self.up),
                "Both": grpc.stream_stream_rpc_method_handler(self.both),
            },
        )

    def unary(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        _check(context)
        return b"hello " + message

    def down(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        _check(context)
        for number in range(3):
            if number:
                self.go.acquire(timeout=PATIENCE)
            self.sent.append(time.monotonic())
            yield b"%d" % number

    def up(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        _check(context)
        parts = []
        for message in messages:
            parts.append(message)
            self.arrived.release()
        return b"".join(parts)

    def both(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        _check(context)
        for message in messages:
            yield b"echo " + message


def _check(context: grpc.ServicerContext) -> None:
    if not dict(context.invocation_metadata()).get("authorization", "").startswith("Bearer "):
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
def target(stage: Stage, lab: Lab, certificates: tuple[Path, Path]) -> Iterator[str]:
    """Where the service is, with an environment for it."""
    pem = certificates[1].read_bytes()
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((lab.handlers(),))
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
        server.start()
        stage.env(f"https://api.qa.test:{port}")
        yield f"api.qa.test:{port}"
        server.stop(None).wait()


@pytest.fixture
def proxy(stage: Stage, target: str) -> Mitmproxy:
    return stage.mitmdump("-w", str(stage.folder / "flows"))


@pytest.fixture
def channel(stage: Stage, target: str, proxy: Mitmproxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[grpc.Channel]:
    """To the service, through mitmdump."""
    monkeypatch.setenv("grpc_proxy", proxy.url)
    with grpc.secure_channel(target, grpc.ssl_channel_credentials(stage.mitmproxy_ca.read_bytes())) as channel:
        yield channel


def test_unary(stage: Stage, proxy: Mitmproxy, channel: grpc.Channel) -> None:
    """A message is answered, and both are recorded."""
    assert channel.unary_unary("/lab.Lab/Unary")(b"you", timeout=PATIENCE) == b"hello you"
    proxy.end()
    (flow,) = saved(stage.folder / "flows")
    assert flow.response is not None
    assert (flow.request.raw_content, flow.response.raw_content) == (b"\0\0\0\0\x03you", b"\0\0\0\0\x09hello you")
    assert flow.response.trailers is not None
    assert flow.response.trailers["grpc-status"] == "0"


def test_down(lab: Lab, channel: grpc.Channel, request: pytest.FixtureRequest) -> None:
    """A client has each message before the server sends the next one."""
    answers = channel.unary_stream("/lab.Lab/Down")(b"", timeout=PATIENCE)
    delays = []
    for number in range(3):
        if number:
            lab.go.release()
        assert next(answers) == b"%d" % number
        delays.append(f"{1000 * (time.monotonic() - lab.sent[number]):.1f} ms")
    assert list(answers) == []
    request.node.user_properties.append((MEASURED, f"gRPC messages: {', '.join(delays)} after the server sent them"))


def test_up(lab: Lab, channel: grpc.Channel) -> None:
    """The server has each message before the client sends the next one."""

    def messages() -> Iterator[bytes]:
        for number in range(3):
            yield b"%d" % number
            assert lab.arrived.acquire(timeout=PATIENCE)

    assert channel.stream_unary("/lab.Lab/Up")(messages(), timeout=PATIENCE) == b"012"


def test_both(channel: grpc.Channel) -> None:
    """Each side answers to the other's last message."""
    answered = threading.Semaphore(1)

    def messages() -> Iterator[bytes]:
        for number in range(3):
            assert answered.acquire(timeout=PATIENCE)
            yield b"%d" % number

    answers: Any = channel.stream_stream("/lab.Lab/Both")(messages(), timeout=PATIENCE)
    for number in range(3):
        assert next(answers) == b"echo %d" % number
        answered.release()

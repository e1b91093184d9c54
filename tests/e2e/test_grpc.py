"""gRPC tells its own status inside of a 200: a refused token is replaced, and a blocked call says why."""

import asyncio
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from mitmproxy import http

from credential_injector.demo.processes import Mitmproxy
from tests.conftest import node_package, tool
from tests.e2e.conftest import Stage
from tests.e2e.grpc_service import NAME, PATIENCE, Service, serve
from tests.e2e.test_main_job import saved
from tests.e2e.test_retry import revoke
from tests.ports import free_port

Code = grpc.StatusCode


@dataclass
class Line:
    """A channel to the service through a mitmdump of its own."""

    channel: grpc.Channel
    proxy: Mitmproxy
    file: Path

    def unary(self, method: str = "Unary", message: bytes = b"you") -> Any:
        return self.channel.unary_unary(NAME + method)(message, timeout=PATIENCE)

    def down(self, method: str = "Down") -> Any:
        return self.channel.unary_stream(NAME + method)(b"you", timeout=PATIENCE)

    def flows(self) -> list[http.HTTPFlow]:
        """What mitmdump has saved; it ends."""
        self.channel.close()
        self.proxy.end()
        return saved(self.file)


@pytest.fixture
def service(stage: Stage) -> Service:
    return Service(stage.authorization_server)


@pytest.fixture
def target(stage: Stage, service: Service, certificates: tuple[Path, Path]) -> Iterator[str]:
    """Where the service is, with an environment for it."""
    with serve(service, certificates[1]) as port:
        stage.env(f"https://api.qa.test:{port}")
        yield f"api.qa.test:{port}"


Open = Callable[..., Line]


@pytest.fixture
def opened(stage: Stage, target: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Open a line."""
    with ExitStack() as stack:

        def line(*options: str, **settings: Any) -> Line:
            file = stage.folder / "flows"
            proxy = stage.mitmdump("-w", str(file), *options, **settings)
            monkeypatch.setenv("grpc_proxy", proxy.url)
            trust = grpc.ssl_channel_credentials(stage.mitmproxy_ca.read_bytes())
            return Line(stack.enter_context(grpc.secure_channel(target, trust)), proxy, file)

        yield line


@contextmanager
def fails(code: grpc.StatusCode, beginning: str) -> Iterator[None]:
    """The client gets this status, with a message that begins like this."""
    with pytest.raises(grpc.RpcError) as raised:
        yield
    assert (raised.value.code(), raised.value.details()[: len(beginning)]) == (code, beginning)


# --- Blocked ----------------------------------------------------------------------------------------------------------


def test_no_token(stage: Stage, opened: Open) -> None:
    """A call of any kind for which there is no token says so."""
    stage.authorization_server.status = 503
    line = opened()
    one = [b"1"]
    for call in (
        line.unary,
        lambda: list(line.down()),
        lambda: line.channel.stream_unary(NAME + "Up")(iter(one), timeout=PATIENCE),
        lambda: list(line.channel.stream_stream(NAME + "Both")(iter(one), timeout=PATIENCE)),
    ):
        with fails(Code.UNAUTHENTICATED, "qa: request blocked: no token (http_503): "):
            call()


def test_open(stage: Stage, opened: Open) -> None:
    """A call that goes on gets its answer with its first message. Other calls of the connection stay."""
    stage.authorization_server.status = 503
    line = opened()
    answered = threading.Event()

    def messages() -> Iterator[bytes]:
        yield b"1"
        answered.wait(PATIENCE)

    for _ in range(2):
        began = time.monotonic()
        with fails(Code.UNAUTHENTICATED, "qa: request blocked: no token (http_503): "):
            next(line.channel.stream_stream(NAME + "Both")(messages(), timeout=PATIENCE))
        assert time.monotonic() - began < PATIENCE / 2
        with fails(Code.UNAUTHENTICATED, "qa: request blocked: no token (http_503): "):
            line.unary(message=b"x" * 1_000_000)
    answered.set()
    assert [flow.comment.splitlines()[0] for flow in line.flows()] == ["qa: server down"] * 4
    assert "crashed" not in "\n".join(line.proxy.log)


def test_method(stage: Stage, target: str, service: Service, opened: Open) -> None:
    """A call that METHODS blocks is denied. Neither a token nor the service is asked."""
    stage.env(f"https://{target}", "METHODS=GET")
    with fails(Code.PERMISSION_DENIED, "qa: request blocked: POST is not in METHODS=GET of envs/qa.env"):
        opened().unary()
    assert (stage.token_requests, service.calls) == (0, {})


def test_asyncio(stage: Stage, target: str, opened: Open) -> None:
    """grpc.aio reads the reason, and gets its answer as soon as there is a token."""
    stage.authorization_server.status = 503
    opened()

    async def call() -> bytes:
        trust = grpc.ssl_channel_credentials(stage.mitmproxy_ca.read_bytes())
        async with grpc.aio.secure_channel(target, trust) as channel:
            with fails(Code.UNAUTHENTICATED, "qa: request blocked: no token (http_503): "):
                await channel.unary_unary(f"{NAME}Unary")(b"you", timeout=PATIENCE)
            stage.authorization_server.status = None
            stage.env(f"https://{target}", "SCOPE=read write")  # so that the failure is forgotten
            while True:
                try:
                    return bytes(await channel.unary_unary(f"{NAME}Unary")(b"you", timeout=PATIENCE))
                except grpc.RpcError:
                    await asyncio.sleep(0.05)

    assert asyncio.run(asyncio.wait_for(call(), PATIENCE)) == b"hello you"


def test_node(stage: Stage, target: str, opened: Open) -> None:
    """@grpc/grpc-js reads the reason, and gets the answer of a call that was healed."""
    node_package("@grpc/grpc-js")
    line = opened()
    script = Path(__file__).parent / "node" / "grpc_client.mjs"
    words = [tool("node", package="nodejs"), str(script), target, f"{NAME}Unary", str(stage.mitmproxy_ca), "you"]

    def call() -> Any:
        environ = {**os.environ, "https_proxy": line.proxy.url}
        return json.loads(subprocess.run(words, env=environ, capture_output=True, check=True, timeout=60).stdout)

    assert call() == {"answer": "hello you"}
    revoke(stage)
    assert call() == {"answer": "hello you"}
    revoke(stage)
    stage.authorization_server.status = 503
    assert call() == {"code": Code.UNAUTHENTICATED.value[0], "details": "the token is revoked: 100 % — do log in"}


# --- Refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [b"", b"you", b"x" * 1_000_000], ids=len)
def test_healed(stage: Stage, service: Service, opened: Open, message: bytes) -> None:
    """A revoked token is replaced while the call is on its way, and the flow tells of both answers."""
    line = opened()
    for _ in range(2):
        assert line.unary(message=message) == b"hello " + message
        revoke(stage)
    assert line.unary(message=message) == b"hello " + message
    assert (stage.token_requests, service.calls) == (3, {"Unary": 3, "refused": 2})
    healed = next(flow for flow in line.flows() if flow.metadata["inject"]["retried"])
    headline, _, sent_again, *_ = healed.comment.splitlines()
    assert headline == "qa: grpc 16→200"
    assert sent_again.startswith("- sent again after a grpc 16: grpc 16 to <sha256:")
    assert sent_again.endswith(">, 200 to the one below")
    assert (healed.metadata["inject"]["answers"], healed.metadata["inject"]["retried"]) == ([16, 200], True)
    assert "2 sent again, 0 blocked, 2 healed" in "\n".join(line.proxy.log), line.proxy.log


def test_down(stage: Stage, opened: Open) -> None:
    """A call with several answers is healed."""
    line = opened()
    line.unary()
    revoke(stage)
    assert list(line.down()) == [b"0", b"1", b"2"]


def test_both(stage: Stage, opened: Open) -> None:
    """A call that may go on is refused before anything: the token is replaced for the next one."""
    line = opened()
    line.unary()
    revoke(stage)
    ends = asyncio.Event()

    def messages() -> Iterator[bytes]:
        yield b"1"
        while not ends.is_set() and line.proxy.process.poll() is None:
            yield b"2"

    calls = line.channel.stream_stream(NAME + "Both")
    with fails(Code.UNAUTHENTICATED, "the token is revoked: 100 % — do log in"):
        list(calls(messages(), timeout=PATIENCE))
    assert list(calls(iter([b"1"]), timeout=PATIENCE)) == [b"echo 1"]
    assert stage.token_requests == 2


def test_watch(stage: Stage, service: Service, opened: Open) -> None:
    """A call whose second answer does not end gets its messages as they come."""
    line = opened()
    line.unary()
    revoke(stage)
    answers = line.down("Watch")
    assert next(answers) == b"you"
    service.go_on.set()
    assert list(answers) == []
    assert (stage.token_requests, service.calls) == (2, {"Unary": 1, "refused": 1, "Watch": 1})


@pytest.mark.parametrize("method", ["Late", "Silent"])
def test_too_late(stage: Stage, service: Service, opened: Open, method: str) -> None:
    """A refusal at the end of what the client has already is passed on, and the next call gets another token."""
    line = opened()
    line.unary()
    answers = line.down(method)
    if method == "Late":
        assert next(answers) == b"you"
    else:
        assert answers.initial_metadata()
    service.go_on.set()
    with fails(Code.UNAUTHENTICATED, service.says):
        list(answers)
    assert line.unary() == b"hello you"
    assert (stage.token_requests, service.calls["Unary"]) == (2, 2)
    _, late, _ = line.flows()
    assert late.comment.startswith("qa:grpc 16 old t…\n- why: the API does not take this token any more")
    assert "grpc 16, which stays: its beginning is with the client already; the next request gets" in late.comment


def test_forbidden(stage: Stage, service: Service, opened: Open) -> None:
    """PERMISSION_DENIED is told like a 403, and never sent again."""
    line = opened()
    with fails(Code.PERMISSION_DENIED, "not yours"):
        line.unary("Forbidden")
    assert (stage.token_requests, service.calls) == (1, {"Forbidden": 1})
    (flow,) = line.flows()
    assert flow.comment.startswith("qa: grpc 7 ?\n- why: the API ")
    assert flow.metadata["inject"]["diagnosis"]["code"] == "unknown"
    assert "1 forbidden (403)" in "\n".join(line.proxy.log)


def test_refuses_everything(stage: Stage, service: Service, opened: Open) -> None:
    """A service that refuses new tokens, too, costs one token request and one call more, and then none."""
    line = opened()
    line.unary()
    service.tokens = {}
    for _ in range(3):
        with fails(Code.UNAUTHENTICATED, service.says):
            line.unary()
    assert (stage.token_requests, service.calls) == (2, {"Unary": 1, "refused": 4})
    flows = line.flows()
    first = next(flow for flow in flows if flow.metadata["inject"]["retried"])
    assert first.metadata["inject"]["answers"] == [16, 16]
    assert flows[-1].comment.startswith("qa:grpc 16 revok…\n- why: the API says that the token is revoked")
    assert "1 sent again, 0 blocked, 3 refused (401)" in "\n".join(line.proxy.log), line.proxy.log


def test_no_retry(stage: Stage, service: Service, opened: Open) -> None:
    """With inject_retry=false nothing is replaced. The reason is read from trailers, too."""
    line = opened(inject_retry="false")
    service.go_on.set()
    for _ in range(2):
        with fails(Code.UNAUTHENTICATED, service.says):
            list(line.down("Late"))
    assert stage.token_requests == 1
    assert [flow.metadata["inject"]["diagnosis"]["code"] for flow in line.flows()] == ["revoked", "revoked"]


def test_deadline(stage: Stage, service: Service, opened: Open) -> None:
    """A call that meets its deadline is told so, and leaves nothing behind."""
    line = opened()
    with fails(Code.DEADLINE_EXCEEDED, ""):
        list(line.channel.unary_stream(NAME + "Watch")(b"you", timeout=1))
    assert line.unary() == b"hello you"


def test_reverse(stage: Stage, target: str, service: Service, opened: Open) -> None:
    """In reverse mode the same call is healed, and the client talks to mitmproxy as to the service."""
    port, origin = free_port(), f"https://localhost:{target.rpartition(':')[2]}"
    stage.env(origin)
    line = opened("--mode", f"reverse:{origin}@{port}")
    trust = grpc.ssl_channel_credentials(stage.mitmproxy_ca.read_bytes())
    direct = (("grpc.enable_http_proxy", 0),)
    with grpc.secure_channel(f"localhost:{port}", trust, direct) as channel:
        for _ in range(2):
            assert channel.unary_unary(f"{NAME}Unary")(b"you", timeout=PATIENCE) == b"hello you"
            revoke(stage)
    assert service.calls == {"Unary": 2, "refused": 1}
    assert any(flow.comment.startswith("qa: grpc 16→200") for flow in line.flows())

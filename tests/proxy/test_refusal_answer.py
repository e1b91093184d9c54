"""The answer to a blocked request."""

from base64 import b64decode
from urllib.parse import unquote

import pytest
from mitmproxy.test import tutils

from credential_injector.proxy.grpc_calls import Status
from credential_injector.proxy.refusal_answer import refusal

LINE = 'qa: 100 % "ü"\\'


def test_head() -> None:
    """HEAD gets the headers of GET's answer, and no body."""
    got, head = (refusal(tutils.treq(method=method), LINE, Status.INTERNAL) for method in (b"GET", b"HEAD"))
    assert (got.status_code, got.text, head.raw_content) == (502, f"{LINE}\n", b"")
    assert head.headers == got.headers
    assert got.headers["Content-Length"] == str(len(f"{LINE}\n".encode()))
    assert got.headers["Proxy-Status"].endswith('details="qa: 100 % \\"?\\"\\\\"')


def test_grpc() -> None:
    """gRPC reads a status and a message in the headers, and no body."""
    request = tutils.treq(method=b"POST", headers=((b"content-type", b"application/grpc+proto"),))
    answer = refusal(request, LINE, Status.UNAUTHENTICATED)
    assert (answer.status_code, answer.raw_content) == (200, b"")
    assert (answer.headers["content-type"], answer.headers["grpc-status"]) == ("application/grpc+proto", "16")
    assert answer.headers["grpc-message"] == 'qa: 100 %25 "%C3%BC"\\'


@pytest.mark.parametrize("kind", ["application/grpc-web+proto", "application/grpc-web-text"])
def test_grpc_web(kind: str) -> None:
    """gRPC-Web reads them in a message at the end of the body."""
    request = tutils.treq(method=b"POST", headers=((b"content-type", kind.encode()),))
    answer = refusal(request, LINE, Status.PERMISSION_DENIED)
    body = answer.raw_content or b""
    body = b64decode(body) if kind.endswith("text") else body
    assert (answer.status_code, answer.headers["content-type"], body[0]) == (200, kind, 0x80)
    assert int.from_bytes(body[1:5], "big") == len(body) - 5
    status, message, end = body[5:].decode().split("\r\n")
    assert (status, unquote(message), end) == ("grpc-status: 7", f"grpc-message: {LINE}", "")

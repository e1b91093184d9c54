"""The answer that a client gets to a blocked request, in the form that it reads."""

import re
from base64 import b64encode
from urllib.parse import quote

from mitmproxy import http

from credential_injector.proxy import grpc_calls

NAME = "credential-injector"

_WEB = f"{grpc_calls.KIND}-web"
_WEB_TEXT = f"{_WEB}-text"
_TRAILERS = b"\x80"  # of gRPC-Web: the message that follows holds the trailers
# Of ASCII, all but the percent sign is sent as it is.
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def refusal(request: http.Request, line: str, why: grpc_calls.Status) -> http.Response:
    """A 502 with the line that says why; for gRPC a status with that message. `why` is the status for gRPC."""
    if grpc_calls.is_call(request):
        return _of_a_call(request, why, line)
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Cache-Control": "no-store",
        "Proxy-Status": f'{NAME}; error=http_request_denied; details="{_quoted(line)}"',  # RFC 9209
    }
    answer = http.Response.make(502, f"{line}\n", headers)
    if request.method == "HEAD":
        # Content-Length stays that of the answer to GET (RFC 9110 section 8.6). mitmproxy would send a body after it,
        # in which the client looks for the next answer.
        answer.raw_content = b""
    return answer


def _quoted(text: str) -> str:
    """The inside of a string as RFC 8941 section 3.3.3 wants it."""
    return re.sub(r'(["\\])', r"\\\1", re.sub(r"[^ -~]", "?", text))


def _of_a_call(request: http.Request, why: grpc_calls.Status, line: str) -> http.Response:
    """The answer to a call that is blocked."""
    kind = request.headers["content-type"]
    trailers = {"grpc-status": str(int(why)), "grpc-message": quote(line, safe=_PLAIN)}
    headers = {"content-type": kind, "cache-control": "no-store"}
    if not kind.lower().startswith(_WEB):
        return http.Response.make(200, b"", headers | trailers)
    block = "".join(f"{name}: {value}\r\n" for name, value in trailers.items()).encode()
    body = _TRAILERS + len(block).to_bytes(4, "big") + block
    return http.Response.make(200, b64encode(body) if kind.lower().startswith(_WEB_TEXT) else body, headers)

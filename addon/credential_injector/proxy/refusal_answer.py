"""The answer that a client gets to a blocked request, in the form that it reads."""

import re

from mitmproxy import http

from credential_injector.proxy import grpc_calls

NAME = "credential-injector"


def refusal(request: http.Request, line: str, why: grpc_calls.Status) -> http.Response:
    """A 502 with the line that says why; for gRPC a status with that message. `why` is the status for gRPC."""
    if grpc_calls.is_call(request):
        return grpc_calls.refusal(request, why, line)
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

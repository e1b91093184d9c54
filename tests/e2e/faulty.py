"""A token endpoint with faults: it stands between the proxy and the authorization server."""

import json
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Fault(NamedTuple):
    """An answer instead of the authorization server's."""

    status: int
    body: dict[str, Any] | None = None
    retry_after: int | None = None


class FaultyEndpoint:
    """Passes token requests on to a WSGI application, or does as it is told instead."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self.once: list[Fault] = []
        """Answers to the next token requests, one after the other."""
        self.fault: Fault | None = None
        """The answer to every token request."""
        self.answers = threading.Event()
        """Until it is set, token requests get no answer."""
        self.answers.set()
        self.asked = 0
        """Token requests."""
        self.faults = 0
        """Those of them that were not passed on."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.asked += 1
        fault = self.once.pop(0) if self.once else self.fault
        if not self.answers.wait(60):
            fault = Fault(504)
        if fault is None:
            return self._application(environ, start_response)
        self.faults += 1
        body = b"" if fault.body is None else json.dumps(fault.body).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        if fault.retry_after is not None:
            headers.append(("Retry-After", str(fault.retry_after)))
        start_response(f"{fault.status} Fault", headers)
        return [body]

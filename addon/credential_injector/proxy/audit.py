"""A line of JSON for each request to a configured host, in the file that inject_log names. No secret goes into it."""

import json
import logging
import os
import queue
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mitmproxy import http

from credential_injector.proxy import record
from credential_injector.proxy.flows import FlowRequest
from credential_injector.proxy.server_connections import Connections

logger = logging.getLogger(__name__)

LONGEST_PATH = 2000  # characters
MOST_WAITING = 100_000  # lines, some 40 MB, while a disk hangs
LAST_WAIT = 5.0  # seconds in which the last lines are written when mitmproxy ends
# A link may lead anywhere, and to open a pipe waits for who reads it.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class Audit:
    """Writes from a thread of its own: a disk that is slow or full holds up no request."""

    def __init__(self, connections: Connections) -> None:
        self.is_on = False
        self._connections = connections
        self._log: _Log | None = None

    def use(self, value: str) -> None:
        """The option inject_log: a file, or nothing. Raises ValueError."""
        path = Path(value).expanduser() if value else None
        if path is not None:
            try:
                os.close(os.open(path, _FLAGS, 0o600))  # here, so that whoever set it learns that it cannot be
            except OSError as error:
                wrong = f"{value}: cannot be written ({error.strerror}); expected a file in a folder that exists"
                raise ValueError(wrong) from None
        self.end()
        self._log = _Log(path) if path is not None else None
        self.is_on = self._log is not None

    def end(self) -> None:
        """Write what is left."""
        if self._log is not None:
            self._log.end()
        self._log, self.is_on = None, False

    def ended(self, flow: http.HTTPFlow) -> None:
        """The request has its answer, or never will have one."""
        values = flow.metadata.get(record.KEY)
        if self._log is not None and isinstance(values, dict):
            self._log.write(self._line(flow, values))

    def _line(self, flow: http.HTTPFlow, values: dict[str, Any]) -> str:
        destination, request, diagnosis = FlowRequest(flow, self._connections).destination, flow.request, None
        if isinstance(found := values.get("diagnosis"), dict):
            diagnosis = found.get("code")
        peer = flow.client_conn.peername
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(request.timestamp_start, UTC).isoformat(timespec="milliseconds"),
            "environment": values.get("environment"),
            "action": values.get("action"),
            "method": request.method,
            "scheme": destination.scheme,
            "host": destination.host,
            "port": destination.port,
            "path": destination.path.partition("?")[0].partition("#")[0][:LONGEST_PATH],
            "status": flow.response.status_code if flow.response is not None else None,
            "client": peer[0] if peer else None,
            "token": values.get("token"),
            "diagnosis": diagnosis,
            "retried": values.get("retried") is True,
            **{key: values[key] for key in ("as", "production") if key in values},
        }
        return json.dumps(line, default=str)  # in ASCII, so no control character is left


class _Log:
    """Lines on their way to a file. It is opened for each batch, so that it may be moved away meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lost = 0
        self._too_many = 0
        """Lost before they were queued; only `write` counts them."""
        self._is_cut = False
        """The file may end within a line."""
        self._thread = threading.Thread(target=self._run, name="audit log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Write it soon."""
        if self._lines.qsize() < MOST_WAITING:
            self._lines.put(line)
        else:
            self._too_many += 1

    def end(self) -> None:
        """Write all that came before this."""
        self._lines.put(None)
        self._thread.join(LAST_WAIT)

    def _run(self) -> None:
        ends = False
        while not ends:
            batch = [self._lines.get()]
            while not self._lines.empty():
                batch.append(self._lines.get())
            ends = None in batch
            if lines := [line for line in batch if line is not None]:
                self._append(lines)

    def _append(self, lines: list[str]) -> None:
        try:
            descriptor = os.open(self._path, _FLAGS, 0o600)
            try:
                # Several proxies may append to one file: each writes whole lines at once.
                text = "".join(f"{line}\n" for line in lines)
                rest = memoryview(f"\n{text}".encode() if self._is_cut else text.encode())
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            finally:
                os.close(descriptor)
        except OSError as error:
            if not self._lost:
                wrong = f"inject_log: {self._path}: cannot be written ({error.strerror}); requests go on without a line"
                logger.error(wrong)
            self._lost += len(lines)
            self._is_cut = True
            return
        self._is_cut = False
        if lost := self._lost + self._too_many:
            logger.warning(f"inject_log: {self._path}: can be written again; {lost} lines are lost")
            self._lost = self._too_many = 0

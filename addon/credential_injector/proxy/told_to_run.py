"""A script that only the mitmproxy of `credential-injector run` loads: it tells that command what happens.

Each line on standard output that begins with a record separator (RFC 7464) is such a record; all others are
mitmproxy's own. The first line of standard input are the options that `ps` must not show; its end is the command's.
"""

import asyncio
import contextlib
import json
import logging
import sys
import threading
from typing import Any

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader

RECORD = "\x1e"
SOON = 0.01  # seconds


def _tell(**record: object) -> None:
    with contextlib.suppress(OSError):  # whoever listened is gone
        sys.stdout.write(f"{RECORD}{json.dumps(record)}\n")
        sys.stdout.flush()


class _Teller(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _tell(level=record.levelno, text=record.getMessage())


def _is_mitmproxys(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] != "credential_injector"


class ToldToRun:
    """Comes before the add-on, so that its first words are told, too."""

    def load(self, _: Loader) -> None:
        logging.getLogger("credential_injector").addHandler(_Teller())
        for handler in logging.getLogger().handlers:
            if type(handler).__module__ == "mitmproxy.addons.termlog":
                handler.addFilter(_is_mitmproxys)
        self._secret: dict[str, Any] = json.loads(sys.stdin.readline() or "{}")

    def running(self) -> None:
        from credential_injector.proxy import internals  # here, as the add-on loads it

        async def tell() -> None:
            while not internals.has_certificates():  # noqa: ASYNC110 - nothing tells it
                await asyncio.sleep(SOON)
            host, port = next(iter(internals.listens_on()), ("", 0))
            _tell(host=host, port=port, web=internals.web_url())

        ctx.options.update(**self._secret)  # type: ignore[no-untyped-call]
        self._telling = asyncio.create_task(tell())
        threading.Thread(target=self._wait_for_end, args=[ctx.master], daemon=True).start()

    def _wait_for_end(self, master: Any) -> None:
        """Whichever way the command ends, its standard input ends with it."""
        with contextlib.suppress(OSError, ValueError):
            while sys.stdin.readline():
                pass
        master.event_loop.call_soon_threadsafe(master.shutdown)

    def done(self) -> None:
        """Comes before the add-on's, which logs the summary."""
        _tell(ends=True)


addons = [ToldToRun()]

"""An API over HTTP/3, and a client of it: no curl here speaks it, so both are aioquic's."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent

from tests.ports import free_port

PATIENCE = 10.0  # seconds that an answer may take


class _Speaker(QuicConnectionProtocol):
    """Either end of a connection, which is told the headers that the other one sends."""

    heard: Callable[[H3Connection, HeadersReceived], None]
    _h3: H3Connection | None = None

    @property
    def h3(self) -> H3Connection:
        if self._h3 is None:
            self._h3 = H3Connection(self._quic)
        return self._h3

    def quic_event_received(self, event: QuicEvent) -> None:
        for told in self.h3.handle_event(event):
            if isinstance(told, HeadersReceived):
                self.heard(self.h3, told)
                self.transmit()


@contextmanager
def api(certificate: Path, tokens: Container[str]) -> Iterator[int]:
    """An API that answers 200 to these tokens and 401 to all else, until the block ends; its port."""

    def answer(h3: H3Connection, asked: HeadersReceived) -> None:
        token = dict(asked.headers).get(b"authorization", b"").decode().removeprefix("Bearer ")
        status = b"200" if token in tokens else b"401"
        h3.send_headers(asked.stream_id, [(b":status", status), (b"content-length", b"0")], end_stream=True)

    server = type("Server", (_Speaker,), {"heard": staticmethod(answer)})
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
    configuration.load_cert_chain(certificate)
    port, loop, listens = free_port(), asyncio.new_event_loop(), threading.Event()

    async def run() -> None:
        listener = await serve("127.0.0.1", port, configuration=configuration, create_protocol=server)
        listens.set()
        await ended.wait()
        listener.close()  # type: ignore[no-untyped-call]

    ended = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert listens.wait(PATIENCE)
        yield port
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def get(port: int, name: str, authority: str, ca: Path) -> int:
    """The status of one request to a port of this machine, whose certificate must be that of `name`."""

    async def ask() -> int:
        status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def heard(_: H3Connection, answer: HeadersReceived) -> None:
            status.set_result(int(dict(answer.headers)[b":status"]))

        configuration = QuicConfiguration(alpn_protocols=["h3"], server_name=name, verify_mode=ssl.CERT_REQUIRED)
        configuration.load_verify_locations(str(ca))
        client = type("Client", (_Speaker,), {"heard": staticmethod(heard)})
        async with connect("127.0.0.1", port, configuration=configuration, create_protocol=client) as connection:
            assert isinstance(connection, _Speaker)
            fields = {":method": "GET", ":scheme": "https", ":authority": authority, ":path": "/orders"}
            h3 = connection.h3
            headers = [(key.encode(), value.encode()) for key, value in fields.items()]
            h3.send_headers(connection._quic.get_next_available_stream_id(), headers, end_stream=True)
            connection.transmit()
            return await status

    return asyncio.run(asyncio.wait_for(ask(), PATIENCE))

"""A gRPC service of bytes that wants a token of the authorization server's, as its interceptor verifies."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from credential_injector.demo.servers import DemoAuthorizationServer

PATIENCE = 20  # seconds
NAME = "/test.Service/"


class Service(grpc.ServerInterceptor):  # type: ignore[misc]  # grpcio has no types
    """What it saw and what it does."""

    def __init__(self, authorization_server: DemoAuthorizationServer) -> None:
        self.calls: Counter[str] = Counter()
        """The calls, by their method's name, or `refused`."""
        self.says = "the token is revoked: 100 % — do log in"
        """The message of a refusal."""
        self.go_on = threading.Event()
        """Lets `Late` and `Silent` end."""
        self.tokens = authorization_server.tokens

    def intercept_service(self, continuation: Callable[..., Any], details: Any) -> Any:
        """Refuse a call without a valid token before any of its messages is read."""
        handler = continuation(details)
        token = dict(details.invocation_metadata).get("authorization", "").removeprefix("Bearer ")
        known = self.tokens.get(token)
        if handler is not None and (known is None or known.revoked):
            self.calls["refused"] += 1
            kind = getattr(grpc, f"{_kind(handler)}_rpc_method_handler")
            return kind(lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, self.says))
        self.calls[details.method.removeprefix(NAME)] += 1
        return handler

    def handlers(self) -> Any:
        """Of all methods."""
        methods = {
            "Unary": grpc.unary_unary_rpc_method_handler(lambda message, _: b"hello " + message),
            "Down": grpc.unary_stream_rpc_method_handler(lambda message, _: (b"%d" % one for one in range(3))),
            "Up": grpc.stream_unary_rpc_method_handler(lambda messages, _: b"".join(messages)),
            "Both": grpc.stream_stream_rpc_method_handler(lambda messages, _: (b"echo " + one for one in messages)),
            "Forbidden": grpc.unary_unary_rpc_method_handler(self._forbidden),
            "Late": grpc.unary_stream_rpc_method_handler(self._late),
            "Silent": grpc.unary_stream_rpc_method_handler(self._silent),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }
        return grpc.method_handlers_generic_handler("test.Service", methods)

    def _forbidden(self, message: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not yours")
        return message

    def _late(self, message: bytes, context: Any) -> Iterator[bytes]:
        yield message
        self.go_on.wait(PATIENCE)
        context.abort(grpc.StatusCode.UNAUTHENTICATED, self.says)

    def _silent(self, message: bytes, context: Any) -> Iterator[bytes]:
        context.send_initial_metadata((("x-begun", "yes"),))
        self.go_on.wait(PATIENCE)
        context.abort(grpc.StatusCode.UNAUTHENTICATED, self.says)
        yield message

    def _watch(self, message: bytes, context: Any) -> Iterator[bytes]:
        yield message
        self.go_on.wait(PATIENCE)


def _kind(handler: Any) -> str:
    names = {False: "unary", True: "stream"}
    return f"{names[handler.request_streaming]}_{names[handler.response_streaming]}"


@contextmanager
def serve(service: Service, certificate: Path) -> Iterator[int]:
    """Serve it with TLS on a free loopback port, which it yields."""
    pem = certificate.read_bytes()
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, interceptors=(service,))
        server.add_generic_rpc_handlers((service.handlers(),))
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
        server.start()
        try:
            yield port
        finally:
            service.go_on.set()
            server.stop(None).wait()

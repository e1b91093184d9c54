"""A gRPC server that takes the tokens that the API takes. Arguments: a certificate with its key, and the API's URL.

It prints its port, and serves until its standard input ends.
"""

import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc


def serve(certificate: bytes, api: str) -> None:
    def answer(_: bytes, context: Any) -> bytes:
        headers = {"Authorization": str(dict(context.invocation_metadata()).get("authorization", ""))}
        try:
            urllib.request.urlopen(urllib.request.Request(api, headers=headers), timeout=20)
        except urllib.error.HTTPError as error:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        return b""

    server = grpc.server(ThreadPoolExecutor())
    method = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("matrix.Orders", {"List": method})])
    credentials = grpc.ssl_server_credentials([(certificate, certificate)])
    print(server.add_secure_port("127.0.0.1:0", credentials), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    serve(Path(sys.argv[1]).read_bytes(), sys.argv[2])

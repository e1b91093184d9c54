"""A request by one of Python's HTTP libraries, which is used as its first example does. Prints the answer's status."""

import asyncio
import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit


def with_requests(url: str) -> int:
    import requests

    return requests.get(url, timeout=20).status_code


def with_httpx(url: str) -> int:
    import httpx

    return int(httpx.get(url).status_code)


def with_httpx_h2(url: str) -> int:
    import httpx

    with httpx.Client(http2=True) as client:
        answer = client.get(url)
    assert url.startswith("http:") or answer.http_version == "HTTP/2", answer.http_version
    return int(answer.status_code)


def with_aiohttp(url: str) -> int:
    import aiohttp

    async def ask() -> int:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return int(answer.status)

    return asyncio.run(ask())


def with_urllib(url: str) -> int:
    try:
        return int(urllib.request.urlopen(url, timeout=20).status)
    except urllib.error.HTTPError as error:
        return error.code


def with_urllib3(url: str) -> int:
    import urllib3

    return urllib3.PoolManager().request("GET", url, retries=False, timeout=20).status


def with_http_client(url: str) -> int:
    parts = urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.netloc, timeout=20)
    connection.request("GET", parts.path)
    return connection.getresponse().status


def with_grpc(url: str) -> int:
    import grpc

    with grpc.secure_channel(urlsplit(url).netloc, grpc.ssl_channel_credentials()) as channel:
        try:
            channel.unary_unary("/matrix.Orders/List")(b"", timeout=20)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise
            return 401
    return 200


WITH: dict[str, Callable[[str], int]] = {
    "requests": with_requests,
    "httpx": with_httpx,
    "httpx-h2": with_httpx_h2,
    "aiohttp": with_aiohttp,
    "urllib": with_urllib,
    "urllib3": with_urllib3,
    "http.client": with_http_client,
    "grpc": with_grpc,
}

if __name__ == "__main__":
    print(WITH[sys.argv[1]](sys.argv[2]))

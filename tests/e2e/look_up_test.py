"""A mitmproxy script: every *.test name is this machine, and mitmproxy sees the name: it uses a connection again."""

import socket
from typing import Any

from mitmproxy.addonmanager import Loader


def load(loader: Loader) -> None:
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *more: Any, **options: Any) -> Any:
        return look_up("127.0.0.1" if str(host).endswith(".test") else host, *more, **options)

    socket.getaddrinfo = getaddrinfo

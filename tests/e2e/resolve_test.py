"""A mitmproxy script: every *.test name is this machine. No /etc/hosts, and no client applies its loopback bypass."""

from mitmproxy.proxy.server_hooks import ServerConnectionHookData


def server_connect(data: ServerConnectionHookData) -> None:
    host, port, *_ = data.server.address or ("", 0)
    if host.lower().rstrip(".").endswith(".test"):
        data.server.address = ("127.0.0.1", port)

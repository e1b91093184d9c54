"""A WireGuard client: wireguard-go, in the network namespace in which mitmproxy listens."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mitmproxy_rs.wireguard import pubkey

from tests.conftest import tool
from tests.e2e import namespace

CLIENT = "10.0.0.1"
"""The address that mitmproxy gives to its peer."""
SERVER = "10.7.7.7"
"""An address to which the tunnel leads; whoever has another address than CLIENT comes to 127.0.0.1 instead."""

# wireguard-go makes its control socket in /run, so it gets one of its own. It returns when the tunnel is there, and
# what it leaves running ends with the first process of its process namespace.
_UP = f"""
mount -t tmpfs none /run
wireguard-go modes0
wg setconf modes0 "$0"
ip address add {CLIENT}/32 dev modes0
ip link set modes0 up
ip route add {SERVER}/32 dev modes0 src {namespace.CLIENT}
nft add rule ip nat output ip saddr {namespace.CLIENT} ip daddr {SERVER} redirect
echo up
exec cat
"""


@contextmanager
def tunnel(network: namespace.Namespace, port: int, keys: Path) -> Iterator[None]:
    """A tunnel to mitmproxy's UDP port in this network, until the block ends.

    `keys` is the file in which mitmproxy keeps the keys of both sides.
    """
    tool("wireguard-go", package="wireguard-go")
    tool("wg", package="wireguard-tools")
    made = json.loads(keys.read_text())
    peer = [f"PublicKey = {pubkey(made['server_key'])}", "AllowedIPs = 0.0.0.0/0", f"Endpoint = 127.0.0.1:{port}"]
    configuration = keys.with_name("modes0.conf")
    configuration.write_text("\n".join(["[Interface]", f"PrivateKey = {made['client_key']}", "[Peer]", *peer, ""]))
    own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--"]
    words = [*network.inside, *own, "sh", "-e", "-c", _UP, str(configuration)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = b""
        try:
            for line in process.stdout:
                said += line
                if line == b"up\n":
                    break
            else:
                raise AssertionError(said.decode())
            yield
        finally:
            process.stdin.close()

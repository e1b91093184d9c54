"""Each mode in docs/modes.md, driven as its row says."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mitmproxy.version import VERSION

from credential_injector.demo.processes import mitmproxy
from tests.conftest import tool
from tests.e2e import http3, namespace, wireguard
from tests.e2e.conftest import RESOLVE_TEST, Curl, Stage
from tests.ports import free_port
from tests.test_docs import table

NAME = "api.qa.test"
ROWS = {mode: rest for mode, *rest in table("docs/modes.md", "## Which mode gives what")}
OUTCOMES = {"token": 200, "none": 401}


@dataclass
class Driven:
    """What a row's mode is driven with."""

    stage: Stage
    curl: Curl
    certificate: Path
    api: str
    """The API's URL, by name."""
    ca: Path | None = None
    """The authority that the client trusts; mitmproxy's, if there is none."""

    @property
    def port(self) -> int:
        return int(self.api.rpartition(":")[2])

    @property
    def trust(self) -> list[str]:
        return ["--cacert", str(self.ca or self.stage.mitmproxy_ca)]

    def status(self, *words: str, url: str = "") -> int:
        return int(self.curl(*self.trust, *words, f"{url or self.api}/orders").status)


def regular(at: Driven) -> int:
    return at.status("--proxy", at.stage.mitmdump_by_name().url)


def upstream(at: Driven) -> int:
    words = ["--ignore-hosts", ":443$", "--set", f"confdir={at.stage.confdir}", "--ignore-hosts", f":{at.port}$"]
    second = at.stage.enter(mitmproxy("mitmdump", *words, folder=at.stage.folder, script=RESOLVE_TEST))
    return at.status("--proxy", at.stage.mitmdump_by_name("--mode", f"upstream:{second.url}").url)


def socks_by_name(at: Driven) -> int:
    return at.status("--proxy", at.stage.mitmdump_by_name("--mode", "socks5").url.replace("http:", "socks5h:"))


def socks_by_address(at: Driven) -> int:
    url = at.stage.mitmdump_by_name("--mode", "socks5").url.replace("http:", "socks5:")
    return at.status("--proxy", url, "--resolve", f"{NAME}:{at.port}:127.0.0.1")


def reverse(at: Driven) -> int:
    return at.status(url=at.stage.mitmdump_by_name("--mode", f"reverse:{at.api}").url)


def reverse_by_tls(at: Driven) -> int:
    return at.status(url=at.stage.mitmdump_by_name("--mode", f"reverse:{at.api}").url.replace("http:", "https:"))


def keep_host(at: Driven) -> int:
    proxy = at.stage.mitmdump_by_name("--mode", f"reverse:{at.api}", keep_host_header="true")
    return at.status("--connect-to", f"::127.0.0.1:{proxy.url.rpartition(':')[2]}")


def over_http3(at: Driven) -> int:
    port = at.stage.enter(http3.api(at.certificate, at.stage.authorization_server.tokens))
    at.stage.env(f"https://localhost:{port}")  # mitmproxy looks up its name in Rust
    proxy = at.stage.mitmdump_by_name("--mode", f"reverse:http3://localhost:{port}")
    listens = int(proxy.url.rpartition(":")[2])
    return http3.get(listens, "localhost", f"localhost:{listens}", at.stage.mitmproxy_ca)


def transparent(at: Driven) -> int:
    with network(at) as made:
        words = ["--mode", f"transparent@{namespace.PROXY_PORT}"]
        at.stage.inside = made.inside
        at.stage.mitmdump_by_name(*words, inject_clients=f"loopback,{namespace.CLIENT}/32")
        there = ["--resolve", f"{NAME}:{at.port}:127.0.0.1", "--interface", namespace.CLIENT]
        return within(made, at, *there)


def by_wireguard(at: Driven) -> int:
    keys = at.stage.confdir / "wireguard.conf"
    with network(at) as made:
        port = free_port()
        at.stage.inside = made.inside
        at.stage.mitmdump_by_name("--mode", f"wireguard@{port}")
        with wireguard.tunnel(made, port, keys):
            there = ["--resolve", f"{NAME}:{at.port}:{wireguard.SERVER}", "--interface", wireguard.CLIENT]
            return within(made, at, *there)


@contextmanager
def network(at: Driven) -> Iterator[namespace.Namespace]:
    """A network of its own, with the servers in it."""
    if (why := namespace.missing()) is not None:
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    token_port = int(at.stage.token_endpoint.split("/")[2].rpartition(":")[2])
    with namespace.namespace() as made, made.reaches("127.0.0.1", at.port), made.reaches("127.0.0.1", token_port):
        yield made


def within(made: namespace.Namespace, at: Driven, *words: str) -> int:
    """The status that curl gets in there."""
    own = [*made.inside, tool("curl", package="curl"), "--silent", "--max-time", "20", "--output", os.devnull]
    asked = [*own, *at.trust, "--write-out", "%{http_code}", *words, f"{at.api}/orders"]
    return int(subprocess.run(asked, capture_output=True, text=True, check=False).stdout)


def local(at: Driven) -> int:
    """By a copy of curl, as the kernel looks at the programs of the whole machine."""
    curl = shutil.copy(tool("curl", package="curl"), at.stage.folder / f"curl-{os.getpid()}")
    sudo = at.stage.folder / "sudo"  # mitmproxy calls it, root or not
    sudo.write_text('#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\nexec "$@"\n')
    sudo.chmod(0o700)
    # It looks for cgroup v2 there, which some machines have a folder below.
    v2 = "[ ! -d /sys/fs/cgroup/unified ] || mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup"
    shell = f'{v2}; PATH={at.stage.folder}:$PATH; exec "$@"'
    at.stage.inside = ["unshare", "--mount", "--", "sh", "-e", "-c", shell, "sh"]
    address = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()[0]
    proxy = at.stage.mitmdump_by_name("--mode", f"local:{Path(curl).name}", "--mode", "regular")
    there = ["--resolve", f"{NAME}:{at.port}:{address}", "--max-time", "20"]
    asked = [curl, "--silent", *there, *at.trust, "--output", os.devnull, "--write-out", "%{http_code}"]
    with socket.create_server((address, at.port)) as listener:
        threading.Thread(target=namespace.forward, args=(listener, ("127.0.0.1", at.port)), daemon=True).start()
        for _ in range(100):  # the kernel takes its time to redirect
            ran = subprocess.run([*asked, f"{at.api}/orders"], capture_output=True, text=True, check=False)
            if any("[169.254.0.1:" in line for line in proxy.log):
                break
        else:
            raise AssertionError("no client was redirected")
        listener.shutdown(socket.SHUT_RDWR)
    return int(ran.stdout)


DRIVEN: dict[str, Callable[[Driven], int]] = {
    "regular": regular,
    "upstream": upstream,
    "socks5 by name": socks_by_name,
    "socks5 by address": socks_by_address,
    "reverse": reverse,
    "reverse by TLS": reverse_by_tls,
    "reverse with keep_host_header": keep_host,
    "reverse over HTTP/3": over_http3,
    "transparent": transparent,
    "wireguard": by_wireguard,
    "local": local,
}
CASES = [
    (mode, scheme, OUTCOMES[cell])
    for mode, (*_, https, http) in ROWS.items()
    for scheme, cell in (("https", https), ("http", http))
    if cell in OUTCOMES and not (VERSION.startswith("11.") and "HTTP/3" in mode)
]
"""mitmproxy 11.0.2 and aioquic's server never end their handshake."""


def test_rows() -> None:
    """Each row is driven, and what is driven has a row."""
    assert set(ROWS) == set(DRIVEN)


@pytest.mark.parametrize(("mode", "scheme", "status"), CASES)
def test_mode(stage: Stage, curl: Curl, certificates: tuple[Path, Path], mode: str, scheme: str, status: int) -> None:
    """What gets a token in a mode, and what none."""
    if mode == "local" and not os.environ.get("LOCAL_MODE"):
        pytest.skip("--mode local puts a program of its own into the kernel; as root, with mitmproxy 12: LOCAL_MODE=1")
    server = stage.https if scheme == "https" else stage.http
    api = f"{scheme}://{NAME}:{server.rpartition(':')[2]}"
    stage.env(api)
    assert DRIVEN[mode](Driven(stage, curl, certificates[1], api)) == status
    assert stage.token_requests == (status == 200)


@pytest.mark.parametrize("source", [namespace.CLIENT, wireguard.CLIENT])
def test_other_client(stage: Stage, curl: Curl, certificates: tuple[Path, Path], source: str) -> None:
    """Beside WireGuard a client of another mode gets no token, even if it has the address of WireGuard's peer."""
    api = f"https://{NAME}:{stage.https_port}"
    stage.env(api)
    at = Driven(stage, curl, certificates[1], api)
    with network(at) as made:
        stage.inside = made.inside
        subprocess.run([*made.inside, "ip", "address", "add", f"{wireguard.CLIENT}/32", "dev", "lo"], check=True)
        proxy = namespace.PROXY_PORT
        stage.mitmdump_by_name("--mode", f"wireguard@{free_port()}", "--mode", f"regular@{proxy}")
        assert within(made, at, "--proxy", f"http://127.0.0.1:{proxy}", "--interface", source) == 401
        assert within(made, at, "--proxy", f"http://127.0.0.1:{proxy}") == 200


def test_unopened(stage: Stage, curl: Curl, certificates: tuple[Path, Path]) -> None:
    """With inject_only, the name in the TLS handshake decides where mitmproxy knows an address only."""
    stage.env(f"https://{NAME}:{stage.https_port}")
    at = Driven(stage, curl, certificates[1], f"https://{NAME}:{stage.https_port}")
    other = replace(at, api=f"https://other.qa.test:{stage.https_port}", ca=stage.ca)
    keys = stage.confdir / "wireguard.conf"
    with network(at) as made:
        port, proxy = free_port(), namespace.PROXY_PORT
        stage.inside = made.inside
        modes = ("--mode", f"transparent@{proxy}", "--mode", f"wireguard@{port}")
        stage.mitmdump_by_name(*modes, inject_clients=f"loopback,{namespace.CLIENT}/32", inject_only="true")
        with wireguard.tunnel(made, port, keys):
            for source, address in ((namespace.CLIENT, "127.0.0.1"), (wireguard.CLIENT, wireguard.SERVER)):
                for one, status in ((at, 200), (other, 401)):
                    host = one.api.split("/")[2]
                    assert within(made, one, "--resolve", f"{host}:{address}", "--interface", source) == status

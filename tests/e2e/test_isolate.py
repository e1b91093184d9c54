"""A command that `credential-injector run --isolate` runs, in namespaces of its own."""

import os
import select
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from credential_injector.demo.servers import serve
from credential_injector.launch.programs import program
from tests.conftest import tool
from tests.e2e.conftest import Stage
from tests.ports import free_port

PATIENCE = 60
LARGE = 100 << 20

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's namespaces")

# Every *.test name is this machine, for run and its mitmproxy; the commands do not get it.
_NAMES = """import socket
resolve = socket.getaddrinfo
def names(host, *rest, **more):
    name = host.decode() if isinstance(host, bytes) else host
    return resolve("127.0.0.1" if (name or "").endswith(".test") else host, *rest, **more)
socket.getaddrinfo = names
"""

_HTTP_CLIENT = """
import http.client, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
connection = kind(url.hostname, url.port)
connection.request("GET", url.path)
print(connection.getresponse().status)
"""
_NODE = "fetch(process.argv[1]).then(answer => console.log(answer.status))"
_STATIC = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **words) {
    char text[] = "GET /orders HTTP/1.0\r\nHost: 127.0.0.1:00000\r\n\r\n", answer[13] = {0};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    memcpy(strstr(text, "00000"), words[1], 5);
    int one = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(one, (void *)&to, sizeof to) || write(one, text, strlen(text)) < 0) return 1;
    if (read(one, answer, 12) < 0) return 1;
    puts(answer + 9);
}
"""


def words(stage: Stage, *command: str) -> list[str]:
    return [program("credential-injector"), "run", *stage.options({}), "--isolate", "--", *command]


def environ(stage: Stage) -> dict[str, str]:
    folder = stage.folder / "names"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(_NAMES)
    return {**os.environ, "PYTHONPATH": str(folder)}


def run(stage: Stage, *command: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, *words(stage, *command)],
        check=False,
        cwd=stage.folder,
        env=environ(stage),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def python(text: str, *given: object) -> list[str]:
    return [sys.executable, "-I", "-c", text, *map(str, given)]


def printed(stage: Stage, *command: str) -> str:
    ran = run(stage, *command)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


class Server(socketserver.ThreadingTCPServer):
    """Greets first; then sends back what it got, once the client has ended."""

    daemon_threads = True
    request_queue_size = 500


class _Greets(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"hello\n")
        self.wfile.write(self.rfile.read())


@contextmanager
def greeting(host: str = "127.0.0.1") -> Iterator[int]:
    kind = type("_Server", (Server,), {"address_family": socket.AF_INET6 if ":" in host else socket.AF_INET})
    with kind((host, 0), _Greets) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("host", ["https://api.qa.test", "https://127.0.0.1", "http://localhost", "http://127.0.0.1"])
@pytest.mark.parametrize("client", ["curl", "http.client", "node"])
def test_token(stage: Stage, client: str, host: str) -> None:
    """A client without any variable for a proxy gets it, with its own verification on."""
    port = (stage.https if host.startswith("https") else stage.http).rpartition(":")[2]
    stage.env(f"{host}:{port}")
    url = f"{host}:{port}/orders"
    command = {
        "curl": [tool("curl", package="curl"), "-sS", "-o", "/dev/null", "-w", "%{http_code}", url],
        "http.client": python(_HTTP_CLIENT, url),
        "node": [tool("node", package="nodejs"), "-e", _NODE, url],
    }[client]
    assert printed(stage, *command) == "200"
    assert stage.token_requests == 1


def test_static_binary(stage: Stage) -> None:
    """A program that loads no library gets a token."""
    stage.env(stage.http)
    made = stage.folder / "static"
    compiler = [tool("gcc", package="gcc"), "-static", "-x", "c", "-", "-o", str(made)]
    subprocess.run(compiler, input=_STATIC, text=True, check=True)
    assert printed(stage, str(made), stage.http.rpartition(":")[2]) == "200"


@pytest.mark.parametrize("host", ["other.test", "127.0.0.1"])
def test_unopened(stage: Stage, host: str) -> None:
    """Of a host that no file names, the client sees the server's own certificate."""
    stage.env("https://api.qa.test")
    with serve(stage.api.app, stage.tls) as other:
        port = other.rpartition(":")[2]
        name = host if host == "127.0.0.1" else "other.qa.test"
        url = f"https://{name}:{port}/orders"
        command = [tool("curl", package="curl"), "-sS", "--cacert", str(stage.ca), "-w", "%{http_code}", url]
        assert printed(stage, *command).endswith("401")
    assert stage.token_requests == 0


_TALK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as one, one.makefile("rb") as answer:
    greeting = answer.readline()
    one.sendall(bytes(int(sys.argv[3])))
    one.shutdown(socket.SHUT_WR)
    print(greeting.decode().strip(), len(answer.read()))
"""


@pytest.mark.parametrize(("host", "at"), [("db.test", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::1", "::1")])
def test_server_speaks_first(stage: Stage, host: str, at: str) -> None:
    """Its greeting arrives before the client says anything, and the answer after the client has ended."""
    stage.env(stage.https)
    with greeting(at) as port:
        assert printed(stage, *python(_TALK, host, port, 3)) == "hello 3"


def test_large(stage: Stage) -> None:
    """100 MB go out and come back."""
    stage.env(stage.https)
    with greeting() as port:
        assert printed(stage, *python(_TALK, "db.test", port, LARGE)) == f"hello {LARGE}"


def test_many_connections(stage: Stage) -> None:
    """200 at the same time."""
    stage.env(stage.https)
    text = """
import asyncio, sys
async def main():
    opened = await asyncio.gather(*(asyncio.open_connection("db.test", int(sys.argv[1])) for _ in range(200)))
    print({await reader.readline() for reader, _ in opened}, len(opened))
asyncio.run(main())
"""
    with greeting() as port:
        assert printed(stage, *python(text, port)) == "{b'hello\\n'} 200"


def test_own_server(stage: Stage) -> None:
    """A server that the command starts is reached by the command, not the one of this machine on the same port."""
    stage.env(stage.https)
    text = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    with socket.create_connection(("localhost", int(sys.argv[1]))) as one:
        near, _ = server.accept()
        near.sendall(b"own")
        near.close()
        print(one.recv(9).decode())
"""
    with greeting() as port:
        assert printed(stage, *python(text, port)) == "own"


@pytest.mark.parametrize("host", ["db.test", "127.0.0.1"])
def test_refused(stage: Stage, host: str) -> None:
    """Where nobody listens, the connection is reset."""
    stage.env(stage.https)
    text = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as one:
        print(one.recv(9))
except ConnectionError:
    print("refused")
"""
    assert printed(stage, *python(text, host, free_port())) == "refused"


def test_no_such_name(stage: Stage) -> None:
    """A name that does not exist is not found, as outside."""
    stage.env(stage.https)
    text = """
import socket
try:
    socket.create_connection(("nowhere.invalid", 443))
except socket.gaierror:
    print("no such name")
"""
    assert printed(stage, *python(text)) == "no such name"


def test_same_user(stage: Stage) -> None:
    """The command runs as who runs it, in the same folder."""
    stage.env(stage.https)
    assert printed(stage, "sh", "-c", "id -u; pwd") == f"{os.geteuid()}\n{stage.folder}"


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)])
def test_exit_code(stage: Stage, script: str, code: int) -> None:
    """The command's, and 128 and the number of the signal that ended it."""
    stage.env(stage.https)
    assert run(stage, "sh", "-c", script).returncode == code


def test_no_command(stage: Stage) -> None:
    """One line says that there is none."""
    stage.env(stage.https)
    ran = run(stage, "no-such-command")
    assert ran.returncode == 127
    assert "no-such-command" in ran.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left(stage: Stage, number: signal.Signals) -> None:
    """What holds the namespaces ends with run, and the machine's own files were never changed."""
    stage.env(stage.https)
    before = Path("/etc/resolv.conf").read_bytes(), Path("/proc/self/mountinfo").read_text()
    with subprocess.Popen(
        words(stage, "sh", "-c", "trap 'exit 7' INT; cat /etc/resolv.conf; read -r _; exit 8"),
        cwd=stage.folder,
        env=environ(stage),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"nameserver 127.0.0.1\n"
        assert (Path("/etc/resolv.conf").read_bytes(), Path("/proc/self/mountinfo").read_text()) == before
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        holders = [pid for pid in children if b"\0hold\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(holders) == 1
        ended = os.pidfd_open(int(holders[0]))
        running.send_signal(number)
        if number == signal.SIGINT:
            assert running.wait(PATIENCE) == 7
        assert select.select([ended], [], [], PATIENCE)[0]
        os.close(ended)


def test_not_allowed(stage: Stage) -> None:
    """Where the machine lets nobody make namespaces, one line names the setting, and the command does not run."""
    stage.env(stage.https)
    off = 'echo 0 >/proc/sys/user/max_net_namespaces; echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"'
    unshare = tool("unshare", package="util-linux")
    ran = run(stage, "touch", "ran", before=(unshare, "--user", "--map-root-user", "sh", "-c", off, "sh"))
    assert ran.returncode == 2
    assert "sudo sysctl -w user.max_user_namespaces=10000, or run the command without --isolate" in ran.stderr
    assert not (stage.folder / "ran").exists()


def test_proxy_with_login(stage: Stage) -> None:
    """The user and password of --proxy are told to that proxy, decoded."""
    stage.env(f"https://api.qa.test:{stage.https_port}")
    proxy = stage.mitmdump(proxyauth="bob:p@w/1", inject_clients="")
    url = proxy.url.replace("//", "//bob:p%40w%2F1@")
    given = [program("credential-injector"), "run", "--isolate", "--proxy", url, "--ca", str(stage.mitmproxy_ca), "--"]
    ran = subprocess.run(
        [*given, *python(_HTTP_CLIENT, f"https://api.qa.test:{stage.https_port}/orders")],
        check=False,
        cwd=stage.folder,
        env=environ(stage),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (ran.returncode, ran.stdout) == (0, "200\n"), ran.stderr

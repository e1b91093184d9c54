"""Namespaces for a command: made, served until it ends, and gone afterwards."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from credential_injector.launch.files import Files
from credential_injector.launch.isolation.forwarder import Forwarder
from credential_injector.launch.programs import NotStarted
from credential_injector.origins.origin import Origin

PATIENCE = 10.0  # seconds that the namespaces may take

_INSIDE = Path(__file__).with_name("inside.py")
_BUNDLES = (  # where programs look for the authorities that they trust
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_JAVA_TRUST_STORES = ("/etc/ssl/certs/java/cacerts", "/etc/pki/java/cacerts")
_NAMES = {
    "/etc/resolv.conf": "nameserver 127.0.0.1\n",
    # Here localhost is IPv4 alone: a redirected connection to ::1 succeeds at first, so no client tries the other.
    "/etc/hosts": "127.0.0.1 localhost\n::1 ip6-localhost ip6-loopback\n",
}


@dataclass(frozen=True, slots=True)
class Prefix:
    """What comes before a command, so that it runs in there."""

    words: list[str]
    pass_fds: tuple[int, ...] = ()


@contextmanager
def isolated(
    proxy: tuple[str, int], password: str | None, origins: Iterable[Origin], files: Files, user: str = "run"
) -> Iterator[Prefix]:
    """Namespaces until the block ends. Connections to these origins' hosts and ports reach the proxy.

    With a `password` the proxy is told it, for the `user`. Raises NotStarted, whose text says what the machine does
    not allow and what to do.
    """
    if not sys.platform.startswith("linux"):
        raise NotStarted(
            "--isolate needs Linux; on macOS and Windows run: credential-injector web --mode local:PROGRAM, and start"
            " the program yourself"
        )
    with ExitStack() as stack:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(ours.close)
        with theirs:
            holder = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_INSIDE), "hold", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        stack.callback(_end, holder, ours)
        listeners = _set_up(ours, _mounts(files))
        lock = threading.Lock()
        forwarder = Forwarder(proxy, password, origins, lambda family: _socket(ours, lock, family), user)
        stack.callback(_serving(forwarder, *listeners))
        command = [sys.executable, "-I", "-S", str(_INSIDE), "enter", str(holder.pid), os.getcwd(), "--"]  # noqa: PTH109
        yield Prefix(command)


def _mounts(files: Files) -> list[tuple[str, str]]:
    """Files, and those in whose places they are seen in there."""
    found: list[tuple[str, str]] = []
    for targets, source in ((_BUNDLES, files.bundle), (_JAVA_TRUST_STORES, files.java_trust_store)):
        found += [(str(source), target) for target in targets]
    for target, text in {**_NAMES, "/etc/nsswitch.conf": _nsswitch()}.items():
        source = files.bundle.with_name(Path(target).name)
        source.write_text(text, "ascii", "replace")
        found.append((str(source), target))
    # Several names may lead to one file, as /etc/resolv.conf to a file of systemd's.
    by_target = {os.path.realpath(target): source for source, target in found if Path(target).is_file()}
    return [(source, target) for target, source in by_target.items()]


def _nsswitch() -> str:
    """The system's, in which names are looked up by DNS alone: others would give the real addresses."""
    try:
        lines = Path("/etc/nsswitch.conf").read_text("ascii", "replace").splitlines()
    except OSError:
        lines = []
    return "\n".join([*(line for line in lines if not line.startswith("hosts:")), "hosts: files dns", ""])


def _set_up(channel: socket.socket, mounts: list[tuple[str, str]]) -> list[socket.socket]:
    channel.settimeout(PATIENCE)
    try:
        channel.sendall(json.dumps({"mounts": mounts}).encode())
        answer, descriptors, _, _ = socket.recv_fds(channel, 1 << 16, 3)
    except OSError:
        answer, descriptors = b"", []
    failure = json.loads(answer) if answer else "it has ended"
    if failure is not None:
        raise NotStarted(_advice(failure))
    return [socket.socket(fileno=one) for one in descriptors]


def _advice(failure: str) -> str:
    """One line: what the machine does not allow, and what to do."""
    if "nft" in failure:
        return f"--isolate: {failure}, or run the command without --isolate"
    for setting, off, sysctl in (
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
    ):
        with suppress(OSError):
            if Path("/proc/sys", setting).read_text("ascii").strip() == off:
                return (
                    f"--isolate: this machine lets no user make namespaces ({failure}); run: sudo sysctl -w {sysctl},"
                    " or run the command without --isolate"
                )
    return (
        f"--isolate: this machine does not let you make namespaces ({failure}), as in many containers; run the command"
        " without --isolate"
    )


def _socket(channel: socket.socket, lock: threading.Lock, family: socket.AddressFamily) -> socket.socket:
    """A socket among the command's own servers."""
    with lock:
        channel.sendall(b"6" if family == socket.AF_INET6 else b"4")
        _, descriptors, _, _ = socket.recv_fds(channel, 16, 1)
    if not descriptors:
        raise ConnectionResetError
    return socket.socket(fileno=descriptors[0])


def _serving(forwarder: Forwarder, tcp: socket.socket, tcp6: socket.socket, udp: socket.socket) -> Callable[[], None]:
    """Serve these sockets in a thread. Returns what ends it."""
    ended, ready = asyncio.Event(), threading.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        servers = [await asyncio.start_server(forwarder.serve, sock=one, backlog=1024) for one in (tcp, tcp6)]
        udp.setblocking(False)
        names = asyncio.create_task(_resolve(forwarder, udp))
        ready.set()
        await ended.wait()
        names.cancel()
        for server in servers:
            server.close()
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def work() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait()

    def end() -> None:
        loop.call_soon_threadsafe(ended.set)
        thread.join(PATIENCE)
        udp.close()

    return end


async def _resolve(forwarder: Forwarder, udp: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    under_way: set[asyncio.Task[None]] = set()

    async def answer(message: bytes, asker: object) -> None:
        answered = await forwarder.resolve(message)
        if answered is not None:
            with suppress(OSError):
                await loop.sock_sendto(udp, answered, asker)  # type: ignore[arg-type]

    while True:
        message, asker = await loop.sock_recvfrom(udp, 4096)
        task = asyncio.create_task(answer(message, asker))
        under_way.add(task)
        task.add_done_callback(under_way.discard)


def _end(holder: subprocess.Popen[bytes], channel: socket.socket) -> None:
    channel.close()
    try:
        holder.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        holder.kill()
        holder.wait()

"""mitmdump and mitmweb without the second that their imports take: forked from a process that has done these.

Each fork is a mitmproxy of its own, which reads its command line and loads the add-on as if it had been started.
"""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

LENGTH = 8  # bytes that tell how many follow


@contextmanager
def server() -> Iterator[list[str]]:
    """That process until the block ends; the words that go before a program's. None where there are no forks."""
    if sys.platform != "linux":
        yield []
        return
    # A fork measures its coverage by its own environment; this process has nothing to measure.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}
    with TemporaryDirectory() as folder:  # a socket's path may not be long
        path = f"{folder}/socket"
        with subprocess.Popen(
            [sys.executable, __file__, path],
            env={**environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield [sys.executable, "-I", "-S", str(Path(__file__).with_name("warm_client.py")), path]
            assert process.stdin is not None
            process.stdin.close()


def serve(path: str) -> Callable[[], int | None] | None:
    """Fork for whoever asks, until standard input ends. In a fork, it returns what is to be run there."""
    import mitmproxy.tools.dump
    import mitmproxy.tools.main
    import mitmproxy.tools.web.master

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    clients: dict[int, socket.socket] = {}
    print("ready", flush=True)
    while True:
        watched: list[Any] = [0, woken, listener, *clients.values()]
        ready, _, _ = select.select(watched, [], [])
        if 0 in ready:  # whoever started it has ended, maybe by a signal
            for pid in clients:
                os.kill(pid, signal.SIGTERM)
            return None
        if woken in ready:
            os.read(woken, 4096)
            _reap(clients)
        for pid, client in list(clients.items()):
            if client in ready:  # it was killed, and its program goes with it
                os.kill(pid, signal.SIGKILL)
        if listener in ready:
            client, _ = listener.accept()
            head, files, _, _ = socket.recv_fds(client, LENGTH, 3)
            with client.makefile("rb") as stream:
                message = os.fsdecode(stream.read(int.from_bytes(head))).split("\0")
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for descriptor in (woken, wakes):
                    os.close(descriptor)
                for connection in (listener, client, *clients.values()):
                    connection.close()
                name = _become(message, files)
                return getattr(mitmproxy.tools.main, name)  # type: ignore[no-any-return]
            for file in files:
                os.close(file)
            client.sendall(str(pid).encode())
            clients[pid] = client


def _reap(clients: dict[int, socket.socket]) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with clients.pop(ended[0]) as client, suppress(OSError):
                client.sendall(str(ended[1]).encode())


def _become(message: list[str], files: list[int]) -> str:
    """Take on the caller's folder, words, environment and files. The program's name."""
    folder, count = message[0], int(message[1])
    words, settings = message[2 : 2 + count], message[2 + count :]
    os.chdir(folder)
    os.environ.clear()
    for setting in settings:
        name, _, value = setting.partition("=")
        os.environ[name] = value
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    program = Path(words[0])
    sys.argv, sys.path[0] = words, str(program.parent)
    if "COVERAGE_PROCESS_CONFIG" in os.environ:
        import coverage

        coverage.process_startup(force=True)
    return program.name


if __name__ == "__main__":
    program = serve(sys.argv[1])
    if program is not None:
        sys.exit(program())

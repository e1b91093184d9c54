"""Several processes that share a store, some of which are killed."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tokens.stores import ADDON

PROCESS = """
import asyncio, sys
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken
from credential_injector.tokens.sharing import shared
from credential_injector.tokens.open_store import open_store
from credential_injector.tokens.store import Limits

def say(text):
    print(text, flush=True)

async def ask(asked_at):
    say("asks")
    sys.stdin.readline()
    return AccessToken(sys.argv[2], asked_at, asked_at + 3600)

async def main():
    store = open_store(sys.argv[1], Limits(scrypt_cost=2))
    say("begins")
    token = await shared(store, TokenRequest("https://login.test/token", "client"), ask)(1.7e9, None)
    say(f"{token.value} {token.stored}")
    await store.close()

asyncio.run(main())
"""


class Process:
    """A process of its own that gets one token; its token request is answered when it is told so."""

    def __init__(self, where: str, token: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, where, token],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ADDON)},
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def answer(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def processes(where: str) -> Iterator[Callable[[str], Process]]:
    started: list[Process] = []

    def start(token: str) -> Process:
        started.append(Process(where, token))
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            process.end()


def test_two_processes(where: str) -> None:
    """Two processes make one token request."""
    with processes(where) as start:
        one = start("one")
        assert [one.says(), one.says()] == ["begins", "asks"]
        two = start("two")
        assert two.says() == "begins"
        one.answer()
        assert one.says() == "one False"
        assert two.says() == "one True"  # and it did not say that it asks


def test_killed_asking(where: str) -> None:
    """A process that is killed while it asks holds up nobody for long."""
    with processes(where) as start:
        one = start("one")
        assert [one.says(), one.says()] == ["begins", "asks"]
        two = start("two")
        assert two.says() == "begins"
        one.end()
        assert two.says() == "asks"
        two.answer()
        assert two.says() == "two False"


KILLED = """
import asyncio, itertools, json, logging, os, random, signal, sys, threading, time
from pathlib import Path
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken
from credential_injector.tokens.sharing import shared
from credential_injector.tokens.open_store import open_store
from credential_injector.tokens.store import Limits

file, rounds, now = Path(sys.argv[1]), int(sys.argv[2]), 1.7e9
store = open_store(str(file), Limits(scrypt_cost=2))
logging.basicConfig(level="WARNING", stream=sys.stdout)
numbers = itertools.count()

def fetching(name):
    async def ask(asked_at):
        # Large, so that a write takes a while.
        return AccessToken(f"{name}-{next(numbers)}-" + "x" * 200_000, asked_at, asked_at + 3600)
    return shared(store, TokenRequest("https://login.test/token", name), ask)

mine, others = fetching("mine"), fetching("others")

def write_for_ever(pipe, stops_at):
    def tell(event, args):
        if event == "open" and str(args[0]).startswith(str(file)):
            os.write(pipe, b"n" if str(args[0]).endswith(".new") else b".")
        if event == stops_at:
            os.write(pipe, b"s")
            time.sleep(60)  # until it is killed
    async def write():
        last = None
        while True:
            last = (await mine(now, last)).fingerprint
    sys.addaudithook(tell)
    asyncio.run(write())

async def stored(fetch, name):
    token = await fetch(now, None)
    assert token.stored, "a token was lost"
    assert token.value.startswith(name + "-"), "a token of another identity"

def run(task):
    asyncio.run(task)
    for thread in set(threading.enumerate()) - {threading.main_thread()}:
        thread.join()  # a process with threads should not be forked

run(mine(now, None))
run(others(now, None))
chance, cut = random.Random(1), 0
for number in range(rounds):
    # In two of three rounds it is killed when the new file is written, and not yet in its place.
    stops_at = [None, "os.chmod", "os.rename"][number % 3]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        write_for_ever(writer, stops_at)
    os.close(writer)
    # Else it is killed after it opened any file, or the new one in three of four rounds, or a moment later.
    awaited = b"s" if stops_at else chance.choice([b"n", b"n", b"n", b"n."])
    for _ in range(1 if stops_at else chance.randrange(1, 4)):
        while os.read(reader, 1) not in awaited:
            pass
    for _ in range(chance.randrange(5_000)):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    cut += file.with_name(file.name + ".new").exists()
    assert len(json.loads(file.read_text())["tokens"]) == 2
    run(stored(mine, "mine"))
    run(stored(others, "others"))
print("cut in the middle of a write:", cut)
print(*sorted({path.name.partition("-")[0] for path in file.parent.iterdir()} - {file.name + ".new"}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here, as many of them start faster so")
def test_killed_writing(tmp_path: Path) -> None:
    """Processes that are killed while they write leave the file readable."""
    file = tmp_path / "tokens"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", KILLED, str(file), "45"],
        env={**os.environ, "PYTHONPATH": str(ADDON)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    lines = ended.stdout.splitlines()
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert len(lines) == 2, lines
    assert int(lines[0].rpartition(" ")[2]) >= 30, "a write was not cut"
    assert lines[1] == "tokens tokens.lock"

"""`credential-injector envoy`: tokens that are simply there, and what happens when something is not."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import requests

from credential_injector.launch.envoy import WORDS, find
from tests.e2e.conftest import CLIENT_ID, CLIENT_SECRET, Curl, Stage
from tests.e2e.envoy import Envoy, envoy
from tests.e2e.test_life_cycle import Load, eventually
from tests.e2e.test_retry import revoke
from tests.e2e.test_token_store import redis_server
from tests.ports import free_port


@contextmanager
def load(url: str, proxy: str, clients: int = 4) -> Iterator[Load]:
    """Clients that ask again and again; an answer that breaks off counts as 0."""
    seen = Load()

    def client() -> None:
        with requests.Session() as session:
            session.proxies = {"http": proxy}
            while not seen.ended.wait(0.005):
                try:
                    answer = session.get(url, timeout=60)
                except requests.RequestException as error:
                    seen.statuses[0] += 1
                    seen.bodies.add(str(error))
                    continue
                seen.statuses[answer.status_code] += 1
                if answer.status_code != 200:
                    seen.bodies.add(answer.text)

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(client) for _ in range(clients)]
        try:
            yield seen
        finally:
            seen.ended.set()
    for one in running:
        one.result()


def own_requests(stage: Stage, scope: str) -> int:
    """The token requests for this scope."""
    return sum(form.get("scope") == [scope] for form in stage.authorization_server.token_requests)


def test_expiries_and_outage(stage: Stage) -> None:
    """Nobody sees an expiry. An outage is seen from the token's end on, as a 502 that says why, and ends by itself."""
    stage.authorization_server.lifetime = 3
    stage.env(stage.http)
    url = f"{stage.http}/orders"
    with envoy(stage) as running, load(url, running.proxy) as seen:
        eventually(lambda: stage.token_requests >= 5)
        seen.wait_for(20)
        assert set(seen.statuses) == {200}, seen.bodies
        stage.authorization_server.status = 503
        running.wait_for(r"qa: no token \(http_503\)")
        eventually(lambda: 502 in seen.statuses)
        assert set(seen.statuses) == {200, 502}, seen.bodies
        since = len(running.log)
        eventually(lambda: any("qa: request blocked: no token (http_503): " in body for body in seen.bodies))
        stage.authorization_server.status = None
        running.wait_for("qa: has a token again", since=since)
        with requests.Session() as session:
            session.proxies = {"http": running.proxy}
            eventually(lambda: session.get(url).status_code == 200)
        seen.statuses.clear()
        eventually(lambda: stage.authorization_server.status is None and seen.statuses[200] > 20)
        assert set(seen.statuses) == {200}, seen.bodies


def test_feeder_killed(stage: Stage, curl: Curl) -> None:
    """Envoy alone serves until the token's end, and no refused request is seen. Then it says what to do."""
    stage.authorization_server.lifetime = 5
    stage.env(stage.http)
    url, port = f"{stage.http}/orders", free_port()
    with envoy(stage, "--listen", f"127.0.0.1:{port}") as running, load(url, running.proxy) as seen:
        pid = running.envoy_pid
        try:
            running.process.send_signal(signal.SIGKILL)
            running.process.wait()
            seen.statuses.clear()
            eventually(lambda: 502 in seen.statuses)
            assert set(seen.statuses) == {200, 502}
            assert "start it again" in "".join(seen.bodies)
            again = subprocess.run(
                running.process.args, cwd=stage.folder, stderr=subprocess.PIPE, text=True, check=False
            )
            assert again.returncode == 2
            assert f"--listen 127.0.0.1:{port}: cannot listen there" in again.stderr
        finally:
            os.kill(pid, signal.SIGKILL)
    stage.authorization_server.lifetime = 300


def test_revoked(stage: Stage) -> None:
    """A token that the API refuses is replaced once; an API that refuses everything costs one more. Then Envoy ends."""
    stage.env(stage.http)
    everything = stage.http.replace("127.0.0.1", "localhost") + "/always"
    stage.env(everything, "SCOPE=write", name="hard")
    with envoy(stage) as running:
        with load(f"{stage.http}/orders", running.proxy) as seen:
            seen.wait_for(50)
            began = time.monotonic()
            revoke(stage)
            eventually(lambda: own_requests(stage, "read") == 2)
            took = time.monotonic() - began
            eventually(lambda: seen.statuses[401] > 0)
            with requests.Session() as session:
                session.proxies = {"http": running.proxy}
                eventually(lambda: session.get(f"{stage.http}/orders").status_code == 200)
            Event().wait(1)  # in which late refusals may do harm
            before = Counter(seen.statuses)
            seen.wait_for(200)
        assert set(seen.statuses) == {200, 401}, seen.bodies
        assert seen.statuses[401] == before[401]
        assert own_requests(stage, "read") == 2
        print(f"\n{seen.statuses[401]} of {seen.statuses.total()} requests got a 401; asked after {took:.2f} s")
        with load(f"{everything}/401", running.proxy) as seen:
            running.wait_for("hard: the API refuses a new token, too")
            seen.wait_for(100)
        assert own_requests(stage, "write") == 2
        assert len([line for line in running.log if "refuses a new token" in line]) == 1
        folder = running.folder
        os.kill(running.envoy_pid, signal.SIGKILL)
        assert running.process.wait(30) == 1
        running.wait_for(r"Error: Envoy ended \(signal 9\); start this command again")
        assert not folder.exists()


def test_redis(stage: Stage) -> None:
    """Machines that share a Redis share token requests, also for a refused token, and go on without it."""
    stage.env(stage.http)
    with (
        redis_server() as (store, redis),
        envoy(stage, "--tokens", store) as one,
        envoy(stage, "--tokens", store) as other,
    ):
        assert stage.token_requests == 1
        url = f"{stage.http}/orders"
        with load(url, one.proxy, 2) as seen, load(url, other.proxy, 2) as seen_too:
            revoke(stage)
            eventually(lambda: seen.statuses[401] > 0 and seen_too.statuses[401] > 0)
            eventually(lambda: _rests(seen) and _rests(seen_too))
            assert stage.token_requests == 2
            redis.kill()
            for each in (seen, seen_too):
                each.statuses.clear()
                each.bodies.clear()
            stage.env(stage.http, "SCOPE=write")
            eventually(lambda: own_requests(stage, "write") == 2)
            seen.wait_for(50)
            seen_too.wait_for(50)
            assert set(seen.statuses | seen_too.statuses) == {200}, seen.bodies | seen_too.bodies


def _rests(seen: Load) -> bool:
    """Whether none of the next requests is refused."""
    before = seen.statuses[401]
    seen.wait_for(50)
    return seen.statuses[401] == before


class Connection:
    """One keep-alive connection through the proxy, on which everything must come."""

    def __init__(self, running: Envoy, url: str) -> None:
        self._url = url
        self._one = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._one.close()

    def get(self) -> tuple[int, str]:
        """The answer, on the connection of the first request."""
        socket = self._one.sock
        self._one.request("GET", self._url)
        answer = self._one.getresponse()
        body = answer.read().decode()
        assert socket is None or self._one.sock is socket, "the connection was closed"
        return answer.status, body

    def scope(self, stage: Stage) -> str:
        """That of the token which the API got."""
        assert self.get()[0] == 200
        headers = dict(stage.api.received[-1][1])
        return stage.authorization_server.tokens[headers["Authorization"].removeprefix("Bearer ")].scope


def test_edited(stage: Stage, curl: Curl) -> None:
    """An edited file is in use soon, no request fails and no connection ends. A broken edit changes nothing."""
    localhost = stage.http.replace("127.0.0.1", "localhost")
    stage.env(stage.http)
    with (
        envoy(stage) as running,
        load(f"{stage.http}/orders", running.proxy, 2) as seen,
        ThreadPoolExecutor() as pool,
        Connection(running, f"{stage.http}/orders") as kept,
        Connection(running, f"{stage.http}/slow") as slow_one,
    ):
        assert kept.scope(stage) == "read"
        slow = pool.submit(slow_one.get)
        eventually(lambda: any("/slow" in line for line, _ in stage.api.received))

        stage.env(stage.http, "SCOPE=write")
        eventually(lambda: kept.scope(stage) == "write")
        stage.env(stage.http, "METHODS=POST")  # the same token
        eventually(lambda: "its method is not in METHODS=POST" in kept.get()[1])
        seen.ended.set()
        stage.env(stage.http, "SCOPE=")
        eventually(lambda: kept.get()[0] == 200)
        assert set(seen.statuses) <= {200, 502}
        assert all("METHODS" in body for body in seen.bodies), seen.bodies

        since = len(running.log)
        stage.env(stage.http, "GRANT_TYPE=nonsense")
        running.wait_for("Keeping the previous environments until this is fixed", since=since)
        assert kept.get()[0] == 200
        secret = stage.folder / "secret"
        secret.write_text(CLIENT_SECRET)
        stage.env(stage.http, f"CLIENT_SECRET_COMMAND=cat {secret}", without="CLIENT_SECRET")
        running.wait_for("The environment files are fixed", since=since)
        stage.authorization_server.clients[CLIENT_ID].client_secret = "canary-rotated"
        secret.write_text("canary-rotated")
        revoke(stage)
        eventually(lambda: kept.get()[0] == 200)

        stage.env(localhost, "CLIENT_SECRET=canary-rotated", name="new")
        eventually(lambda: curl("--proxy", running.proxy, f"{localhost}/orders").status == 200)
        (stage.folder / "envs" / "new.env").unlink()
        eventually(lambda: curl("--proxy", running.proxy, f"{localhost}/orders").status == 401)
        assert kept.get()[0] == 200
        stage.api.go_on.set()
        assert slow.result() == (200, "at last")


def test_somebody_elses_envoy(stage: Stage, curl: Curl) -> None:
    """--config-only feeds an Envoy that others start. A killed run's folder is not used as it was."""
    folder, port, log = stage.folder / "sidecar", free_port(), stage.folder / "envoy.log"
    stage.env(stage.http)
    options = ("--config-only", "--dir", str(folder), "--listen", f"127.0.0.1:{port}")
    ask = ("--proxy", f"http://127.0.0.1:{port}", f"{stage.http}/orders")
    with envoy(stage, *options) as killed:
        assert stage.token_requests == 1
        second = subprocess.run(killed.process.args, cwd=stage.folder, stderr=subprocess.PIPE, text=True, check=False)
        assert second.returncode == 2
        assert "another credential-injector envoy feeds it" in second.stderr
        killed.process.kill()
        killed.process.wait()
    left = next(iter(stage.authorization_server.tokens))
    assert left in (folder / "token-qa.json").read_text()
    (folder / "token-gone.json").write_text((folder / "token-qa.json").read_text())
    stage.authorization_server.status = 503
    with envoy(stage, *options) as running, log.open("w") as output:
        running.wait_for("http_503")
        assert not [path for path in folder.glob("*.json") if left in path.read_text()]
        process = subprocess.Popen([find(), "-c", str(folder / "envoy.yaml"), *WORDS], stdout=output, stderr=output)
        try:
            eventually(lambda: curl(*ask, check=False).status == 502)
            assert "qa: request blocked: no token (http_503): " in curl(*ask).body
            stage.authorization_server.status = None
            eventually(lambda: curl(*ask).status == 200)
            revoke(stage)
            eventually(lambda: curl(*ask).status == 200)
            running.process.kill()  # and started again, with the same Envoy
            running.process.wait()
            with envoy(stage, *options) as after:
                eventually(lambda: curl(*ask).status == 200)
                revoke(stage)
                eventually(lambda: curl(*ask).status == 200)
                assert after.end() == 0
            eventually(lambda: "credential-injector envoy has ended; start it again" in curl(*ask).body)
        finally:
            process.kill()
            process.wait()


def test_without_token(stage: Stage, curl: Curl) -> None:
    """WITHOUT_TOKEN=pass lets a request go on without a token where there is none, and blocks it nowhere."""
    stage.authorization_server.status = 503
    stage.env(stage.http, "WITHOUT_TOKEN=pass")
    with envoy(stage) as running:
        assert curl("--proxy", running.proxy, f"{stage.http}/orders").status == 401
        stage.authorization_server.status = None
        eventually(lambda: curl("--proxy", running.proxy, f"{stage.http}/orders").status == 200)


def test_ends_at_start(stage: Stage) -> None:
    """A signal ends it while it waits for the first token, and nothing is left. --strict starts nothing."""
    folder = stage.folder / "folder"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stage.env(stage.http, f"TOKEN_ENDPOINT=http://127.0.0.1:{silent.getsockname()[1]}/token")
        with envoy(stage, "--dir", str(folder), ready=False) as running:
            asked, _ = silent.accept()
            began = time.monotonic()
            assert running.end() == 0
            assert time.monotonic() - began < 10
            asked.close()
    assert list(folder.iterdir()) == []
    stage.env(stage.http, "QUERY=key", "GRANT_TYPE=client_credentials")
    with envoy(stage, "--dir", str(folder), "--strict", ready=False) as strict:
        strict.wait_for(
            "qa: QUERY is no header, and Envoy writes a credential into a header only; its requests are blocked"
        )
        strict.wait_for("--strict: not started, because of the above")
        assert strict.process.wait(30) == 2
    assert list(folder.iterdir()) == []

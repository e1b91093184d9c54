"""mitmproxy ends while a refresh token is shown, which is used up then: what comes for it must not be lost."""

import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from flask import Flask, request

from credential_injector.demo.servers import Client, Token, serve
from tests.e2e.conftest import CLIENT_ID, Curl, Stage
from tests.e2e.test_life_cycle import eventually
from tests.e2e.test_token_store import redis_server

CLIENT = Client(CLIENT_ID, "")


@pytest.fixture
def inside() -> Sequence[str]:
    """mitmproxy as it is, not warm: how it ends is the subject here."""
    return ()


class Logins:
    """A token endpoint of refresh tokens, each of which is good for one token request: `<login>-<number>`."""

    def __init__(self, tokens: dict[str, Token]) -> None:
        self.asked: list[str] = []
        """The logins whose refresh tokens were shown."""
        self.refused: list[str] = []
        """Those whose refresh tokens were used up before."""
        self.answers = {login: threading.Event() for login in ("first", "second")}
        """Whether token requests of a login are answered."""
        self.lives = 2
        """Seconds that a token lives."""
        for answer in self.answers.values():
            answer.set()
        self.app = Flask("logins")
        good = {f"{login}-0" for login in self.answers}

        @self.app.post("/token")
        def token() -> Any:
            shown = request.form["refresh_token"]
            login, _, number = shown.partition("-")
            self.asked.append(login)
            if shown not in good:
                self.refused.append(login)
                return {"error": "invalid_grant"}, 400
            good.remove(shown)
            good.add(following := f"{login}-{int(number) + 1}")
            assert self.answers[login].wait(30)
            value = f"token-of-{shown}"
            tokens[value] = Token({"expires_in": self.lives}, CLIENT)
            answer = {"access_token": value, "token_type": "Bearer", "expires_in": self.lives}
            return {**answer, "refresh_token": following}


@pytest.fixture
def logins(stage: Stage) -> Logins:
    """The token endpoint of two environments, whose hosts are the API's paths /first and /second."""
    logins = Logins(stage.authorization_server.tokens)
    url = stage.enter(serve(logins.app))
    for login in logins.answers:
        grant = ["GRANT_TYPE=refresh_token", f"REFRESH_TOKEN={login}-0"]
        stage.env(f"{stage.http}/{login}", f"TOKEN_ENDPOINT={url}/token", *grant, name=login)
    return logins


@pytest.fixture(params=["file", "redis"])
def store(request: pytest.FixtureRequest, stage: Stage) -> Iterator[str]:
    if request.param == "file":
        yield str(stage.folder / "tokens.json")
    else:
        with redis_server() as (url, _):
            yield url


def get(stage: Stage, curl: Curl, proxy: str, login: str) -> threading.Thread:
    """A request in the background, whose answer nobody looks at."""
    words = ("--proxy", proxy, f"{stage.http}/{login}")
    client = threading.Thread(target=lambda: curl(*words, check=False), daemon=True)
    client.start()
    return client


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_no_token_request(stage: Stage, curl: Curl, logins: Logins, store: str, end: signal.Signals) -> None:
    """It still serves while it waits for one, and would not wait for another."""
    with stage.mitmproxy("mitmdump", inject_tokens=store) as proxy:
        for login in logins.answers:
            assert curl("--proxy", proxy.url, f"{stage.http}/{login}").status == 200
        threading.Event().wait(logins.lives)  # until both tokens have expired
        asked = len(logins.asked)  # 2, or more on a busy machine, where a token comes when it has expired already
        for answer in logins.answers.values():
            answer.clear()
        get(stage, curl, proxy.url, "first")
        eventually(lambda: len(logins.asked) == asked + 1)
        proxy.process.send_signal(end)
        proxy.wait_for("second: 1 request with a token")  # said when mitmproxy is ending
        get(stage, curl, proxy.url, "second").join(2)
        logins.answers["first"].set()
        assert proxy.process.wait(30) == 0
        logins.answers["second"].set()
    assert logins.asked[asked:] == ["first"]
    logins.lives = 300
    with stage.mitmproxy("mitmdump", inject_tokens=store) as proxy:
        assert [curl("--proxy", proxy.url, f"{stage.http}/{login}").status for login in logins.answers] == [200, 200]
    assert logins.refused == []


def test_summary(stage: Stage, curl: Curl, logins: Logins) -> None:
    """It counts the request that waited for its token until the end, which has been blocked before."""
    with stage.mitmproxy("mitmdump") as proxy:
        logins.answers["first"].clear()
        get(stage, curl, proxy.url, "first")
        eventually(lambda: logins.asked == ["first"])
        proxy.process.send_signal(signal.SIGINT)
        proxy.wait_for("first: 0 requests with a token, 1 token requests?, 0 sent again, 1 blocked")
        logins.answers["first"].set()
        assert proxy.process.wait(30) == 0
    told = [line.partition("first: ")[2] for line in proxy.log]
    (blocked,) = (number for number, line in enumerate(told) if line.startswith("request blocked: the add-on ended"))
    assert told[blocked + 1].startswith("0 requests with a token")


@pytest.mark.parametrize("case", ["slow", "changed"])
def test_what_is_under_way_is_waited_for(stage: Stage, curl: Curl, logins: Logins, case: str) -> None:
    """As long as a token request may take, and where the environment has changed meanwhile, too."""
    store = str(stage.folder / "tokens.json")
    with stage.mitmproxy("mitmdump", inject_tokens=store) as proxy:
        logins.answers["first"].clear()
        get(stage, curl, proxy.url, "first")
        eventually(lambda: logins.asked == ["first"])
        if case == "changed":
            file = stage.folder / "envs" / "first.env"
            file.write_text(file.read_text() + "TIMEOUT=9\n")  # another way to the server, so another token source
            proxy.wait_for("first: .* with tokens from", times=2)
        proxy.process.send_signal(signal.SIGTERM)
        proxy.wait_for("Waiting for a refresh token|first: 0 requests")
        threading.Event().wait(6 if case == "slow" else 0.2)
        logins.answers["first"].set()
        assert proxy.process.wait(30) == 0
    logins.lives = 300
    with stage.mitmproxy("mitmdump", inject_tokens=store) as proxy:
        assert curl("--proxy", proxy.url, f"{stage.http}/first").status == 200
    assert logins.refused == []

"""How often a request is sent again. What it needs of mitmproxy is in e2e/test_retry.py."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.flow import Error
from mitmproxy.io import tnetstring
from mitmproxy.test import taddons, tflow

from credential_injector.oauth.token import AccessToken
from credential_injector.proxy import record
from credential_injector.proxy.retry import Retry
from credential_injector.proxy.route_table import Route
from credential_injector.status import Counts
from credential_injector.tokens.source import TokenSource
from tests.proxy.test_record import QA


@pytest.mark.parametrize(
    ("stored", "sent", "cools"),
    [(99, ["token-2", "token-3"], False), (2, ["token-2", "token-3"], True), (1, ["token-2"], True)],
    ids=["stored tokens alone", "a stored one and a new one", "a new one"],
)
async def test_refuses_everything(stored: int, sent: list[str], cools: bool) -> None:
    """An API that refuses every token gets a request twice more at most."""
    tokens: list[AccessToken] = []

    async def fetch(asked_at: float, replaces: str | None) -> AccessToken:
        number = len(tokens) + 1
        tokens.append(AccessToken(f"token-{number}", asked_at, asked_at + 3600, stored=number <= stored))
        return tokens[-1]

    class Replay:
        """The API answers each request with another 401."""

        def __init__(self, again: http.HTTPFlow, _: asyncio.Event) -> None:
            self.again = again

        async def run(self) -> None:
            record.injected(self.again, route, await source.token(), None)
            self.again.response = http.Response.make(401)

        def cancel(self) -> None:
            pass

    source = TokenSource(fetch)
    route = Route(QA, source, Counts())
    flow = tflow.tflow(resp=http.Response.make(401))
    flow.live, flow.client_conn.timestamp_end = True, None
    record.injected(flow, route, served := await source.token(), None)
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        context.options.add_option("inject_retry", bool, True, "")
        retry = Retry({"qa": route}.get, Replay)
        assert retry.refused_route(flow) is route
        answered = await retry.send_again(flow, route, served.token)
    assert answered is tokens[-1]
    assert [token.value for token in tokens[1:]] == sent
    assert route.counts.replays == 1
    assert (await source.renewed(tokens[-1].fingerprint, flow.request.url) is None) == cools


@dataclass
class Replay:
    """The API's second answer."""

    again: http.HTTPFlow
    becomes: Callable[[http.HTTPFlow], None]

    async def run(self) -> None:
        self.becomes(self.again)

    def cancel(self) -> None:
        pass


async def sent_again(
    challenge: bytes, becomes: Callable[[http.HTTPFlow, Route, TokenSource], None]
) -> tuple[http.HTTPFlow, list[str]]:
    """A flow after a 401 with this challenge and a second answer, with the tokens that were sent."""
    values = ["canary-token-1", "canary-token-2"]

    async def fetch(asked_at: float, replaces: str | None) -> AccessToken:
        return AccessToken(values[replaces is not None], asked_at, asked_at + 3600)

    source = TokenSource(fetch)
    route = Route(QA, source, Counts())
    await source.token()
    served = source.cached()
    assert served is not None
    flow = tflow.tflow(resp=http.Response.make(401, headers=[(b"WWW-Authenticate", challenge)]))
    flow.live, flow.client_conn.timestamp_end = True, None
    record.injected(flow, route, served, None)
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        context.options.add_option("inject_retry", bool, True, "")
        retry = Retry({"qa": route}.get, lambda again, _: Replay(again, lambda flow: becomes(flow, route, source)))
        assert retry.refused_route(flow) is route
        await retry.send_again(flow, route, served.token)
    return flow, values


async def test_malformed_answer(caplog: pytest.LogCaptureFixture) -> None:
    """What mitmproxy quotes from a malformed answer, which repeats the token, is told nowhere."""

    def becomes(again: http.HTTPFlow, *_: object) -> None:
        quoted = "Invalid header line: b'Bearer canary-token-2'"
        again.error = Error(f"Cannot parse HTTP response: {quoted}")

    flow, values = await sent_again(b"Bearer", becomes)
    assert "sent again, the request failed: Cannot parse HTTP response" in flow.comment
    told = f"{flow.comment} {flow.metadata} {caplog.text}"
    assert not any(value in told for value in values)


async def test_challenge(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the first challenge holds, mitmproxy can save the flow, and its record is of a decent size."""

    def becomes(again: http.HTTPFlow, route: Route, source: TokenSource) -> None:
        served = source.cached()
        assert served is not None
        record.injected(again, route, served, None)
        again.response = http.Response.make(200)

    flow, values = await sent_again(b'Bearer canary-token-1 x="\xff\xe2\x80\xa8' + b"y" * 10**6, becomes)
    challenge = flow.metadata["inject"]["first_challenge"]
    assert challenge.startswith("Bearer <qa sha256:")
    assert (len(challenge), challenge.isprintable()) == (1000, True)
    saved: Any = tnetstring.loads(tnetstring.dumps(flow.get_state()))
    assert saved["metadata"]["inject"]["first_challenge"] == challenge
    assert not any(value in f"{flow.comment} {flow.metadata} {caplog.text}" for value in values)

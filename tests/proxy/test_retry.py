"""How often a request is sent again. What it needs of mitmproxy is in e2e/test_retry.py."""

import pytest
from mitmproxy import http
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

        def __init__(self, again: http.HTTPFlow) -> None:
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

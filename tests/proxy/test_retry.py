"""How often a request is sent again. What it needs of mitmproxy is in e2e/test_retry.py."""

import pytest
from mitmproxy import http
from mitmproxy.test import taddons, tflow

from credential_injector.oauth.token import AccessToken
from credential_injector.proxy import record
from credential_injector.proxy.retry import Retry
from credential_injector.tokens.source import TokenSource
from tests.proxy.test_record import QA


@pytest.mark.parametrize(
    ("stored", "sent", "cools"),
    [(99, ["token-2", "token-3"], False), (2, ["token-2", "token-3"], True), (1, ["token-2"], True)],
    ids=["stored tokens alone", "a stored one and a new one", "a new one"],
)
async def test_an_api_that_refuses_everything_gets_a_request_twice_more_at_most(
    monkeypatch: pytest.MonkeyPatch, stored: int, sent: list[str], cools: bool
) -> None:
    tokens: list[AccessToken] = []

    async def fetch(asked_at: float, replaces: str | None) -> AccessToken:
        number = len(tokens) + 1
        tokens.append(AccessToken(f"token-{number}", asked_at, asked_at + 3600, stored=number <= stored))
        return tokens[-1]

    async def replayed(flow: http.HTTPFlow) -> http.HTTPFlow:
        again: http.HTTPFlow = flow.copy()  # type: ignore[no-untyped-call]
        record.injected(again, QA, await source.token(), None)
        return again

    source, retry = TokenSource(fetch), Retry()
    monkeypatch.setattr(retry, "_replayed", replayed)
    flow = tflow.tflow(resp=http.Response.make(401))
    flow.client_conn.timestamp_end = None
    record.injected(flow, QA, await source.token(), None)
    with taddons.context():  # type: ignore[no-untyped-call]
        assert await retry.send_again(flow, QA, source)
    assert [token.value for token in tokens[1:]] == sent
    assert (await source.renewed(tokens[-1].fingerprint, flow.request.url) is None) == cools

"""What becomes of an answer to a request with a token: on the flow, in the status, in the log."""

import logging
import time
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.proxy.layers.http._hooks import HttpResponseHeadersHook, HttpResponseHook

from credential_injector.status import Counts, EnvironmentStatus
from tests.oauth.test_jwt_claims import jwt
from tests.proxy.test_addon import Endpoint, Proxy, endpoint, proxy, request  # noqa: F401 - fixtures

SCOPE = {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="admin"'}


@pytest.fixture(autouse=True)
def no_retry(proxy: Proxy) -> None:  # noqa: F811 - the fixture
    """The second request has tests of its own."""
    proxy.set(inject_retry=False)


async def answered(proxy: Proxy, status: int, headers: Any = (), **sent: str) -> http.HTTPFlow:  # noqa: F811
    """A request with a token, and this answer."""
    flow = await proxy.send(request(**sent))
    flow.response = http.Response.make(status, headers=dict(headers))
    for hook in (HttpResponseHeadersHook(flow), HttpResponseHook(flow)):
        await proxy.context.master.addons.handle_lifecycle(hook)
    return flow


def now(proxy: Proxy) -> EnvironmentStatus:  # noqa: F811
    (one,) = proxy.routes.status().environments
    return one


async def test_refused(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    """The flow and the status say why, and the log says it once."""
    proxy.env("SCOPE=read write")
    for _ in range(3):
        flow = await answered(proxy, 403, SCOPE)
    headline, why, *_ = flow.comment.splitlines()
    assert headline == "qa: 403 scope"
    assert why.startswith("- why: the API wants scope admin, the token has read write; add admin to SCOPE in ")
    assert flow.metadata["inject"]["diagnosis"]["code"] == "scope"
    refusal = now(proxy).refusal
    assert refusal is not None
    assert (refusal.status, refusal.code, refusal.at) == (403, "scope", flow.response and flow.response.timestamp_start)
    assert (now(proxy).counts.forbidden, now(proxy).counts.refused) == (3, 0)
    (line,) = [line for line in caplog.messages if "answered 403" in line]
    assert line.startswith("qa: the API answered 403: the API wants scope admin")


async def test_remembered(proxy: Proxy) -> None:  # noqa: F811
    """The last refusal stays until the API accepts a token, whatever else it answers."""
    proxy.env()
    await answered(proxy, 403, SCOPE)
    await answered(proxy, 500)
    await answered(proxy, 404)
    (line,) = proxy.context.master.commands.call("inject.status")
    assert "; the API answered 403 at " in line
    assert ": the API wants scope admin" in line
    assert line.endswith("3 requests with a token, 1 token request, 0 sent again, 0 blocked, 1 forbidden (403)")
    await answered(proxy, 204)
    assert now(proxy).refusal is None
    assert now(proxy).counts == Counts(injected=4, token_requests=1, forbidden=1, answered=True)


async def test_unknown(proxy: Proxy, endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    """Without evidence the flow tells the token's claims, and the log none of them."""
    endpoint.value = jwt(aud="canary-audience", sub="canary-subject", scope="canary-scope")
    proxy.env()
    flow = await answered(proxy, 401)
    assert flow.comment.startswith("qa: 401 ?\n- why: the API gives no reason; the token ")
    assert "canary-audience" in flow.comment
    assert ": the API gives no reason; " in caplog.text
    assert "canary" not in caplog.text
    assert now(proxy).counts.refused == 1


@pytest.mark.parametrize(
    ("origin", "allowed", "headline"),
    [
        ("http://localhost:3000", "http://localhost:3000", "qa: +Bearer"),
        ("http://localhost:3000", "*", "qa: +Bearer"),
        ("http://localhost:3000", None, "qa: 200 CORS"),
        ("http://localhost:3000", "http://localhost:4000", "qa: 200 CORS"),
        (None, None, "qa: +Bearer"),
    ],
)
async def test_cors(proxy: Proxy, origin: str | None, allowed: str | None, headline: str) -> None:  # noqa: F811
    """A page that may not read the answer sees an error beside a 200, and the flow says why."""
    proxy.env("ORIGINS=http://localhost:3000")
    sent = {"Origin": origin, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "cross-site"} if origin else {}
    flow = await answered(proxy, 200, {"Access-Control-Allow-Origin": allowed} if allowed else {}, **sent)
    assert flow.comment.partition("\n")[0] == headline


@pytest.mark.parametrize(
    ("status", "asks", "headline"),
    [
        (401, True, "qa: preflight 401"),
        (405, True, "qa: preflight 405"),
        (204, True, ""),
        (404, True, ""),
        (401, False, ""),
    ],
)
async def test_preflight(proxy: Proxy, status: int, asks: bool, headline: str) -> None:  # noqa: F811
    """A refused preflight says why the page gets nothing; any other one, and any other OPTIONS, says nothing of it."""
    proxy.env("ORIGINS=http://localhost:3000\nMETHODS=GET,OPTIONS")
    flow = request(method="OPTIONS", Origin="http://localhost:3000")
    if asks:
        flow.request.headers["Access-Control-Request-Method"] = "GET"
    await proxy.send(flow)
    flow.response = http.Response.make(status)
    for hook in (HttpResponseHeadersHook(flow), HttpResponseHook(flow)):
        await proxy.context.master.addons.handle_lifecycle(hook)
    if asks:
        assert flow.comment.partition("\n")[0] == headline
        assert ("Authorization" in flow.request.headers, flow.marked) == (False, ":warning:" if headline else "")
    if headline:
        assert flow.metadata["inject"]["diagnosis"]["code"] == "preflight"
        assert f"- why: the API answered {status} to the browser's CORS preflight" in flow.comment
    else:
        assert "browser's CORS preflight" not in flow.comment


async def test_own_error(proxy: Proxy, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """An error of the doctor's own costs the diagnosis, and not the answer."""

    def fails(_: object) -> None:
        raise LookupError("canary")

    monkeypatch.setattr("credential_injector.diagnosis.doctor.diagnose", fails)
    proxy.env()
    flow = await answered(proxy, 403)
    assert flow.response is not None
    assert flow.response.status_code == 403
    assert flow.comment.startswith("qa: +Bearer\n")
    assert "qa: no diagnosis: an error of the add-on's own (LookupError in test_refusals.py" in caplog.text
    assert "canary" not in caplog.text


async def test_token_of_another(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    """That the client sends another environment's token is said on each flow, and once in the log."""
    caplog.set_level(logging.WARNING)
    proxy.env("AUDIENCE=qa-api").env("AUDIENCE=uat-api", name="uat", host="https://api.uat.example.com")
    theirs = jwt(aud="uat-api", sub="canary-subject")
    for _ in range(2):
        flow = await proxy.send(request(Authorization=f"Bearer {theirs}"))
        assert flow.comment.startswith("qa: uat→Bearer\n- before: Authorization: Bearer, a token for uat (aud uat-api")
        assert flow.metadata["inject"]["before"]["environment"] == "uat"
    assert caplog.text.count("qa: the client sent a token for uat, which was replaced") == 1
    assert "canary-subject" not in caplog.text
    flow = await proxy.send(request(Authorization=f"Bearer {jwt(aud='qa-api')}"))
    assert flow.comment.startswith("qa: Bearer→ours\n")


async def test_one_line(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    """A new token that the API refuses is told in one line, with the cause."""
    proxy.set(inject_retry=True)
    proxy.env("AUDIENCE=urn:orders")
    flow = await answered(proxy, 401)
    assert "- the API answered 401, which stays: the token was new" in flow.comment
    (line,) = [line for line in caplog.messages if "answered 401" in line]
    assert line.startswith("qa: the API answered 401: the API gives no reason; ask whoever")


async def test_bad_news_first(proxy: Proxy) -> None:  # noqa: F811
    """The status begins with what keeps requests from being accepted, and says when that happened."""
    for name, host in (("a", "a.example.com"), ("z", "api.example.com")):
        text = f"HOST=https://{host}\nTOKEN_ENDPOINT=https://login.example.com/t\nCLIENT_ID={name}\nCLIENT_SECRET=b\n"
        (proxy.folder / f"{name}.env").write_text(text)
    proxy.set(inject_envs=str(proxy.folder))
    flow = await answered(proxy, 403, SCOPE)
    assert flow.response is not None
    first, second = proxy.context.master.commands.call("inject.status")
    at = time.strftime("%H:%M:%S on %d %b", time.localtime(flow.response.timestamp_start))
    assert first.startswith("z: ")
    assert f"; the API answered 403 at {at}: the API wants scope admin" in first
    assert second.startswith("a: https://a.example.com: no token yet")

"""QUERY and COOKIE: the credential goes there as into a header, and nowhere else."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import requests
from flask import Flask, jsonify, request
from mitmproxy import http
from mitmproxy.io import FlowReader

from credential_injector.demo.servers import DemoAuthorizationServer, serve
from tests.e2e.conftest import Reply, Stage
from tests.e2e.test_check import checked
from tests.e2e.test_life_cycle import eventually

PLACES = ("QUERY=api_key", "COOKIE=session")


class Api:
    """Takes a token in the query or in a cookie. `received` holds each request's query and cookies."""

    def __init__(self, authorization_server: DemoAuthorizationServer) -> None:
        self.received: list[tuple[str, str]] = []
        self.app = Flask("places")

        @self.app.route("/<path:path>", methods=["GET", "POST"])
        def any_path(path: str) -> Any:
            self.received.append((request.query_string.decode(), request.headers.get("Cookie", "")))
            token = request.args.get("api_key") or request.cookies.get("session") or ""
            known = authorization_server.tokens.get(token)
            if known is None or known.revoked:
                return jsonify(error="invalid_token"), 401
            answer = jsonify(path=path, others=[request.args.get("x"), request.cookies.get("theme")])
            answer.headers["Link"] = f"</next?api_key={token}>"
            answer.set_cookie("session", "of-the-api")
            return answer


@pytest.fixture
def api(stage: Stage) -> Api:
    return Api(stage.authorization_server)


def get(proxy: str, url: str, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, proxies={"http": proxy}, timeout=60, **options)


@pytest.mark.parametrize("place", PLACES)
def test_replaced(stage: Stage, api: Api, place: str) -> None:
    """What the client sent there is replaced, all else stays; the API's own cookie goes to the client."""
    origin = stage.enter(serve(api.app))
    stage.env(origin, place)
    proxy = stage.mitmdump()
    sent = {"Cookie": "theme=dark; session=mine"} if "COOKIE" in place else {"Cookie": "theme=dark"}
    for query in ("?x=%2F", "?api_key=mine&x=%2F") if "QUERY" in place else ("?x=%2F",):
        answer = get(proxy.url, f"{origin}/orders{query}", headers=sent)
        assert answer.json() == {"path": "orders", "others": ["/", "dark"]}
        assert answer.headers["Set-Cookie"].startswith("session=of-the-api")
        query_sent, cookies = api.received[-1]
        assert "mine" not in query_sent + cookies
        assert "x=%2F" in query_sent
    assert stage.token_requests == 1


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mask", ["false", "true"])
def test_healed(stage: Stage, api: Api, place: str, mask: str) -> None:
    """A refused one is replaced there, and is there once; the flow shows the one that was accepted."""
    origin = stage.enter(serve(api.app))
    stage.env(origin, place)
    capture = stage.folder / "flows.mitm"
    with stage.mitmproxy("mitmdump", "-w", str(capture), inject_mask=mask) as proxy:
        assert get(proxy.url, f"{origin}/a").status_code == 200
        for token in stage.authorization_server.tokens.values():
            token.revoked = True
        assert get(proxy.url, f"{origin}/b").status_code == 200
    assert [token.revoked for token in stage.authorization_server.tokens.values()] == [True, False]
    assert all((query + cookies).count(place.partition("=")[2]) == 1 for query, cookies in api.received)
    *_, healed = capture_of(capture)
    shown = healed.request.query.get("api_key") or healed.request.cookies["session"]
    note = healed.metadata["inject"]
    assert (note["retried"], note["answers"]) == (True, [401, 200])
    _, accepted = stage.authorization_server.tokens
    assert shown == (accepted if mask == "false" else f"<qa {note['token']}>")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_tls(stage: Stage, api: Api, curl: Callable[..., Reply], place: str, version: str) -> None:
    """Through TLS and HTTP/2, whose cookies may be fields of their own."""
    origin = stage.enter(serve(api.app, stage.tls))
    stage.env(origin, place)
    options = ("--proxy", stage.mitmdump().url, "--cacert", str(stage.mitmproxy_ca), version)
    reply = curl(*options, "-H", "Cookie: theme=dark; a=1", f"{origin}/orders?x=1")
    assert (reply.status, '"others":["1","dark"]' in reply.body.replace(" ", "").replace("\n", "")) == (200, True)


def capture_of(path: Any) -> list[http.HTTPFlow]:
    with path.open("rb") as file:
        return [flow for flow in FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("grant", ["", "static"])
def test_masked(stage: Stage, api: Api, place: str, grant: str) -> None:
    """With inject_mask neither the capture nor mitmdump's output holds it, also where the answer repeats it."""
    origin = stage.enter(serve(api.app))
    token = "canary-static+key/1=" if grant else ""
    lines = ["GRANT_TYPE=static", f"VALUE={token}"] if grant else []
    stage.env(origin, place, *lines, without="TOKEN_ENDPOINT,CLIENT_ID,CLIENT_SECRET,SCOPE" if grant else "")
    capture = stage.folder / "flows.mitm"
    # With less detail mitmdump cuts long URLs.
    with stage.mitmproxy("mitmdump", "-w", str(capture), inject_mask="true", flow_detail=2) as proxy:
        status = get(proxy.url, f"{origin}/orders?x=1").status_code
        assert status == (401 if grant else 200)
        proxy.wait_for(r"<< ")
        log = "\n".join(proxy.log)
    query, cookies = api.received[-1]
    secrets = [token] if grant else list(stage.authorization_server.tokens)
    assert query or cookies
    for secret in [*secrets, *(quote(secret, safe="") for secret in secrets)]:
        assert secret not in log
        assert secret.encode() not in capture.read_bytes()
    (flow,) = capture_of(capture)
    assert ("<qa+" if "QUERY" in place else "<qa ") in flow.request.path + flow.request.headers.get("Cookie", "")
    assert flow.metadata["inject"][place.partition("=")[0].lower()] == place.partition("=")[2]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mask", ["false", "true"])
def test_replayed_elsewhere(stage: Stage, api: Api, place: str, mask: str) -> None:
    """A capture that is replayed at another host takes nothing along."""
    origin = stage.enter(serve(api.app))
    stage.env(origin, place)
    capture = stage.folder / "flows.mitm"
    with stage.mitmproxy("mitmdump", "-w", str(capture), inject_mask=mask) as proxy:
        assert get(proxy.url, f"{origin}/orders?x=1", headers={"Cookie": "theme=dark"}).status_code == 200
    evil = Api(stage.authorization_server)
    other = stage.enter(serve(evil.app))
    port = other.rpartition(":")[2]
    proxy = stage.mitmdump("-C", str(capture), "--map-remote", f"|{origin}|{other}")
    proxy.wait_for(f":{port}|withdrawn|401")
    eventually(lambda: bool(evil.received))
    assert evil.received == [("x=1", "theme=dark")]


@pytest.mark.parametrize("place", PLACES)
def test_withdrawn(stage: Stage, api: Api, place: str) -> None:
    """A script that sends the request elsewhere does not take it along, and the rest stays."""
    origin, evil = stage.enter(serve(api.app)), Api(stage.authorization_server)
    other = stage.enter(serve(evil.app))
    stage.env(origin, place)
    proxy = stage.mitmdump("--map-remote", f"|{origin}/orders|{other}/orders")
    assert get(proxy.url, f"{origin}/orders?x=1", headers={"Cookie": "theme=dark"}).status_code == 401
    assert evil.received == [("x=1", "theme=dark")]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("overwrite", "sent", "status"), [("never", True, 401), ("only", False, 401), ("only", True, 200)]
)
def test_overwrite(stage: Stage, api: Api, place: str, overwrite: str, sent: bool, status: int) -> None:
    """OVERWRITE looks there."""
    origin = stage.enter(serve(api.app))
    stage.env(origin, place, f"OVERWRITE={overwrite}")
    proxy = stage.mitmdump()
    query = "?api_key=mine" if sent and "QUERY" in place else ""
    headers = {"Cookie": "session=mine"} if sent and "COOKIE" in place else {}
    assert get(proxy.url, f"{origin}/orders{query}", headers=headers).status_code == status


def test_no_cookie(stage: Stage, api: Api) -> None:
    """A token that no cookie can hold blocks the request, with the reason."""
    origin = stage.enter(serve(api.app))
    login = Flask("login")
    login.add_url_rule("/t", view_func=lambda: jsonify(access_token="a;b=c", token_type="Bearer"), methods=["POST"])
    stage.env(origin, "COOKIE=session", f"TOKEN_ENDPOINT={stage.enter(serve(login))}/t")
    answer = get(stage.mitmdump().url, f"{origin}/orders")
    assert answer.status_code == 502
    assert "no token (invalid_cookie): the credential holds a character that no cookie can hold" in answer.text
    assert api.received == []


def test_check(stage: Stage, api: Api) -> None:
    """`check --probe` sends it as the proxy would, and prints no query."""
    origin = stage.enter(serve(api.app))
    stage.env(origin.replace("127.0.0.1", "localhost"), "QUERY=api_key", name="query")
    stage.env(origin, "COOKIE=session", name="cookie")
    code, told = checked(stage, "--probe", "/orders?x=%2F")
    assert (code, {name: one["probe"]["status"] for name, one in told.items()}) == (0, {"query": 200, "cookie": 200})
    in_cookie, in_query = sorted(api.received, key=lambda one: one[1], reverse=True)
    assert (in_query[0].partition("&api_key=")[0], in_query[1], in_cookie[0]) == ("x=%2F", "", "x=%2F")
    sent = {in_query[0].partition("&api_key=")[2], in_cookie[1].removeprefix("session=")}
    assert sent <= stage.authorization_server.tokens.keys()

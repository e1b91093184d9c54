"""What is kept of a credential in the query or in a cookie, and what becomes of it when a request is changed."""

import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from flask import Flask, Response, request
from mitmproxy import io as mitm_io

from credential_injector.demo.servers import serve
from tests.e2e.conftest import Stage
from tests.e2e.test_afterwards import mitmweb, wait_for_flow
from tests.e2e.test_places import PLACES, Api, capture_of, get
from tests.e2e.test_redact import ESCAPES, TOKEN, left, redacted


@pytest.fixture
def token_endpoint(stage: Stage) -> str:
    """An authorization server whose tokens no encoder leaves alone."""
    app = Flask("tokens")
    answer = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 300}
    app.add_url_rule("/token", view_func=lambda: answer, methods=["POST"])
    return stage.enter(serve(app)) + "/token"


@pytest.fixture
def echo(stage: Stage) -> str:
    """An API that repeats what it got, as it is and escaped: in headers and in the body."""
    app = Flask("echo")

    @app.get("/<how>")
    def answer(how: str) -> Response:
        token = request.args.get("api_key") or request.cookies.get("session") or ""
        link = f"/next?api_key={quote(token, safe='')}"
        return Response(f'{{"token":"{ESCAPES[how](token)}"}}', headers={"Location": link, "X-Echo": token})

    return stage.enter(serve(app))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mask", ["false", "true"])
def test_redact(stage: Stage, token_endpoint: str, echo: str, place: str, mask: str) -> None:
    """No form of it is left in a redacted capture, whether or not inject_mask made that."""
    stage.env(echo, place, f"TOKEN_ENDPOINT={token_endpoint}")
    saved = stage.folder / "saved.mitm"
    with stage.mitmproxy("mitmdump", "-w", str(saved), inject_mask=mask) as proxy:
        for how in ESCAPES:
            assert get(proxy.url, f"{echo}/{how}?x=1", headers={"Cookie": "theme=dark"}).status_code == 200
    assert left(saved, TOKEN)
    clean = redacted(saved)
    assert left(clean, TOKEN) == []
    for flow in capture_of(clean):
        assert flow.response is not None
        assert b"<qa" in (flow.response.content or b"")
        assert "sha256:" in (flow.request.path if "QUERY" in place else flow.request.headers["Cookie"])
        assert (flow.request.query["x"], flow.request.cookies["theme"]) == ("1", "dark")
        assert "sha256:" in flow.response.headers["Location"]
        assert "sha256:" in flow.response.headers["X-Echo"]


@pytest.mark.parametrize("place", PLACES)
def test_mitmweb(stage: Stage, place: str) -> None:
    """With inject_mask no page of mitmweb's, and neither its HAR nor its curl command holds it."""
    api = Api(stage.authorization_server)
    origin = stage.enter(serve(api.app))
    stage.env(origin, place)
    exported = stage.folder / "exported"
    with mitmweb(stage, inject_mask="true", hardump="all.har") as (proxy, web):
        assert get(proxy.url, f"{origin}/orders?x=1", headers={"Cookie": "theme=dark"}).status_code == 200
        pages = [web.ask("GET", path).content for path in ("/flows", "/flows/dump", "/events", "/inject")]
        arguments = {"arguments": ["curl", "@all", str(exported)]}
        assert web.ask("POST", "/commands/export.file", arguments).status_code == 200
    (token,) = stage.authorization_server.tokens
    assert token in "".join(api.received[0])
    kept = [*pages, (stage.folder / "all.har").read_bytes(), exported.read_bytes(), "\n".join(proxy.log).encode()]
    assert not [content for content in kept if token.encode() in content]
    assert b"sha256:" in pages[0]
    assert b"theme" in (stage.folder / "all.har").read_bytes()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mask", ["false", "true"])
@pytest.mark.parametrize("edit", ["nothing", "host", "place", "other part"])
def test_edited(stage: Stage, place: str, mask: str, edit: str) -> None:
    """A person who holds the request back sees it masked, and takes it nowhere else."""
    api, evil = Api(stage.authorization_server), Api(stage.authorization_server)
    origin, other = stage.enter(serve(api.app)), stage.enter(serve(evil.app))
    stage.env(origin, place)
    answers: list[requests.Response] = []

    def ask() -> None:
        answers.append(get(proxy.url, f"{origin}/orders?x=1", headers={"Cookie": "theme=dark"}))

    with mitmweb(stage, intercept="~q", inject_mask=mask) as (proxy, web):
        client = threading.Thread(target=ask, daemon=True)
        client.start()
        flow = wait_for_flow(web, lambda flow: bool(flow["intercepted"]))
        shown = flow["request"]
        (token,) = stage.authorization_server.tokens
        assert (token in str(shown)) == (mask == "false")
        assert ("sha256:" in str(shown)) == (mask == "true")
        edits: dict[str, dict[str, Any]] = {
            "nothing": {},
            "host": {"port": int(other.rpartition(":")[2])},
            "place": {"path": "/orders?api_key=mine&x=1", "headers": [["Cookie", "theme=dark; session=mine"]]},
            "other part": {
                "path": shown["path"].replace("x=1", "x=2"),
                "headers": [
                    [name, value.replace("dark", "light")] if name == "Cookie" else [name, value]
                    for name, value in shown["headers"]
                ],
            },
        }
        changes = edits[edit]
        if edit == "place":
            changes["headers"] += [one for one in shown["headers"] if one[0] != "Cookie"]
        assert web.ask("PUT", f"/flows/{flow['id']}", {"request": changes}).status_code == 200
        assert web.ask("POST", f"/flows/{flow['id']}/resume").status_code == 200
        client.join()
        comment = web.flows()[0]["comment"]
    (answer,) = answers
    assert not any(token in query + cookies for query, cookies in evil.received)
    if edit == "host":
        assert evil.received == [("x=1", "theme=dark")]
    assert answer.status_code == (401 if edit in ("host", "place") else 200)
    assert comment.startswith("qa: withdrawn" if edit in ("host", "place") else "qa: +")
    if edit == "other part":
        assert answer.json()["others"] == ["2", "light"]
    if edit == "place":
        assert "mine" in "".join(api.received[0])
        assert token not in "".join(api.received[0])


@pytest.mark.parametrize(
    ("place", "line", "status"),
    [
        ("QUERY=api_key", 'flow.request.query["y"] = "2/3"', 200),
        ("QUERY=api_key", 'flow.request.query["api_key"] = "mine"', 401),
        ("QUERY=api_key", 'flow.request.path = "/orders"', 401),
        ("COOKIE=session", 'flow.request.cookies["y"] = "2"', 200),
        ("COOKIE=session", 'flow.request.cookies["session"] = "mine"', 401),
        ("COOKIE=session", 'del flow.request.headers["Cookie"]', 401),
    ],
)
def test_script(stage: Stage, place: str, line: str, status: int) -> None:
    """Another script that writes the query or the cookies anew keeps it; one that replaces it is told."""
    api = Api(stage.authorization_server)
    origin, script = stage.enter(serve(api.app)), stage.folder / "script.py"
    script.write_text(f"def request(flow):\n    {line}\n")
    stage.env(origin, place)
    saved = stage.folder / "saved.mitm"
    with stage.mitmproxy("mitmdump", "-s", str(script), "-w", str(saved), inject_mask="true") as proxy:
        assert get(proxy.url, f"{origin}/orders?x=1", headers={"Cookie": "theme=dark"}).status_code == status
    (flow,) = capture_of(saved)
    note = flow.metadata["inject"]
    assert note["action"] == ("injected" if status == 200 else "skipped")
    if status == 401:
        assert note["reason"].startswith("another script or a person has replaced its ")
    (token,) = stage.authorization_server.tokens
    assert token.encode() not in saved.read_bytes()
    assert (token in "".join(api.received[0])) == (status == 200)


@pytest.mark.parametrize("mask", ["false", "true"])
def test_several_cookies(stage: Stage, mask: str) -> None:
    """Of HEADER_Cookie nothing goes along to another host, however many cookies it names."""
    api, evil = Api(stage.authorization_server), Api(stage.authorization_server)
    origin, other = stage.enter(serve(api.app)), stage.enter(serve(evil.app))
    stage.env(origin, "HEADER_Cookie=a=canary-one; b=canary-two")
    capture = stage.folder / "flows.mitm"
    with stage.mitmproxy(
        "mitmdump", "-w", str(capture), "--map-remote", f"|{origin}/steal|{other}/steal", inject_mask=mask
    ) as proxy:
        get(proxy.url, f"{origin}/steal")
        get(proxy.url, f"{origin}/orders")
    assert evil.received == [("", "")]
    assert set(api.received) == {("", "a=canary-one; b=canary-two")}
    assert (b"canary-one" in capture.read_bytes()) == (mask == "false")


def test_before(stage: Stage) -> None:
    """What the client sent there is told without its value, and a JWT by what it says of itself."""
    api = Api(stage.authorization_server)
    origin = stage.enter(serve(api.app))
    stage.env(origin, "QUERY=api_key")
    jwt = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUuY29tIiwic3ViIjoibWUifQ.c2lnbmF0dXJl"
    saved = stage.folder / "saved.mitm"
    with stage.mitmproxy("mitmdump", "-w", str(saved)) as proxy:
        for own in (jwt, "my%2Dkey"):
            assert get(proxy.url, f"{origin}/orders?api_key={own}").status_code == 200
    told = [flow.comment.split("\n")[1] for flow in capture_of(saved)]
    assert told[0].startswith("- before: query parameter api_key: another value (iss https://login.example.com, ")
    assert told[1] == "- before: query parameter api_key: another value"
    assert b"my-key" not in saved.read_bytes()
    assert b"my%2Dkey" not in saved.read_bytes()


def test_no_query(stage: Stage) -> None:
    """`OPTIONS *` has no query, so it is blocked, and not changed into another request."""
    api = Api(stage.authorization_server)
    origin = stage.enter(serve(api.app))
    stage.env(origin, "QUERY=api_key")
    proxy = stage.mitmdump("--mode", f"reverse:{origin}", connection_strategy="lazy")
    host, port = origin.removeprefix("http://"), int(proxy.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(f"OPTIONS * HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"no token (no_query): a request for * has no query" in answer
    assert not any("server connect" in line for line in proxy.log)


def test_of_an_older_version(stage: Stage, tmp_path: Path) -> None:
    """A capture whose record names no place is read as one with a header, and a client's own parameters stay."""
    api = Api(stage.authorization_server)
    origin = stage.enter(serve(api.app))
    stage.env(origin)
    saved, older = stage.folder / "saved.mitm", stage.folder / "older.mitm"
    with stage.mitmproxy("mitmdump", "-w", str(saved)) as proxy:
        get(proxy.url, f"{origin}/orders?api_key=mine", headers={"Cookie": "session=mine"})
    (flow,) = capture_of(saved)
    del flow.metadata["inject"]["header"], flow.metadata["inject"]["token_length"]
    with older.open("wb") as file:
        mitm_io.FlowWriter(file).add(flow)  # type: ignore[no-untyped-call]
    (clean,) = capture_of(redacted(older))
    assert clean.request.headers["Authorization"].startswith("Bearer <qa sha256:")
    assert (clean.request.path, clean.request.headers["Cookie"]) == ("/orders?api_key=mine", "session=mine")

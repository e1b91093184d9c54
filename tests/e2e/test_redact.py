"""What an attacker finds in a capture that somebody shares: one that inject_mask made, or redact, or both."""

import base64
import hashlib
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from click.testing import CliRunner
from flask import Flask, Response, request
from mitmproxy import http as mitm_http
from mitmproxy import io as mitm_io

from credential_injector.cli.main import main
from credential_injector.demo.servers import serve
from tests.e2e.conftest import Stage
from tests.e2e.test_afterwards import mitmweb, wait_for_flow

TOKEN = "canary/to+ken.of-the_API=="


@pytest.fixture
def token_endpoint(stage: Stage) -> str:
    """An authorization server whose tokens no encoder leaves alone."""
    app = Flask("tokens")

    @app.post("/token")
    def token() -> dict[str, Any]:
        return {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 300}

    return stage.enter(serve(app)) + "/token"


ESCAPES: dict[str, Callable[[str], str]] = {
    "percent": lambda secret: quote(secret, safe=""),
    "twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "slash": lambda secret: secret.replace("/", "\\/"),
    "code": lambda secret: secret.replace("/", "\\u002f").replace("+", "\\u002B").replace("=", "\\u003d"),
}


@pytest.fixture
def api(stage: Stage) -> str:
    """An API that repeats what it got: in its headers, and in its body as it is or escaped."""
    app = Flask("api")

    @app.get("/plain")
    def plain() -> dict[str, str]:
        return dict(request.headers)

    @app.get("/<how>")
    def escaped(how: str) -> Response:
        word = request.headers["Authorization"].removeprefix("Bearer ")
        location = f"/next?token={ESCAPES['percent'](word)}"
        return Response(f'{{"token":"{ESCAPES[how](word)}"}}', headers={"Location": location, "X-Echo": word})

    return stage.enter(serve(app))


def capture(stage: Stage, api: str, paths: tuple[str, ...], **settings: Any) -> Path:
    """What mitmdump saves of a request to each of these paths."""
    saved = stage.folder / f"saved-{'-'.join(map(str, settings.values()))}.mitm"
    proxy = stage.mitmdump("-w", str(saved), **settings)
    for path in paths:
        answer = requests.get(f"{api}/{path}", proxies={"http": proxy.url}, timeout=30, allow_redirects=False)
        assert answer.status_code == 200
    proxy.end()
    return saved


def redacted(saved: Path) -> Path:
    clean = saved.with_name(f"clean-{saved.name}")
    done = CliRunner().invoke(main, ["redact", str(saved), str(clean)])
    assert done.exit_code == 0, done.output
    return clean


def flows_of(file: Path) -> list[mitm_http.HTTPFlow]:
    with file.open("rb") as content:
        return [flow for flow in mitm_io.FlowReader(content).stream() if isinstance(flow, mitm_http.HTTPFlow)]


def left(file: Path, *secrets: str) -> list[str]:
    """What a file still holds of these secrets, in whatever form."""
    content = file.read_bytes()
    forms = (form for secret in secrets for form in (secret, *(escape(secret) for escape in ESCAPES.values())))
    return [form for form in forms if form.encode() in content]


@pytest.mark.parametrize("mask", ["true", "false"])
def test_body(stage: Stage, token_endpoint: str, api: str, mask: str) -> None:
    """No form of the token is left in a redacted capture, whether or not inject_mask made it."""
    stage.env(api, f"TOKEN_ENDPOINT={token_endpoint}")
    saved = capture(stage, api, ("plain", *ESCAPES), inject_mask=mask)
    assert len(left(saved, TOKEN)) == 1 + len(ESCAPES)
    clean = redacted(saved)
    assert left(clean, TOKEN) == []
    for flow in flows_of(clean):
        assert flow.response is not None
        assert b"<qa sha256:" in (flow.response.content or b"")
        assert flow.request.headers["Authorization"].startswith("Bearer <qa sha256:")


def test_location(stage: Stage, token_endpoint: str, api: str) -> None:
    """inject_mask masks an encoded token in an answer's headers."""
    stage.env(api, f"TOKEN_ENDPOINT={token_endpoint}")
    (flow,) = flows_of(capture(stage, api, ("percent",), inject_mask="true"))
    assert flow.response is not None
    assert re.fullmatch(r"/next\?token=<qa sha256:\w{12}>", flow.response.headers["Location"])


@pytest.mark.parametrize(
    "lines",
    [
        ("GRANT_TYPE=basic", "USERNAME=me", "PASSWORD=canary-password", "HEADER_X-Pin=4711"),
        ("GRANT_TYPE=static", "VALUE=canary-value", "HEADER_X-Key=canary-key"),
        ("GRANT_TYPE=static", "VALUE=canary-value", "HEADER=X-Api-Key", "PREFIX=Token of"),
    ],
)
@pytest.mark.parametrize("mask", ["true", "false"])
def test_no_digest(stage: Stage, api: str, lines: tuple[str, ...], mask: str) -> None:
    """Of what a person chose there is no digest: not in a flow, a capture or the log."""
    stage.env(api, *lines, without="TOKEN_ENDPOINT,CLIENT_ID,CLIENT_SECRET,SCOPE")
    saved = capture(stage, api, ("plain",), inject_mask=mask)
    clean = redacted(saved)
    for file in (saved, clean):
        (flow,) = flows_of(file)
        assert flow.metadata["inject"]["token"] is None
        assert b"sha256" not in file.read_bytes()
    header = "X-Api-Key" if "HEADER=X-Api-Key" in lines else "Authorization"
    assert "<qa secret>" in flow.request.headers[header]
    beside = next((line.partition("=")[0][7:] for line in lines if line.startswith("HEADER_")), None)
    if beside:
        assert flow.request.headers[beside] == f"<qa secret {beside}>"
    if mask == "false":  # with inject_mask, nothing in the capture tells what to look for in a body
        secrets = ["canary-password", base64.b64encode(b"me:canary-password").decode(), "canary-value", "canary-key"]
        assert left(clean, *secrets) == []


def test_no_guess(stage: Stage, token_endpoint: str, api: str) -> None:
    """A token's fingerprint is no hash that whoever guesses the token could compute."""
    stage.env(api, f"TOKEN_ENDPOINT={token_endpoint}")
    content = redacted(capture(stage, api, ("plain",), inject_mask="false")).read_bytes()
    assert b"<qa sha256:" in content
    assert hashlib.sha256(TOKEN.encode()).hexdigest()[:12].encode() not in content


@pytest.mark.parametrize("prefix", ["Bearer", "", "Token of"])
def test_other_user(stage: Stage, token_endpoint: str, api: str, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    """A capture of another user, whose key is not here: the token is masked by its header's name."""
    stage.env(api, f"TOKEN_ENDPOINT={token_endpoint}", "HEADER=X-Token", f"PREFIX={prefix}")
    other = stage.folder / "other"
    other.mkdir()
    with monkeypatch.context() as patch:
        patch.setenv("HOME", str(other))
        saved = capture(stage, api, ("plain",), inject_mask="false")
    assert (other / ".mitmproxy" / "credential-injector.key").is_file()
    clean = redacted(saved)
    assert left(clean, TOKEN) == []
    (flow,) = flows_of(clean)
    assert "<qa sha256:" in flow.request.headers["X-Token"]
    assert flow.response is not None
    assert b"<qa sha256:" in (flow.response.content or b"")


def from_another_user(flow: mitm_http.HTTPFlow) -> None:
    flow.metadata["inject"]["token"] = "sha256:0123456789ab"


def with_another_length(flow: mitm_http.HTTPFlow) -> None:
    flow.metadata["inject"]["token_length"] += 1


def of_an_older_version(flow: mitm_http.HTTPFlow) -> None:
    record = flow.metadata["inject"]
    del record["header"], record["token_length"]
    record["token"] = "sha256:" + hashlib.sha256(TOKEN.encode()).hexdigest()[:12]


def edited(flow: mitm_http.HTTPFlow) -> None:
    flow.request.headers["Authorization"] = "Bearer mine"


@pytest.mark.parametrize("change", [None, from_another_user, with_another_length, of_an_older_version, edited])
def test_replay_elsewhere(
    stage: Stage, token_endpoint: str, api: str, change: Callable[[mitm_http.HTTPFlow], None] | None
) -> None:
    """A saved request that is replayed to another host brings no token of any user there, only what a person wrote."""
    stage.env(api, f"TOKEN_ENDPOINT={token_endpoint}")
    (flow,) = flows_of(capture(stage, api, ("plain",), inject_mask="false"))
    if change is not None:
        change(flow)
    got: list[dict[str, str]] = []
    app = Flask("elsewhere")

    @app.get("/plain")
    def answer() -> str:
        got.append(dict(request.headers))
        return "done"

    elsewhere = stage.enter(serve(app))
    flow.request.port = int(elsewhere.rpartition(":")[2])
    flow.request.headers["Host"] = elsewhere.removeprefix("http://")
    changed = stage.folder / "changed.mitm"
    with changed.open("wb") as content:
        mitm_io.FlowWriter(content).add(flow)  # type: ignore[no-untyped-call]
    proxy = stage.mitmdump("-C", str(changed))
    proxy.wait_for(r"<< 200 OK")
    (headers,) = got
    assert headers.get("Authorization") == ("Bearer mine" if change is edited else None)
    assert TOKEN not in str(headers)


def test_held_back(stage: Stage, api: str) -> None:
    """While a person holds a request back its credential is masked; what the client sent goes out as it was."""
    stage.env(api, "GRANT_TYPE=static", f"VALUE={TOKEN}", without="TOKEN_ENDPOINT,CLIENT_ID,CLIENT_SECRET,SCOPE")
    referer = f"http://a/?token={ESCAPES['percent'](TOKEN)}"
    answers: list[dict[str, str]] = []

    def get() -> None:
        headers = {"Referer": referer}
        answers.append(requests.get(f"{api}/plain", headers=headers, proxies={"http": proxy.url}, timeout=30).json())

    with mitmweb(stage, intercept="~q", inject_mask="true") as (proxy, web):
        client = threading.Thread(target=get, daemon=True)
        client.start()
        flow = wait_for_flow(web, lambda flow: bool(flow["intercepted"]))
        assert dict(flow["request"]["headers"])["Authorization"] == "Bearer <qa secret>"
        assert web.ask("POST", f"/flows/{flow['id']}/resume").status_code == 200
        client.join()
        (flow,) = web.flows()
    assert (answers[0]["Authorization"], answers[0]["Referer"]) == (f"Bearer {TOKEN}", referer)
    kept = dict(flow["request"]["headers"])
    assert (kept["Authorization"], kept["Referer"]) == ("Bearer <qa secret>", "http://a/?token=<qa secret>")


@pytest.mark.parametrize("odd", ["x", -1, True, 5.5, [], 1 << 40])
def test_odd_length(stage: Stage, token_endpoint: str, api: str, odd: Any) -> None:
    """A capture may hold anything in place of the token's length; its header is masked all the same."""
    stage.env(api, f"TOKEN_ENDPOINT={token_endpoint}")
    (flow,) = flows_of(capture(stage, api, ("plain",), inject_mask="false"))
    flow.metadata["inject"]["token_length"] = odd
    changed = stage.folder / "changed.mitm"
    with changed.open("wb") as content:
        mitm_io.FlowWriter(content).add(flow)  # type: ignore[no-untyped-call]
    assert left(redacted(changed), TOKEN) == []

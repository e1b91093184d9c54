"""Token requests in a capture become environment files; none of these needs a server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mitmproxy import http
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

from credential_injector.cli.main import main


def learned(folder: Path, capture: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["learn", str(capture), "--envs", str(folder), *options])


def flow_of(url: str, method: str = "GET", body: bytes = b"", answer: Any = None, **headers: str) -> http.HTTPFlow:
    flow = tflow.tflow(resp=True)
    flow.request = http.Request.make(method, url, body, http.Headers(**headers))  # type: ignore[arg-type]
    content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    flow.response = http.Response.make(200, content)
    return flow


def token_flow(
    form: str, answer: Any = None, url: str = "https://login.example.com/token", **headers: str
) -> http.HTTPFlow:
    given = answer if answer is not None else {"access_token": "canary-token-1"}
    return flow_of(url, "POST", form.encode(), given, **headers)


def capture_of(folder: Path, *flows: http.HTTPFlow) -> Path:
    with (folder / "flows.mitm").open("wb") as file:
        writer = FlowWriter(file)  # type: ignore[no-untyped-call]
        for flow in flows:
            writer.add(flow)
    return folder / "flows.mitm"


USED = flow_of("https://api.example.com/orders?a=1", Authorization="Bearer canary-token-1")


@pytest.mark.parametrize(
    ("form", "headers", "lines"),
    [
        (
            "grant_type=client_credentials&client_id=me&client_secret=canary-s&organization=acme&api_pin=canary-pin",
            {},
            ["CLIENT_ID=me", "CLIENT_SECRET=", "TOKEN_PARAM_organization=acme", "HOST=https://api.example.com"],
        ),
        (
            "grant_type=password&username=me%40x&password=canary-p",
            {"Authorization": "Basic bWUlMkJ4OmNhbmFyeQ=="},
            ["GRANT_TYPE=password", "CLIENT_ID=me+x", "USERNAME=me@x", "PASSWORD=", "CLIENT_SECRET="],
        ),
        (
            "grant_type=refresh_token&client_id=app&refresh_token=canary-r",
            {},
            ["GRANT_TYPE=refresh_token", "REFRESH_TOKEN=", "TOKEN_ENDPOINT_AUTH_METHOD=none"],
        ),
        (
            "grant_type=authorization_code&client_id=app&code=canary-c&code_verifier=canary-v"
            "&redirect_uri=http%3A%2F%2F127.0.0.1%3A8400%2Fcallback",
            {},
            ["GRANT_TYPE=authorization_code", "AUTHORIZATION_ENDPOINT=", "REDIRECT_URI=http://127.0.0.1:8400/callback"],
        ),
        (
            "grant_type=client_credentials&client_id=me&client_assertion_type=urn&client_assertion=canary-a",
            {},
            ["TOKEN_ENDPOINT_AUTH_METHOD=private_key_jwt", "PRIVATE_KEY="],
        ),
    ],
)
def test_kinds(tmp_path: Path, form: str, headers: dict[str, str], lines: list[str]) -> None:
    """Without --secret no secret is written, and what is missing is an empty line."""
    capture = capture_of(tmp_path, token_flow(form, **headers), USED)
    result = learned(tmp_path / "envs", capture, "--name", "qa")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "envs" / "qa.env").read_text()
    assert set(lines) <= set(text.splitlines()), text
    assert "canary" not in text + result.output


@pytest.mark.parametrize(
    ("use", "lines"),
    [
        (flow_of("https://a.test/x?key=canary-token-1&b=2"), ["QUERY=key", "HOST=https://a.test"]),
        (flow_of("https://a.test/", Cookie="a=1; sid=canary-token-1"), ["COOKIE=sid"]),
        (flow_of("https://a.test/", X_Key="canary-token-1"), ["HEADER=X-Key", "PREFIX="]),
        (flow_of("https://a.test/", Authorization="token canary-token-1"), ["HEADER=Authorization", "PREFIX=token"]),
        (flow_of("https://a.test/", Authorization="Bearer another"), ["HOST="]),
    ],
)
def test_places(tmp_path: Path, use: http.HTTPFlow, lines: list[str]) -> None:
    """Where the token was used says where it goes."""
    capture = capture_of(tmp_path, token_flow("grant_type=client_credentials&client_id=me&client_secret=x"), use)
    assert learned(tmp_path / "envs", capture, "--name", "qa", "--secret").exit_code == 0
    assert set(lines) <= set((tmp_path / "envs" / "qa.env").read_text().splitlines())


def test_several(tmp_path: Path) -> None:
    """One file for each client, however often it asked, with all hosts."""
    flows = [
        token_flow(
            f"grant_type=client_credentials&client_id={name}&client_secret=x", {"access_token": f"{name}-token-{n}"}
        )
        for name in ("one", "two")
        for n in range(2)
    ]
    flows += [
        flow_of(f"https://{name}-{n}.test/", Authorization=f"Bearer {name}-token-{n}")
        for name in ("one", "two")
        for n in (0, 1)
    ]
    result = learned(tmp_path / "envs", capture_of(tmp_path, *flows), "--secret")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "envs").iterdir()) == ["one-0-test.env", "two-0-test.env"]
    assert "HOST=https://one-0.test, https://one-1.test" in (tmp_path / "envs" / "one-0-test.env").read_text()


def test_login_and_refresh(tmp_path: Path) -> None:
    """A login and its refresh are one environment, also where two clients use one host."""
    code = token_flow("grant_type=authorization_code&client_id=app&code=c", {"access_token": "first-token"})
    refresh = token_flow("grant_type=refresh_token&client_id=app&refresh_token=r", {"access_token": "second-token"})
    other = token_flow("grant_type=client_credentials&client_id=two&client_secret=s", {"access_token": "third-token"})
    uses = [flow_of("https://a.test/", Authorization=f"Bearer {name}-token") for name in ("first", "second", "third")]
    result = learned(tmp_path / "envs", capture_of(tmp_path, code, refresh, other, *uses))
    assert result.exit_code == 0, result.output
    first, second = sorted((tmp_path / "envs").iterdir())
    texts = (second.read_text(), first.read_text())
    assert "GRANT_TYPE=authorization_code" in texts[0] + texts[1]
    assert "REFRESH_TOKEN=r" not in texts[0] + texts[1]
    assert ("AS=a-test\n" in texts[0] + texts[1], "DEFAULT=true" in texts[0] + texts[1]) == (True, True)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "z.env").write_text("HOST=https://a.test\nGRANT_TYPE=static\nVALUE=x\n")
    again = learned(tmp_path / "own", tmp_path / "flows.mitm")
    assert (again.exit_code, "https://a.test is in HOST of" in again.output) == (1, True)


def test_query_and_clear(tmp_path: Path) -> None:
    """A query of the endpoint may be a secret; what went in clear is told, and not taken over."""
    form = "grant_type=client_credentials&client_id=me&client_secret=x&resource=https://a&resource=https://b"
    token = token_flow(form, url="https://login.example.com/token?key=canary-q")
    clear = flow_of("http://api.example.com/", Authorization="Bearer canary-token-1")
    result = learned(tmp_path / "envs", capture_of(tmp_path, token, clear, USED), "--name", "qa")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "envs" / "qa.env").read_text()
    assert "canary" not in text + result.output
    assert "HOST=https://api.example.com\n" in text
    assert "http://api.example.com, to which the token went in clear" in text
    assert "RESOURCE=https://a,https://b" in text


def injected() -> http.HTTPFlow:
    flow = flow_of("https://api.example.com/", Authorization="Bearer canary-token-1")
    flow.metadata["inject"] = {
        "action": "injected",
        "environment": "qa",
        "source": "cached",
        "token": None,
        "replaced": None,
    }
    return flow


FORM = "grant_type=client_credentials&client_id=me&client_secret=canary"


@pytest.mark.parametrize(
    ("flow", "told"),
    [
        (lambda: flow_of("https://api.example.com/"), "holds no token request that was answered with a token"),
        (lambda: token_flow(FORM, {"error": "x"}), "holds no token request"),
        (lambda: token_flow(FORM, b"<html>"), "holds no token request"),
        (lambda: token_flow("grant_type=unknown&client_id=me"), "holds no token request"),
        (lambda: token_flow(FORM + "&x=" + "y" * (2 << 20)), "holds no token request"),
        (
            lambda: token_flow(FORM, url="http://login.example.com/token"),
            "TOKEN_ENDPOINT: would send the credentials in cl",
        ),
        (lambda: token_flow(FORM + "&x_COMMAND=touch+pwned"), "TOKEN_PARAM_x_COMMAND: cannot be a key"),
    ],
)
def test_hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flow: Callable[[], http.HTTPFlow], told: str) -> None:
    """An error that says why, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    result = learned(tmp_path / "envs", capture_of(tmp_path, flow(), USED), "--secret")
    assert (result.exit_code, told in result.output) == (1, True), result.output
    assert not list(tmp_path.glob("envs/*.env"))
    assert not (tmp_path / "pwned").exists()
    assert "canary" not in result.output


def test_odd_values(tmp_path: Path) -> None:
    """Line breaks and ${NAME} in what passed stay text, or are left out."""
    form = "grant_type=client_credentials&client_id=%24%7BHOME%7D&client_secret=a%0AHOST%3Dx&scope=%1b%5b31m"
    result = learned(tmp_path / "envs", capture_of(tmp_path, token_flow(form), USED), "--name", "qa", "--secret")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "envs" / "qa.env").read_text()
    assert "CLIENT_ID='${HOME}'" in text
    assert "CLIENT_SECRET=\n" in text
    assert "\x1b" not in text


def test_own(tmp_path: Path) -> None:
    """What the add-on put in is no use to learn from."""
    capture = capture_of(tmp_path, token_flow(FORM), injected())
    assert "fill in HOST" in learned(tmp_path / "envs", capture, "--name", "qa", "--secret").output


@pytest.mark.parametrize("content", [b"nonsense", b"1234:"])
def test_damaged(tmp_path: Path, content: bytes) -> None:
    """A file that is no capture is told."""
    (tmp_path / "capture").write_bytes(content)
    result = learned(tmp_path / "envs", tmp_path / "capture")
    assert (result.exit_code, "is damaged or not a capture" in result.output) == (1, True)

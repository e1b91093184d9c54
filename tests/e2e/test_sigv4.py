"""AWS signatures, verified by an API that shares no code with what signs."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from credential_injector.cli.main import main
from credential_injector.demo.processes import Mitmproxy
from tests.e2e.aws_api import KEY, KEY_ID, SESSION, AwsApi
from tests.e2e.conftest import Stage
from tests.e2e.mitmweb_api import WebApi
from tests.e2e.test_afterwards import wait_for_flow
from tests.ports import free_port

WITHOUT = "TOKEN_ENDPOINT,CLIENT_ID,CLIENT_SECRET,SCOPE"


@pytest.fixture(params=["s3", "execute-api"])
def api(request: pytest.FixtureRequest) -> Iterator[AwsApi]:
    with AwsApi(request.param) as api:
        yield api


def environment(stage: Stage, api: AwsApi, *lines: str) -> None:
    own = (
        "GRANT_TYPE=aws_sigv4",
        f"AWS_ACCESS_KEY_ID={KEY_ID}",
        f"AWS_SECRET_ACCESS_KEY={KEY}",
        "AWS_REGION=eu-west-1",
        f"AWS_SERVICE={api.service}",
    )
    stage.env(api.url, *own, *lines, without=WITHOUT)


def send(proxy: Mitmproxy, url: str, method: str = "GET", **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, proxies={"http": proxy.url}, timeout=60, **options)


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/", {}),
        ("GET", "/bucket/a%20b/%C3%A9?list-type=2&prefix=a%2Fb&empty", {}),
        ("GET", "/?b=2&a=1&a=0&c=%7E", {}),
        ("PUT", "/bucket/key", {"data": b"\x00\xff" * 1000, "headers": {"Content-Type": "text/plain"}}),
        ("POST", "/", {"json": {"TableName": "x"}, "headers": {"X-Amz-Target": "DynamoDB_20120810.GetItem"}}),
        (
            "DELETE",
            "/bucket/key",
            {"headers": {"Authorization": "AWS4-HMAC-SHA256 Credential=mine", "X-Amz-Date": "x"}},
        ),
        ("GET", "/", {"headers": {"X-Amz-Security-Token": "the client's", "X-Amz-Meta-A": "b  c"}}),
    ],
)
def test_signed(stage: Stage, api: AwsApi, method: str, path: str, options: dict[str, Any]) -> None:
    """What leaves is signed, whatever the client sent in its place."""
    environment(stage, api)
    answer = send(stage.mitmdump(), api.url + path, method, **options)
    assert (answer.status_code, answer.text) == (200, "signed")
    assert "x-amz-security-token" not in api.received[0][1]


def test_session(stage: Stage) -> None:
    """A session token goes with the key of a role."""
    with AwsApi("s3", session=True) as api:
        environment(stage, api, f"AWS_SESSION_TOKEN={SESSION}")
        capture = stage.folder / "capture"
        with stage.mitmproxy("mitmdump", "-w", str(capture), inject_mask="true") as proxy:
            assert send(proxy, f"{api.url}/bucket").text == "signed"
            log = "\n".join(proxy.log)
        content = capture.read_bytes()
        for secret in (SESSION, KEY, api.received[0][1]["authorization"].rpartition("=")[2]):
            assert secret.encode() not in content
            assert secret not in log
        stage.mitmdump("-C", str(capture)).wait_for("first request with a credential went to")
        while len(api.received) < 2:
            pass
        assert api.refused == []


def test_edited(stage: Stage, api: AwsApi) -> None:
    """The signature is made for what leaves, not for what came."""
    environment(stage, api)
    answers: list[requests.Response] = []
    with stage.mitmproxy("mitmweb", web_port=free_port(), web_open_browser="false", intercept="~q") as proxy:
        web = WebApi(proxy)
        client = threading.Thread(
            target=lambda: answers.append(send(proxy, f"{api.url}/a", "PUT", data="x")), daemon=True
        )
        client.start()
        flow = wait_for_flow(web, lambda flow: bool(flow["intercepted"]))
        edit = {"request": {"path": "/edited?x=1", "content": "another body"}}
        assert web.ask("PUT", f"/flows/{flow['id']}", edit).status_code == 200
        assert web.ask("POST", f"/flows/{flow['id']}/resume").status_code == 200
        client.join(30)
        comment = web.flows()[0]["comment"]
    assert answers[0].text == "signed"
    assert api.received[0][0] == "PUT /edited?x=1"
    assert comment.startswith("qa: +AWS4")
    assert KEY_ID not in comment


@pytest.mark.parametrize(
    ("stream", "headers", "told"),
    [
        (True, {}, "only S3 over https takes a signature without the body"),
        (
            False,
            {"X-Amz-Content-SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
            "the client signs its body piece by piece",
        ),
    ],
)
def test_cannot(stage: Stage, stream: bool, headers: dict[str, str], told: str) -> None:
    """What cannot be signed goes without a signature, and says why."""
    with AwsApi("s3") as api:
        environment(stage, api)
        proxy = stage.mitmdump(*(["--set", "stream_large_bodies=1"] if stream else []))
        assert send(proxy, f"{api.url}/a", "PUT", data=b"x" * 100, headers=headers).status_code == 403
        assert api.refused == ["no signature"]
        proxy.wait_for(told)


def test_probe(stage: Stage, api: AwsApi) -> None:
    """check --probe signs as the proxy does."""
    environment(stage, api)
    result = CliRunner().invoke(main, ["check", "qa", "--probe", "/a?b=c", "--envs", str(stage.folder / "envs")])
    assert result.exit_code == 0, result.output
    assert api.refused == []

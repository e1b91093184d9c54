"""AWS signatures, verified by an API that shares no code with what signs."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from click.testing import CliRunner

from credential_injector.cli.main import main
from credential_injector.demo.processes import Mitmproxy
from tests.e2e.aws_api import KEY, KEY_ID, SESSION, AwsApi
from tests.e2e.conftest import Curl, Stage
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


TARGETS = (
    "/bucket/a(b)!'*,;=@$&.txt",  # as it is typed; the standard wants it encoded in the signature
    "/bucket/a%2fb+c",
    "/bucket/%c3%a9~%7E",
    "/bucket//a/./b/../c//",
    "/?prefix=a/b&delimiter=/",
    "/?a:b=c,d&a=%2f&A=1",
    "/?name=two+words&other=two%20words",
    "/?a=b=c&&flag&x=",
    "/?marker=%C3%A9'(x)*",
)


def test_odd_urls(stage: Stage, api: AwsApi) -> None:
    """URLs that are not written as AWS writes them are signed as AWS reads them."""
    environment(stage, api)
    proxy = stage.mitmdump()
    targets = [target for target in TARGETS if api.service == "s3" or not target.startswith("/bucket/a(b)")]
    assert {target: raw(proxy, api.url + target) for target in targets} == dict.fromkeys(targets, "signed")
    assert [line for line, *_ in api.received] == [f"GET {target}" for target in targets]


def raw(proxy: Mitmproxy, url: str, headers: tuple[tuple[str, str], ...] = ()) -> str:
    """What the API says to a request whose URL and headers nobody tidies up."""
    with closing(http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=60)) as connection:
        connection.putrequest("GET", url, skip_host=any(name == "Host" for name, _ in headers))
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().read().decode()


def test_odd_headers(stage: Stage, api: AwsApi) -> None:
    """A header that comes twice, the Host as it leaves, and the hash of another body."""
    environment(stage, api)
    proxy = stage.mitmdump()
    cases: list[tuple[tuple[str, str], ...]] = [
        (("X-Amz-Meta-A", "1"), ("X-Amz-Meta-A", "2  3 ")),
        (("Host", api.url.removeprefix("http://")),),
        (("X-Amz-Content-Sha256", "0" * 64),),
        (("Date", "Mon, 01 Jan 2024 00:00:00 GMT"),),
        (("x-amz-date", "20200101T000000Z"), ("x-amz-security-token", "another's")),
    ]
    assert [raw(proxy, f"{api.url}/", headers) for headers in cases] == ["signed"] * len(cases)


def test_presigned(stage: Stage, api: AwsApi) -> None:
    """The client's signature in the query makes room: AWS refuses a request with two."""
    environment(stage, api)
    presigned = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F1&X-Amz-Signature=12&X-Amz-SignedHeaders=host"
    with stage.mitmproxy("mitmweb", web_port=free_port(), web_open_browser="false") as proxy:
        assert raw(proxy, f"{api.url}/a?b=c&{presigned}&X-Amz-Expires=60&X-Amz-Date=1&d") == "signed"
        comment = WebApi(proxy).flows()[0]["comment"]
    assert api.received[0][0] == "GET /a?b=c&d"
    assert "before" in comment


def test_event_log(stage: Stage) -> None:
    """botocore's log would show what is signed, with the session token: mitmproxy writes all of its levels down."""
    with AwsApi("s3", session=True) as api:
        environment(stage, api, f"AWS_SESSION_TOKEN={SESSION}")
        with stage.mitmproxy(
            "mitmweb", web_port=free_port(), web_open_browser="false", termlog_verbosity="debug"
        ) as proxy:
            assert send(proxy, f"{api.url}/bucket").text == "signed"
            events = WebApi(proxy).ask("GET", "/events").text
            log = "\n".join(proxy.log)
    for text in (events, log):
        assert SESSION not in text
        assert "StringToSign" not in text


@pytest.mark.parametrize("chunked", [False, True])
def test_streamed(stage: Stage, curl: Curl, chunked: bool) -> None:
    """Over https S3 takes a body that streams, without its hash; over HTTP/2, too."""
    with AwsApi("s3", tls=stage.tls) as api:
        environment(stage, api)
        proxy = stage.mitmdump("--set", "stream_large_bodies=1")
        arguments = ["-T", "-"] if chunked else ["-X", "PUT", "-d", "x" * 100]
        common = ["--http2", "--proxy", proxy.url, "--cacert", str(stage.mitmproxy_ca)]
        reply = curl(*common, *arguments, f"{api.url}/bucket/key")
        assert (reply.status, reply.body) == (200, "signed"), api.refused
        assert api.received[0][1]["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"


@pytest.mark.parametrize("key", ["a key.txt", "é/ü (1)+2.txt", "//two//slashes", "a%20b&c=d?e#f"])
@pytest.mark.parametrize("secure", [False, True])
def test_boto3(stage: Stage, key: str, secure: bool) -> None:
    """boto3 with credentials that are wrong puts and gets: its own signature is replaced."""
    with AwsApi("s3", tls=stage.tls if secure else None) as api:
        environment(stage, api)
        proxy = stage.mitmdump()
        s3 = boto3.client(
            "s3",
            endpoint_url=api.url,
            region_name="us-east-1",
            aws_access_key_id="wrong",
            aws_secret_access_key="wrong",
            verify=str(stage.mitmproxy_ca),
            config=Config(
                proxies={"http": proxy.url, "https": proxy.url},
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
            ),
        )
        s3.put_object(Bucket="bucket", Key=key, Body=b"content" * 100)
        assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == b"signed"
        assert api.refused == []


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

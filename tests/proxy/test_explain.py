"""Why a request gets a token or none: the policy's verdict, rule by rule, and the environment that comes nearest."""

from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.hook import new_flow
from credential_injector.origins.claims import Claim
from credential_injector.proxy.explain import Explanation, explain, lines
from credential_injector.proxy.flows import FlowRequest
from credential_injector.proxy.policy import RULES, Policy
from credential_injector.proxy.request import Request
from credential_injector.proxy.server_connections import Connections
from credential_injector.proxy.written_request import WrittenRequest, written
from tests.proxy.test_policy import API, CASES, HERE, LOGIN, Asked, policy_of

VERDICTS = {"inject": "injected", "keep": "kept", "skip": "skipped", "block": "blocked"}
FOLDER = "/somewhere/envs"


def explained(folder: Path, text: str, request: Request) -> Explanation:
    """With one environment, and the options that stand before its lines."""
    return explain(policy_of(folder, text), request, FOLDER)


@pytest.mark.parametrize("case", CASES)
def test_policy(tmp_path: Path, case: str) -> None:
    """The verdict is the policy's in each of its cases, and the rule that is broken ends the list."""
    text, asked, _ = CASES[case]
    policy = policy_of(tmp_path, text)
    verdict, explanation = policy.decide(asked), explain(policy, asked, FOLDER)
    assert explanation.verdict == ("untouched" if verdict is None else VERDICTS[verdict.action])
    assert [step.rule for step in explanation.steps if not step.passed] == [explanation.failed] * (
        explanation.verdict != "injected"
    )
    assert explanation.failed in (None, explanation.steps[-1].rule)
    told = "\n".join(lines(explanation))
    assert told.replace("\n", "").isprintable()
    assert "canary" not in told + str(asdict(explanation))
    assert explanation.verdict == "injected" or explanation.cause


def broken(*rules: str) -> tuple[str, Asked]:
    """An environment's lines, and a request that breaks these rules of it."""
    lines_of, given = ["HOST=https://api.example.com,http://127.0.0.1:9000"], dict[str, Any](sent={}, fields=())
    for rule in rules:
        match rule:
            case "host":
                given["url"] = "https://other.example/"
            case "preflight":
                given |= {"method": b"OPTIONS", "sent": {**given["sent"], "Access-Control-Request-Method": "GET"}}
            case "names":
                given["names"] = (Claim("Host header", "evil.example"),)
            case "malformed":
                given["fields"] = ((b"a:b", b""),)
            case "client":
                given["client"] = "192.0.2.7"
            case "token endpoint":
                lines_of.append(f"TOKEN_ENDPOINT={API}/orders")
            case "as":
                lines_of.append("AS=admin")
            case "page":
                given["sent"] = {**given["sent"], "Origin": "https://evil.example"}
            case "ssl_insecure":
                given["servers"] = (*given.get("servers", ()), None)
            case "verified name":
                given["servers"] = (*given.get("servers", ()), "evil.example")
            case "upstream":
                given |= {"url": "http://127.0.0.1:9000/", "proxy": "192.0.2.1"}
            case "method":
                lines_of.append("METHODS=POST")
            case "overwrite":
                lines_of.append("OVERWRITE=only")
    return "\n".join(lines_of), Asked(**given)


# Not of one request: its scheme is https, or http.
APART = {("verified name", "upstream")}
PAIRS = [(first.kind, second.kind) for first, second in pairwise(RULES) if (first.kind, second.kind) not in APART]


@pytest.mark.parametrize(("first", "second"), [*PAIRS, ("page", "upstream"), ("verified name", "method")])
def test_order(tmp_path: Path, first: str, second: str) -> None:
    """The table has the policy's order: of two neighbours that are broken, the policy names the first."""
    for rules in ((first,), (second,), (first, second)):
        assert explained(tmp_path, *broken(*rules)).failed == rules[0]


HOSTS = f"HOST={API}/orders,http://127.0.0.1:9000,https://*.wild.example,https://10.0.0.1"
HOSTS += ",https://example.org,https://*.qa.example.org"
ADD = "add {} to HOST in qa.env"
URL = "change the client's URL"


@pytest.mark.parametrize(
    ("url", "verdict", "differs", "origin", "cause", "advice"),
    [
        (
            "http://api.example.com/orders",
            "skipped",
            "scheme",
            f"{API}/orders",
            "and this was http",
            f"{URL} to HOST of qa.env",
        ),
        (
            f"{API}:8443/orders",
            "skipped",
            "port",
            f"{API}/orders",
            "and this was port 8443",
            f"{URL}, or {ADD.format(f'{API}:8443')}",
        ),
        (
            f"{API}/login",
            "skipped",
            "path",
            f"{API}/orders",
            "and this path is not below it",
            f"{URL}, or the path of HOST in qa.env",
        ),
        (
            "http://localhost:9000",
            "skipped",
            "host",
            "http://127.0.0.1:9000",
            "and this was localhost",
            f"{URL}, or {ADD.format('http://localhost:9000')}",
        ),
        (
            "https://api.exmaple.com",
            "untouched",
            "host",
            f"{API}/orders",
            "and this was api.exmaple.com",
            f"check the name, or {ADD.format('https://api.exmaple.com')}",
        ),
        (
            "https://v2.api.example.com:444/x?y",
            "untouched",
            "host",
            f"{API}/orders",
            "and this was v2.api.example.com",
            ADD.format("https://v2.api.example.com:444"),
        ),
        (
            "https://wild.example",
            "untouched",
            "host",
            "https://*.wild.example",
            "and this was wild.example, which is not below it",
            ADD.format("https://wild.example"),
        ),
        (
            "https://qa.example.org",
            "untouched",
            "host",
            "https://*.qa.example.org",
            "and this was qa.example.org, which is not below it",
            ADD.format("https://qa.example.org"),
        ),
        (
            "https://a.b.wyld.example",
            "untouched",
            "host",
            "https://*.wild.example",
            "and this was a.b.wyld.example",
            f"check the name, or {ADD.format('https://a.b.wyld.example')}",
        ),
    ],
)
def test_nearest(tmp_path: Path, url: str, verdict: str, differs: str, origin: str, cause: str, advice: str) -> None:
    """Where no file names the URL, the environment that comes nearest is named, with the one thing that differs."""
    explanation = explained(tmp_path, HOSTS, written(url))
    nearest = explanation.nearest
    assert nearest is not None
    assert (explanation.verdict, nearest.environment, nearest.differs, nearest.origin) == (
        verdict,
        "qa",
        differs,
        origin,
    )
    assert explanation.cause == f"HOST is {origin}, {cause}"
    assert explanation.advice.replace(f"{tmp_path}/", "") == advice


@pytest.mark.parametrize(
    "url", ["https://www.other.example", "https://10.0.0.2", "https://login.example.com/", "https://example"]
)
def test_nothing_near(tmp_path: Path, url: str) -> None:
    """Where nothing comes near, the folder is named."""
    explanation = explained(tmp_path, HOSTS, written(url))
    assert (explanation.verdict, explanation.nearest) == ("untouched", None)
    assert explanation.cause == "no environment file names anything like this host"
    assert f"add {url.removesuffix('/')} to HOST of a file in {FOLDER}" in explanation.advice


def test_token_endpoint(tmp_path: Path) -> None:
    """A token endpoint that no HOST covers is named as such."""
    explanation = explained(tmp_path, "", written(LOGIN))
    assert (explanation.verdict, explanation.failed) == ("untouched", "host")
    assert explanation.cause.startswith("it goes to the token endpoint")


def test_login_url(tmp_path: Path) -> None:
    """A login's file has LOGIN_URL for a token endpoint."""
    text = f"HOST={API}\nGRANT_TYPE=login\nLOGIN_URL={API}/login?tenant=canary\nTOKEN_AT=/token"
    for path, verdict, mark in (("/orders", "injected", "passed"), ("/login", "skipped", "failed")):
        explanation = explained(tmp_path, text, written(API + path))
        told = [line.replace(f"{tmp_path}/", "") for line in lines(explanation)]
        assert explanation.verdict == verdict
        assert f"{mark}: it does not go to the token endpoint: LOGIN_URL={API}/login in qa.env" in told
        assert "TOKEN_ENDPOINT" not in "".join(told)


def test_query(tmp_path: Path) -> None:
    """People see where the credential goes, and what keeps the client's own."""
    text = "HOST=https://127.0.0.1\nQUERY=api_key\nOVERWRITE=never"
    told = explained(tmp_path, text, written("https://127.0.0.1/a"))
    assert told.credential == "query: api_key=<token>"
    assert told.notes[-1] == "a request that brings its own query parameter api_key keeps it (OVERWRITE=never)"


def test_lines(tmp_path: Path) -> None:
    """People see the verdict, what decides each rule, and no query."""
    text = f"ssl_insecure\nHOST=https://127.0.0.1\nHEADER_X-Key=canary\nMETHODS=GET,PUT\nORIGINS={HERE}\n"
    text += "OVERWRITE=never\nWITHOUT_TOKEN=pass\nHEADER=X-Auth\nPREFIX=Key"
    explanation = explained(tmp_path, text, written("https://127.0.0.1/a?canary=1#b"))
    told = [line.replace(f"{tmp_path}/", "") for line in lines(explanation)]
    assert told == [
        "injected: GET https://127.0.0.1/a gets X-Auth: Key <token>, X-Key: <secret> of qa (qa.env)",
        "passed: an environment names its scheme, host, port and path: HOST=https://127.0.0.1 in qa.env",
        "passed: it is no CORS preflight, which never carries a credential",
        "passed: every name in it is that of the server to which the connection goes",
        "passed: servers read it in one way only",
        "passed: its client is let in: inject_clients=loopback",
        "passed: it does not go to the token endpoint: TOKEN_ENDPOINT=https://login.example.com/t in qa.env",
        f"passed: no page of another site makes it, or ORIGINS lets the page in: ORIGINS={HERE} in qa.env",
        "passed: mitmproxy verifies the server, or the request ends on this machine: ssl_insecure=true",
        "passed: the server is verified as its host",
        "passed: METHODS lets its method in: METHODS=GET,PUT in qa.env",
        "passed: OVERWRITE lets a token in: OVERWRITE=never in qa.env",
        "note: without a token the request is sent on as the client sent it (WITHOUT_TOKEN=pass)",
        "note: a request that brings its own X-Auth keeps it (OVERWRITE=never)",
    ]


def asked(**given: str) -> Callable[[], WrittenRequest]:
    return lambda: written(**{"url": API, **given})


@pytest.mark.parametrize(
    ("write", "wrong"),
    [
        (asked(url="https://me:canary@api.example.com"), "the URL holds a user name or password"),
        (asked(url="https://canary@api.example.com"), "the URL holds a user name or password"),
        (asked(url="https://api.example.com/can ary"), "the URL holds a space or a control character"),
        (asked(url="https://api.example.com/\x1bcanary"), "the URL holds a space or a control character"),
        (asked(url="https://api.example.com/\udcff"), "the URL holds a space or a control character"),
        (asked(url="ftp://canary.example"), "the URL has an unknown scheme; expected http or https"),
        (asked(url="https:/canary"), "the URL is malformed"),
        (asked(url="https://"), "the URL is malformed"),
        (asked(url=""), "the URL is malformed"),
        (asked(url="/canary"), "the URL is malformed"),
        (asked(url="https://can;ary.example"), "the URL is malformed"),
        (asked(url="https://can\\ary.example"), "the URL has a malformed host"),
        (asked(url="https://*.canary.example"), "the URL holds a wildcard; expected one host"),
        (asked(url="https://canary.example:0"), "the URL has a malformed port"),
        (asked(url="https://canary.example:99999"), "the URL has a malformed port"),
        (asked(url="https://canarystraße.example"), "the URL has a name that older and newer IDNA spell differently"),
        (asked(method="CAN ARY"), "the method is malformed"),
        (asked(method=""), "the method is malformed"),
        (asked(method="C" * 41), "the method is malformed"),
        (asked(client="canary.example"), "the client is no IP address"),
        (asked(client="127.0.0.1:80"), "the client is no IP address"),
        (asked(origin="canary"), "the origin is malformed"),
    ],
)
def test_wrong(write: Callable[[], WrittenRequest], wrong: str) -> None:
    """What is wrong with a written request is one line, which repeats nothing of it."""
    with pytest.raises(ValueError, match=wrong) as raised:
        write()
    assert "\n" not in str(raised.value)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "destination", "assumed"),
    [
        ("https://API.example.com", ("https", "api.example.com", 443, "/"), 0),
        (" http://api.example.com./a?b=c#d ", ("http", "api.example.com", 80, "/a?b=c"), 0),
        ("api.example.com:8443/a", ("https", "api.example.com", 8443, "/a"), 1),
        ("localhost?x", ("https", "localhost", 443, "/?x"), 1),
        ("HTTP://[::0:1]:9000#x", ("http", "::1", 9000, "/"), 0),
        ("https://bücher.example/ü", ("https", "xn--bcher-kva.example", 443, "/%C3%BC"), 0),
    ],
)
def test_url(url: str, destination: tuple[str, str, int, str], assumed: int) -> None:
    """A URL is read as a client reads it. Without a scheme it is https, which is said."""
    request = written(url)
    assert request.destination == destination
    assert len(request.assumed) == assumed


@pytest.mark.parametrize(
    ("text", "given", "failed"),
    [
        ("", {"origin": HERE}, "page"),
        (f"ORIGINS={HERE}", {"origin": f"{HERE}/"}, None),
        ("", {"origin": API}, None),
        ("", {"origin": "null"}, "page"),
        ("", {"method": "OPTIONS"}, None),
        ("", {"method": "OPTIONS", "origin": HERE}, "preflight"),
        ("METHODS=GET", {"method": "POST"}, "method"),
        ("METHODS=GET", {"url": f"{API}?_method=DELETE"}, "method"),
        ("", {"client": "192.168.1.23"}, "client"),
        ("clients=192.168.1.0/24", {"client": "192.168.1.23"}, None),
        ("ssl_insecure", {}, "ssl_insecure"),
        ("ssl_insecure\nHOST=https://127.0.0.1", {"url": "https://127.0.0.1"}, None),
        ("ssl_insecure\nHOST=https://127.0.0.1", {"url": "https://127.0.0.1", "proxy": "192.0.2.1"}, "ssl_insecure"),
        ("HOST=http://127.0.0.1", {"url": "http://127.0.0.1"}, None),
        ("HOST=http://127.0.0.1", {"url": "http://127.0.0.1", "proxy": "192.0.2.1"}, "upstream"),
    ],
)
def test_written(tmp_path: Path, text: str, given: dict[str, str], failed: str | None) -> None:
    """What a person writes of a request breaks the rule that it would break on its way."""
    assert explained(tmp_path, text, asked(**given)()).failed == failed


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
@pytest.mark.parametrize("origin", ["", HERE, API])
@pytest.mark.parametrize(
    "url",
    [
        f"{API}/orders/1?a=%20b",
        f"{API}/orders/../login",
        "http://api.example.com:443/orders",
        "https://API.example.com.:8443",
        "http://127.0.0.1:9000",
        "http://[::1]:9000/?q",
        "https://x.wild.example/a/b",
        "https://xn--bcher-kva.wild.example",
        "https://wild.example",
        LOGIN,
    ],
)
def test_flow(policy: Policy, url: str, origin: str, method: str) -> None:
    """The policy says the same of a written request as of the one that mitmproxy receives."""
    flow = new_flow(url)
    flow.request.method = method
    if origin:
        flow.request.headers["Origin"] = origin
        if method == "OPTIONS":
            flow.request.headers["Access-Control-Request-Method"] = "GET"
    request, received = written(url, method, origin=origin), FlowRequest(flow, Connections())
    assert request.destination == received.destination
    assert policy.decide(request) == policy.decide(received)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return policy_of(tmp_path_factory.mktemp("envs"), HOSTS)


URLS = st.text() | st.builds(
    "{}://{}{}".format,
    st.sampled_from(["http", "https", "ftp"]),
    st.sampled_from(["api.example.com", "wild.example", "10.0.0.1", "[::1]", "me:canary@a.b"]) | st.text(),
    st.text().map("/{}".format),
)


@given(url=URLS, method=st.sampled_from(["GET", "options", "\x1b"]), client=st.sampled_from(["::1", "10.0.0.9", "me"]))
def test_anything(policy: Policy, url: str, method: str, client: str) -> None:
    """Whatever a person writes is explained in printable lines, or wrong in one."""
    try:
        request = written(url, method, client)
        told = list(lines(explain(policy, request, FOLDER)))
    except ValueError as error:
        told = [str(error)]
    assert "canary" not in "".join(told)
    assert all(line.isprintable() for line in told)

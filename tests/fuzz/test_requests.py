"""Whatever a client sends, whatever the token endpoint and the API answer to it."""

import asyncio
import gc
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import ctx, http
from mitmproxy.flow import Error
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow

from credential_injector.oauth.answers import Answer, read_answer
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.oauth.token import AccessToken
from credential_injector.proxy import internals
from credential_injector.proxy.addon import CredentialInjector
from credential_injector.proxy.routes import Routes
from credential_injector.tokens.provider import Provider
from tests.fuzz.inputs import (
    OWN,
    SECRET,
    TEXT,
    TOKEN,
    assert_harmless,
    mostly,
    mutated,
    nothing_secret_is_logged,
)
from tests.fuzz.test_answers import ANSWERS, VALID

HOSTS = "https://api.example.com, https://*.wild.example.com:8443/orders, http://127.0.0.1:9000"
GOOD = Answer(200, {}, VALID)


@asynccontextmanager
async def proxy(answer: Answer, lines: str = "") -> AsyncIterator[CredentialInjector]:
    """The add-on with one environment, whose token endpoint always answers the same."""

    async def open_endpoint(request: TokenRequest, _: Transport) -> Any:
        async def token(asked_at: float, _: str) -> AccessToken:
            return read_answer(answer, request, asked_at)

        return SimpleNamespace(published=(), token=token)

    injector = CredentialInjector(Routes(Provider(open_endpoint=open_endpoint)))
    with (
        tempfile.TemporaryDirectory() as folder,
        taddons.context(injector) as context,  # type: ignore[no-untyped-call]
    ):
        write(Path(folder, "qa.env"), lines)
        context.options.add_option("stream_large_bodies", str | None, None, "")
        context.options.add_option("keep_host_header", bool, False, "")
        context.options.update(inject_envs=folder)
        gc.unfreeze()  # a second start would collect all garbage first, which takes longer than the rest of an example
        injector.configure(set(context.options.keys()))
        try:
            yield injector
        finally:
            gc.unfreeze()
            context.master._legacy_log_events.uninstall()  # it outlives the context, and writes to a closed loop


def write(file: Path, lines: str) -> None:
    endpoint = "https://login.example.com/token?key=C4nary"
    file.write_text(f"HOST={HOSTS}\nCLIENT_ID=abc\nCLIENT_SECRET={SECRET}\nTOKEN_ENDPOINT={endpoint}\n{lines}\n")


# --- No request, answer or state makes a hook raise or tell a secret --------------------------------------------------

NAMES = TEXT | st.sampled_from(
    ["api.example.com", "API.example.com.", "\uff41pi.example.com", "a.wild.example.com", "[::1]"]
)
AUTHORITIES = st.builds("{}{}{}".format, st.sampled_from(["", f"u:{OWN}@"]), NAMES, st.sampled_from(["", ":443", ":"]))


def encoded(text: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    return text.map(lambda value: value.encode(errors="surrogatepass"))


OTHER_FIELDS = [
    *(b"Host", b"Upgrade", b"Content-Length", b"Transfer-Encoding", b"WWW-Authenticate"),
    *(b"Access-Control-Request-Method", b"Sec-Fetch-Site", b"Origin"),
]
FIELDS = st.lists(
    st.tuples(
        mostly(
            st.sampled_from([b"Authorization", b"authorization", b"X-Key"]),
            st.sampled_from(OTHER_FIELDS) | encoded(TEXT),
        ),
        st.sampled_from([f"Basic {OWN}", f"Bearer {TOKEN}", OWN, "cross-site", "null", "7"]).map(str.encode)
        | encoded(AUTHORITIES)
        | mutated(b'Bearer error="insufficient_scope"'),
    ),
    max_size=5,
)
REQUESTS = st.builds(
    http.Request,
    host=mostly(st.just("api.example.com"), NAMES),
    port=mostly(st.just(443), st.integers(-1, 70_000)),
    method=mostly(st.sampled_from([b"GET", b"POST", b"OPTIONS", b"CONNECT"]), encoded(TEXT)),
    scheme=mostly(st.just(b"https"), encoded(TEXT)),
    authority=mostly(st.just(b""), encoded(AUTHORITIES)),
    path=st.sampled_from([b"/orders?access_token=" + TOKEN.encode(), b"*", b"/orders/%2e%2e"]) | encoded(TEXT),
    http_version=st.sampled_from([b"HTTP/1.1", b"HTTP/2.0", b"HTTP/3", b"HTTP/0.9"]) | encoded(TEXT),
    headers=FIELDS.map(http.Headers),
    content=st.sampled_from([b"", None, OWN.encode()]),
    trailers=st.none(),
    timestamp_start=st.just(1.0),
    timestamp_end=st.none(),
)
RESPONSES = st.builds(
    http.Response,
    http_version=st.just(b"HTTP/1.1"),
    status_code=mostly(st.just(401), st.integers()),
    reason=encoded(TEXT),
    headers=FIELDS.map(http.Headers),
    content=st.sampled_from([b"", None, TOKEN.encode()]),
    trailers=st.none(),
    timestamp_start=st.just(1.0),
    timestamp_end=st.none(),
)
ADDRESSES = st.none() | st.tuples(NAMES | st.sampled_from(["192.0.2.7", "::1%C4nary"]), st.integers(0, 65535))
PEERS: st.SearchStrategy[Any] = st.none() | st.tuples(
    st.sampled_from(["::ffff:127.0.0.1", "", "fe80::1%a", "192.0.2.9"]), st.just(5)
)
RECORDS: st.SearchStrategy[object] = st.dictionaries(
    st.sampled_from(["action", "environment", "reason", "token", "source", "expires_at", "replaced"]),
    st.sampled_from([None, "injected", "injected", "qa", 1, [], {}]),
) | st.sampled_from(["injected", [], None])
MODES = ["regular", "transparent", "socks5", "reverse:https://api.example.com", "upstream:http://127.0.0.1:1"]


@st.composite
def flows(draw: st.DrawFn) -> http.HTTPFlow:
    flow = tflow.tflow(req=draw(REQUESTS))
    flow.live = draw(mostly(st.just(True), st.just(False)))
    flow.is_replay = draw(mostly(st.none(), st.sampled_from(["request", "response"])))
    flow.client_conn.peername = draw(mostly(st.just(("127.0.0.1", 5)), PEERS))
    flow.client_conn.sni = draw(mostly(st.none(), NAMES))
    flow.client_conn.proxy_mode = ProxyMode.parse(draw(st.sampled_from(MODES)))
    flow.server_conn.sni = draw(mostly(st.none(), NAMES))
    flow.server_conn.address = draw(ADDRESSES)
    flow.metadata = draw(mostly(st.builds(dict), RECORDS.map(lambda earlier: {"inject": earlier})))
    flow.comment = draw(st.sampled_from(["", "a person's"]))
    flow.request.stream = draw(mostly(st.just(False), st.just(True)))
    return flow


LINES = st.lists(
    st.sampled_from(
        [
            *("OVERWRITE=never", "OVERWRITE=only", "WITHOUT_TOKEN=pass", "METHODS=GET", "METHODS=POST"),
            *("HEADER=X-Key", "HEADER=X-Key\nPREFIX=", "PREFIX=DPoP"),
        ]
    ),
    max_size=3,
    unique_by=lambda line: line.partition("=")[0],
).map("\n".join)


@given(
    mostly(st.just(GOOD), ANSWERS),
    LINES,
    st.lists(st.tuples(flows(), RESPONSES, mostly(st.none(), TEXT)), min_size=1, max_size=3),
)
def test_hooks(answer: Answer, lines: str, traffic: list[tuple[http.HTTPFlow, http.Response, str | None]]) -> None:
    """No hook raises or tells a secret."""

    async def run() -> None:
        async with proxy(answer, lines) as injector:
            for flow, response, failure in traffic:
                before = flow.request.headers.copy()
                await through(injector, flow, response, failure)
                check_headers(flow, before)
                check_said(flow)
            assert_harmless(" ".join(ctx.master.commands.call("inject.status")))
            injector.done()

    with nothing_secret_is_logged():
        asyncio.run(run())


async def through(
    injector: CredentialInjector, flow: http.HTTPFlow, response: http.Response, failure: str | None
) -> None:
    """What mitmproxy does with a request, as far as the add-on is told of it."""
    await done(injector.requestheaders(flow))
    injector.request(flow)
    if flow.response is None and failure is None:
        flow.response = response
        injector.responseheaders(flow)

        class Replay:
            """Where the request would be sent again."""

            def __init__(self, again: http.HTTPFlow, _: object) -> None:
                self.again = again
                self.transports: dict[str, object] = {}

            async def replay(self) -> None:
                await done(injector.requestheaders(self.again))
                self.again.response = response.copy()
                injector.responseheaders(self.again)
                await done(injector.response(self.again))

        with patch.object(internals, "ReplayHandler", Replay):
            await done(injector.response(flow))
    elif failure is not None:
        flow.error = Error(failure)
        injector.error(flow)


async def done(result: Awaitable[None] | None) -> None:
    if result is not None:
        await result


def check_headers(flow: http.HTTPFlow, before: http.Headers) -> None:
    """What the add-on wrote is one header each, and cannot split."""
    for name, value in set(flow.request.headers.fields) - set(before.fields):
        assert name.lower() in (b"authorization", b"x-key")
        assert value.isascii()
        assert value.decode().isprintable()


def check_said(flow: http.HTTPFlow) -> None:
    """What a person and the client see of it, and whether it can be saved."""
    for line in flow.comment.splitlines():
        assert_harmless(line)
    assert_harmless(repr(flow.metadata))
    flow.comment.encode()
    if flow.response is not None and flow.response.headers.get("Cache-Control") == "no-store":
        assert flow.response.status_code == 502
        assert_harmless((flow.response.get_text() or "").removesuffix("\n"))


# --- A token goes to a configured destination that every name agrees on, and nowhere else -----------------------------


class Spelling(NamedTuple):
    text: str
    means: str | None
    """The host, if it is a well-formed one that matters here."""


ALIKE = {
    "api.example.com": ["api.example.com", "API.Example.COM", "api.example.com.", "\uff41pi.example.com"],
    "a.wild.example.com": ["a.wild.example.com", "A.WILD.example.com."],
    "b.a.wild.example.com": ["b.a.wild.example.com"],
    "127.0.0.1": ["127.0.0.1"],
    "192.0.2.7": ["192.0.2.7"],
    "evil.example.net": ["evil.example.net", "EVIL.example.net."],
    "wild.example.com": ["wild.example.com"],
    "xapi.example.com": ["xapi.example.com"],
    "localhost": ["localhost"],
}
MALFORMED = [
    *("", " ", "api.example.com,evil.example.net", "api.example.com evil.example.net", "api.example.com\0"),
    *("api.example.com..", ".api.example.com", "evil.example.net\r\nHost: api.example.com", "\u0430pi.example.com"),
    *("evil.example.net#.wild.example.com", "evil.example.net\\.wild.example.com", "127.0.0.1\0%.wild.example.com"),
    *("2130706433", "0x7f.1", "127.1", "[127.0.0.1]", "api.example.com%00", "api%2eexample.com", "*.wild.example.com"),
]
SPELLINGS = [Spelling(text, means) for means, texts in ALIKE.items() for text in texts]
SPELLINGS += [Spelling(text, None) for text in MALFORMED]
PORTS = {"": None, ":443": 443, ":8443": 8443, ":9000": 9000, ":0443": 443, ":80": 80}
BAD_ENDS = [":", ":443x", ":-1", ":000443", "@evil.example.net", "/", ":443:443", "?", "#"]
PATHS = {
    "/orders": True, "/orders/1": True, "/orders?x=/..": True, "/orders/": True, "/ordersx": False, "/": False,
    "/orders/../admin": False, "/orders/%2e%2e/admin": False, "/orders%2fx/..": False, "/orders/\\..\\x": False,
    "/orders/..;/admin": False, "/orders/x%2f..%2f..": False, "/orders/#/..": False, "*": False, "": False,
}  # fmt: skip


class Authority(NamedTuple):
    text: str
    host: str | None
    port: int | None


def alike(host: str) -> st.SearchStrategy[Spelling]:
    return st.sampled_from([each for each in SPELLINGS if each.means == host])


@st.composite
def authorities(draw: st.DrawFn, host: str, port: int, *, odd: bool = False) -> Authority:
    if not odd:
        end = draw(st.sampled_from(["", f":{port}"]))
        return Authority(draw(alike(host)).text + end, host, port if end else None)
    spelling = draw(alike(host) | st.sampled_from(SPELLINGS))
    end = draw(st.sampled_from(list(PORTS)) | st.sampled_from(BAD_ENDS))
    if draw(mostly(st.just(False), st.just(True))):
        return Authority(f"api.example.com@{spelling.text}", None, None)
    return Authority(spelling.text + end, None if end in BAD_ENDS else spelling.means, PORTS.get(end))


API, WILD, LOCAL = ("https", "api.example.com", 443), ("https", "a.wild.example.com", 8443), ("http", "127.0.0.1", 9000)


@st.composite
def cases(draw: st.DrawFn) -> tuple[http.HTTPFlow, bool]:
    """A flow, and whether its request is to get a token. Mostly one thing is odd, as two would hide each other."""
    parts = st.sampled_from(["scheme", "port", "dialled", "client SNI", "server SNI", "Host", "target"])
    odd = draw(st.just([]) | parts.map(lambda part: [part]) | st.lists(parts))
    scheme, host, port = draw(st.sampled_from([API, WILD, LOCAL]))
    authority = authorities(host, port)
    named = draw(st.lists(authority, max_size=2))
    target = draw(st.none() | authority)
    dialled = draw(alike(host))
    client_sni, server_sni = draw(st.none() | alike(host)), draw(st.none() | alike(host))
    connected, mode = draw(st.booleans()), draw(st.sampled_from(MODES))
    if "Host" in odd:
        named.insert(draw(st.integers(0, len(named))), draw(authorities(host, port, odd=True)))
    if "target" in odd:
        target = draw(authorities(host, port, odd=True))
    if "dialled" in odd:
        dialled = draw(mostly(alike("192.0.2.7"), st.sampled_from(SPELLINGS)))
    if "client SNI" in odd:
        client_sni = draw(st.sampled_from(SPELLINGS))
    if "server SNI" in odd:
        server_sni = draw(st.sampled_from(SPELLINGS))
    if "scheme" in odd:
        scheme = draw(st.sampled_from(["http", "https", "HTTPS", "ws"]))
    if "port" in odd:
        port = draw(st.sampled_from([443, 8443, 9000, 80]))
    path = draw(st.sampled_from(list(PATHS)))

    fields = [(b"Host", each.text.encode()) for each in named]
    request = http.Request(
        host=dialled.text, port=port, method=b"GET", scheme=scheme.encode(), path=path.encode(),
        authority=target.text.encode() if target is not None else b"", http_version=b"HTTP/1.1",
        headers=http.Headers(fields), content=b"", trailers=None, timestamp_start=1.0, timestamp_end=None,
    )  # fmt: skip
    flow = tflow.tflow(req=request)
    flow.client_conn.peername = ("127.0.0.1", 5)
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    flow.client_conn.sni = client_sni.text if client_sni is not None else None
    flow.server_conn.sni = server_sni.text if server_sni is not None else None
    flow.server_conn.address = (dialled.text, port) if connected else None

    verified = client_sni if scheme == "https" and not mode.startswith("reverse") else None
    name = dialled.means
    if name in ("192.0.2.7", "127.0.0.1") and verified is not None and connected:
        name = verified.means
    configured = (
        (scheme, name, port) == ("https", "api.example.com", 443)
        or (
            (scheme, port) == ("https", 8443) and name in ("a.wild.example.com", "b.a.wild.example.com") and PATHS[path]
        )
        or (scheme, name, port) == ("http", "127.0.0.1", 9000)
    )
    names = [each for each in (verified, server_sni) if each is not None and scheme == "https"]
    agree = all(each.means == name for each in names) and all(
        each.host == name and each.port in (None, port)
        for each in (*named, *([target] if target is not None and target.text else []))
    )
    well_formed = path == "*" or (
        path.startswith("/") and not any(ord(one) <= 0x20 or ord(one) == 0x7F for one in path)
    )
    return flow, configured and agree and well_formed


@given(st.lists(cases(), min_size=5, max_size=5))  # together, as a proxy costs more than a request
def test_destination(some: list[tuple[http.HTTPFlow, bool]]) -> None:
    """A token goes only where scheme, host, port and every name agree."""

    async def run() -> None:
        async with proxy(GOOD) as injector:
            for flow, _ in some:
                await done(injector.requestheaders(flow))

    asyncio.run(run())
    for flow, expected in some:
        token = f"Bearer {TOKEN}" if expected else None
        assert flow.request.headers.get("authorization") == token, flow.comment

"""Every way to make the proxy hand its identity to somebody else, each tried in every mode that it makes sense in.

In a case, {good} is a server that is to get a token and {evil} one that must not; they differ in their address, not in
their port. {at} is what stands before the path where a proxy is asked for a URL, and nothing elsewhere.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.e2e.arena import (
    EVIL,
    HTTP,
    HTTPS,
    SHARED,
    WAYS,
    Answer,
    Arena,
    Refused,
    arena,
    dial,
    http1,
    http2,
    tls,
    tunnel,
)
from tests.e2e.canaries import Canaries
from tests.e2e.conftest import CLIENT_SECRET, Curl, Stage, on_stage
from tests.e2e.tell import EVIL as EVIL_ADDRESS
from tests.e2e.tell import GOOD, HIJACKED
from tests.reporting import ATTACK

PROXIES = ("regular", "lazy", "upstream")
SOCKS = ("socks5", "socks5 lazy")
NAMED = (*PROXIES, *SOCKS)
"""Where the client names the host that it wants to be connected to."""
REVERSE = ("reverse", "keep host")
BY_ADDRESS = ("transparent",)
EVERYWHERE = (*NAMED, *REVERSE, *BY_ADDRESS)
FORWARD = (*NAMED, *BY_ADDRESS)
FEW = ("regular", "socks5 lazy", "transparent")

BOTH = ("http", "https")
TLS = ("https",)
PLAIN = ("http",)

LEFT = "bare/skipped"
OTHER_FORM = "HOST is .*, and this was"
HARMLESS = "bare/skipped/refused/blocked"
"""What becomes of it is mitmproxy's affair, and not the same in each version, as long as no token goes along."""
ODD = "injected/skipped/refused"
"""As odd as that, but on a connection to the right server."""


UNMARKED = f"path is not below it|{GOOD}.*{GOOD}|{GOOD}.*port"
"""A part of a server, or of this machine, that no file names is hardly a mistake."""


def get(*headers: str, path: str = "/", line: str = "GET {at}PATH HTTP/1.1") -> str:
    """A request, after which the client wants no other on this connection."""
    return "\r\n".join([line.replace("PATH", path), *headers, "Connection: close", "", ""])


def h2(*more: tuple[str, str], without: str = "", **pseudo: str) -> tuple[tuple[str, str], ...]:
    """The headers of a request to {good}; what is given replaces or follows."""
    given = {"method": "GET", "scheme": "https", "authority": "{good}:{port}", "path": "/", **pseudo}
    return (*((f":{name}", value) for name, value in given.items() if name != without), *more)


@dataclass(frozen=True)
class Case:
    """A request, and what must become of it.

    Expected is an outcome, or several with a slash between them; with more answers than one, a word for each. `but`
    tells it for ways, families of ways or their schemes in which it is something else. A request that is skipped
    `says` which name differed. Without `sni`, it is the host that is connected to; empty, none is sent.
    """

    name: str
    expected: str
    request: str | tuple[tuple[str, str], ...]
    to: str = "{good}"
    port: str = "{port}"
    sni: str = "{to}"
    says: str = ""
    ways: tuple[str, ...] = EVERYWHERE
    schemes: tuple[str, ...] = BOTH
    but: Mapping[str, str] = field(default_factory=dict)

    def expects(self, way: str, scheme: str) -> list[set[str]]:
        """The outcomes that are right, for each answer."""
        expected = self.expected
        family = WAYS[way].family
        if family == "transparent" and scheme == "http":
            # Nobody vouches for the name of an address without TLS.
            expected = expected.replace("injected", "skipped").replace("bare", "bare/skipped")
        for key in (family, way, f"{family} {scheme}", f"{way} {scheme}"):
            expected = self.but.get(key, expected)
        return [set(word.split("/")) for word in expected.split()]


OF_GOOD = "Host: {good}:{port}"
OF_EVIL = "Host: {evil}:{port}"
WEBSOCKET = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


def legitimate(name: str, *headers: str, expected: str = "injected", **more: Any) -> Case:
    return Case(name, expected, get(*headers), **more)


def near_miss(name: str, *headers: str, expected: str = "skipped", **more: Any) -> Case:
    """The request names the good server, but the connection goes to the evil one."""
    rewritten = "bare" if expected == "skipped" else HARMLESS
    but = {"reverse": rewritten, "keep host": expected}
    given = {"request": get(*headers), "to": "{evil}", "says": "Host", "but": but}
    return Case(name, expected, **{**given, **more})


def wrong_name(name: str, *headers: str, expected: str = "skipped", **more: Any) -> Case:
    """The connection goes to the good server, but the request names another one."""
    but = {"reverse": "injected", "keep host": expected, "transparent http": LEFT}
    given = {"request": get(*headers), "says": "Host", "but": but}
    return Case(name, expected, **{**given, **more})


def path(path: str, expected: str = "skipped") -> Case:
    """A request to the server of which only /orders is ours."""
    host, says = "path.qa.test", "this path is not below it"
    request = get(f"Host: {host}:{{port}}", path=path)
    return Case(f"path {path}", expected, request, to=host, ways=FEW, schemes=TLS, says=says)


def in_place(place: str, header: str, path: str, cookies: tuple[tuple[str, str], ...]) -> list[Case]:
    """Requests to, and near misses of, a server that wants the token in its query or in a cookie.

    The client sends a credential of its own there, in this header or path; in HTTP/2 with these cookies.
    """
    host, own = f"{place}.qa.test", (f"Host: {place}.qa.test:{{port}}", header)
    bare = "bare/skipped"
    return [
        Case(f"{place}: as a client sends it", "injected", get(own[0]), to=host, ways=FEW, schemes=TLS),
        Case(f"{place}: replaced", "injected", get(*own, path=path), to=host, ways=FEW, schemes=TLS),
        Case(f"{place}: a WebSocket", "injected", "\r\n".join([f"GET {path} HTTP/1.1", *own, *WEBSOCKET, "", ""]),
             to=host, ways=FEW, schemes=TLS),
        Case(f"{place}: HTTP/2", "injected", h2(*cookies, authority=f"{host}:{{port}}", path=path), to=host, ways=FEW,
             schemes=TLS),
        Case(f"{place}: a line break in a path", HARMLESS,
             h2(authority=host, path=f"{path} HTTP/1.1\r\nHost: {{evil}}\r\n"), to=host, ways=FEW, schemes=TLS),
        Case(f"{place}: a path in absolute form", HARMLESS, h2(authority=host, path=f"https://{{evil}}{path}"), to=host,
             ways=FEW, schemes=TLS),
        Case(f"{place}: from another site", "skipped", get(*own, "Sec-Fetch-Site: cross-site", path=path), to=host,
             says="another site", ways=FEW, schemes=TLS),
        Case(f"{place}: two requests", f"injected {bare}",
             f"GET {path} HTTP/1.1\r\n{own[0]}\r\n\r\n" + get(OF_EVIL, path=path), to=host, says="Host", ways=FEW,
             schemes=TLS),
        Case(f"{place}: evil, Host of it", "skipped", get(*own, path=path), to="{evil}", says="Host", ways=FEW,
             schemes=TLS),
        Case(f"{place}: another port", bare, get(*own, path=path), to=host, port="{other}", ways=FEW, schemes=TLS,
             says="Host"),
    ]  # fmt: skip


CASES = [
    # --- Legitimate, and must get its token ---------------------------------------------------------------------------
    legitimate("a request to good", OF_GOOD),
    Case("a POST", "injected", get(OF_GOOD, "Content-Length: 0", line="POST {at}PATH HTTP/1.1")),
    legitimate("the client's own credential is replaced", OF_GOOD, "Authorization: Basic bWU6bWU="),
    legitimate("two credentials of the client's", OF_GOOD, "Authorization: Basic bWU=", "authorization: Bearer mine"),
    legitimate("Host in capitals", "hOST: {GOOD}:{port}"),
    legitimate("Host with a dot at its end", "Host: {good}.:{port}"),
    legitimate("Host without a port", "Host: {good}"),
    legitimate("Host among spaces and tabs", "Host: \t {good}:{port} \t "),
    legitimate("the same Host twice", OF_GOOD, OF_GOOD, expected="injected/refused"),
    Case(
        "HTTP/1.0 without Host",
        "injected",
        get(line="GET {at}PATH HTTP/1.0"),
        but={"transparent http": "skipped"},
        says="and this was port",
    ),
    Case("a path with %0d%0a", "injected", get(OF_GOOD, path="/x%0d%0aHost:%20{evil}%0d%0aX:")),
    Case("a WebSocket", "injected", "\r\n".join(["GET {at}/ HTTP/1.1", OF_GOOD, *WEBSOCKET, "", ""])),
    # mitmproxy takes all its Connection headers away, so HTTP/1.0 is what closes it.
    Case("an upgrade to h2c", "injected", get(OF_GOOD, "Upgrade: h2c", line="GET {at}PATH HTTP/1.0")),
    Case("HTTP/2", "injected", h2(), schemes=TLS),
    Case("HTTP/2 with Host as well", "injected", h2(("host", "{good}:{port}")), schemes=TLS),
    Case("HTTP/2 without a port", "injected", h2(authority="{good}"), schemes=TLS),
    Case("HTTP/2 with the client's own credential", "injected", h2(("authorization", "Bearer mine")), schemes=TLS),
    legitimate("SNI in capitals", OF_GOOD, sni="{GOOD}", schemes=TLS),
    legitimate("an address, SNI of good", OF_GOOD, to=GOOD, sni="{good}", ways=FORWARD, schemes=TLS),
    legitimate("no SNI", OF_GOOD, sni="", schemes=TLS, but={"transparent": "skipped"}),
    # In reverse mode the Host header becomes the server's before anybody sees it, unless keep_host_header is set.
    legitimate("SNI of another in reverse mode", OF_GOOD, sni=SHARED, ways=("reverse",), schemes=TLS),
    legitimate("a subdomain", "Host: x.wild.test:{port}", to="x.wild.test", ways=FORWARD, schemes=TLS),
    legitimate("a deeper subdomain", "Host: a.b.wild.test:{port}", to="a.b.wild.test", ways=FORWARD, schemes=TLS),
    legitimate("IDNA", "Host: xn--mnchen-3ya.qa.test:{port}", to="xn--mnchen-3ya.qa.test", ways=FORWARD, schemes=TLS),
    Case(
        "two requests on one connection",
        "injected injected",
        f"GET {{at}}/1 HTTP/1.1\r\n{OF_GOOD}\r\n\r\n" + get(OF_GOOD, path="/2"),
    ),
    legitimate(
        "a request from the same origin", OF_GOOD, "Sec-Fetch-Site: same-origin", "Origin: {scheme}://{good}:{port}"
    ),
    legitimate("a person's own navigation", OF_GOOD, "Sec-Fetch-Site: none"),
    Case("TRACE, which sends the token back to the client", "injected", get(OF_GOOD, line="TRACE {at}PATH HTTP/1.1")),
    # --- The request names the good server, the connection goes to the evil one ---------------------------------------
    near_miss("evil, Host of good", OF_GOOD),
    near_miss("evil, Host of good without port", "Host: {good}"),
    near_miss("evil, Host of good in capitals", "HOST: {GOOD}:{port}"),
    near_miss("evil, Host of good with a dot", "Host: {good}.:{port}"),
    near_miss("evil, Host of good among tabs", "Host: \t{good}:{port}\t"),
    near_miss("evil, Host of evil and of good", OF_EVIL, OF_GOOD, expected="skipped/refused"),
    near_miss("evil, Host of good and of evil", OF_GOOD, OF_EVIL, expected="skipped/refused"),
    near_miss("evil, Host good@evil", "Host: {good}@{evil}:{port}", expected=HARMLESS),
    near_miss("evil, Host evil@good", "Host: {evil}@{good}:{port}", expected=HARMLESS),
    near_miss("evil, Host evil, good", "Host: {evil}, {good}", expected=HARMLESS),
    near_miss("evil, Host evil#good", "Host: {evil}#{good}", expected=HARMLESS),
    near_miss(
        "evil, a space before the colon", "Host : {good}:{port}", expected=HARMLESS, ways=(*EVERYWHERE, "unvalidated")
    ),
    near_miss("evil, a folded Host", "Host: {evil}:{port}\r\n {good}:{port}", expected=HARMLESS),
    near_miss("evil, Host ends in a bare LF", "X: y\nHost: {good}:{port}", expected=HARMLESS),
    near_miss(
        "evil, X-Forwarded-Host of good",
        OF_EVIL,
        "X-Forwarded-Host: {good}",
        "Forwarded: host={good}",
        expected="bare",
        says="",
    ),
    near_miss(
        "evil, SNI of good, which evil cannot prove",
        OF_GOOD,
        sni="{good}",
        schemes=TLS,
        expected="refused",
        but={"reverse": "bare", "keep host": "refused"},
    ),
    near_miss(
        "evil's address, SNI of good",
        OF_GOOD,
        to=EVIL_ADDRESS,
        sni="{good}",
        schemes=TLS,
        ways=FORWARD,
        expected="refused",
    ),
    near_miss("evil's address, Host of good", OF_GOOD, to=EVIL_ADDRESS, sni="", ways=FORWARD),
    near_miss("evil, SNI of nobody, Host of good", OF_GOOD, sni="", schemes=TLS),
    near_miss("a hijacked name", f"Host: {HIJACKED}", to=HIJACKED, schemes=TLS, ways=NAMED, expected="refused"),
    near_miss("evil's decimal address", OF_GOOD, to="2130706434", sni="", ways=NAMED, expected="skipped/refused"),
    near_miss("evil's hexadecimal address", OF_GOOD, to="0x7f000002", sni="", ways=NAMED, expected="skipped/refused"),
    near_miss("evil's octal address", OF_GOOD, to="0177.0.0.2", sni="", ways=NAMED, expected="skipped/refused"),
    near_miss("evil's short address", OF_GOOD, to="127.2", sni="", ways=NAMED, expected="skipped/refused"),
    near_miss(
        "evil's IPv4-mapped address", OF_GOOD, to="[::ffff:127.0.0.2]", sni="", ways=NAMED, expected="skipped/refused"
    ),
    near_miss("an address with a zone", OF_GOOD, to="[fe80::1%25lo]", sni="", ways=NAMED, expected=HARMLESS),
    Case(
        "evil, target of good",
        "skipped",
        get(OF_EVIL, line="GET {scheme}://{good}:{port}/ HTTP/1.1"),
        to="{evil}",
        ways=(*SOCKS, *REVERSE, *BY_ADDRESS),
        says="Host|target",
    ),
    Case(
        "evil, tunnel, target of good",
        "skipped",
        get(OF_GOOD, line="GET https://{good}:{port}/ HTTP/1.1"),
        to="{evil}",
        ways=PROXIES,
        schemes=TLS,
        says="Host|target",
    ),
    Case("evil, target //good/", HARMLESS, get(OF_EVIL, path="//{good}:{port}/"), to="{evil}"),
    Case(
        "evil, target good:port",
        HARMLESS,
        get(OF_EVIL, line="GET {good}:{port} HTTP/1.1"),
        to="{evil}",
        ways=(*SOCKS, *REVERSE, *BY_ADDRESS),
    ),
    Case(
        "target good@evil", HARMLESS, get(line="GET http://{good}@{evil}:{port}/ HTTP/1.1"), ways=PROXIES, schemes=PLAIN
    ),
    Case(
        "target good:80@evil",
        HARMLESS,
        get(line="GET http://{good}:80@{evil}:{port}/ HTTP/1.1"),
        ways=PROXIES,
        schemes=PLAIN,
    ),
    Case(
        "target evil#@good",
        HARMLESS,
        get(line="GET http://{evil}:{port}#@{good}/ HTTP/1.1"),
        ways=PROXIES,
        schemes=PLAIN,
    ),
    Case(
        "target evil\\@good",
        HARMLESS,
        get(line="GET http://{evil}:{port}\\@{good}/ HTTP/1.1"),
        ways=PROXIES,
        schemes=PLAIN,
    ),
    Case(
        "target with an encoded dot",
        HARMLESS,
        get(line="GET http://plain%2eqa.test:{port}/ HTTP/1.1"),
        ways=PROXIES,
        schemes=PLAIN,
    ),
    Case(
        "target with an encoded letter",
        HARMLESS,
        get(line="GET http://%70lain.qa.test:{port}/ HTTP/1.1"),
        ways=PROXIES,
        schemes=PLAIN,
    ),
    Case("target without a host", HARMLESS, get(OF_GOOD, line="GET http:///x HTTP/1.1"), ways=PROXIES, schemes=PLAIN),
    near_miss("HTTP/2, evil, :authority of good", request=h2(), schemes=TLS, says="target"),
    near_miss(
        "HTTP/2, evil, Host of good",
        expected="skipped/refused",
        request=h2(("host", "{good}:{port}"), authority="{evil}:{port}"),
        schemes=TLS,
    ),
    near_miss(
        "HTTP/2, evil, Host of good and no :authority", request=h2(("host", "{good}"), without="authority"), schemes=TLS
    ),
    near_miss(
        "HTTP/2, evil, :authority good@evil", request=h2(authority="{good}@{evil}"), schemes=TLS, expected=HARMLESS
    ),
    near_miss(
        "HTTP/2, evil, :authority evil@good", request=h2(authority="{evil}@{good}"), schemes=TLS, expected=HARMLESS
    ),
    near_miss(
        "HTTP/2, evil, two :authority", request=((":authority", "{evil}"), *h2()), schemes=TLS, expected=HARMLESS
    ),
    near_miss(
        "HTTP/2, evil, :path is a URL of good",
        request=h2(authority="{evil}", path="https://{good}:{port}/"),
        schemes=TLS,
        expected=HARMLESS,
    ),
    near_miss(
        "HTTP/2, evil, Host smuggled in a value",
        request=h2(("x", "y\r\nhost: {good}"), authority="{evil}"),
        schemes=TLS,
        expected=HARMLESS,
    ),
    near_miss(
        "HTTP/2, evil, CONNECT good", request=h2(without="path", method="CONNECT"), schemes=TLS, expected=HARMLESS
    ),
    # --- The connection goes to the good server, the request names another one ----------------------------------------
    wrong_name("Host of evil", OF_EVIL),
    wrong_name("Host of good and of evil", OF_GOOD, OF_EVIL, expected="skipped/refused"),
    wrong_name("Host of evil and of good", OF_EVIL, OF_GOOD, expected="skipped/refused"),
    wrong_name("Host with another port", "Host: {good}:{other}"),
    wrong_name("Host good@evil, to good", "Host: {good}@{evil}:{port}"),
    wrong_name("Host evil@good, to good", "Host: {evil}@{good}:{port}"),
    wrong_name("Host good, evil", "Host: {good}, {evil}"),
    wrong_name("Host good.evil", "Host: {good}.{evil}:{port}"),
    wrong_name("an empty Host", "Host:"),
    wrong_name("Host is an address", "Host: 127.0.0.1:{port}"),
    wrong_name("Host with an encoded dot", "Host: api%2eqa.test:{port}"),
    wrong_name(
        "Host with a fullwidth letter", "Host: \uff41pi.qa.test:{port}", expected=ODD, but={"transparent http": LEFT}
    ),
    wrong_name("SNI of another tenant", OF_GOOD, sni=SHARED, schemes=TLS, says="SNI|Host"),
    wrong_name(
        "SNI and Host of another tenant", f"Host: {SHARED}", sni=SHARED, schemes=TLS, ways=NAMED, says="SNI|Host"
    ),
    wrong_name("SNI of evil, which good cannot prove", OF_GOOD, sni="{evil}", schemes=TLS, expected="refused"),
    wrong_name("good's address, no SNI, Host of good", OF_GOOD, to=GOOD, sni="", schemes=TLS, ways=FORWARD, but={}),
    wrong_name("good's address, Host of good", OF_GOOD, to=GOOD, schemes=PLAIN, ways=FORWARD, but={}),
    wrong_name(
        "target of evil",
        OF_GOOD,
        request=get(OF_GOOD, line="GET {scheme}://{evil}:{port}/ HTTP/1.1"),
        ways=(*SOCKS, *REVERSE, *BY_ADDRESS),
        says="Host|target",
        but={"transparent http": LEFT},
    ),
    wrong_name(
        "tunnel, target of evil",
        request=get(OF_GOOD, line="GET https://{evil}:{port}/ HTTP/1.1"),
        ways=PROXIES,
        schemes=TLS,
        says="Host|target",
        but={},
    ),
    wrong_name("HTTP/2, :authority of evil", request=h2(authority="{evil}"), schemes=TLS, says="target"),
    wrong_name("HTTP/2, Host of evil", request=h2(("host", "{evil}")), schemes=TLS, expected="skipped/refused", but={}),
    wrong_name(
        "HTTP/2, :authority good@evil",
        request=h2(authority="{good}@{evil}"),
        schemes=TLS,
        expected="skipped/refused",
        but={},
    ),
    Case("HTTP/2, :scheme http", ODD, h2(scheme="http"), schemes=TLS),
    Case("HTTP/2, capitals in a header's name", ODD, h2(("Authorization", "Bearer mine")), schemes=TLS),
    Case("HTTP/2, two :path", ODD, h2((":path", "/2")), schemes=TLS),
    Case("HTTP/2, Transfer-Encoding", ODD, h2(("transfer-encoding", "chunked")), schemes=TLS),
    Case("HTTP/2 without TLS", HARMLESS, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", schemes=PLAIN),
    # --- The name that is dialled, in odd spellings -------------------------------------------------------------------
    *(
        Case(
            f"dialled as {to!a}",
            expected,
            get(OF_GOOD if "{" in to else f"Host: {to}:{{port}}"),
            to=to,
            sni=sni,
            # mitmproxy's SOCKS proxy never answers to what it cannot read.
            ways=NAMED if to.isascii() and to.isprintable() else PROXIES,
            schemes=TLS,
        )
        for to, sni, expected in (
            ("{GOOD}", "{good}", "injected"),
            ("{good}.", "{good}", "injected/refused"),
            ("m\u00fcnchen.qa.test", "xn--mnchen-3ya.qa.test", "injected/refused"),
            ("{good}\0", "{good}", HARMLESS),
            ("{good}\0.evil.test", "{good}", HARMLESS),
            ("{good}@{evil}", "{good}", HARMLESS),
            ("{evil}#{good}", "{good}", HARMLESS),
            ("{evil}/{good}", "{good}", HARMLESS),
            ("\u0430pi.qa.test", "{good}", HARMLESS),
            ("api%2eqa.test", "{good}", HARMLESS),
            ("\uff41pi.qa.test", "{good}", "injected/skipped/bare/refused"),
            ("api\u3002qa.test", "{good}", "injected/skipped/bare/refused"),
        )
    ),
    # --- Another port, scheme or host ---------------------------------------------------------------------------------
    near_miss("another port of good", OF_GOOD, to="{good}", port="{other}", ways=FORWARD),
    near_miss(
        "another port of good, named",
        "Host: {good}:{other}",
        to="{good}",
        port="{other}",
        ways=FORWARD,
        says=f"{OTHER_FORM}|Host",
    ),
    near_miss(
        "plain http to an https origin",
        "Host: api.qa.test:{port}",
        to="api.qa.test",
        schemes=PLAIN,
        ways=FORWARD,
        says=f"{OTHER_FORM}|Host",
    ),
    near_miss(
        "https to an http origin",
        "Host: plain.qa.test:{port}",
        to="plain.qa.test",
        schemes=TLS,
        ways=FORWARD,
        says=OTHER_FORM,
    ),
    near_miss(
        "a wildcard's apex", "Host: wild.test:{port}", to="wild.test", schemes=TLS, ways=FORWARD, expected="bare"
    ),
    near_miss(
        "a wildcard's suffix without a dot",
        "Host: evilwild.test:{port}",
        to="evilwild.test",
        schemes=TLS,
        ways=FORWARD,
        expected="bare",
    ),
    near_miss("a look-alike", "Host: evilqa.test:{port}", to="evilqa.test", schemes=TLS, ways=FORWARD, expected="bare"),
    near_miss(
        "good's name as a subdomain of evil's",
        "Host: x.wild.test.evil.test:{port}",
        to="x.wild.test.evil.test",
        schemes=TLS,
        ways=FORWARD,
        expected="bare",
    ),
    near_miss("evil, Host of a subdomain", "Host: x.wild.test:{port}", schemes=TLS),
    near_miss(
        "a subdomain that the resolver reads otherwise",
        to="127.0.0.2\0%.wild.test",
        sni="x.wild.test",
        schemes=TLS,
        ways=SOCKS,
        expected=HARMLESS,
    ),
    Case(
        "the token endpoint",
        "skipped",
        get("Host: 127.0.0.1:{token}", path="/oauth2/v2.0/token"),
        to=GOOD,
        port="{token}",
        schemes=PLAIN,
        ways=FORWARD,
    ),
    Case(
        "the token endpoint with a query",
        "skipped",
        get("Host: 127.0.0.1:{token}", path="/oauth2/v2.0/token?x"),
        to=GOOD,
        port="{token}",
        schemes=PLAIN,
        ways=FORWARD,
    ),
    Case(
        "the token endpoint, spelt otherwise",
        "skipped",
        get("Host: 127.0.0.1:{token}", path="/oauth2/./v2.0/%74oken"),
        to=GOOD,
        port="{token}",
        schemes=PLAIN,
        ways=FORWARD,
    ),
    # --- Paths, of which only /orders is ours -------------------------------------------------------------------------
    *(path(way, "injected") for way in ("/orders", "/orders/", "/orders/1", "/orders?x=/../admin", "/orders/a.b/...")),
    *(
        path(way)
        for way in (
            "/",
            "/admin",
            "/ordersx",
            "/orders.x",
            "/ORDERS",
            "//orders",
            "/admin?/orders",
            "/admin/../orders",
            "/orders/../admin",
            "/orders/./x",
            "/orders/..",
            "/orders/%2e%2e/admin",
            "/orders/.%2E/admin",
            "/orders%2fadmin",
            "/orders/..%2fadmin",
            "/orders/%252e%252e/admin",
            "/orders\\..\\admin",
            "/orders/..%5cadmin",
            "/orders/..;/admin",
            "/orders/..#/admin",
            "/orders/..%23/x",
            "/orders/..%3b/admin",
            "/orders/.%00./admin",
            "/orders/%c0%ae%c0%ae/admin",
            "/%6frders",
            "/admin%3f/../orders",
        )
    ),
    # --- Ambient identity ---------------------------------------------------------------------------------------------
    Case(
        "a preflight",
        "bare",
        get(
            OF_GOOD, "Origin: https://evil.test", "Access-Control-Request-Method: PUT", line="OPTIONS {at}PATH HTTP/1.1"
        ),
        but={"transparent http": LEFT},
    ),
    Case("a page of another site", "skipped", get(OF_GOOD, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors")),
    Case("a page of another origin", "skipped", get(OF_GOOD, "Origin: https://evil.test")),
    Case("a page without an origin", "skipped", get(OF_GOOD, "Origin: null")),
    Case(
        "a WebSocket of another origin",
        "skipped",
        "\r\n".join(["GET {at}/ HTTP/1.1", OF_GOOD, "Origin: https://evil.test", *WEBSOCKET, "", ""]),
    ),
    Case(
        "a page whose origin is listed",
        "injected",
        get("Host: page.qa.test:{port}", "Origin: https://spa.test", "Sec-Fetch-Site: cross-site"),
        to="page.qa.test",
        schemes=TLS,
        ways=FORWARD,
    ),
    Case(
        "a page whose origin looks like the listed one",
        "skipped",
        get("Host: page.qa.test:{port}", "Origin: https://spa.test.evil.test", "Sec-Fetch-Site: cross-site"),
        to="page.qa.test",
        schemes=TLS,
        ways=FORWARD,
    ),
    Case(
        "two origins, one of them listed",
        "skipped",
        get("Host: page.qa.test:{port}", "Origin: https://spa.test", "Origin: https://evil.test"),
        to="page.qa.test",
        schemes=TLS,
        ways=FORWARD,
    ),
    Case(
        "HTTP/2, a page of another site",
        "skipped",
        h2(("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")),
        schemes=TLS,
    ),
    near_miss(
        "a WebSocket to evil, Host of good", request="\r\n".join(["GET {at}/ HTTP/1.1", OF_GOOD, *WEBSOCKET, "", ""])
    ),
    # --- One request that is taken for two, or two for one ------------------------------------------------------------
    wrong_name(
        "a second request, Host of evil",
        request=f"GET {{at}}/1 HTTP/1.1\r\n{OF_GOOD}\r\n\r\n" + get(OF_EVIL, path="/2"),
        expected="injected skipped",
        but={
            "reverse": "injected injected",
            "keep host": "injected skipped",
            "transparent http": "skipped skipped/bare",
        },
    ),
    near_miss(
        "evil, a second request, Host of good",
        request=f"GET {{at}}/1 HTTP/1.1\r\n{OF_EVIL}\r\n\r\n" + get(OF_GOOD, path="/2"),
        expected="bare skipped",
        but={"reverse": "bare bare", "keep host": "bare skipped"},
    ),
    Case(
        "a second request to evil",
        "injected skipped",
        f"GET http://{{good}}:{{port}}/1 HTTP/1.1\r\n{OF_GOOD}\r\n\r\n"
        + get(OF_GOOD, line="GET http://{evil}:{port}/2 HTTP/1.1"),
        ways=PROXIES,
        schemes=PLAIN,
    ),
    *(
        near_miss(
            f"evil, {name}",
            request=smuggled,
            expected=f"{HARMLESS} {HARMLESS}",
            but={},
            ways=(*EVERYWHERE, "unvalidated"),
        )
        for name, smuggled in (
            (
                "Content-Length before Transfer-Encoding",
                f"POST {{at}}/ HTTP/1.1\r\n{OF_EVIL}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
                + "0\r\n\r\n"
                + get(OF_GOOD),
            ),
            (
                "two Content-Lengths",
                f"POST {{at}}/ HTTP/1.1\r\n{OF_EVIL}\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n" + get(OF_GOOD),
            ),
            (
                "a folded Transfer-Encoding",
                f"POST {{at}}/ HTTP/1.1\r\n{OF_EVIL}\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + get(OF_GOOD),
            ),
            (
                "a chunk's extension",
                f'POST {{at}}/ HTTP/1.1\r\n{OF_EVIL}\r\nTransfer-Encoding: chunked\r\n\r\n0;x="\n"\r\n\r\n'
                + get(OF_GOOD),
            ),
            ("bare LFs", f"GET {{at}}/ HTTP/1.1\n{OF_EVIL}\n\n" + get(OF_GOOD)),
            ("a bare CR in a header", f"GET {{at}}/ HTTP/1.1\r\n{OF_EVIL}\r\nX: y\r{OF_GOOD}\r\n\r\n" + get(OF_GOOD)),
        )
    ),
    Case("a header of 60 KB", ODD, get(OF_GOOD, "X: " + "x" * 60_000)),
    # --- A request that mitmproxy writes, or a server reads, in another way than it was sent --------------------------
    *(
        Case(f"HTTP/2, {name}", HARMLESS, h2(*more, **pseudo), schemes=TLS, ways=(*EVERYWHERE, "unvalidated"))
        for name, more, pseudo in (
            ("a path in absolute form", (), {"path": "http://{shared}/x"}),
            ("a path in absolute form, https", (), {"path": "https://{shared}:{port}/x"}),
            ("a path in authority form", (), {"path": "{shared}:{port}"}),
            ("a path without its slash", (), {"path": "x"}),
            ("a path with a space", (), {"path": "/ HTTP/1.1"}),
            ("a path with a tab", (), {"path": "/\tHTTP/1.1"}),
            ("a path with CR LF", (), {"path": "/ HTTP/1.1\r\nHost: {evil}\r\nX: "}),
            ("a method with a space", (), {"method": "POST /admin HTTP/1.1\r\nX: y\r\n\r\nGET"}),
            ("a method of two words", (), {"method": "POST /admin"}),
            ("CR LF in a value", (("x", "y\r\n\r\nPOST /admin HTTP/1.1\r\nHost: {good}"),), {}),
            ("LF in a value", (("x", "y\nhost: {evil}"),), {}),
            ("CR in a value", (("x", "y\rhost: {evil}"),), {}),
            ("a NUL in a value", (("x", "y\0z"),), {}),
            ("CR LF in a name", (("x: y\r\nhost: {evil}\r\nz", "w"),), {}),
            ("a colon in a name", (("transfer-encoding: chunked", "x"),), {}),
            ("a space in a name", (("content-length ", "5"),), {}),
            ("a NUL in a name", (("x\0y", "z"),), {}),
        )
    ),
    *(
        Case(f"HTTP/1, {name}", HARMLESS, get(OF_GOOD, *more), ways=(*EVERYWHERE, "unvalidated"))
        for name, more in (
            ("a header's name with a NUL", ("Authori\0zation: Bearer mine",)),
            ("a header's value with a NUL", ("X: a\0b",)),
            ("a header's value with a CR", ("X: a\rHost: {evil}",)),
            ("a header's name with a space", ("Transfer-Encoding : chunked",)),
        )
    ),
    Case("OPTIONS *", "injected", get(OF_GOOD, line="OPTIONS * HTTP/1.1"), schemes=TLS),
    Case("HTTP/2, OPTIONS *", "injected", h2(method="OPTIONS", path="*"), schemes=TLS),
    Case("a path that begins with two slashes", "injected", get(OF_GOOD, path="//x/y")),
    legitimate("a value in UTF-8", OF_GOOD, "X: größe"),
    # --- In the query, in a cookie ------------------------------------------------------------------------------------
    *in_place("query", "X: y", "/x?a=%2e%2e&api%5Fkey=mine;b&api_key=mine", ()),
    *in_place("cookie", "Cookie: a=1; session =mine", "/x?session=1", (("cookie", "session=mine"), ("cookie", "b=2"))),
    Case(
        "query: OPTIONS *, which has none",
        "blocked",
        get("Host: query.qa.test:{port}", line="OPTIONS * HTTP/1.1"),
        to="query.qa.test",
        schemes=TLS,
        ways=FEW,
    ),
    # --- TLS to the proxy itself --------------------------------------------------------------------------------------
    legitimate(
        "by TLS to the proxy", OF_GOOD, sni="proxy.test", ways=("tls",), schemes=TLS, expected="injected/skipped"
    ),
    near_miss(
        "by TLS to the proxy as good, to evil",
        OF_GOOD,
        sni="{good}",
        ways=("tls",),
        schemes=TLS,
        expected="skipped/refused",
    ),
    near_miss(
        "by TLS to the proxy as good, to evil's address",
        OF_GOOD,
        to=EVIL_ADDRESS,
        sni="{good}",
        ways=("tls",),
        schemes=TLS,
        expected="skipped/refused",
    ),
    near_miss(
        "by TLS to the proxy as good, to another port",
        OF_GOOD,
        to=GOOD,
        port="{other}",
        sni="{good}",
        ways=("tls",),
        schemes=TLS,
        expected="skipped/refused",
    ),
    near_miss(
        "by TLS to the proxy as good, after a tunnel that failed, to evil's address",
        request="CONNECT {good}:1 HTTP/1.1\r\nHost: {good}:1\r\n\r\n" + get(OF_GOOD),
        to=EVIL_ADDRESS,
        sni="{good}",
        ways=("tls",),
        schemes=TLS,
        expected="refused skipped/refused",
        says="verified",
        but={},
    ),
    # --- ssl_insecure -------------------------------------------------------------------------------------------------
    Case("unverified", "blocked", get(OF_GOOD), schemes=TLS, ways=("insecure",)),
    Case("unverified, HTTP/2", "blocked", h2(), schemes=TLS, ways=("insecure",)),
    Case("unverified, plain http origin", "injected", get(OF_GOOD), schemes=PLAIN, ways=("insecure",)),
    Case("unverified, loopback", "injected", get("Host: 127.0.0.1:{port}"), to=GOOD, schemes=TLS, ways=("insecure",)),
    Case(
        "set and unset between requests",
        "injected blocked blocked injected",
        "".join(
            f"GET {{at}}/ HTTP/1.1\r\n{OF_GOOD}\r\n{more}\r\n"
            for more in ("X-Insecure: true\r\n", "", "X-Insecure: false\r\n")
        )
        + get(OF_GOOD),
        schemes=TLS,
        ways=("toggled",),
    ),
    Case(
        "set before the server is connected, which is another one",
        "blocked/skipped/refused blocked",
        f"GET {{at}}/1 HTTP/1.1\r\nHost: {HIJACKED}\r\nX-Insecure: true\r\n\r\n"
        + get(f"Host: {HIJACKED}", "X-Insecure: false"),
        to=HIJACKED,
        schemes=TLS,
        ways=("toggled lazy",),
    ),
    *(
        Case(
            f"set while a preflight connects, then unset, {how}",
            "bare bare blocked",
            "".join(
                f"OPTIONS {line}/ HTTP/1.1\r\nHost: {HIJACKED}\r\nAccess-Control-Request-Method: PUT\r\n"
                f"X-Insecure: {insecure}\r\n\r\n"
                for insecure in ("true", "false")
            )
            + get(f"Host: {HIJACKED}", line=f"GET {line}PATH HTTP/1.1"),
            to=HIJACKED,
            schemes=schemes,
            ways=("toggled lazy",),
        )
        for how, line, schemes in (
            ("by a tunnel", "{at}", TLS),
            ("by the proxy's TLS", f"https://{HIJACKED}:{{port}}", PLAIN),
        )
    ),
    near_miss(
        "unverified, a hijacked name",
        f"Host: {HIJACKED}",
        to=HIJACKED,
        schemes=TLS,
        ways=("insecure",),
        expected="blocked",
    ),
    near_miss("unverified, evil with the SNI of good", OF_GOOD, sni="{good}", schemes=TLS, ways=("insecure",)),
    near_miss(
        "unverified, evil's address with the SNI of good",
        OF_GOOD,
        to=EVIL_ADDRESS,
        sni="{good}",
        schemes=TLS,
        ways=("insecure",),
        expected="blocked",
    ),
]


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory,
    confdir: Path,
    authority: Authority,
    certificates: tuple[Path, Path],
    canaries: Canaries,
    inside: Sequence[str],
) -> Iterator[Arena]:
    """The arena. At its end no server has got what it should not."""
    with (
        on_stage(tmp_path_factory.mktemp("arena"), confdir, certificates, inside) as stage,
        arena(stage, authority) as made,
    ):
        port = made.port
        stage.env(f"https://{HTTPS}:{port}")
        stage.env(f"http://{HTTP}:{port}", name="plain")
        stage.env(f"https://*.wild.test:{port}", name="wild")
        stage.env(f"https://path.qa.test:{port}/orders", name="path")
        stage.env(f"https://münchen.qa.test:{port}", name="idna")
        stage.env(f"https://page.qa.test:{port}", "ORIGINS=https://spa.test", name="page")
        stage.env(f"https://query.qa.test:{port}", "QUERY=api_key", name="query")
        stage.env(f"https://cookie.qa.test:{port}", "COOKIE=session", name="cookie")
        stage.env(f"http://{GOOD}:{made.token_port}", name="token")
        stage.env(f"https://{GOOD}:{port}", name="loopback")
        yield made
        stolen = [made.canaries_at(server) for server in made.strangers]
        for log in made.logs():
            canaries.look("mitmproxy's log of the attacks", log, made.canaries)
    canaries.look_into(stage.folder, {CLIENT_SECRET}, set(stage.authorization_server.tokens))
    canaries.tell()
    assert stolen == [0, 0]


@pytest.mark.parametrize(
    ("case", "scheme", "way"),
    [
        pytest.param(case, scheme, way, id=f"{scheme}: {case.name} - {way}")
        for case in CASES
        for scheme in case.schemes
        for way in case.ways
    ],
)
def test_attack(place: Arena, case: Case, scheme: str, way: str, request: pytest.FixtureRequest) -> None:
    """A token goes only where it belongs."""
    servers = (place.good, *place.strangers)
    before = [len(server.received) for server in servers]
    answers = send(place, case, scheme, way)
    outcomes = [answer.outcome for answer in answers] or ["refused"]
    request.node.user_properties.append((ATTACK, (f"{scheme}: {case.name}", way, outcomes)))
    canaries = [place.canaries_at(server, since) for server, since in zip(servers, before, strict=True)]
    assert canaries == [outcomes.count("injected"), 0, 0]
    expected = case.expects(way, scheme)
    outcomes += ["refused"] * (len(expected) - len(outcomes))
    assert len(outcomes) == len(expected), answers
    assert all(map(set.__contains__, expected, outcomes)), answers
    for told in (answer.told for answer in answers if answer.told is not None and answer.outcome == "skipped"):
        cause = told["reason"].partition("; ")[0]  # the advice names hosts, too
        assert told["marked"] == ("" if re.search(UNMARKED, cause) else ":warning:")
        # An address without TLS is no name, but this machine's are all named.
        assert re.search(OTHER_FORM if told["environment"] == "loopback" and scheme == "http" else case.says, cause)


def send(place: Arena, case: Case, scheme: str, way: str) -> list[Answer]:
    """Send the case's request this way."""
    good = HTTPS if scheme == "https" else HTTP
    words = {
        "good": good,
        "GOOD": good.upper(),
        "evil": EVIL,
        "shared": SHARED,
        "scheme": scheme,
        "port": str(place.port),
        "other": str(place.other_port),
        "token": str(place.token_port),
    }
    to, port = case.to.format(**words), int(case.port.format(**words))
    family = WAYS[way].family
    absolute = family == "tls" or (family == "regular" and scheme == "http")
    words |= {"to": to, "at": f"{scheme}://{to}:{port}" if absolute else ""}
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(closing(place.connect(way, scheme, to, port)))
            if scheme == "https":
                protocol = "http/1.1" if isinstance(case.request, str) else "h2"
                connection = stack.enter_context(tls(connection, case.sni.format(**words) or None, protocol))
        except Refused:
            return []
        if isinstance(case.request, str):
            return http1(connection, case.request.format(**words).encode())
        return http2(connection, [(name, value.format(**words)) for name, value in case.request])


@pytest.mark.parametrize(
    ("method", "size"), [("GET", 5000), ("DELETE", 5000), ("POST", 0), ("POST", 10), ("POST", 5000)]
)
def test_blocked_http2(stage: Stage, method: str, size: int) -> None:
    """A blocked HTTP/2 request is answered or goes on bare, and crashes nothing."""
    stage.env(f"https://api.qa.test:{stage.https_port}", "METHODS=HEAD")
    proxy = stage.mitmdump(stream_large_bodies="1k", connection_strategy="lazy")
    authority = f"api.qa.test:{stage.https_port}"
    headers = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", "/orders")]
    port = int(proxy.url.rpartition(":")[2])
    with (
        closing(dial(port, lambda connection: tunnel(connection, "api.qa.test", int(stage.https_port)))) as connection,
        tls(connection, "api.qa.test", "h2") as inside,
    ):
        [answer] = http2(inside, [*headers, ("authorization", "Bearer mine")], b"x" * size)
    assert answer.status == (502 if size < 1024 else 401)
    assert "Authorization" not in [name for _, headers in stage.api.received for name, _ in headers]
    assert (stage.api.received == []) == (size < 1024)
    assert not any("crashed" in line for line in proxy.log)


def test_followed_redirect(place: Arena, curl: Curl) -> None:
    """A redirect that the client follows is a new decision: to good it gets a token, to evil none."""
    good, evil = f"https://{HTTPS}:{place.port}", f"https://{EVIL}:{place.port}"
    proxy = f"http://127.0.0.1:{place.port_of('regular')}"
    for one, other, where in ((good, evil, place.evil), (evil, good, place.good)):
        at_good, at_evil, before = len(place.good.received), len(place.evil.received), len(where.received)
        follow = ("--http1.1", "--location", "--proxy", proxy, "--cacert", str(place.stage.mitmproxy_ca))
        assert curl(*follow, f"{one}/to/{other}/there").status == 200
        assert b"GET /there " in where.received[before:]
        assert (place.canaries_at(place.good, at_good), place.canaries_at(place.evil, at_evil)) == (1, 0)


def test_own_credential(place: Arena) -> None:
    """The client's own credential is replaced, however often it was sent."""
    own = ("Authorization: Basic bWU6bWU=", "authorization: Bearer mine")
    before = len(place.good.received)
    case = Case("replaced", "injected", get(OF_GOOD, *own))
    assert [answer.outcome for answer in send(place, case, "https", "regular")] == ["injected"]
    received = bytes(place.good.received[before:])
    assert b"GET / " in received
    assert b"bWU6bWU=" not in received
    assert b"mine" not in received


@pytest.mark.parametrize("name", ["query: replaced", "query: HTTP/2", "cookie: replaced", "cookie: HTTP/2"])
def test_own_elsewhere(place: Arena, name: str) -> None:
    """The client's own key or cookie is replaced, however it was sent, and all else stays."""
    before = len(place.good.received)
    case = next(case for case in CASES if case.name == name)
    assert [answer.outcome for answer in send(place, case, "https", "regular")] == ["injected"]
    received = bytes(place.good.received[before:])
    assert b"mine" not in received
    kept = b"/x?a=%2e%2e&api_key=" if name.startswith("query") else b"b=2" if "HTTP/2" in name else b"a=1; session="
    assert kept in received
    assert b"&b" in received or name.startswith("cookie")

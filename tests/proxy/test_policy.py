"""Who gets a token: one table of cases, without mitmproxy."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from credential_injector.environments.folder import open_folder
from credential_injector.origins.claims import Claim
from credential_injector.origins.hosts import normalise_host
from credential_injector.origins.index import Destination
from credential_injector.origins.origin import DEFAULT_PORTS
from credential_injector.proxy.credentials.credential import Before
from credential_injector.proxy.policy import Policy, Verdict
from credential_injector.proxy.routes import Routes

API = "https://api.example.com"
LOGIN = "https://login.example.com/t"


@dataclass
class Asked:
    """A request, as the policy asks about it."""

    url: str = f"{API}/orders"
    method: bytes = b"GET"
    sent: dict[str, str] = field(default_factory=dict)
    fields: tuple[tuple[bytes, bytes], ...] = ()
    names: Sequence[Claim] = ()
    client: str | None = "127.0.0.1"
    is_let_in: bool = False
    is_replay: bool = False
    is_reverse: bool = False
    proxy: str | None = None
    asks_as: Sequence[str] = ()
    ends_here: bool = False
    servers: Sequence[str | None] = ()
    replaced_before: Before | None = None
    target: bytes | None = None

    @property
    def destination(self) -> Destination:
        parts = urlsplit(self.url)
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        return Destination(parts.scheme, normalise_host(parts.hostname or ""), port, self.path.decode())

    @property
    def path(self) -> bytes:
        parts = urlsplit(self.url)
        written = f"{parts.path or '/'}?{parts.query}".removesuffix("?").encode()
        return self.target if self.target is not None else written

    @property
    def head(self) -> Any:
        fields = tuple((name.encode(), value.encode()) for name, value in self.sent.items())
        headers = SimpleNamespace(fields=(*fields, *self.fields))
        return SimpleNamespace(method=self.method, path=self.path, headers=headers)

    def claims(self) -> Sequence[Claim]:
        return self.names

    def verified(self) -> Sequence[str | None]:
        return self.servers


def get(url: str = f"{API}/orders", **sent: str) -> Asked:
    return Asked(url, sent={name.replace("_", "-"): value for name, value in sent.items()})


def by(client: str | None) -> Asked:
    return Asked(client=client)


def using(method: str, url: str = f"{API}/orders", **sent: str) -> Asked:
    return Asked(url, method.encode(), {name.replace("_", "-"): value for name, value in sent.items()})


def naming(host: str, where: str = "Host header", url: str = "https://evil.example/orders", **more: Any) -> Asked:
    return Asked(url, names=(Claim(where, host),), **more)


ELSEWHERE = (
    "skip: a page of https://evil.example made it, which is of another origin; to let it in, add its origin to ORIGINS"
    " in qa.env"
)
NEAR = ", but the connection goes to evil.example"
FORMS = "HOST=https://api.example.com/orders,http://127.0.0.1:9000,https://*.wild.example"
HERE = "http://localhost:3000"

# What the environment's file adds, the request, and the verdict: its action, or `pass` where nothing is to be said, and
# how its reason begins. `clients=`, `ssl_insecure` and `upstream` in front of the lines are mitmproxy's options.
CASES: dict[str, tuple[str, Asked, str]] = {
    "its host": ("", get(), "inject"),
    "another host": ("", get("https://other.example.com/", Authorization="Basic eA=="), "pass"),
    "preflight": (
        "METHODS=GET",
        using("OPTIONS", Access_Control_Request_Method="GET"),
        "pass",
    ),
    "options, no preflight": ("", using("OPTIONS"), "inject"),
    # OVERWRITE
    "always, nothing sent": ("OVERWRITE=always", get(), "inject"),
    "always, Basic": ("OVERWRITE=always", get(Authorization="Basic eA=="), "inject"),
    "always, another value": ("OVERWRITE=always", get(Authorization="canary"), "inject"),
    "never, nothing sent": ("OVERWRITE=never", get(), "inject"),
    "never, Basic": (
        "OVERWRITE=never",
        get(authorization="Basic eA=="),
        "keep: the client sent its own Authorization, and OVERWRITE=never keeps it",
    ),
    "never, replayed": ("OVERWRITE=never", Asked(is_replay=True, replaced_before=Before("Basic")), "keep"),
    "never, another header": ("OVERWRITE=never\nHEADER=X-Key", get(Authorization="Basic eA=="), "inject"),
    "only, nothing sent": ("OVERWRITE=only", get(), "skip: it has no Authorization, and OVERWRITE=only adds none"),
    "only, Basic": ("OVERWRITE=only", get(Authorization="Basic eA=="), "inject"),
    "only, replayed": ("OVERWRITE=only", Asked(is_replay=True, replaced_before=Before("Basic")), "inject"),
    # METHODS
    "method": ("METHODS=GET,HEAD", using("GET"), "inject"),
    "method, lower case": ("METHODS=GET,HEAD", using("get"), "inject"),
    "method, another": ("METHODS=GET,HEAD", using("DELETE"), "block: DELETE is not in METHODS=GET,HEAD of qa.env"),
    "method, no token": ("METHODS=GET", using("\x1b[31mX"), "skip: its method is no token, and servers read that in"),
    "method, strange": ("METHODS=GET", using("A!B"), "block: its method is not in METHODS=GET of "),
    "override": (
        "METHODS=GET,POST",
        using("POST", X_HTTP_Method_Override=" delete "),
        "block: DELETE is not in METHODS=GET,POST of ",
    ),
    "override, short": ("METHODS=GET,POST", using("POST", x_method_override="delete"), "block: DELETE is not in MET"),
    "override, old": ("METHODS=GET,POST", using("POST", X_HTTP_Method="delete"), "block: DELETE is not in METHODS="),
    "override, query": ("METHODS=GET,POST", using("POST", f"{API}/orders?_method=PUT"), "block: PUT is not in METH"),
    "override, as CGI reads it": (
        "METHODS=GET",
        Asked(fields=((b"X_HTTP_Method-Override", b"PUT"),)),
        "block: PUT is not in METHODS=GET",
    ),
    "override, query of PHP": ("METHODS=GET", get(f"{API}/orders?a;+.method=PUT"), "block"),
    "override, query of another name": ("METHODS=GET", get(f"{API}/orders?method=PUT&a_method=PUT"), "inject"),
    # PRODUCTION
    "production, names": (
        "PRODUCTION=true",
        Asked(method=b"POST", names=(Claim("Host header", "evil.example"),)),
        "block: the connection goes to api.example.com, but its Host header names evil.example; POST is not in ",
    ),
    "production, reads": (
        "PRODUCTION=true",
        Asked(names=(Claim("Host header", "evil.example"),)),
        "skip: the connection goes to",
    ),
    "production, stranger": (
        "PRODUCTION=true",
        Asked(method=b"POST", client="192.0.2.7"),
        "block: client 192.0.2.7 is not in inject_clients (loopback); to let it in",
    ),
    "production, preflight": (
        "PRODUCTION=true\nMETHODS=GET",
        using("OPTIONS", Access_Control_Request_Method="POST"),
        "pass",
    ),
    "production, preflight that writes": (
        "PRODUCTION=true",
        using("OPTIONS", Access_Control_Request_Method="POST", X_HTTP_Method="PUT"),
        "block: PUT is not in METHODS=",
    ),
    "production, path in doubt": (
        f"HOST={API}/orders\nPRODUCTION=true",
        using("POST", f"{API}/x/%2e%2e/orders"),
        "block: HOST is https://api.example.com/orders, and this path is not below it; POST is not in METHODS",
    ),
    "production, path by another name": (
        f"HOST={API}/orders\nPRODUCTION=true",
        using("POST", f"{API}//Orders"),
        "block: HOST is ",
    ),
    "production, other path": (f"HOST={API}/orders\nPRODUCTION=true", using("POST", f"{API}/x"), "skip"),
    "override, allowed": ("METHODS=GET,POST", using("POST", X_HTTP_Method="GET"), "inject"),
    "method, path": ("METHODS=GET, POST /search", using("POST", f"{API}/search/a?b=/x"), "inject"),
    "method, path itself": ("METHODS=GET, POST /search/", using("POST", f"{API}/search"), "inject"),
    "method, other path": (
        "METHODS=GET, POST /search",
        using("POST"),
        "block: POST at this path is not in METHODS=GET, POST /search of qa.env",
    ),
    "method, longer segment": ("METHODS=GET, POST /search", using("POST", f"{API}/searches"), "block: POST at this p"),
    "method, other method": ("METHODS=GET, POST /search", using("DELETE", f"{API}/search"), "block: DELETE is not in "),
    "method, climbing": ("METHODS=GET, POST /search", using("POST", f"{API}/search/../orders"), "block: POST at this "),
    "method, encoded": ("METHODS=GET, POST /search", using("POST", f"{API}/search/%2e%2e/a"), "block: POST at this p"),
    "method, parameters": ("METHODS=GET, POST /search", using("POST", f"{API}/search;/../a"), "block: POST at this p"),
    "method, two slashes": ("METHODS=GET, POST /search", using("POST", f"{API}//search"), "block: POST at this path "),
    "method, other case": ("METHODS=GET, POST /search", using("POST", f"{API}/SEARCH"), "block: POST at this path is"),
    "method, override at path": (
        "METHODS=GET, POST /search",
        using("POST", f"{API}/search", X_HTTP_Method="PUT"),
        "block: PUT is not in METHODS=GET, POST /search of qa.env",
    ),
    "production": (
        "PRODUCTION=true",
        using("POST"),
        "block: POST is not in METHODS=GET,HEAD,OPTIONS of qa.env; PRODUCTION=true allows what METHODS names only",
    ),
    "production, malformed": ("PRODUCTION=true", using("P\0ST"), "block: its method is no token, and servers re"),
    "production, safe": ("PRODUCTION=true", using("HEAD"), "inject"),
    "production, method": ("PRODUCTION=true\nMETHODS=POST", using("POST"), "inject"),
    # AS, where one file alone has it
    "as, header": ("AS=admin", get(X_Inject_As="admin"), "inject"),
    "as, user": ("AS=a,admin", Asked(asks_as=("x", "admin")), "inject"),
    "as, nobody": ("AS=admin", get(), "block: several accounts share this host, and nothing says which one asks;"),
    "as, header counts more": ("AS=admin", Asked(sent={"x-inject-as": "x"}, asks_as=("admin",)), "block: several acco"),
    "as, default": ("AS=admin\nDEFAULT=true", Asked(asks_as=("x",)), "inject"),
    "as, a wrong one": ("AS=admin\nDEFAULT=true", get(X_Inject_As="root"), "block: several accounts share this host, "),
    "as, nothing": ("AS=admin\nDEFAULT=true", get(X_Inject_As=""), "block: several accounts share this host, and the"),
    "as, twice": (
        "AS=admin",
        Asked(fields=((b"X-Inject-As", b"admin"), (b"x-inject-as", b"admin"))),
        "block: several accounts share this host, and the header X-Inject-As is there twice; it may say admin",
    ),
    "as, underscores": ("AS=admin", Asked(fields=((b"X_Inject_As", b"admin"),)), "block: several accounts share this "),
    "as, a stranger": ("AS=admin", by("192.0.2.7"), "skip: client 192.0.2.7 is not in inject_clients"),
    # Malformed
    "no method": ("", using(""), "skip: its method is no token"),
    "path with a space": ("", Asked(target=b"/a b"), "skip: its path does not begin with a slash, or holds a space"),
    "path without a slash": ("", Asked(target=b"a"), "skip: its path does not begin with a slash"),
    "asterisk": ("", Asked(target=b"*", method=b"OPTIONS"), "inject"),
    "header's name": ("", Asked(fields=((b"a:b", b""),)), "skip: the name of one of its headers is no token"),
    "header's value": ("", Asked(fields=((b"a", b"b\r\nc: d"),)), "skip: the value of one of its headers holds a l"),
    # Names that disagree
    "claim": (
        "",
        naming("evil.example", url=f"{API}/"),
        "skip: the connection goes to api.example.com, but its Host header names evil.example",
    ),
    "near miss, Host": (
        "",
        naming("API.example.com.:8443"),
        "skip: its Host header names api.example.com:8443, but the connection goes to evil.example",
    ),
    "near miss, target": ("", naming("api.example.com", "request target"), "skip: its request target names api.exa"),
    "near miss, SNI": (
        "",
        naming("api.example.com", "TLS server name (SNI)"),
        f"skip: its TLS server name (SNI) names api.example.com{NEAR}",
    ),
    "near miss, no name": (
        "",
        naming("api.example.com", url="https://a\x1b.example/"),
        "skip: its Host header names api.example.com, but the connection goes to something that is no host's name",
    ),
    **{
        f"differs, {name[:20]!r}": ("HOST=https://*.qa.example.com", naming(name), "pass")
        for name in ("other.example", "", "a b", "qa.example.com", "x" * 70000)
    },
    # Its host in another form
    "scheme": (
        FORMS,
        get("http://api.example.com/orders"),
        "skip: HOST is https://api.example.com/orders, and this was http; change the client's URL to HOST of",
    ),
    "port": (
        FORMS,
        get("https://api.example.com:8443/orders"),
        "skip: HOST is https://api.example.com/orders, and this was port 8443; change the client's URL, or add"
        " https://api.example.com:8443 to HOST in",
    ),
    "path": (
        FORMS,
        get("https://api.example.com/login"),
        "skip, unmarked: HOST is https://api.example.com/orders, and this path is not below it",
    ),
    "another server here": (
        FORMS,
        get("https://localhost:9001/"),
        "skip, unmarked: HOST is http://127.0.0.1:9000, and this was port 9001",
    ),
    "host": (FORMS, get("http://localhost:9000/"), "skip: HOST is http://127.0.0.1:9000, and this was localhost"),
    "port of this machine": (
        FORMS,
        get("http://127.0.0.1:9001/"),
        "skip, unmarked: HOST is http://127.0.0.1:9000, and this was port 9001",
    ),
    "wildcard": (FORMS, get("http://x.wild.example:81/"), "skip: HOST is https://*.wild.example, and this was http"),
    "apex": (FORMS, get("https://wild.example/"), "pass"),
    "form, the same": (FORMS, get(), "inject"),
    "form, token endpoint": (
        f"TOKEN_ENDPOINT={API}/token\nHOST={API}/orders",
        using("POST", f"{API}/token"),
        "pass",
    ),
    "form, preflight": (
        f"HOST={API}/orders",
        using("OPTIONS", "http://api.example.com/", Access_Control_Request_Method="PUT"),
        "pass",
    ),
    # Token endpoints
    **{
        f"token endpoint, {path}": (
            f"TOKEN_ENDPOINT={API}/oauth2/v2.0/token",
            get(API + path),
            "skip: it goes to the token endpoint, where clients bring their own credentials",
        )
        for path in ("/oauth2/v2.0/token", "/oauth2/v2.0/token?x=1", "/oauth2//v2.0/%74oken/")
    },
    "token endpoint, no": (f"TOKEN_ENDPOINT={API}/oauth2/v2.0/token", get(f"{API}/oauth2/v2.0/tokens"), "inject"),
    "token endpoint, below a wildcard": ("HOST=https://*.example.com", get(LOGIN), "skip: it goes to the token endp"),
    "beside a token endpoint": ("HOST=https://*.example.com", get("https://login.example.com/me"), "inject"),
    # Clients
    **{
        f"client {client} of {clients}": (
            f"clients={clients}",
            by(client),
            "inject" if admitted else f"skip: client {client} is not in inject_clients ({clients}); to let it in",
        )
        for clients, client, admitted in (
            ("loopback", "127.0.0.1", True),
            ("loopback", "::1", True),
            ("loopback", "::ffff:127.0.0.1", True),
            ("loopback", "192.168.1.23", False),
            ("loopback, 192.168.1.0/24", "192.168.1.23", True),
            ("loopback, 192.168.1.0/24", "127.0.0.1", True),
            ("192.168.1.0/24", "127.0.0.1", False),
            ("192.168.1.23", "::ffff:192.168.1.23", True),
            ("fe80::/10", "fe80::1%eth0", True),
            ("0.0.0.0/0", "2001:db8::1", False),
            ("", "127.0.0.1", False),
            ("loopback", "not an address", False),
        )
    },
    "no client": ("", by(None), "skip: client unknown is not in inject_clients (loopback)"),
    "proxyauth": ("", Asked(client="192.0.2.7", is_let_in=True), "inject"),
    "replay": ("", Asked(client="192.0.2.7", is_replay=True), "inject"),
    # Pages
    **{
        f"page, {sent}, {origins}": (
            f"ORIGINS={origins}" if origins else "",
            Asked(sent=sent),
            "inject" if gets else "skip: a page",
        )
        for sent, origins, gets in (
            ({"Sec-Fetch-Site": "cross-site"}, "", False),
            ({"Sec-Fetch-Site": "Cross-Site"}, "", False),
            ({"Sec-Fetch-Site": "same-site"}, "", True),
            ({"Sec-Fetch-Site": "same-origin"}, "", True),
            ({"Sec-Fetch-Site": "none"}, "", True),
            ({"Origin": "https://evil.example"}, "", False),
            ({"Origin": "null"}, "", False),
            ({"Origin": "http://api.example.com"}, "", False),
            ({"Origin": "https://api.example.com"}, "", True),
            ({"Origin": "https://API.example.com"}, "", True),
            ({"Origin": "https://api.example.com:8443"}, "", False),
            ({"Origin": "https://app.example.com", "Sec-Fetch-Site": "same-site"}, "", False),
            ({"Origin": HERE, "Sec-Fetch-Site": "cross-site"}, HERE, True),
            ({"Origin": "http://localhost:3001", "Sec-Fetch-Site": "cross-site"}, HERE, False),
            ({"Origin": HERE}, "HTTP://Localhost:3000/, https://b.example", True),
            ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, "null", True),
            ({"Origin": "null"}, "file://, http://localhost:3000", False),
            ({"Origin": "https://evil.example"}, "null", False),
            ({"Sec-Fetch-Site": "cross-site"}, "null", False),
            ({"Origin": "file://", "Sec-Fetch-Site": "cross-site"}, "file:///", True),
            ({"Origin": "file://"}, "null", False),
            ({"Origin": "file://"}, "", False),
            ({"Sec-Fetch-Site": "cross-site"}, HERE, False),
            ({"Origin": "https://api.example.com", "Sec-Fetch-Site": "cross-site"}, "", False),
        )
    },
    "page, every Origin": (
        f"ORIGINS={HERE}",
        Asked(fields=((b"Origin", HERE.encode()), (b"Origin", b"https://evil.example"))),
        "skip: a page of http://localhost:3000 made it",
    ),
    "page, strange": ("", get(Origin="https://e\x1b[31mvil"), "skip: a page made it, which is of another origin; to "),
    "page, null": ("", get(Origin="null"), "skip: a page whose origin is null made it"),
    "page, a file": ("", get(Origin="file://"), "skip: a page of file:// made it"),
    "page, its site": ("", get(Origin="https://evil.example"), ELSEWHERE),
    **{
        f"reverse mode, {site}": (
            "",
            Asked(sent={"Origin": "http://127.0.0.1:8080", **sent}, is_reverse=True),
            "inject" if site == "same-origin" else "skip: a page of http://127.0.0.1:8080 made it",
        )
        for site, sent in (
            ("same-origin", {"Sec-Fetch-Site": "same-origin"}),
            ("same-site", {"Sec-Fetch-Site": "same-site"}),
            ("none told", {}),
        )
    },
    # Servers that nobody verified, or as another
    "verified": ("", Asked(servers=("api.example.com",)), "inject"),
    "verified as another": (
        "",
        Asked(servers=("api.example.com", "evil.example")),
        "skip: its connection is not verified as api.example.com",
    ),
    "not verified": (
        "",
        Asked(servers=("api.example.com", None)),
        "block, closes: ssl_insecure is or was set, or the add-on is newer than the connection",
    ),
    "not verified, plain": ("HOST=http://api.example.com", Asked("http://api.example.com/", servers=(None,)), "inject"),
    "not verified, here": (
        "HOST=https://127.0.0.1",
        Asked("https://127.0.0.1/", ends_here=True, servers=(None,)),
        "inject",
    ),
    "ssl_insecure": ("ssl_insecure", Asked(), "block: ssl_insecure is or was set"),
    "ssl_insecure, here": (
        "ssl_insecure\nHOST=https://127.0.0.1",
        Asked("https://127.0.0.1/", ends_here=True),
        "inject",
    ),
    # Upstream proxies
    "proxy": ("HOST=http://api.example.com", Asked("http://api.example.com/", proxy="192.0.2.1"), "inject"),
    "proxy, https": ("", Asked(proxy="192.0.2.1"), "inject"),
    "proxy, this machine": (
        "HOST=http://127.0.0.1:9000",
        Asked("http://127.0.0.1:9000/", proxy="192.0.2.1"),
        "block: the upstream proxy 192.0.2.1 would send it to its own 127.0.0.1, not to this machine",
    ),
    "proxy, of a capture": (
        "HOST=http://api.example.com",
        Asked("http://api.example.com/", proxy="192.0.2.1", is_replay=True),
        "block: it is a replay by a proxy that only the capture names",
    ),
    "proxy, of --mode": (
        "upstream\nHOST=http://api.example.com",
        Asked("http://api.example.com/", proxy="192.0.2.1", is_replay=True),
        "inject",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_policy(tmp_path: Path, case: str) -> None:
    """A request gets the verdict of the table, and may carry a token where nothing objects to it."""
    lines, asked, expected = CASES[case]
    policy = policy_of(tmp_path, lines)
    verdict = policy.decide(asked)
    assert told(verdict).replace(f"{tmp_path}{os.sep}", "").startswith(expected)
    assert "\x1b" not in told(verdict)
    objected = verdict is None or (verdict.action in ("skip", "block") and verdict.kind != "")
    assert (policy.may_carry(asked) is None) == objected


def told(verdict: Verdict | None) -> str:
    """A verdict as the table writes it."""
    if verdict is None:
        return "pass"
    more = ", unmarked" * (not verdict.marked) + ", closes" * verdict.closes
    return f"{verdict.action}{more}: {verdict.reason}"


def policy_of(folder: Path, text: str) -> Policy:
    """The policy with one environment, and with the options that stand before its lines."""
    options = [line for line in text.split("\n") if line.startswith(("clients=", "ssl_insecure", "upstream"))]
    lines = [line for line in text.split("\n") if line not in options]
    given = {line.partition("=")[0] for line in lines}
    defaults = {"HOST": API, "TOKEN_ENDPOINT": LOGIN, "CLIENT_ID": "qa", "CLIENT_SECRET": "canary"}
    # Another grant has other keys.
    lines += [f"{key}={value}" for key, value in defaults.items() if key not in given and "GRANT_TYPE" not in given]
    (folder / "qa.env").write_text("\n".join(lines))
    routes = Routes()
    routes.load(open_folder(str(folder), []), None)
    policy = Policy(routes)
    policy.admit(next((line.removeprefix("clients=") for line in options if line.startswith("clients=")), "loopback"))
    policy.ssl_insecure = "ssl_insecure" in options
    policy.replays_go_upstream = "upstream" in options
    return policy

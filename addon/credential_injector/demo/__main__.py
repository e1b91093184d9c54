"""`python -m credential_injector.demo` shows the add-on at work in the terminal; with `web` behind it, in mitmweb."""

import argparse
import contextlib
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from credential_injector.demo.processes import Mitmproxy, NotStarted, free_port, mitmproxy
from credential_injector.demo.servers import Client, DemoAuthorizationServer, ProtectedApi, serve

CLIENT_ID, CLIENT_SECRET = "demo-client", "demo-secret"
LIFETIME = 60  # seconds that a token lives
TIMEOUT = 20.0  # seconds for a request; the first one may wait for a token
REQUESTS = 20
WEB_COLUMNS = ("icon", "path", "method", "status", "comment", "size", "time")
COLUMN = 52  # characters


class DemoFailure(Exception):
    """Something is not as it should be; the text says what."""


@dataclass
class Stage:
    """Both servers, and a folder with the environment file that fits them."""

    authorization_server: DemoAuthorizationServer
    api: ProtectedApi
    api_origin: str
    folder: Path

    @property
    def env_file(self) -> Path:
        return self.folder / "envs" / "demo.env"


@contextmanager
def set_stage() -> Iterator[Stage]:
    """Start both servers; the environment is called `demo`."""
    authorization_server = DemoAuthorizationServer([Client(CLIENT_ID, CLIENT_SECRET)], lifetime=LIFETIME)
    api = ProtectedApi(authorization_server)
    with (
        serve(authorization_server.app) as token_origin,
        serve(api.app) as api_origin,
        tempfile.TemporaryDirectory(prefix="credential-injector-") as folder,
    ):
        stage = Stage(authorization_server, api, api_origin, Path(folder))
        stage.env_file.parent.mkdir(mode=0o700)
        stage.env_file.write_text(
            f"HOST={api_origin}\n"
            f"TOKEN_ENDPOINT={token_origin}/oauth2/v2.0/token\n"
            f"CLIENT_ID={CLIENT_ID}\n"
            f"CLIENT_SECRET={CLIENT_SECRET}\n"
            "SCOPE=read\n"
        )
        stage.env_file.chmod(0o600)
        yield stage


def any_client(proxy: str | None = None) -> requests.Session:
    """An HTTP client that knows nothing of tokens."""
    session = requests.Session()
    session.trust_env = False
    if proxy is not None:
        session.proxies = {"http": proxy}
    return session


def run_in_terminal() -> None:
    """The same request without and with the proxy. Raises DemoFailure where anything is not as it should be."""
    with set_stage() as stage:
        url = f"{stage.api_origin}/orders/1"
        secret_line = re.compile(r"^(CLIENT_SECRET)=.*$", re.MULTILINE)
        print(f"An API that wants a token: {stage.api_origin}\nand its environment file, envs/demo.env:\n")
        print(_indented(secret_line.sub(r"\1=********", stage.env_file.read_text())))

        with any_client() as direct:
            answer = direct.get(url, timeout=TIMEOUT)
        print(f"\n1. without the proxy    GET /orders/1   {answer.status_code}")
        _expect(answer.status_code == 401, f"the API answered {answer.status_code} without a token, 401 was expected")

        flows = stage.folder / "flows"
        options = ("--set", f"confdir={stage.folder}", "-w", str(flows))
        with mitmproxy("mitmdump", *options, folder=stage.folder) as proxy, any_client(proxy.url) as proxied:
            answer = proxied.get(url, timeout=TIMEOUT)
            print(f"2. through mitmdump     GET /orders/1   {answer.status_code}")
            _expect(answer.status_code == 200, f"{answer.status_code} through the proxy: {answer.text.strip()}")
            sent, received = dict(answer.request.headers), dict(stage.api.received[-1][1])
            _expect("Authorization" not in sent, "the client itself sent an Authorization header")
            _expect(received.get("Authorization", "").startswith("Bearer "), "the API received no token")
            _show_side_by_side(sent, received)

            statuses = {proxied.get(url, timeout=TIMEOUT).status_code for _ in range(REQUESTS - 1)} | {200}
            cost = len(stage.authorization_server.token_requests)
            print(f"3. {REQUESTS} requests          all answered with {statuses.pop()}, for {cost} token request")
            _expect(not statuses, f"some of them were answered with {statuses}")
            _expect(cost == 1, f"there were {cost} token requests, 1 was expected")

        comment = _last_comment(flows)
        print(f"4. the comment that mitmweb shows on the last of them\n\n{_indented(comment)}\n")
        _expect(comment.startswith("demo: token injected (cached, "), "the comment does not tell of a cached token")
        _expect(CLIENT_SECRET not in "\n".join(proxy.log), "the log holds the client's secret")
        print("Next: `make web` shows the same in mitmweb; README.md tells how to name your own API.")


def run_in_mitmweb() -> None:
    """mitmweb with a few requests already made, until Ctrl-C."""
    with set_stage() as stage:
        settings = [f"confdir={stage.folder}", f"web_port={free_port()}", "web_open_browser=false"]
        settings += [f"web_columns={column}" for column in WEB_COLUMNS]
        options = [word for setting in settings for word in ("--set", setting)]
        with mitmproxy("mitmweb", *options, folder=stage.folder) as proxy, any_client(proxy.url) as proxied:
            for path in ("/orders", "/orders/1", "/customers?page=2"):
                proxied.get(stage.api_origin + path, timeout=TIMEOUT)
            proxied.get(f"{stage.api_origin}/orders/2", auth=("somebody", "else"), timeout=TIMEOUT)
            print(f"mitmweb:    {proxy.web_url}")
            print(f"try it:     curl --noproxy '' --proxy {proxy.url} {stage.api_origin}/orders")
            print("find them:  type ~comment injected, or ~marked, into mitmweb's Search field")
            print("Ctrl-C ends it.", flush=True)
            _wait_for_ctrl_c(proxy)


def _wait_for_ctrl_c(proxy: Mitmproxy) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        while proxy.process.poll() is None:
            threading.Event().wait(1)  # an endless wait cannot be interrupted on Windows
        raise DemoFailure("mitmweb has ended")


def _last_comment(flows: Path) -> str:
    from mitmproxy.io import FlowReader

    with flows.open("rb") as file:
        *_, last = FlowReader(file).stream()
    return last.comment


def _show_side_by_side(sent: dict[str, str], received: dict[str, str]) -> None:
    sent.setdefault("Host", received["Host"])
    lines = [("as the client sent it", " ", "as the API received it")]
    for name in sorted(sent.keys() | received.keys(), key=lambda name: (name not in sent, name)):
        left, right = (f"{name}: {_shown(side[name])}" if name in side else "" for side in (sent, received))
        lines.append((left, "+" if not left else " " if right else "-", right))
    print("\n" + "\n".join(f"   {left:<{COLUMN}} {mark} {right}".rstrip() for left, mark, right in lines) + "\n")


def _shown(value: str) -> str:
    kind, _, token = value.partition(" ")
    return f"{kind} {token[:6]}..." if kind == "Bearer" else value


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.splitlines())


def _expect(fulfilled: bool, otherwise: str) -> None:
    if not fulfilled:
        raise DemoFailure(otherwise)


def main() -> int:
    """0 where everything was as it should be."""
    parser = argparse.ArgumentParser(prog="python -m credential_injector.demo", description=__doc__)
    parser.add_argument("where", nargs="?", choices=["terminal", "web"], default="terminal")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended, too
    try:
        run_in_mitmweb() if arguments.where == "web" else run_in_terminal()
    except (DemoFailure, NotStarted, requests.RequestException) as failure:
        notes = getattr(failure, "__notes__", [])
        print("\n".join([f"\nThe demonstration failed: {failure}", *notes]), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`make demo` and `make web`, as a newcomer runs them."""

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import requests

from credential_injector.demo import __main__ as demo
from credential_injector.demo import processes, stage, web

Run = tuple[int, str, str]


@pytest.fixture
def run_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], Run]]:
    """Run `python -m credential_injector.demo` in this process: its exit code, standard output and standard error."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["demo"])

    def run() -> Run:
        code = demo.main()
        return (code, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, handler)


@contextmanager
def running_web(folder: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """`python -m credential_injector.demo web`, and what it prints: a text for each word before a colon."""
    process = subprocess.Popen(
        [sys.executable, "-m", "credential_injector.demo", "web"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        lines = itertools.takewhile(lambda line: line != "Ctrl-C ends it.\n", process.stdout)
        yield process, {name: text.strip() for name, _, text in (line.partition(":") for line in lines)}
    finally:
        process.terminate()  # it ends its mitmweb, which would outlive it if it were killed
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()


def test_terminal(tmp_path: Path, run_demo: Callable[[], Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows the request before and after, without the secret, and leaves no file behind."""
    monkeypatch.chdir(tmp_path)
    code, shown, errors = run_demo()
    assert (code, errors) == (0, "")
    assert re.search(r"without the proxy +GET /orders/1 +401", shown)
    assert re.search(r"through mitmdump +GET /orders/1 +200", shown)
    assert re.search(r"\n +\+ Authorization: Bearer \S{6}\.\.\.\n", shown)
    assert re.search(r"20 requests +all answered with 200, for 1 token request\n", shown)
    assert "   demo: +Bearer\n   - before: no Authorization\n" in shown
    assert stage.CLIENT_SECRET not in shown
    assert list(tmp_path.iterdir()) == []


def test_umask(run_demo: Callable[[], Run]) -> None:
    """It runs whatever the umask is."""
    before = os.umask(0)
    try:
        assert run_demo()[0] == 0
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("", "401 through the proxy"),
        ("def requestheaders(flow): flow.request.headers['Authorization'] = 'x'", "401 through the proxy"),
        ("raise SystemError", "SystemError"),
    ],
)
def test_failure(
    tmp_path: Path, script: str, reason: str, run_demo: Callable[[], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that goes wrong ends with the reason."""
    broken = tmp_path / "inject.py"
    broken.write_text(script)
    monkeypatch.setattr(processes, "SCRIPT", broken)
    code, _, failure = run_demo()
    assert code == 1
    assert "The demonstration failed: " in failure
    assert reason in failure


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_web(tmp_path: Path, ending: signal.Signals) -> None:
    """It tells its addresses, shows a request of each kind, and ends with everything it started."""
    with running_web(tmp_path) as (process, told), requests.Session() as session:
        assert session.get(told["mitmweb"], timeout=30).status_code == 200
        flows = session.get(told["mitmweb"].partition("?")[0] + "flows", timeout=30).json()
        kinds = [
            (flow["marked"], flow["response"]["status_code"], *flow["comment"].split("\n", maxsplit=1))
            for flow in flows
        ]
        expected = [
            ("🔑", 200, "demo: +Bearer", r"token injected \(fetched, \d\d s left\)"),
            ("🔑", 200, "demo: +Bearer", r"token injected \(cached, \d\d s left\)"),
            ("⚠", 401, "demo: other page", r"left as the client sent it: a page of https://news\.example\.com made it"),
            ("🔑", 200, "demo:Basic→Bearer", r"before: Authorization: Basic"),
            ("⛔", 502, "demo: bad method", r"request blocked: DELETE is not in METHODS=GET,POST of envs/demo\.env"),
            ("⛔", 502, "billi…:bad client", r"no token \(invalid_client\): .* envs/billing\.env; "),
            ("🔑", 200, "demo: 401→200", r"token injected \(refreshed, \d\d s left\)"),
            ("🔑", 200, "demo: +Bearer", r"token injected \(\w+, \d\d s left\)"),  # the request that was sent again
            (
                "🔑",
                403,
                "stock: 403 scope",
                r"the API wants scope write, the token has read; add write to SCOPE in envs/s",
            ),
        ]
        assert [kind[:3] for kind in kinds] == [kind[:3] for kind in expected]
        for (*_, comment), (*_, pattern) in zip(kinds, expected, strict=True):
            assert re.search(pattern, comment)

        page = session.get(told["page"], timeout=30)
        assert page.status_code == 200
        assert "2 of 3 need attention" in page.text

        proxy, api = re.findall(r"http://\S+", told["try it"])
        assert proxy == told["proxy"]
        session.proxies = {"http": proxy}
        assert session.get(api, timeout=30).status_code == 200
        process.send_signal(ending)
        process.communicate(timeout=60)
        assert process.returncode == (0 if ending == signal.SIGINT else 143)
        for url in (told["mitmweb"], proxy):
            with pytest.raises(requests.ConnectionError):
                requests.get(url, timeout=30)


@pytest.mark.parametrize("taken", web.PORTS)
def test_taken_port(tmp_path: Path, taken: int) -> None:
    """Where one of the usual ports is taken, it uses two others, and names those."""
    with ExitStack() as stack:
        with suppress(OSError):  # it is taken already
            stack.enter_context(socket.create_server(("127.0.0.1", taken)))
        _, told = stack.enter_context(running_web(tmp_path))
        assert not any(f":{port}" in told["mitmweb"] + told["proxy"] for port in web.PORTS)
        assert requests.get(told["mitmweb"], timeout=30).status_code == 200
        assert requests.get(told["proxy"], timeout=30).status_code in (400, 502)  # mitmproxy's own answer

"""`make demo` and `make web`, as a newcomer runs them."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from credential_injector.demo import __main__ as demo
from credential_injector.demo import processes

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


def test_the_demonstration_shows_the_request_before_and_after_and_ends(
    tmp_path: Path, run_demo: Callable[[], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, shown, errors = run_demo()
    assert (code, errors) == (0, "")
    assert re.search(r"without the proxy +GET /orders/1 +401", shown)
    assert re.search(r"through mitmdump +GET /orders/1 +200", shown)
    assert re.search(r"\n +\+ Authorization: Bearer \S{6}\.\.\.\n", shown)
    assert re.search(r"20 requests +all answered with 200, for 1 token request\n", shown)
    assert "demo: token injected (cached, " in shown
    assert demo.CLIENT_SECRET not in shown
    assert list(tmp_path.iterdir()) == []


def test_the_demonstration_runs_whatever_the_umask_is(run_demo: Callable[[], Run]) -> None:
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
def test_a_demonstration_that_goes_wrong_ends_with_the_reason(
    tmp_path: Path, script: str, reason: str, run_demo: Callable[[], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "inject.py"
    broken.write_text(script)
    monkeypatch.setattr(processes, "SCRIPT", broken)
    code, _, failure = run_demo()
    assert code == 1
    assert "The demonstration failed: " in failure
    assert reason in failure


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_web_tells_its_address_serves_and_ends_with_everything_it_started(
    tmp_path: Path, ending: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "credential_injector.demo", "web"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        web = lines[0].split()[-1]
        proxy, api = re.findall(r"http://\S+", lines[1])
        with requests.Session() as session:
            assert session.get(web, timeout=30).status_code == 200
            flows = session.get(web.partition("?")[0] + "flows", timeout=30).json()
            assert len([flow for flow in flows if "token injected" in flow["comment"]]) == 4
            session.proxies = {"http": proxy}
            assert session.get(api, timeout=30).status_code == 200
        process.send_signal(ending)
        process.communicate(timeout=60)
        assert process.returncode == (0 if ending == signal.SIGINT else 143)
        with pytest.raises(requests.ConnectionError):
            requests.get(web, timeout=30)
        with pytest.raises(requests.ConnectionError):
            requests.get(proxy, timeout=30)
    finally:
        process.kill()
        process.communicate()

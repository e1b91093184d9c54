"""A command that `credential-injector run` runs, with a mitmproxy of its own."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from credential_injector.launch.programs import program
from tests.certificates import Authority
from tests.conftest import tool
from tests.e2e.conftest import Curl, Stage

PATIENCE = 60


def words(stage: Stage, *given: str) -> list[str]:
    return [program("credential-injector"), "run", *stage.options({}), *given]


def run(stage: Stage, *given: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(stage, *given),
        check=False,
        cwd=stage.folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_curl_gets_a_token(stage: Stage) -> None:
    """Over https, with curl's own verification on, and the summary says so."""
    stage.env(stage.https)
    ran = run(stage, "--env", "qa", "--", tool("curl", package="curl"), "-fsS", f"{stage.https}/orders")
    assert ran.returncode == 0, ran.stderr
    assert stage.token_requests == 1
    assert ran.stderr.splitlines() == [
        "credential-injector: qa: 1 request with a token, 1 token request, 0 sent again, 0 blocked"
    ]


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill $$", 143)])
def test_exit_code(stage: Stage, script: str, code: int) -> None:
    """The command's, and 128 and the number of the signal that ended it."""
    stage.env(stage.https)
    assert run(stage, "--", "sh", "-c", script).returncode == code


@pytest.mark.parametrize(("command", "code", "said"), [("no-such-command", 127, "no such"), ("/etc", 126, "cannot")])
def test_no_command(stage: Stage, command: str, code: int, said: str) -> None:
    """One line says why, with a shell's exit code."""
    stage.env(stage.https)
    ran = run(stage, "--", command)
    assert ran.returncode == code
    assert len([line for line in ran.stderr.splitlines() if said in line]) == 1


def test_standard_input(stage: Stage) -> None:
    """The command reads it, and its output is all that there is."""
    stage.env(stage.https)
    assert run(stage, "--", "cat", stdin="orders\n").stdout == "orders\n"


def test_nothing_injected(stage: Stage) -> None:
    """The summary says what the reason may be."""
    stage.env(stage.https)
    assert "no request got a token" in run(stage, "--", "true").stderr


def test_untrusting(stage: Stage) -> None:
    """A client that brings its own list of authorities refuses, and the summary says so in place of a guess."""
    authority = stage.folder / "own.pem"
    authority.write_text(Authority().certificate)
    curl = tool("curl", package="curl")
    stage.env(stage.https)
    told = run(stage, "--", curl, "-sS", "--cacert", str(authority), f"{stage.https}/orders").stderr
    assert "credential-injector: 1 TLS handshake was refused by the client: it does not trust the CA" in told
    assert "no request got a token" not in told


def test_wrong_file(stage: Stage) -> None:
    """The command does not run, and the file's mistake is told."""
    stage.env(stage.https, "GRANT_TYPE=none-such")
    ran = run(stage, "--", "touch", "ran")
    assert ran.returncode == 2
    assert "qa.env" in ran.stderr
    assert "GRANT_TYPE" in ran.stderr
    assert not (stage.folder / "ran").exists()


def test_no_file_is_left(stage: Stage) -> None:
    """Its files end with it."""
    stage.env(stage.https)
    bundle = Path(run(stage, "--", "sh", "-c", "echo $SSL_CERT_FILE").stdout.strip())
    assert bundle.name == "bundle.pem"
    assert not bundle.parent.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX's signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal(stage: Stage, number: signal.Signals) -> None:
    """One that is sent to run reaches the command, whose answer counts."""
    stage.env(stage.https)
    script = f"trap 'exit 7' {number.name.removeprefix('SIG')}; echo ready; while :; do read -r _ <&3; done"
    waits, keeps = os.pipe()
    with subprocess.Popen(
        words(stage, "--", "sh", "-c", f"exec 3<&0; {script}"),
        cwd=stage.folder,
        stdin=waits,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(number)
        assert running.wait(PATIENCE) == 7
    os.close(waits)
    os.close(keeps)


def test_killed(stage: Stage) -> None:
    """mitmproxy ends with it: its port is closed."""
    stage.env(stage.https)
    with subprocess.Popen(
        words(stage, "--", "sh", "-c", "echo $https_proxy; echo $PPID; exec cat"),
        cwd=stage.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        proxies = [pid for pid in children if b"told_to_run" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(proxies) == 1
        ended = os.pidfd_open(int(proxies[0]))
        running.kill()
        running.wait(PATIENCE)
        assert select.select([ended], [], [], PATIENCE)[0]
        os.close(ended)


def started(stage: Stage, *options: str) -> "subprocess.Popen[str]":
    """A command that prints the proxy's URL, and lasts until its standard input ends."""
    return subprocess.Popen(
        words(stage, *options, "--", "sh", "-c", "echo $http_proxy; exec cat"),
        cwd=stage.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("options", "status"), [([], 401), (["--password"], 407)])
def test_strangers(stage: Stage, curl: Curl, options: list[str], status: int) -> None:
    """Another program that uses the proxy while the command runs gets no token."""
    stage.env(stage.http)
    with started(stage, *options) as running:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        port = url.rpartition(":")[2]
        answer = curl("--proxy", f"http://127.0.0.1:{port}", "--noproxy", "", f"{stage.http}/orders")
        assert answer.status == status
        assert ("@" in url) == (status == 407)
        running.communicate("", timeout=PATIENCE)
    assert stage.token_requests == 0


def test_password_is_nobodys(stage: Stage) -> None:
    """It is in no process's arguments, and -v does not print it."""
    stage.env(stage.http)
    with started(stage, "--password", "-v") as running:
        assert running.stdout is not None
        password = running.stdout.readline().partition("run:")[2].partition("@")[0]
        assert len(password) > 20
        seen = [line.read_bytes() for line in Path("/proc").glob("[0-9]*/cmdline")]
        assert not any(password.encode() in one for one in seen)
        assert password not in running.communicate("", timeout=PATIENCE)[1]


def test_one_that_outlives_its_parent(stage: Stage) -> None:
    """A process whose parents have ended still descends from the command."""
    stage.env(stage.http)
    asks = (
        f"{tool('curl', package='curl')} -s -o /dev/null -w '%{{http_code}}' {stage.http}/orders > answer; echo > done"
    )
    script = f'(setsid sh -c "{asks}" &); while [ ! -e done ]; do sleep 0.05; done; cat answer'
    assert run(stage, "--", "sh", "-c", script).stdout == "200"


def test_proxy(stage: Stage) -> None:
    """With --proxy the command uses a proxy that runs, whose certificate is named."""
    stage.env(stage.https)
    proxy = stage.mitmdump()
    called = [program("credential-injector"), "run", "--proxy", proxy.url, "--ca", str(stage.mitmproxy_ca)]
    asked = [*called, "--", tool("curl", package="curl"), "-fsS", f"{stage.https}/orders"]
    done = subprocess.run(asked, check=False, cwd=stage.folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert (stage.token_requests, done.stderr) == (1, "")

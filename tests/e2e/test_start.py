"""How mitmproxy is started with the add-on: from where, with which files and options, installed or not."""

import contextlib
import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import requests

from credential_injector.demo.processes import mitmproxy
from credential_injector.launch.programs import SCRIPT, program
from credential_injector.proxy import web_guard
from tests.e2e.conftest import CLIENT_SECRET, Curl, Stage
from tests.ports import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture
def inside() -> Sequence[str]:
    """mitmproxy as it is, not warm: how it starts is the subject here."""
    return ()


def start_and_fail(stage: Stage, *options: str, name: str = "mitmdump", **settings: str) -> tuple[int, list[str]]:
    """Run mitmdump until it ends by itself. Returns its exit code and the lines it wrote."""
    words = ["--listen-host", "127.0.0.1", "--listen-port", "0", "-s", str(SCRIPT), *stage.options(settings), *options]
    done = subprocess.run(
        [program(name), *words],
        cwd=stage.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stdout
    assert CLIENT_SECRET not in done.stdout
    return done.returncode, [line.partition("] ")[2] for line in done.stdout.splitlines()]


def test_broken_file(stage: Stage) -> None:
    """A broken file stops mitmdump with every mistake and no traceback."""
    stage.env("https://api.qa.test", "SCOP=read", "OVERWRITE=sometimes")
    stage.env("https://api.qa.test", name="dev")
    (stage.folder / "envs" / "prod.env").write_text("HOST=ftp://x\n")
    code, lines = start_and_fail(stage)
    assert code == 1
    assert [line for line in lines if line.startswith("envs/")] == [
        "envs/prod.env: HOST: origin 1 has an unknown scheme; expected http or https",
        "envs/prod.env: CLIENT_ID: is missing; expected a value",
        "envs/prod.env: CLIENT_SECRET: is missing;"
        " expected the secret itself, CLIENT_SECRET_FILE=path or CLIENT_SECRET_COMMAND=command",
        "envs/qa.env: SCOP: unknown key (line 6), did you mean SCOPE?",
        "envs/qa.env: OVERWRITE: is not a known value; expected one of always, never, only",
    ]


def test_shared_origin(stage: Stage) -> None:
    """Two files on one origin stop mitmdump."""
    stage.env("https://api.qa.test", name="dev")
    stage.env("https://API.qa.test:443", name="qa")
    code, lines = start_and_fail(stage)
    assert code == 1
    assert any(line.startswith("envs/qa.env: HOST: claims https://api.qa.test, which envs/dev.env") for line in lines)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["--set", "inject_cleints=x"], "inject_cleints: unknown option, did you mean inject_clients?"),
        (["--set", "inject-envs=x"], "inject-envs: unknown option, did you mean inject_envs?"),
        (["--set", "Inject-Mask=true"], "Inject-Mask: unknown option, did you mean inject_mask?"),
        (["--set", "inject_env_dir=x"], "inject_env_dir: unknown option, did you mean inject_envs?"),
        (["--set", "inject-folder=x"], "inject-folder: unknown option, did you mean inject_envs?"),
        (["--set", "inject_env=qa", "--set", "inject_env=dev"], "inject_env: is given 2 times; expected once"),
        (["--set", "inject_env"], "inject_env: has no value; expected --set inject_env=value"),
        (
            ["--set", "inject_clients=everybody"],
            "inject_clients: 'everybody' is not a network; expected loopback or a CIDR",
        ),
        (["--set", "inject_envs=nowhere"], "inject_envs: nowhere: no such folder"),
        (["--set", "inject_env=qe"], "inject_env: qe: envs/qe.env does not exist, did you mean qa?"),
    ],
)
def test_wrong_option(stage: Stage, words: list[str], wrong: str) -> None:
    """A wrong option stops mitmdump instead of unloading the add-on."""
    stage.env("https://api.qa.test")
    code, lines = start_and_fail(stage, *words)
    assert code == 1
    assert any(line.startswith(wrong) for line in lines)


def test_configuration_file(stage: Stage) -> None:
    """An option from the configuration file is checked, too."""
    confdir = stage.folder / "conf"
    confdir.mkdir()
    (confdir / "config.yaml").write_text("inject_env: [qa, dev]\n")
    stage.env("https://api.qa.test")
    code, lines = start_and_fail(stage, confdir=str(confdir))
    assert code == 1
    assert "inject_env: is malformed; expected a text" in lines


def test_no_file(stage: Stage, curl: Curl) -> None:
    """Without any file it starts, and says how to make one."""
    (stage.folder / "envs").mkdir()
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, f"{stage.http}/open").status == 200
    (line,) = (line for line in proxy.log if "No environment file" in line)
    assert (
        f"in {stage.folder}/envs: every request passes untouched. To make one, run: credential-injector init dev"
        in line
    )


def test_found_instead(stage: Stage) -> None:
    """Without any file it tells what lies there instead."""
    (stage.folder / "envs" / "team").mkdir(parents=True)
    (stage.folder / "envs" / "team" / "qa.env").touch()
    proxy = stage.mitmdump()
    line = proxy.wait_for("No environment file in.*").group()
    assert "envs/team/qa.env lies in a folder of its own" in line
    assert "To make one" not in line


def clone(stage: Stage) -> Path:
    """A copy of what a clone holds."""
    folder = stage.folder / "clone"
    shutil.copytree(ROOT / "addon", folder / "addon", ignore=shutil.ignore_patterns("__pycache__", "demo"))
    return folder


WHERE = """\
import logging, sys
def running():
    import credential_injector
    logging.info(f"loaded from {credential_injector.__file__}")
    logging.info(f"sys.path is {sys.path}")
"""


@pytest.mark.parametrize("way", ["relative", "absolute"])
def test_clone(stage: Stage, curl: Curl, way: str) -> None:
    """A clone runs from any folder, and wins over an installed copy."""
    folder = clone(stage)
    stage.env(stage.http)
    (stage.folder / "where.py").write_text(WHERE)
    shutil.move(stage.folder / "envs", folder / "envs")
    script = folder / "addon" / "inject.py"
    elsewhere = stage.folder / "elsewhere"
    elsewhere.mkdir()
    start = Path(os.path.relpath(script, elsewhere)) if way == "relative" else script
    words = [*stage.options({}), "-s", str(stage.folder / "where.py")]
    proxy = stage.enter(mitmproxy("mitmdump", *words, folder=elsewhere, script=start))
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    loaded, path = (line.partition("] ")[2] for line in proxy.log if "loaded from" in line or "sys.path is" in line)
    assert loaded == f"loaded from {folder}/addon/credential_injector/__init__.py"
    assert f"'{folder}/addon'" not in path
    assert "'../" not in path


def test_working_directory(stage: Stage, curl: Curl) -> None:
    """Environment files in the working directory come before those beside the add-on."""
    folder = clone(stage)
    (folder / "envs").mkdir()
    (folder / "envs" / "broken.env").write_text("nonsense")
    stage.env(stage.http)
    proxy = stage.mitmdump(script=folder / "addon" / "inject.py")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200


UNINSTALLED = """\
import sys
sys.path[:] = [path for path in sys.path if path != {addon!r}]
for name in {missing!r}:
    sys.modules[name] = None
from mitmproxy.tools.main import mitmdump
mitmdump()
"""


def run_with_python(stage: Stage, script: Path, missing: tuple[str, ...], code: str = UNINSTALLED) -> list[str]:
    """mitmdump from a Python in which the project is not installed, and some other packages neither."""
    code = code.format(addon=str(ROOT / "addon"), missing=missing)
    words = ["--listen-host", "127.0.0.1", "--listen-port", "0", *stage.options({}), "-s", str(script)]
    return [sys.executable, "-c", code, *words]


def test_not_installed(stage: Stage) -> None:
    """A clone that is not installed runs with the dependencies alone."""
    folder = clone(stage)
    stage.env(stage.http)
    command = run_with_python(stage, folder / "addon" / "inject.py", ())
    process = subprocess.Popen(
        command, cwd=stage.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not (lines and "listening at" in lines[-1]):
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        proxy = lines[-1].split()[-1].removesuffix(".")
        with requests.Session() as session:
            session.proxies = {"http": f"http://{proxy}"}
            assert session.get(f"{stage.http}/orders", timeout=30).status_code == 200
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.parametrize("missing", [("requests",), ("authlib", "dotenv")])
def test_missing_dependency(stage: Stage, missing: tuple[str, ...]) -> None:
    """A missing dependency is told in one line, with the command that installs it."""
    command = run_with_python(stage, clone(stage) / "addon" / "inject.py", missing)
    done = subprocess.run(
        command, cwd=stage.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    packages = {"requests": "requests", "authlib": "Authlib", "dotenv": "python-dotenv"}
    named = [packages[name] for name in missing]
    (line,) = (line for line in done.stdout.splitlines() if "credential injector" in line)
    assert f"needs {', '.join(named)}, which mitmproxy's Python does not have" in line
    assert line.endswith(f"-m pip install mitmproxy {' '.join(named)}")


@pytest.mark.parametrize(("version", "loads"), [("10.4.2", False), ("11.0.1", False), ("11.0.2", True), ("12.0", True)])
def test_old_mitmproxy(stage: Stage, version: str, loads: bool) -> None:
    """A mitmproxy that is too old is told in one line; tried with a real 10.4.2, which had loaded the script."""
    stage.env("https://api.qa.test", "SCOP=read")  # so that it ends in any case
    code = f"import mitmproxy.version; mitmproxy.version.VERSION = {version!r}\n" + UNINSTALLED
    command = run_with_python(stage, SCRIPT, (), code)
    done = subprocess.run(
        command, cwd=stage.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert (f"needs mitmproxy 11.0.2 or newer, and this is {version}; run: " in done.stdout) != loads
    assert ("did you mean SCOPE?" in done.stdout) == loads


def test_wheel(stage: Stage, curl: Curl) -> None:
    """An installed wheel runs from the path that the command prints."""
    wheels, site = stage.folder / "wheels", stage.folder / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source = stage.folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "node_modules", "__pycache__", "tests"))
    (source / "envs").mkdir(exist_ok=True)
    (source / "envs" / "qa.env").write_text("CLIENT_SECRET=canary\n")
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source)], check=True
    )
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    assert not [path for path in site.rglob("*") if path.suffix == ".env"]
    environ = {**os.environ, "PYTHONPATH": str(site)}
    printed = subprocess.run(
        [sys.executable, str(site / "bin" / "credential-injector"), "path"],
        capture_output=True,
        text=True,
        check=True,
        env=environ,
    )
    script = Path(printed.stdout.strip())
    assert script == site / "credential_injector" / "inject.py"
    stage.env(stage.http)
    (stage.folder / "where.py").write_text(WHERE)
    words = [*stage.options({}), "-s", str(stage.folder / "where.py")]
    proxy = stage.enter(mitmproxy("mitmdump", *words, folder=stage.folder, script=script, environ=environ))
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    assert f"loaded from {site}/credential_injector/__init__.py" in "\n".join(proxy.log)


def test_loaded_anew(stage: Stage, curl: Curl) -> None:
    """A changed script is loaded anew, and goes on."""
    folder = clone(stage)
    script = folder / "addon" / "inject.py"
    stage.env(stage.http, "METHODS=GET")
    proxy = stage.mitmdump(script=script)
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    package = folder / "addon" / "credential_injector" / "proxy" / "record.py"
    package.write_text(package.read_text().replace("request blocked", "REQUEST BLOCKED"))
    os.utime(script, (script.stat().st_atime + 10, script.stat().st_mtime + 10))
    proxy.wait_for("with tokens from", times=2)
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    assert curl("--proxy", proxy.url, "--data", "x", f"{stage.http}/orders").body.startswith("qa: REQUEST BLOCKED")


def test_mitmweb(stage: Stage, curl: Curl) -> None:
    """mitmweb runs it, too."""
    stage.env(stage.http)
    words = ["--set", f"web_port={free_port()}", "--set", "web_open_browser=false"]
    proxy = stage.enter(stage.mitmproxy("mitmweb", *words))
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200


def test_web_port_taken(stage: Stage) -> None:
    """A web port that is taken is told in one line."""
    stage.env(stage.http)
    port = int(stage.http.rpartition(":")[2])
    code, lines = start_and_fail(stage, name="mitmweb", web_port=str(port), web_open_browser="false")
    assert code == 1
    assert (
        f"web_port: mitmweb cannot listen on 127.0.0.1:{port} (Address already in use); end what does, or choose"
        f" another port: --set web_port={port + 2}"
    ) in lines


def test_web_port_kept(stage: Stage) -> None:
    """mitmweb keeps its port when the script is loaded anew."""
    stage.env(stage.http)
    script = clone(stage) / "addon" / "inject.py"
    with stage.mitmproxy("mitmweb", script=script, web_port=free_port(), web_open_browser="false") as proxy:
        os.utime(script, (script.stat().st_atime + 10, script.stat().st_mtime + 10))
        proxy.wait_for("with tokens from", times=2)
        assert not any("web_port:" in line for line in proxy.log)


def test_console(stage: Stage, curl: Curl) -> None:
    """The console runs it, too."""
    stage.env(stage.http)
    (stage.folder / "tell.py").write_text("def running():\n    open('started', 'w').close()\n")
    port = free_port()
    words = ["--listen-host", "127.0.0.1", "--listen-port", str(port), *stage.options({})]
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = subprocess.Popen(
        [program("mitmproxy"), *words, "-s", str(SCRIPT), "-s", "tell.py"],
        cwd=stage.folder,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(terminal)
    try:
        while not (stage.folder / "started").exists():
            assert os.read(controller, 65536), "it ended"
        reader = threading.Thread(target=_drain, args=(controller,), daemon=True)
        reader.start()
        assert curl("--proxy", f"http://127.0.0.1:{port}", f"{stage.http}/orders").status == 200
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(controller)


def _drain(terminal: int) -> None:
    """A program whose terminal nobody reads stands still."""
    with contextlib.suppress(OSError):
        while os.read(terminal, 65536):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0.0.0.0", "localhost", "[::ffff:127.0.0.1]", "web.test"])
def test_mitmweb_through_proxy(stage: Stage, host: str) -> None:
    """mitmweb cannot be reached through the proxy."""
    stage.env(stage.http)
    port = free_port()
    with stage.mitmproxy("mitmweb", web_port=port, web_open_browser="false") as proxy:
        through = {"http": proxy.url}
        assert proxy.web_url  # it listens, too
        read = requests.get(f"http://{host}:{port}/flows", proxies=through, timeout=30)
        written = requests.put(f"http://{host}:{port}/options", json={}, proxies=through, timeout=30)
        other = requests.get(f"{stage.http}/orders", proxies=through, timeout=30)
    # mitmproxy 12 asks for a login; 11 lets everybody in who comes from this machine, hence our refusal.
    refused = {502} if web_guard.is_needed() else {403, 502}
    assert {read.status_code, written.status_code} <= refused
    assert other.status_code == 200

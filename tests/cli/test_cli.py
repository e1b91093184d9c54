"""The command line in its own process, as people and scripts use it."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from credential_injector.cli.main import main
from credential_injector.demo.servers import Client, DemoAuthorizationServer, serve
from tests.certificates import Authority
from tests.fakes import answering, http

SECRET = "canary-secret"
Run = Callable[..., subprocess.CompletedProcess[str]]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "credential_injector.cli", *arguments],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "USERPROFILE": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        with start(tmp_path, *arguments) as process:
            printed, told = process.communicate()
        assert SECRET not in printed + told
        return subprocess.CompletedProcess(arguments, process.returncode, printed, told)

    return run


@pytest.fixture
def server() -> Iterator[tuple[DemoAuthorizationServer, str]]:
    authorization_server = DemoAuthorizationServer([Client("abc", SECRET)])
    with serve(authorization_server.app) as origin:
        yield authorization_server, f"{origin}/oauth2/v2.0/token"


def env(folder: Path, name: str, endpoint: str, *lines: str, secret: str = SECRET, folder_name: str = "envs") -> Path:
    file = folder / folder_name / f"{name}.env"
    file.parent.mkdir(exist_ok=True)
    given = [f"HOST=*.{name}.example.com", f"TOKEN_ENDPOINT={endpoint}", "CLIENT_ID=abc"]
    file.write_text("\n".join([*given, f"CLIENT_SECRET={secret}", *lines, ""]))
    file.chmod(0o600)
    return file


def test_path_prints_the_script_for_mitmproxy() -> None:
    result = CliRunner().invoke(main, ["path"])
    assert result.exit_code == 0
    assert Path(result.output.strip()).name == "inject.py"
    assert Path(result.output.strip()).is_file()


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ([], 'mitmdump -s "$(credential-injector path)"'),
        (["token"], "credential-injector token qa --header | curl -H @- "),
        (["check"], "credential-injector check qa uat --json"),
    ],
)
def test_help_shows_an_example(command: list[str], example: str) -> None:
    assert example in CliRunner().invoke(main, [*command, "--help"]).output


def test_without_mitmproxy_the_commands_are_there_at_once() -> None:
    slow = {"authlib", "mitmproxy", "requests", "urllib3"}
    script = f"import sys, credential_injector.cli; print(sorted({slow} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


# --- token ---


def test_a_token_stands_alone_on_standard_output(
    run: Run, tmp_path: Path, server: tuple[DemoAuthorizationServer, str]
) -> None:
    env(tmp_path, "qa", server[1], "HEADER=X-Token", "PREFIX=", "HEADER_X-Tenant=acme")
    env(tmp_path, "typo", server[1], "SCOP=read")
    done = run("token", "qa")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() in server[0].tokens
    name, _, value = run("token", "qa", "--header").stdout.strip().partition(": ")
    assert (name, value in server[0].tokens) == ("X-Token", True)
    told = json.loads(run("token", "qa", "--json").stdout)
    assert told["headers"] == {"X-Token": told["access_token"], "X-Tenant": "acme"}
    assert told["access_token"] in server[0].tokens
    assert (told["environment"], told["source"]) == ("qa", "fetched")
    assert told["expires_at"] == pytest.approx(server[0].tokens[told["access_token"]].expires_at, abs=5)


def test_two_processes_that_share_a_store_make_one_token_request(
    run: Run, tmp_path: Path, server: tuple[DemoAuthorizationServer, str]
) -> None:
    env(tmp_path, "qa", server[1])
    processes = [start(tmp_path, "token", "qa", "--tokens", "tokens.json") for _ in range(2)]
    first, second = (process.communicate()[0] for process in processes)
    assert first == second
    assert first.strip() in server[0].tokens
    assert run("token", "qa", "--tokens", "tokens.json").stdout == first
    assert len(server[0].token_requests) == 1


def test_a_credential_that_stands_in_the_file_is_printed_as_well(run: Run, tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "key.env").write_text("HOST=https://api.example.com\nGRANT_TYPE=static\nVALUE=abc\n")
    assert run("token", "key", "--header").stdout == "Authorization: Bearer abc\n"
    assert json.loads(run("token", "key", "--json").stdout)["expires_at"] is None


def test_why_there_is_no_token_is_one_line_that_says_what_to_do(
    run: Run, tmp_path: Path, server: tuple[DemoAuthorizationServer, str]
) -> None:
    env(tmp_path, "qa", server[1], secret="wrong")
    done = run("token", "qa")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: qa: no token (invalid_client): {server[1]} answered 401; check CLIENT_ID, CLIENT_SECRET and"
        " TOKEN_ENDPOINT_AUTH_METHOD in envs/qa.env\n"
    )


@pytest.mark.parametrize(
    ("lines", "arguments", "code", "told"),
    [
        (["SCOP=read"], ["qa"], 1, "envs/qa.env: SCOP: unknown key (line 5), did you mean SCOPE?"),
        ([], ["aq"], 2, "envs/aq.env does not exist, did you mean qa?"),
        ([], ["qa", "--envs", "other"], 2, "--envs: other: no such folder, the folder of the environment files was"),
        ([], ["qa", "--tokens", "no/where"], 2, "--tokens: is in a folder that does not exist"),
        ([], ["qa", "--tokens", "ftp://canary-secret@host"], 2, "--tokens: is of no known kind"),
        (["GRANT_TYPE=device_code", "DEVICE_AUTHORIZATION_ENDPOINT=https://a.example/d"], ["qa"], 1,
         "nobody has logged in; run: credential-injector login qa\n"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_an_exit_code(
    run: Run, tmp_path: Path, lines: list[str], arguments: list[str], code: int, told: str
) -> None:
    env(tmp_path, "qa", "https://login.example.com/token", *lines)
    done = run("token", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


# --- standard output ---

_FULL = [">/dev/full"] if Path("/dev/full").exists() else []


@pytest.mark.parametrize("command", [["token", "key"], ["token", "key", "--json"], ["check"], ["path"]])
@pytest.mark.parametrize("where", ["| closed", *([">&-", *_FULL] if os.name == "posix" else [])])
def test_output_that_cannot_be_written_is_one_line_and_an_exit_code(
    tmp_path: Path, command: list[str], where: str
) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "key.env").write_text(f"HOST=*.example.com\nGRANT_TYPE=static\nVALUE={SECRET}\n")
    (tmp_path / "envs" / "key.env").chmod(0o600)
    words = [sys.executable, "-m", "credential_injector.cli", *command]
    # Unbuffered, nothing is left to write at the end.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    run = partial(
        subprocess.run, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=buffered, timeout=60, check=False
    )
    if where == "| closed":
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            done = run(words, stdout=pipe)
    else:
        done = run(["sh", "-c", f'exec "$@" {where}', "sh", *words])
    *progress, error = done.stderr.splitlines()
    assert done.returncode == 1
    assert re.fullmatch(r"Error: standard output cannot be written \([A-Z][\w ]+\); check the .* it goes to", error)
    assert progress == (["key: reading ..."] if command == ["check"] else [])


# --- check ---


def test_a_good_environment_is_checked_with_one_token_request(
    run: Run, tmp_path: Path, server: tuple[DemoAuthorizationServer, str]
) -> None:
    env(tmp_path, "qa", server[1], "SCOPE=read")
    done = run("check")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "ENVIRONMENT  RESULT  TOKEN        SCOPE  CLOCK  TLS             API TLS  TOKENS FROM",
        f"qa           ok      lives 5 min  read   +0 s   none, loopback  -        {server[1]}",
    ]
    assert done.stderr == f"qa: asking {server[1]} for a token ...\n"
    assert len(server[0].token_requests) == 1


def test_what_is_wrong_is_told_below_the_table_and_by_the_exit_code(
    run: Run, tmp_path: Path, server: tuple[DemoAuthorizationServer, str]
) -> None:
    env(tmp_path, "good", server[1])
    env(tmp_path, "secret", server[1], secret="wrong")
    env(tmp_path, "typo", server[1], "SCOP=read")
    env(tmp_path, "scope", server[1], "SCOPE=read admin")
    env(tmp_path, "twice", server[1]).write_text((tmp_path / "envs" / "good.env").read_text())
    (tmp_path / "envs" / "twice.env").chmod(0o644)
    done = run("check")
    assert done.returncode == 1
    table, problems = (part.splitlines() for part in done.stdout.split("\n\n"))
    assert [row.split()[:2] for row in table[1:]] == [
        ["good", "ok"],
        ["scope", "WRONG"],
        ["secret", "WRONG"],
        ["twice", "WRONG"],
        ["typo", "WRONG"],
    ]
    assert len({row.index(cell) for row, cell in zip(table[1:], ["ok", *["WRONG"] * 4], strict=True)}) == 1
    assert [problem.partition(";")[0].partition(",")[0] for problem in problems] == [
        "scope: not granted: admin",
        f"secret: no token (invalid_client): {server[1]} answered 401",
        "twice: envs/twice.env: HOST: claims https://*.good.example.com",
        *(["twice: other users of this machine can read secrets"] if os.name == "posix" else []),
        "typo: envs/typo.env: SCOP: unknown key (line 5)",
    ]


def test_anybody_may_read_a_certificate(run: Run, tmp_path: Path, server: tuple[DemoAuthorizationServer, str]) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text(Authority().certificate)
    authority.chmod(0o644)
    env(tmp_path, "qa", server[1], "CA_FILE=../ca.pem")
    done = run("check")
    assert (done.returncode, "chmod" in done.stdout + done.stderr) == (0, False)


def test_only_the_named_environments_are_checked_and_told_as_json(
    run: Run, tmp_path: Path, server: tuple[DemoAuthorizationServer, str]
) -> None:
    for name, secret in (("qa", SECRET), ("uat", "wrong"), ("prod", "wrong")):
        env(tmp_path, name, server[1], secret=secret, folder_name="other")
    done = run("check", "qa", "uat", "--json", "--envs", "other")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (1, False)
    assert [(one["name"], one["ok"]) for one in told["environments"]] == [("qa", True), ("uat", False)]
    assert told["environments"][0] == {
        "ok": True, "name": "qa", "file": "other/qa.env", "endpoint": server[1], "tls": "none, loopback",
        "lifetime": 300.0, "scope": [], "more_scope": 0, "clock_skew": 0.0, "problems": [],
        "unconfirmed_scope": [], "api_tls": {}, "notes": [],
    }  # fmt: skip
    assert len(server[0].token_requests) == 2
    assert json.loads(run("check", "qa", "--json", "--envs", "other").stdout)["ok"]


def test_a_scope_that_was_not_confirmed_is_told_as_such(run: Run, tmp_path: Path) -> None:
    with answering(http(200, {"access_token": "abc", "token_type": "Bearer", "expires_in": 300})) as (endpoint, _):
        env(tmp_path, "qa", endpoint, "SCOPE=read admin")
        done = run("check")
    assert done.returncode == 0
    assert "  read admin (asked, not confirmed)  " in done.stdout.splitlines()[1]


def test_the_authorities_that_mitmproxy_trusts_vouch_for_the_token_endpoint_too(run: Run, tmp_path: Path) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_text(authority.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.file(tmp_path, "server", "127.0.0.1"))
    with serve(DemoAuthorizationServer([Client("abc", SECRET)]).app, tls=context) as origin:
        env(tmp_path, "qa", f"{origin}/oauth2/v2.0/token")
        assert [run("check", *words).returncode for words in ([], ["--upstream-ca", "ca.pem"])] == [1, 0]


def test_an_api_that_cannot_be_reached_is_told_and_counts_as_no_mistake(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        origin = f"https://127.0.0.1:{server.getsockname()[1]}"
    (tmp_path / "envs").mkdir()
    hosts = f"{origin}/a, {origin}/b, {origin.replace('https', 'http')}"
    (tmp_path / "envs" / "qa.env").write_text(f"HOST={hosts}\nGRANT_TYPE=static\nVALUE=abc\n")
    (tmp_path / "envs" / "qa.env").chmod(0o600)
    done = run("check")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:] == [
        "qa           ok      -      -      -      -    not reached  envs/qa.env",
        "",
        f"qa: note: {origin}: it cannot be reached from here (Connection refused), so its certificate was not seen;"
        " check HOST in envs/qa.env, and the network or VPN",
    ]


@pytest.mark.parametrize(
    ("file", "told"),
    [("nowhere.pem", "nowhere.pem: cannot be read"), ("envs/qa.env", "envs/qa.env: cannot be read")],
)
def test_authorities_that_cannot_be_read_are_a_wrong_call(run: Run, tmp_path: Path, file: str, told: str) -> None:
    env(tmp_path, "qa", "https://login.example.com/token")
    done = run("check", "--upstream-ca", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Error: --upstream-ca: {told}, a file of PEM certificates was expected\n"


def test_environments_are_checked_at_the_same_time(run: Run, tmp_path: Path) -> None:
    """Each answer waits until both have been asked for."""
    both = threading.Barrier(2, timeout=30)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        both.wait()
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b'{"access_token": "abc", "token_type": "Bearer", "expires_in": 60}']

    with serve(app) as origin:
        env(tmp_path, "qa", origin)
        env(tmp_path, "uat", origin)
        assert run("check").returncode == 0


@pytest.mark.parametrize(("arguments", "file"), [(["check"], "dev.env"), (["token", "qa"], "qa.env")])
def test_an_empty_folder_is_a_wrong_call(run: Run, tmp_path: Path, arguments: list[str], file: str) -> None:
    (tmp_path / "envs").mkdir()
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: --envs: no environment file in {tmp_path / 'envs'}; write {file} there, or name another folder\n"
    )


# --- completion ---


def test_environment_names_are_completed_from_the_folder_that_is_given(tmp_path: Path) -> None:
    for folder, name in (("envs", "qa"), ("envs", "quality"), ("envs", "prod"), ("other", "q2")):
        env(tmp_path, name, "not even a URL: no file is read", folder_name=folder)

    def completed(*words: str) -> list[str]:
        line = " ".join(("credential-injector", *words))
        done = subprocess.run(
            [sys.executable, "-m", "credential_injector.cli"],
            cwd=tmp_path,
            env={
                **os.environ,
                "_CREDENTIAL_INJECTOR_COMPLETE": "bash_complete",
                "COMP_WORDS": line,
                "COMP_CWORD": str(len(words)),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    assert completed("token", "q") == ["plain,qa", "plain,quality"]
    assert completed("check", "qa", "p") == ["plain,prod"]
    assert completed("token", "--envs", "other", "q") == ["plain,q2"]
    assert completed("token", "--envs", "nowhere", "q") == []


def test_a_misnamed_file_is_told(tmp_path: Path) -> None:
    """As mitmproxy tells it."""
    envs = tmp_path / "envs"
    envs.mkdir()
    (envs / ".env").write_text("HOST=https://api.example.com\n")
    done = CliRunner().invoke(main, ["check", "--envs", str(envs)])
    assert done.exit_code == 2
    assert ".env: the file's name: is not read" in done.output

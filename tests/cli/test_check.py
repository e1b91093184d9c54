"""`credential-injector check`."""

import json
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from credential_injector.demo.servers import Client, DemoAuthorizationServer, ProtectedApi, serve
from tests.certificates import Authority
from tests.cli.conftest import SECRET, Run, Server, env
from tests.fakes import answering, http


def test_good(run: Run, tmp_path: Path, server: Server) -> None:
    """A good environment is checked with one token request."""
    env(tmp_path, "qa", server[1], "SCOPE=read")
    done = run("check")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "ENVIRONMENT  RESULT  TOKEN        SCOPE  CLOCK  TLS             API TLS  TOKENS FROM",
        f"qa           ok      lives 5 min  read   +0 s   none, loopback  -        {server[1]}",
    ]
    assert done.stderr == f"qa: asking {server[1]} for a token ...\n"
    assert len(server[0].token_requests) == 1


def test_wrong(run: Run, tmp_path: Path, server: Server) -> None:
    """What is wrong stands below the table and makes the exit code 1."""
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


def test_readable_certificate(run: Run, tmp_path: Path, server: Server) -> None:
    """Anybody may read a certificate."""
    authority = tmp_path / "ca.pem"
    authority.write_text(Authority().certificate)
    authority.chmod(0o644)
    env(tmp_path, "qa", server[1], "CA_FILE=../ca.pem")
    done = run("check")
    assert (done.returncode, "chmod" in done.stdout + done.stderr) == (0, False)


def test_json(run: Run, tmp_path: Path, server: Server) -> None:
    """Only the named environments are checked, with all the facts in JSON."""
    for name, secret in (("qa", SECRET), ("uat", "wrong"), ("prod", "wrong")):
        env(tmp_path, name, server[1], secret=secret, folder_name="other")
    done = run("check", "qa", "uat", "--json", "--envs", "other")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (1, False)
    assert [(one["name"], one["ok"]) for one in told["environments"]] == [("qa", True), ("uat", False)]
    assert told["environments"][0] == {
        "ok": True, "name": "qa", "file": "other/qa.env", "endpoint": server[1], "tls": "none, loopback",
        "lifetime": 300.0, "scope": [], "more_scope": 0, "clock_skew": 0.0, "problems": [],
        "unconfirmed_scope": [], "api_tls": {}, "notes": [], "failure": None, "probe": None,
    }  # fmt: skip
    assert len(server[0].token_requests) == 2
    assert json.loads(run("check", "qa", "--json", "--envs", "other").stdout)["ok"]


def test_unconfirmed_scope(run: Run, tmp_path: Path) -> None:
    """A scope that the server did not confirm is shown as such."""
    with answering(http(200, {"access_token": "abc", "token_type": "Bearer", "expires_in": 300})) as (endpoint, _):
        env(tmp_path, "qa", endpoint, "SCOPE=read admin")
        done = run("check")
    assert done.returncode == 0
    assert "  read admin (asked, not confirmed)  " in done.stdout.splitlines()[1]


def test_upstream_ca(run: Run, tmp_path: Path) -> None:
    """The authorities that mitmproxy trusts vouch for the token endpoint, too."""
    authority = Authority()
    (tmp_path / "ca.pem").write_text(authority.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.file(tmp_path, "server", "127.0.0.1"))
    with serve(DemoAuthorizationServer([Client("abc", SECRET)]).app, tls=context) as origin:
        env(tmp_path, "qa", f"{origin}/oauth2/v2.0/token")
        assert [run("check", *words).returncode for words in ([], ["--upstream-ca", "ca.pem"])] == [1, 0]


def test_unreachable_api(run: Run, tmp_path: Path) -> None:
    """An API that cannot be reached is a note, and no mistake."""
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
def test_unreadable_ca(run: Run, tmp_path: Path, file: str, told: str) -> None:
    """Authorities that cannot be read are a wrong call."""
    env(tmp_path, "qa", "https://login.example.com/token")
    done = run("check", "--upstream-ca", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Error: --upstream-ca: {told}; expected a file of PEM certificates\n"


def test_concurrency(run: Run, tmp_path: Path) -> None:
    """Environments are checked at the same time: each answer waits until both have been asked for."""
    both = threading.Barrier(2, timeout=30)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        both.wait()
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b'{"access_token": "abc", "token_type": "Bearer", "expires_in": 60}']

    with serve(app) as origin:
        env(tmp_path, "qa", origin)
        env(tmp_path, "uat", origin)
        assert run("check").returncode == 0


def test_probe(run: Run, tmp_path: Path, server: Server) -> None:
    """A probe has a column of its own, and what the API says against the token is a problem."""
    api = ProtectedApi(server[0])
    with serve(api.app) as origin:
        for name, secret, host in (("qa", SECRET, origin), ("uat", "wrong", origin.replace("127.0.0.1", "localhost"))):
            file = env(tmp_path, name, server[1], secret=secret)
            file.write_text(file.read_text().replace(f"*.{name}.example.com", host))
        done = run("check", "--probe", "/always/403?insufficient_scope")
        good = run("check", "qa", "--probe", "/orders")
    assert [row.split()[:2] for row in done.stdout.splitlines()[:3]] == [
        ["ENVIRONMENT", "RESULT"],
        ["qa", "WRONG"],
        ["uat", "WRONG"],
    ]
    assert "  403 scope  " in done.stdout.splitlines()[1]
    assert f"qa: GET {origin}/always/403 answered 403: the API says that the token's scope does not" in done.stdout
    assert (done.returncode, good.returncode) == (1, 0)
    assert "  API TLS  PROBE  TOKENS FROM" in good.stdout.splitlines()[0]
    assert "  200  " in good.stdout.splitlines()[1]
    assert len(api.received) == 2


def test_no_path(run: Run, tmp_path: Path) -> None:
    """What is no path is a wrong call, before a token is asked for."""
    env(tmp_path, "qa", "https://login.example.com/token")
    done = run("check", "--probe", "orders")
    told = "Error: --probe: is no path; expected one such as /orders?limit=1, which begins with a slash\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", told)

"""`credential-injector token`."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run, Server, env, start
from tests.fakes import answering, http


def test_forms(run: Run, tmp_path: Path, server: Server) -> None:
    """A token stands alone on standard output, as a header, or in JSON."""
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


def test_shared_store(run: Run, tmp_path: Path, server: Server) -> None:
    """Two processes that share a store make one token request."""
    env(tmp_path, "qa", server[1])
    processes = [start(tmp_path, "token", "qa", "--tokens", "tokens.json") for _ in range(2)]
    first, second = (process.communicate()[0] for process in processes)
    assert first == second
    assert first.strip() in server[0].tokens
    assert run("token", "qa", "--tokens", "tokens.json").stdout == first
    assert len(server[0].token_requests) == 1


def test_static(run: Run, tmp_path: Path) -> None:
    """A credential that is written in the file is printed as well."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "key.env").write_text("HOST=https://api.example.com\nGRANT_TYPE=static\nVALUE=abc\n")
    assert run("token", "key", "--header").stdout == "Authorization: Bearer abc\n"
    assert json.loads(run("token", "key", "--json").stdout)["expires_at"] is None


def test_places(run: Run, tmp_path: Path) -> None:
    """A key of the query and a cookie are told where they go, and a cookie stands in a header for curl."""
    (tmp_path / "envs").mkdir()
    for line in ("QUERY=api_key", "COOKIE=session"):
        name = line.partition("=")[0].lower()
        text = f"HOST=https://{name}.example.com\nGRANT_TYPE=static\nVALUE=a/b=\nHEADER_X-Tenant=acme\n{line}\n"
        (tmp_path / "envs" / f"{name}.env").write_text(text)
    assert run("token", "query").stdout == "a/b=\n"
    told = json.loads(run("token", "query", "--json").stdout)
    assert (told["query"], told["headers"]) == ("api_key=a%2Fb%3D", {"X-Tenant": "acme"})
    done = run("token", "query", "--header")
    assert (done.returncode, done.stdout) == (1, "")
    assert "query: QUERY=api_key puts the credential into the URL, and not into a header; use --json" in done.stderr
    told = json.loads(run("token", "cookie", "--json").stdout)
    assert (told["query"], told["headers"]) == ("", {"Cookie": "session=a/b=", "X-Tenant": "acme"})
    assert run("token", "cookie", "--header").stdout == "Cookie: session=a/b=\n"


def test_no_token(run: Run, tmp_path: Path, server: Server) -> None:
    """Why there is no token is one line, which says what to do."""
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
        ([], ["qa", "--envs", "other"], 2, "--envs: other: no such folder; expected the folder of"),
        ([], ["qa", "--tokens", "no/where"], 2, "--tokens: is in a folder that does not exist"),
        ([], ["qa", "--tokens", "ftp://canary-secret@host"], 2, "--tokens: is of no known kind"),
        (["GRANT_TYPE=device_code", "DEVICE_AUTHORIZATION_ENDPOINT=https://a.example/d"], ["qa"], 1,
         "nobody has logged in; run: credential-injector login qa\n"),
    ],
)  # fmt: skip
def test_mistake(run: Run, tmp_path: Path, lines: list[str], arguments: list[str], code: int, told: str) -> None:
    """A mistake is one line and an exit code."""
    env(tmp_path, "qa", "https://login.example.com/token", *lines)
    done = run("token", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("broken", [True, False])
def test_lost_refresh_token(run: Run, tmp_path: Path, broken: bool) -> None:
    """A token whose refresh token was replaced, and could not be stored, comes with a word of it."""
    if broken:
        (tmp_path / "tokens.json.lock").mkdir()
    answer = {"access_token": "abc", "token_type": "Bearer", "expires_in": 300, "refresh_token": "second"}
    with answering(http(200, answer)) as (endpoint, _):
        env(tmp_path, "qa", endpoint, "GRANT_TYPE=refresh_token", "REFRESH_TOKEN=first")
        done = run("token", "qa", "--tokens", "tokens.json")
    assert (done.returncode, done.stdout) == (0, "abc\n")
    lost = "qa: the server has replaced the refresh token, and the new one is lost, as it could not be stored in "
    assert (lost in done.stderr, "put one into envs/qa.env" in done.stderr) == (broken, broken)

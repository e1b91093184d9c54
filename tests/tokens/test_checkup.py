"""What a checkup finds, against servers that misbehave; the command itself is tested in test_cli.py."""

import asyncio
import base64
import json
import os
import re
import ssl
import subprocess
import sys
import time
from contextlib import AbstractAsyncContextManager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from credential_injector.demo.servers import Client, DemoAuthorizationServer, serve
from credential_injector.environments.environment import Environment
from credential_injector.oauth.connections import MOST_KEPT
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.origins.origin import parse_origin
from credential_injector.status import FailureStatus
from credential_injector.tokens.checkup import AT_ONCE, Checkup, check
from credential_injector.tokens.file_store import open_file
from credential_injector.tokens.provider import Provider
from tests.certificates import Authority
from tests.fakes import answering, http, keeping
from tests.tokens.stores import Broken

TOKEN = {"access_token": "abc", "token_type": "Bearer", "expires_in": 3600}


def environment(endpoint: str, transport: Transport | None = None, **request: Any) -> Environment:
    return Environment(
        "qa",
        "envs/qa.env",
        (parse_origin("*.example.com"),),
        TokenRequest(endpoint=endpoint, client_id="abc", client_secret="def", **request),
        transport or Transport(),
    )


def checked(answer: dict[str, Any], *headers: str, **request: Any) -> Checkup:
    with answering(http(200, answer, *headers)) as (endpoint, _):
        return asyncio.run(check(environment(endpoint, **request), Provider()))


@pytest.mark.parametrize(
    ("asked", "granted", "scope", "more", "missing"),
    [
        ("read write", None, ("read", "write"), 0, ""),
        ("read write", "write read", ("read", "write"), 0, ""),
        ("read write", "read", ("read",), 0, "write"),
        ("read admin write", "", (), 0, "read admin write"),
        ("read", "read canary-1 canary-2", ("read",), 2, ""),
        ("", "canary", (), 1, ""),
        ("openid offline_access", "openid", ("openid",), 0, ""),
        ("api://orders/.default", "api://orders/read", (), 1, ""),
        ("read", 7, ("read",), 0, ""),
    ],
)
def test_scope(asked: str, granted: Any, scope: tuple[str, ...], more: int, missing: str) -> None:
    """The granted scope is compared with the one that was asked for."""
    found = checked({**TOKEN, "scope": granted}, scope=asked)
    assert (found.scope, found.more_scope, found.lifetime) == (scope, more, 3600)
    assert ["; ".join(found.problems).partition(";")[0]] == [f"not granted: {missing}" if missing else ""]
    assert "canary" not in repr(found)


def jwt(**claims: Any) -> str:
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({}, claims, {}))


@pytest.mark.parametrize(
    ("token", "asked", "unconfirmed", "more", "note"),
    [
        ("abc", "admin", ("admin",), 0, ""),
        ("abc", "", (), 0, ""),
        ("abc", "api://orders/.default offline_access", (), 0, ""),
        (jwt(sub="canary"), "admin", ("admin",), 0, ""),
        (jwt(scope=7, scp=None, roles={}), "admin", ("admin",), 0, ""),
        (jwt(scope="read admin"), "admin", (), 1, ""),
        (jwt(scp="read"), "api://orders/read", (), 0, ""),
        (jwt(scp=["read", "admin", 7]), "admin read", (), 0, ""),
        (jwt(roles=["admin"], scp="read"), "admin read", (), 0, ""),
        (jwt(roles=["canary"]), "api://orders/.default", (), 1, ""),
        (jwt(scope="read canary"), "read admin", ("admin",), 1, "the token, a JWT, does not name admin"),
        (jwt(scope=""), "admin", ("admin",), 0, "the token, a JWT, does not name admin"),
    ],
)
def test_scope_in_token(token: str, asked: str, unconfirmed: tuple[str, ...], more: int, note: str) -> None:
    """A scope that the answer does not name (RFC 6749 section 5.1) is confirmed by the token alone."""
    found = checked({**TOKEN, "access_token": token}, scope=asked)
    assert (found.ok, found.scope, found.unconfirmed_scope) == (True, tuple(asked.split()), unconfirmed)
    assert (found.more_scope, len(found.notes)) == (more, bool(note))
    assert note in "".join(found.notes)
    assert "canary" not in repr(found)


def test_scope_in_answer() -> None:
    """A scope that the answer names is not looked for in the token."""
    found = checked({**TOKEN, "access_token": jwt(scope="read"), "scope": "admin"}, scope="admin")
    assert (found.ok, found.scope, found.unconfirmed_scope, found.notes) == (True, ("admin",), (), ())


@pytest.mark.parametrize(
    ("ahead", "problem"),
    [
        (0, ""),
        (-5, ""),
        (600, "clock is (59.|60.) s behind the server's"),
        (-600, "clock is (59.|6..) s ahead of the server's"),
    ],
)
def test_clock(ahead: int, problem: str) -> None:
    """A clock that is wrong is found by the server's Date."""
    found = checked(TOKEN, f"Date: {formatdate(time.time() + ahead, usegmt=True)}")
    assert found.clock_skew == pytest.approx(ahead, abs=10)
    assert found.ok == (not problem)
    assert re.search(problem, "".join(found.problems))


@pytest.mark.parametrize("date", ["Date: yesterday", "X-Date: 1"])
def test_no_date(date: str) -> None:
    """Without a Date nothing is said of the clock."""
    found = checked(TOKEN, date)
    assert (found.clock_skew, found.ok) == (None, True)


def test_refusal_and_clock() -> None:
    """A refusal tells of the clock, too."""
    with answering(http(400, {"error": "invalid_client"}, f"Date: {formatdate(0, usegmt=True)}")) as (endpoint, _):
        found = asyncio.run(check(environment(endpoint), Provider()))
    refused, clock = found.problems
    assert "no token (invalid_client)" in refused
    assert "set it by network time" in clock


@pytest.mark.parametrize(
    ("trusts", "insecure", "tls", "problem"),
    [
        (True, False, "verified", ""),
        (False, True, "NOT VERIFIED", ""),
        (False, False, "", "name the authority that issued it in CA_FILE in"),
    ],
)
def test_tls(tmp_path: Path, trusts: bool, insecure: bool, tls: str, problem: str) -> None:
    """Whether the server is verified is told."""
    authority = Authority()
    (tmp_path / "server.pem").write_text("".join(authority.issue("server", "127.0.0.1")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    transport = Transport(ca=authority.certificate if trusts else "", insecure_tls=insecure)
    with serve(DemoAuthorizationServer([Client("abc", "def")]).app, tls=context) as origin:
        found = asyncio.run(check(environment(f"{origin}/oauth2/v2.0/token", transport), Provider()))
    assert found.tls == tls
    assert problem in "".join(found.problems)
    assert found.ok == (not problem)


def test_rotation_in_store(tmp_path: Path) -> None:
    """A refresh token that is used up by a checkup is replaced in the store."""
    store = open_file(str(tmp_path / "tokens.json"))
    request = environment("", grant_type="refresh_token", values=(("REFRESH_TOKEN", "first"),)).token_request
    with answering(http(200, {**TOKEN, "refresh_token": "second"})) as (endpoint, received):
        same = environment(endpoint, grant_type=request.grant_type, values=request.values)
        for _ in range(2):
            assert asyncio.run(check(same, Provider(store))).ok
    assert [b"refresh_token=first" in one for one in received] == [True, False]
    assert b"refresh_token=second" in received[1]


def test_fixed() -> None:
    """A credential taken from the file needs no token request."""
    found = asyncio.run(check(environment("", grant_type="static", values=(("VALUE", "abc"),)), Provider()))
    assert (found.ok, found.endpoint, found.lifetime) == (True, "", None)


@pytest.mark.parametrize(("next_one", "lost"), [("second", True), ("first", False), (None, False)])
def test_rotation_in_memory(next_one: str | None, lost: bool) -> None:
    """A refresh token that a checkup without a store uses up is told."""
    found = checked(
        {**TOKEN, "refresh_token": next_one}, grant_type="refresh_token", values=(("REFRESH_TOKEN", "first"),)
    )
    assert ["the server has replaced the refresh token" in problem for problem in found.problems] == [True] * lost
    assert "second" not in repr(found)


def test_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkup waits for the lock as long as the file lets a token request take."""
    store = open_file(str(tmp_path / "tokens.json"))
    lock, waits = store.lock, list[float]()

    def watched(identity: str, wait: float) -> AbstractAsyncContextManager[bool]:
        waits.append(wait)
        return lock(identity, wait)

    monkeypatch.setattr(store, "lock", watched)
    with answering(http(200, TOKEN)) as (endpoint, _):
        assert asyncio.run(check(environment(endpoint, Transport(timeout=60)), Provider(store))).ok
    assert waits == [90]


@pytest.mark.parametrize("fails", ["lock", "read", "write"])
def test_rotation_without_store(fails: str) -> None:
    """A refresh token that a checkup uses up and a broken store does not take is told, with where it would be."""
    with answering(http(200, {**TOKEN, "refresh_token": "second"})) as (endpoint, _):
        refreshing = environment(endpoint, grant_type="refresh_token", values=(("REFRESH_TOKEN", "first"),))

        async def run() -> Checkup:
            store = Broken(fails)
            try:
                return await check(refreshing, Provider(store))
            finally:
                await store.close()

        found = asyncio.run(run())
    assert not found.ok
    (problem,) = found.problems
    assert problem == (
        "the server has replaced the refresh token, and the new one is lost, as it could not be stored in the store;"
        " fix that, then put one into envs/qa.env"
    )


def test_failure() -> None:
    """A failure is told as values, too."""
    with answering(http(400, {"error": "invalid_scope"})) as (endpoint, _):
        found = asyncio.run(check(environment(endpoint), Provider()))
    assert found.failure == FailureStatus(
        "invalid_scope", f"{endpoint} answered 400", "check SCOPE in envs/qa.env", next_try=0.0
    )
    assert found.problems == (f"no token (invalid_scope): {endpoint} answered 400; check SCOPE in envs/qa.env",)


MANY = """
import asyncio, resource, sys
from pathlib import Path
from credential_injector.environments.folder import open_folder
from credential_injector.tokens.checkup import check_folder
from credential_injector.tokens.open_store import open_store
from credential_injector.tokens.upstream_tls import Trust

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
began = list()
checkups = asyncio.run(check_folder(open_folder(sys.argv[1]), None, Trust(), began.append))
print(len(checkups), len(began), sum(one.ok for one in checkups), {one.problems for one in checkups})
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_many(tmp_path: Path) -> None:
    """300 environments are checked with the 256 file descriptors that macOS lets a process have, 32 at once."""
    with keeping(http(200, TOKEN, keep=True)) as (endpoint, seen):
        for number in range(300):
            lines = f"HOST=https://127.0.0.1:1/{number}", f"TOKEN_ENDPOINT={endpoint}/{number}", f"CLIENT_ID={number}"
            (tmp_path / f"e{number}.env").write_text("\n".join([*lines, "CLIENT_SECRET=def", ""]))
        done = subprocess.run([sys.executable, "-c", MANY, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split(" ", 3)[:3] == ["300", "300", "300"], done.stdout
    assert seen.most_open <= AT_ONCE + MOST_KEPT

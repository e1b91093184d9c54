"""What a checkup finds, against servers that misbehave; the command itself is tested in test_cli.py."""

import asyncio
import re
import ssl
import time
from contextlib import AbstractAsyncContextManager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from credential_injector.checkup import Checkup, check
from credential_injector.demo.servers import Client, DemoAuthorizationServer, serve
from credential_injector.destinations import parse_origin
from credential_injector.environments import Environment
from credential_injector.token_request import TokenRequest, Transport
from credential_injector.token_store import open_file
from tests.certificates import Authority
from tests.fakes import answering, http

TOKEN = {"access_token": "abc", "token_type": "Bearer", "expires_in": 3600}


def environment(endpoint: str, transport: Transport | None = None, **request: Any) -> Environment:
    return Environment(
        "qa",
        "envs/qa.env",
        (parse_origin("https://api.example.com"),),
        TokenRequest(endpoint=endpoint, client_id="abc", client_secret="def", **request),
        transport or Transport(),
    )


def checked(answer: dict[str, Any], *headers: str, **request: Any) -> Checkup:
    with answering(http(200, answer, *headers)) as (endpoint, _):
        return asyncio.run(check(environment(endpoint, **request), None))


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
def test_the_granted_scope_is_compared_with_the_one_that_was_asked_for(
    asked: str, granted: Any, scope: tuple[str, ...], more: int, missing: str
) -> None:
    found = checked({**TOKEN, "scope": granted}, scope=asked)
    assert (found.scope, found.more_scope, found.lifetime) == (scope, more, 3600)
    assert ["; ".join(found.problems).partition(";")[0]] == [f"not granted: {missing}" if missing else ""]
    assert "canary" not in repr(found)


@pytest.mark.parametrize(
    ("ahead", "problem"),
    [
        (0, ""),
        (-5, ""),
        (600, "clock is (59.|60.) s behind the server's"),
        (-600, "clock is (59.|6..) s ahead of the server's"),
    ],
)
def test_a_clock_that_is_wrong_is_found_by_the_servers_date(ahead: int, problem: str) -> None:
    found = checked(TOKEN, f"Date: {formatdate(time.time() + ahead, usegmt=True)}")
    assert found.clock_skew == pytest.approx(ahead, abs=10)
    assert found.ok == (not problem)
    assert re.search(problem, "".join(found.problems))


@pytest.mark.parametrize("date", ["Date: yesterday", "X-Date: 1"])
def test_without_a_date_nothing_is_said_of_the_clock(date: str) -> None:
    found = checked(TOKEN, date)
    assert (found.clock_skew, found.ok) == (None, True)


def test_a_refusal_tells_of_the_clock_too() -> None:
    with answering(http(400, {"error": "invalid_client"}, f"Date: {formatdate(0, usegmt=True)}")) as (endpoint, _):
        found = asyncio.run(check(environment(endpoint), None))
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
def test_the_servers_tls_is_told(tmp_path: Path, trusts: bool, insecure: bool, tls: str, problem: str) -> None:
    authority = Authority()
    (tmp_path / "server.pem").write_text("".join(authority.issue("server", "127.0.0.1")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    transport = Transport(ca=authority.certificate if trusts else "", insecure_tls=insecure)
    with serve(DemoAuthorizationServer([Client("abc", "def")]).app, tls=context) as origin:
        found = asyncio.run(check(environment(f"{origin}/oauth2/v2.0/token", transport), None))
    assert found.tls == tls
    assert problem in "".join(found.problems)
    assert found.ok == (not problem)


def test_a_refresh_token_that_is_used_up_by_a_checkup_is_replaced_in_the_store(tmp_path: Path) -> None:
    store = open_file(str(tmp_path / "tokens.json"))
    request = environment("", grant_type="refresh_token", values=(("REFRESH_TOKEN", "first"),)).token_request
    with answering(http(200, {**TOKEN, "refresh_token": "second"})) as (endpoint, received):
        same = environment(endpoint, grant_type=request.grant_type, values=request.values)
        for _ in range(2):
            assert asyncio.run(check(same, store)).ok
    assert [b"refresh_token=first" in one for one in received] == [True, False]
    assert b"refresh_token=second" in received[1]


def test_a_credential_that_stands_in_the_file_is_asked_of_nobody() -> None:
    found = asyncio.run(check(environment("", grant_type="static", values=(("VALUE", "abc"),)), None))
    assert (found.ok, found.endpoint, found.lifetime) == (True, "", None)


@pytest.mark.parametrize(("next_one", "lost"), [("second", True), ("first", False), (None, False)])
def test_a_refresh_token_that_a_checkup_without_a_store_uses_up_is_told(next_one: str | None, lost: bool) -> None:
    found = checked(
        {**TOKEN, "refresh_token": next_one}, grant_type="refresh_token", values=(("REFRESH_TOKEN", "first"),)
    )
    assert ["the server has replaced the refresh token" in problem for problem in found.problems] == [True] * lost
    assert "second" not in repr(found)


def test_a_checkup_waits_for_the_lock_as_long_as_the_file_lets_a_token_request_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_file(str(tmp_path / "tokens.json"))
    lock, waits = store.lock, list[float]()

    def watched(identity: str, wait: float) -> AbstractAsyncContextManager[None]:
        waits.append(wait)
        return lock(identity, wait)

    monkeypatch.setattr(store, "lock", watched)
    with answering(http(200, TOKEN)) as (endpoint, _):
        assert asyncio.run(check(environment(endpoint, Transport(timeout=60)), store)).ok
    assert waits == [90]

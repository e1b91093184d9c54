"""What goes into a request, and what is found there."""

from dataclasses import replace

import pytest
from mitmproxy import http
from mitmproxy.http import RequestData

from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken
from credential_injector.proxy.credentials import credential_of, outgoing
from credential_injector.proxy.credentials.credential import Again, Before
from tests.oauth.test_jwt_claims import jwt
from tests.proxy.test_record import QA

TOKEN = AccessToken("canary-token", 1000.0, 4600.0)
EXTRA = (("X-Tenant", "canary-tenant"), ("X-Key", "x"))


def request(*fields: tuple[str, str], version: str = "HTTP/1.1") -> RequestData:
    headers = [(name.encode(), value.encode()) for name, value in fields]
    made = http.Request.make("GET", "https://api.example.com/", headers=http.Headers(headers))
    made.http_version = version
    return made.data


def fields(made: RequestData) -> list[tuple[str, str]]:
    """The headers, but for the two that mitmproxy adds."""
    written = [(name.decode(), value.decode()) for name, value in made.headers.fields]
    return [field for field in written if field[0].lower() not in ("host", "content-length")]


@pytest.mark.parametrize(
    ("changes", "version", "sent", "arrives", "replaced"),
    [
        ({}, "HTTP/1.1", [], [("Authorization", "Bearer canary-token")], None),
        ({}, "HTTP/2.0", [], [("authorization", "Bearer canary-token")], None),
        ({}, "HTTP/3", [], [("authorization", "Bearer canary-token")], None),
        (
            {},
            "HTTP/1.1",
            [("authorization", "Basic eA=="), ("Accept", "*/*"), ("AUTHORIZATION", "Bearer old")],
            [("authorization", "Bearer canary-token"), ("Accept", "*/*")],
            "Basic",
        ),
        ({}, "HTTP/1.1", [("Authorization", "old")], [("Authorization", "Bearer canary-token")], "another value"),
        (
            {"header": "X-Api-Token", "prefix": ""},
            "HTTP/1.1",
            [("Authorization", "Basic eA==")],
            [("Authorization", "Basic eA=="), ("X-Api-Token", "canary-token")],
            None,
        ),
        (
            {"extra_headers": EXTRA},
            "HTTP/1.1",
            [("x-tenant", "mine")],
            [("x-tenant", "canary-tenant"), ("Authorization", "Bearer canary-token"), ("X-Key", "x")],
            None,
        ),
        (
            {"extra_headers": EXTRA},
            "HTTP/2.0",
            [],
            [("authorization", "Bearer canary-token"), ("x-tenant", "canary-tenant"), ("x-key", "x")],
            None,
        ),
    ],
)
def test_apply(
    changes: dict[str, object],
    version: str,
    sent: list[tuple[str, str]],
    arrives: list[tuple[str, str]],
    replaced: str | None,
) -> None:
    """It takes the place of all that the client sent there, is found and masked there, and can be removed."""
    environment, made = replace(QA, **changes), request(*sent, version=version)  # type: ignore[arg-type]
    one = credential_of(environment)
    before = Before(replaced) if replaced is not None else None
    assert one.found_in(made) == before
    assert one.apply(made, TOKEN) == before
    assert fields(made) == arrives
    assert one.is_in(made, TOKEN)
    secrets = {mask.secret for mask in one.masks(TOKEN)}
    assert {secret for _, value in arrives for secret in secrets if value.endswith(secret)} == secrets
    assert [line.partition(": ")[0] for line in one.described(TOKEN).split("\n")] == list(
        outgoing(environment, TOKEN)[0]
    )
    assert "canary" not in one.described(TOKEN)
    one.remove(made)
    assert one.found_in(made) is None
    assert not one.is_in(made, TOKEN)
    assert not secrets & {value.rpartition(" ")[2] for _, value in fields(made)}


@pytest.mark.parametrize(("grant", "shown"), [("client_credentials", TOKEN.fingerprint), ("static", None)])
def test_fingerprint(grant: str, shown: str | None) -> None:
    """A credential that a person chose has none: it could be found by trying."""
    one = credential_of(replace(QA, token_request=TokenRequest(grant_type=grant)))
    assert one.fingerprint(TOKEN) == shown
    assert one.described(TOKEN) == f"Authorization: Bearer <{shown or 'secret'}>"
    record: dict[str, object] = {"token": None}
    one.record(TOKEN, record)
    assert record == {"token": shown, "header": "Authorization"} | ({"token_length": 12} if shown else {})
    assert one.masks(TOKEN)[0].placeholder == f"<qa {shown or 'secret'}>"


@pytest.mark.parametrize(
    ("status", "challenge", "again"),
    [
        (200, "", Again.NO),
        (403, 'Bearer error="invalid_token"', Again.NO),
        (401, "", Again.NEW_TOKEN),
        (401, 'Bearer error="invalid_token"', Again.NEW_TOKEN),
        (401, 'Bearer error="insufficient_scope"', Again.NO),
        (401, "Bearer Error=Insufficient_Scope", Again.NO),
    ],
)
def test_answered(status: int, challenge: str, again: Again) -> None:
    """A 401 asks for another token, unless the token lacks a scope, which the next one would lack, too."""
    answer = http.Response.make(status, headers={"WWW-Authenticate": challenge} if challenge else {})
    assert credential_of(QA).answered(answer, lambda: "") is again


@pytest.mark.parametrize(
    ("login", "status", "location", "url", "again"),
    [
        ("https://login.test/", 302, "https://login.test/?next=/orders", "https://api.test/orders", Again.NEW_TOKEN),
        ("https://api.test/", 302, "/", "https://api.test/orders", Again.NEW_TOKEN),
        ("https://login.test/", 302, "/", "https://api.test/orders", Again.NO),
        ("https://login.test/", 302, "/orders/", "https://api.test/orders", Again.NO),
        ("https://api.test/login", 301, "/login", "https://api.test/orders", Again.NO),
        ("https://api.test/login", 302, "/login", "https://api.test/logout?all", Again.NO),
        ("https://api.test/login", 302, "", "https://api.test/login", Again.NO),
        ("https://api.test/login", 401, "/x", "https://api.test/logout", Again.NEW_TOKEN),
    ],
)
def test_redirected(login: str, status: int, location: str, url: str, again: Again) -> None:
    """A session has ended where the API sends its client to LOGIN_URL, and nowhere else, for now and unasked."""
    one = credential_of(replace(QA, token_request=TokenRequest(login, grant_type="login")))
    assert one.answered(http.Response.make(status, headers={"Location": location}), lambda: url) is again
    oauth = credential_of(replace(QA, token_request=TokenRequest(login)))
    assert oauth.answered(http.Response.make(status, headers={"Location": location}), lambda: url) is (
        Again.NEW_TOKEN if status == 401 else Again.NO
    )


@pytest.mark.parametrize(("size", "is_read"), [(1000, True), (10**6, False)])
def test_large(size: int, is_read: bool) -> None:
    """A client's token of a megabyte is not taken apart, nor kept: that would cost 20 ms, and memory for each."""
    found = credential_of(QA).found_in(request(("Authorization", f"Bearer {jwt(a='x' * size)}")))
    assert found is not None
    assert (found.scheme, found.claims is not None) == ("Bearer", is_read)

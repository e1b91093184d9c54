"""A credential in the query or in a cookie: written, found, masked, shown, taken back, removed."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from mitmproxy.http import RequestData

from credential_injector.environments.environment import Environment
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.proxy import masking
from credential_injector.proxy.credentials import credential_of, outgoing
from credential_injector.proxy.credentials.credential import Before
from credential_injector.proxy.credentials.earlier import earlier_masks, is_recorded, take_back
from credential_injector.proxy.request_fields import RequestFields
from tests.proxy.credentials.test_header import request
from tests.proxy.test_record import QA

TOKEN = AccessToken("canary+token/1=", 1000.0, 4600.0)
QUERY = replace(QA, header="", prefix="", query="api_key")
COOKIE = replace(QA, header="", prefix="", cookie="sid")
STATIC = TokenRequest(grant_type="static", values=(("VALUE", TOKEN.value),))


def made(environment: Environment, text: str) -> tuple[RequestData, Callable[[], str]]:
    """A request whose query or cookie is this; and how it reads now."""
    if environment.query:
        data = request(("Accept", "*/*"))
        data.path = f"/orders{text}".encode()
        return data, lambda: data.path.decode().removeprefix("/orders")
    data = request(*([("Cookie", text)] if text else []))
    return data, lambda: "; ".join(data.headers.get_all("Cookie"))


@pytest.mark.parametrize(
    ("environment", "sent", "arrives", "before"),
    [
        (QUERY, "", "?api_key=canary%2Btoken%2F1%3D", None),
        (QUERY, "?x=1", "?x=1&api_key=canary%2Btoken%2F1%3D", None),
        (QUERY, "?api_key=mine&x=1", "?api_key=canary%2Btoken%2F1%3D&x=1", Before("another value")),
        (COOKIE, "", "sid=canary+token/1=", None),
        (COOKIE, "a=1; sid=mine; b=2", "a=1; sid=canary+token/1=; b=2", Before("another value")),
    ],
)
@pytest.mark.parametrize("fixed", [False, True])
def test_apply(environment: Environment, sent: str, arrives: str, before: Before | None, fixed: bool) -> None:
    """As a header is: all of it, and nothing of the other parameters or cookies."""
    environment = replace(environment, token_request=STATIC) if fixed else environment
    one, (data, now) = credential_of(environment), made(environment, sent)
    assert one.found_in(data) == before
    assert one.apply(data, TOKEN) == before
    assert now() == arrives
    assert one.is_in(data, TOKEN)
    assert "canary" not in one.described(TOKEN) + one.place + one.label

    fields, masks = RequestFields(data), one.masks(TOKEN)
    masking.hide(fields, masks, escaped=False)
    assert "canary" not in now()
    assert ("secret" if fixed else TOKEN.fingerprint) in now()
    masking.show(fields, masks)
    assert now() == arrives
    masking.hide(fields, masks)
    masked = now()
    assert "canary" not in masked

    record: dict[str, object] = {"environment": "qa", "token": None}
    one.record(TOKEN, record)
    assert is_recorded(record)
    assert "canary" not in str(record)
    assert not earlier_masks(data, record), "it is masked already"
    take_back(data, record)
    assert one.found_in(data) is None

    data, now = made(environment, sent)
    one.apply(data, TOKEN)
    masking.drop(RequestFields(data), masks)
    left = now()
    data, now = made(environment, sent)
    one.apply(data, TOKEN)
    assert {mask.secret for mask in earlier_masks(data, record)} == {mask.secret for mask in masks}
    take_back(data, record)
    assert now() == left
    assert one.found_in(data) is None
    one.apply(data, TOKEN)
    one.remove(data)
    assert now() == left
    assert "mine" not in left
    assert ("x=1" in left, "a=1; b=2" in left) == ("x=1" in sent, "a=1" in sent)


def test_changed_since() -> None:
    """What a person has put in the token's place stays when it is replayed."""
    data, now = made(QUERY, "?api_key=mine")
    take_back(data, {"environment": "qa", "token": TOKEN.fingerprint, "token_length": 15, "query": "api_key"})
    assert now() == "?api_key=mine"


def test_short() -> None:
    """A short secret takes no other parameter with it that holds the same characters."""
    environment = replace(QUERY, token_request=STATIC)
    token = AccessToken("1", 1000.0, 4600.0)
    data, now = made(environment, "?page=1x&v=21")
    credential_of(environment).apply(data, token)
    masking.drop(RequestFields(data), credential_of(environment).masks(token))
    assert now() == "?page=1x&v=21"


@pytest.mark.parametrize("value", ["a;b", "a b", 'a"b', "a,b", "a\\b"])
def test_no_cookie(value: str) -> None:
    """What would end the cookie is not written."""
    data, now = made(COOKIE, "a=1")
    with pytest.raises(NoToken, match="invalid_cookie"):
        credential_of(COOKIE).apply(data, AccessToken(value, 1000.0, 4600.0))
    assert now() == "a=1"


def test_no_query() -> None:
    """`OPTIONS *` has no query, so nothing is written."""
    data, _ = made(QUERY, "")
    data.path = b"*"
    with pytest.raises(NoToken, match="no_query"):
        credential_of(QUERY).apply(data, TOKEN)
    assert data.path == b"*"


@pytest.mark.parametrize("environment", [QUERY, COOKIE, QA])
def test_elsewhere(environment: Environment) -> None:
    """A credential counts in its own place only."""
    one, (data, _) = credential_of(environment), made(QUERY, f"?api_key=mine&copy={TOKEN.value}")
    data.headers["Cookie"], data.headers["Authorization"] = f"copy={TOKEN.value}; sid=mine", "Bearer mine"
    assert not one.is_in(data, TOKEN)
    one.apply(data, TOKEN)
    assert one.is_in(data, TOKEN)


def test_back_as_it_was() -> None:
    """While a person holds a request back, what the client sent can be put back exactly, in whatever form."""
    data, now = made(QUERY, f"?copy={TOKEN.value}")
    data.headers["X-Copy"] = TOKEN.value
    one = credential_of(QUERY)
    one.apply(data, TOKEN)
    before, fields = (now(), data.headers["X-Copy"]), RequestFields(data)
    masking.hide(fields, one.masks(TOKEN), escaped=False)
    assert "canary" not in now() + data.headers["X-Copy"]
    masking.show(fields, one.masks(TOKEN))
    assert (now(), data.headers["X-Copy"]) == before


def test_written_anew() -> None:
    """A script that writes the query anew leaves the credential in its place, and it is masked as it stands now."""
    data, now = made(QUERY, "")
    one, token = credential_of(QUERY), AccessToken("canary of/two words", 1000.0, 4600.0)
    one.apply(data, token)
    data.path = b"/orders?api_key=canary+of%2Ftwo+words&x=1"
    assert one.is_in(data, token)
    masking.hide(RequestFields(data), one.masks(token))
    assert now() == f"?api_key=<qa+{token.fingerprint}>&x=1"


def test_outgoing() -> None:
    """Headers and path for a client that sends nothing else."""
    assert outgoing(QUERY, TOKEN, "/a?b=1") == ({}, "/a?b=1&api_key=canary%2Btoken%2F1%3D")
    assert outgoing(COOKIE, TOKEN) == ({"Cookie": "sid=canary+token/1="}, "/")


@pytest.mark.parametrize("record", [{"query": 1}, {"cookie": []}, {"header": None}])
def test_read_from_a_file(record: dict[str, object]) -> None:
    """A record that somebody else wrote may hold anything."""
    assert not is_recorded(record)

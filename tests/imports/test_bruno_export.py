"""Collections that Bruno exported into one file."""

from pathlib import Path
from typing import Any

import pytest

from credential_injector.imports.source import NotImportable
from tests.imports.test_formats import drafts, written
from tests.imports.test_hostile import API, LOGIN


def opencollection(auth: Any, *items: Any) -> dict[str, Any]:
    request = {"info": {"name": "a"}, "http": {"url": f"{API}/a", "auth": "inherit"}}
    return {"opencollection": "1.0.0", "info": {"name": "x"}, "request": {"auth": auth}, "items": [request, *items]}


OAUTH2 = {"type": "oauth2", "accessTokenUrl": f"{LOGIN}/t"}


@pytest.mark.parametrize(
    ("auth", "values", "told"),
    [
        ({"type": "basic", "username": "u", "password": "p"}, {"GRANT_TYPE": "basic", "USERNAME": "u"}, ""),
        ({"type": "bearer", "token": "t"}, {"GRANT_TYPE": "static", "VALUE": "t"}, ""),
        ({"type": "apikey", "key": "k", "value": "v", "placement": "query"}, {"QUERY": "k", "VALUE": "v"}, ""),
        ({"type": "awsv4", "accessKeyId": "a"}, {}, "GRANT_TYPE=aws_sigv4"),
        (
            {
                **OAUTH2,
                "flow": "resource_owner_password_credentials",
                "credentials": {"clientId": "me", "clientSecret": "s", "placement": "basic_auth_header"},
                "resourceOwner": {"username": "u", "password": "p"},
                "tokenConfig": {"placement": {"query": "key"}, "source": "access_token"},
            },
            {
                "GRANT_TYPE": "password",
                "CLIENT_ID": "me",
                "USERNAME": "u",
                "PASSWORD": "p",
                "QUERY": "key",
                "TOKEN_ENDPOINT_AUTH_METHOD": "client_secret_basic",
            },
            "",
        ),
        (
            {
                **OAUTH2,
                "flow": "client_credentials",
                "tokenConfig": {"placement": {"header": "Token"}},
                "additionalParameters": {
                    "accessTokenRequest": [
                        {"name": "audience", "value": "a", "placement": "body"},
                        {"name": "X-T", "value": "b", "placement": "header"},
                    ],
                },
            },
            {"AUDIENCE": "a", "TOKEN_HEADER_X-T": "b", "PREFIX": "Token"},
            "",
        ),
        (
            {**OAUTH2, "flow": "authorization_code", "callbackUrl": "https://c.test/"},
            {"GRANT_TYPE": "authorization_code"},
            "the setting callback_url: a login here comes back to REDIRECT_URI",
        ),
        (
            {
                **OAUTH2,
                "additionalParameters": {"authorizationRequest": [{"name": "n", "value": "v", "placement": "query"}]},
            },
            {},
            "the parameter n of auth_req in queryparams",
        ),
    ],
)
def test_auth(tmp_path: Path, auth: dict[str, Any], values: dict[str, str], told: str) -> None:
    """Each kind of auth has its keys, as in a .bru file."""
    (draft,) = drafts(written(tmp_path, "x.json", opencollection(auth)))
    assert values.items() <= draft.values.items()
    assert draft.values["HOST"] == API
    assert bool(draft.left_out) == bool(told)
    assert told in "".join(draft.left_out)


def test_levels(tmp_path: Path) -> None:
    """A folder and a request may have an auth of their own; a request that says nothing has none."""
    folder = {
        "info": {"name": "f", "type": "folder"},
        "request": {"auth": {"type": "bearer", "token": "of-folder"}},
        "items": [
            {"info": {"name": "b"}, "http": {"url": "https://b.test/", "auth": "inherit"}},
            {"info": {"name": "c"}, "http": {"url": "https://c.test/", "auth": {"type": "bearer", "token": "own"}}},
            {"info": {"name": "d"}, "http": {"url": "https://d.test/"}},
        ],
    }
    made = drafts(written(tmp_path, "x.json", opencollection({"type": "bearer", "token": "top"}, folder)))
    assert {draft.values["VALUE"]: draft.values["HOST"] for draft in made} == {
        "top": API,
        "of-folder": "https://b.test",
        "own": "https://c.test",
    }


def test_beside(tmp_path: Path) -> None:
    """An export is complete."""
    path = written(tmp_path, "x.json", opencollection({"type": "bearer", "token": "t"}))
    with pytest.raises(NotImportable, match="given beside"):
        drafts(path, path)


def test_folder(tmp_path: Path) -> None:
    """The file of a collection that is a folder holds no requests: it is told what to import."""
    with pytest.raises(
        NotImportable, match=r"opencollection\.yml: items: is missing or empty; expected a collection tha"
    ):
        drafts(written(tmp_path, "opencollection.yml", "opencollection: 1.0.0\ninfo: {name: x}\nrequest: {}\n"))

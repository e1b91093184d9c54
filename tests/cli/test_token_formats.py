"""A credential in the forms in which other programs ask for it."""

import json
from typing import Any

import pytest

from credential_injector.cli.token_formats import FORMATS, Asked, NoAnswer, objection
from credential_injector.environments.environment import Environment
from credential_injector.oauth.request import TokenRequest
from credential_injector.origins.origin import parse_origin

HOSTS = (
    "https://git.example.com",
    "https://*.wild.example",
    "https://reg.example.com:5000/v2",
    "http://127.0.0.1:9000",
)
BASIC = TokenRequest(grant_type="basic", values=(("PASSWORD", "pw"), ("USERNAME", "me")))


def environment(**fields: Any) -> Environment:
    return Environment("qa", "envs/qa.env", tuple(map(parse_origin, HOSTS)), token_request=TokenRequest(), **fields)


def answer(form: str, text: str = "", operation: str = "get", **more: Any) -> str:
    given = {"environment": environment(), "value": "tok", "expires_at": 1_700_000_000.9, "username": "oauth2", **more}
    return FORMATS[form](Asked(operation=operation, text=text, variables=more.pop("variables", {}), **given))


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ("{}", "v1"),
        ('{"apiVersion": "client.authentication.k8s.io/v1beta1"}', "v1beta1"),
        ('{"apiVersion": "client.authentication.k8s.io/v9"}', "v1"),
        ("nonsense", "v1"),
        ("[]", "v1"),
    ],
)
def test_exec_credential(info: str, version: str) -> None:
    """In the version that kubectl asks for."""
    asked = Asked(environment(), "tok", 1_700_000_000.9, "", "", "", {"KUBERNETES_EXEC_INFO": info})
    assert json.loads(FORMATS["exec-credential"](asked)) == {
        "apiVersion": f"client.authentication.k8s.io/{version}",
        "kind": "ExecCredential",
        "status": {"token": "tok", "expirationTimestamp": "2023-11-14T22:13:20Z"},
    }
    assert "expirationTimestamp" not in FORMATS["exec-credential"](asked._replace(expires_at=None))


GIT = "username=oauth2\npassword=tok\npassword_expiry_utc=1700000000"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("protocol=https\nhost=git.example.com\n\n", GIT),
        ("protocol=https\nhost=GIT.example.com:443\npath=a/b.git\n", GIT),
        ("protocol=https\nhost=a.wild.example\n", GIT),
        ("protocol=https\nhost=reg.example.com:5000\npath=v2/x\n", GIT),
        ("protocol=https\nhost=reg.example.com:5000\npath=other\n", ""),
        ("protocol=http\nhost=git.example.com\n", ""),
        ("protocol=https\nhost=git.example.com.evil.example\n", ""),
        ("protocol=https\nhost=git.example.com:8443\n", ""),
        ("protocol=https\nhost=evil.example\npath=git.example.com\n", ""),
        ("", ""),
    ],
)
def test_git(text: str, said: str) -> None:
    """For the hosts of the file only."""
    assert answer("git", text) == said
    assert answer("git", text, "store") == answer("git", text, "erase") == ""


def test_git_basic() -> None:
    """A server that offers Basic only gets a name and a password."""
    text = "capability[]=authtype\nwwwauth[]=Basic realm=x\nprotocol=https\nhost=git.example.com\n"
    assert answer("git", text) == GIT


@pytest.mark.parametrize(
    ("server", "gets"),
    [("https://git.example.com", True), ("https://evil.example", False), ("https://git.example.com:\u00b2", False)],
)
def test_cluster(server: str, gets: bool) -> None:
    """Another cluster gets no token, if kubectl says which one it is."""
    info = json.dumps({"spec": {"cluster": {"server": server}}})
    asked = Asked(environment(), "tok", None, "", "", "", {"KUBERNETES_EXEC_INFO": info})
    if gets:
        assert '"token": "tok"' in FORMATS["exec-credential"](asked)
    else:
        with pytest.raises(NoAnswer, match="is not in HOST of"):
            FORMATS["exec-credential"](asked)


def test_git_bearer() -> None:
    """A newer git can send it as it is."""
    text = "capability[]=authtype\ncapability[]=state\nwwwauth[]=Bearer realm=x\nprotocol=https\nhost=git.example.com\n"
    assert answer("git", text, expires_at=None) == "capability[]=authtype\nauthtype=Bearer\ncredential=tok\nephemeral=1"


@pytest.mark.parametrize("server", ["https://git.example.com", "git.example.com", "https://git.example.com/v2/"])
def test_docker(server: str) -> None:
    """The server as docker wrote it."""
    assert json.loads(answer("docker", f"{server}\n")) == {"ServerURL": server, "Username": "oauth2", "Secret": "tok"}


@pytest.mark.parametrize(
    "server", ["https://evil.example", "http://git.example.com", "https://git.example.com@evil.example", ""]
)
def test_docker_elsewhere(server: str) -> None:
    """Another server gets none, in the words that docker knows."""
    with pytest.raises(NoAnswer, match=r"^credentials not found in native keychain$"):
        answer("docker", server)


def test_docker_list() -> None:
    """The hosts, without secrets."""
    told = json.loads(answer("docker", operation="list"))
    assert told == {origin.base: "oauth2" for origin in environment().origins if not origin.wildcard}


def test_npm() -> None:
    """A line for each registry."""
    assert answer("npm").splitlines() == [
        "//git.example.com/:_authToken=tok",
        "//reg.example.com:5000/v2/:_authToken=tok",
        "//127.0.0.1:9000/:_authToken=tok",
    ]


def test_netrc() -> None:
    """A name and a password for each host."""
    assert answer("netrc").startswith("machine git.example.com\nlogin oauth2\npassword tok\nmachine reg.example.com\n")
    basic = Environment("qa", "envs/qa.env", (parse_origin("https://a.test"),), token_request=BASIC, prefix="Basic")
    assert answer("netrc", environment=basic) == "machine a.test\nlogin me\npassword pw"
    with pytest.raises(NoAnswer, match="no way to write a space"):
        answer("netrc", value="a b")


@pytest.mark.parametrize(
    ("fields", "form", "why"),
    [
        ({}, "git", None),
        ({"header": "", "query": "key", "prefix": ""}, "git", "and QUERY in envs/qa.env says otherwise"),
        ({"header": "X-Key", "prefix": ""}, "npm", "and HEADER in envs/qa.env says otherwise"),
        ({"prefix": "Token"}, "netrc", "and PREFIX in envs/qa.env says otherwise"),
        ({"prefix": "Basic"}, "exec-credential", "kubectl sends Bearer tokens only"),
    ],
)
def test_objection(fields: dict[str, Any], form: str, why: str | None) -> None:
    """What goes elsewhere than into Authorization has no such form."""
    told = objection(environment(**fields), form)
    assert (told or "").endswith(why or "")
    assert (told is None) == (why is None)

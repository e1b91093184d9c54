"""What an env file makes of an environment."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credential_injector.environments import keys
from credential_injector.environments.folder import Folder, InvalidEnvironments
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.origins.methods import SAFE, Methods
from tests.certificates import self_signed
from tests.environments.files import CERTIFICATE, CERTIFICATE_KEY, ENOUGH, SECRET, WHOLE, read


def test_smallest(envs: Path) -> None:
    """The smallest file is an environment with the defaults of the contract."""
    environment = read(envs, WHOLE)
    assert environment.name == "qa"
    assert environment.file == "envs/qa.env"
    assert list(map(str, environment.origins)) == ["https://api.qa.example.com"]
    assert environment.token_request == TokenRequest(
        endpoint="https://api.qa.example.com/oauth2/v2.0/token", client_id="abc", client_secret=SECRET
    )
    assert environment.token_request.grant_type == "client_credentials"
    assert environment.token_request.auth_method == "client_secret_post"
    assert (environment.header, environment.prefix) == ("Authorization", "Bearer")
    assert (environment.overwrite, environment.without_token, environment.methods) == ("always", "block", None)
    assert environment.transport == Transport(timeout=10.0)


def test_every_key(envs: Path) -> None:
    """Each key of the contract is read."""
    environment = read(
        envs,
        """
        HOST=https://api.qa.example.com, https://*.qa.example.com:8443/orders
        TOKEN_ENDPOINT=https://login.example.com/t1/oauth2/v2.0/token?p=1
        GRANT_TYPE=client_credentials
        CLIENT_ID=abc
        CLIENT_SECRET="with \\"quotes\\" and # no comment"
        TOKEN_ENDPOINT_AUTH_METHOD=client_secret_basic
        SCOPE=read write
        AUDIENCE=https://a.example, https://b.example
        RESOURCE=urn:one,urn:two
        TOKEN_PARAM_Tenant=acme
        TOKEN_PARAM_sub_command=echo
        TOKEN_HEADER_X-Tenant=acme
        HEADER=X-Api-Token
        PREFIX=
        OVERWRITE=never
        WITHOUT_TOKEN=pass
        METHODS=get, HEAD
        """,
    )
    assert list(map(str, environment.origins)) == [
        "https://api.qa.example.com",
        "https://*.qa.example.com:8443/orders",
    ]
    assert environment.token_request == TokenRequest(
        endpoint="https://login.example.com/t1/oauth2/v2.0/token?p=1",
        client_id="abc",
        client_secret='with "quotes" and # no comment',
        auth_method="client_secret_basic",
        scope="read write",
        audience=("https://a.example", "https://b.example"),
        resource=("urn:one", "urn:two"),
        params=(("Tenant", "acme"), ("sub_command", "echo")),
        headers=(("X-Tenant", "acme"),),
    )
    assert (environment.header, environment.prefix) == ("X-Api-Token", "")
    assert (environment.overwrite, environment.without_token) == ("never", "pass")
    assert environment.methods == Methods(frozenset({"GET", "HEAD"}))
    assert (environment.confirm, environment.production) == (None, False)


def test_production(envs: Path) -> None:
    """A production environment is read-only, unless METHODS says otherwise."""
    lines = "HOST=https://a.example\nGRANT_TYPE=static\nVALUE=x\nPRODUCTION=true\n"
    assert read(envs, lines).methods == SAFE
    environment = read(envs, f"{lines}METHODS=GET, POST /search\nCONFIRM=post /orders/, DELETE")
    assert str(environment.methods) == "GET, POST /search"
    assert str(environment.confirm) == "DELETE, POST /orders"
    assert environment.title == "\u2757qa"


def test_default_endpoint(envs: Path) -> None:
    """The default token endpoint is on the first origin, without its path."""
    environment = read(envs, WHOLE.replace("api.qa.example.com", "gw.example.com:8443/orders,*.example.com"))
    assert environment.token_request.endpoint == "https://gw.example.com:8443/oauth2/v2.0/token"


def test_repr(envs: Path) -> None:
    """No secret shows in it."""
    environment = read(envs, f"{WHOLE}TOKEN_PARAM_key={SECRET}\nTOKEN_HEADER_X-Key={SECRET}\n")
    assert SECRET not in repr(environment)


def test_fixed(envs: Path) -> None:
    """A credential that stands in the file needs no more than itself."""
    static = read(envs, f"HOST=https://api.example.com\nGRANT_TYPE=static\nVALUE={SECRET}\nHEADER=X-Api-Key\nPREFIX=\n")
    assert static.token_request == TokenRequest(grant_type="static", values=(("VALUE", SECRET),))
    assert (static.header, static.prefix) == ("X-Api-Key", "")
    basic = read(envs, f"HOST=https://*.example.com\nGRANT_TYPE=basic\nUSERNAME=me\nPASSWORD={SECRET}\n")
    assert (basic.header, basic.prefix) == ("Authorization", "Basic")
    assert SECRET not in repr([static, basic])


def test_extra_headers(envs: Path) -> None:
    """Headers beside the token keep their names."""
    (envs / "key").write_text(f"{SECRET}\n")
    environment = read(envs, f"{WHOLE}HEADER_X-Tenant=acme\nheader_Ocp-Apim-Key=x\nHEADER_FILE=y\n")
    assert environment.extra_headers == (("X-Tenant", "acme"), ("Ocp-Apim-Key", "x"), ("FILE", "y"))
    environment = read(envs, f"{WHOLE}HEADER_X-Key_FILE=key\n")
    assert environment.extra_headers == (("X-Key", SECRET),)
    assert SECRET not in repr(environment)


def test_transport(envs: Path) -> None:
    """The way to the authorization server is read, and changes no identity."""
    (envs / "ca.pem").write_text(CERTIFICATE)
    lines = f"{WHOLE}CA_FILE=ca.pem\nPROXY=http://me:{SECRET}@proxy.example.com:3128\nTIMEOUT=5\n"
    environment = read(envs, lines)
    proxy = f"http://me:{SECRET}@proxy.example.com:3128"
    assert environment.transport == Transport(ca=CERTIFICATE.strip(), proxy=proxy, timeout=5.0)
    assert read(envs, f"{WHOLE}INSECURE_TLS=True\n").transport == Transport(insecure_tls=True)
    assert SECRET not in repr(environment)
    plain = read(envs, WHOLE)
    assert plain.transport == Transport()
    assert plain.token_request == environment.token_request
    for direct in ("", "direct", "Direct"):
        assert read(envs, f"{WHOLE}PROXY={direct}\n").transport.proxy == ""


@pytest.mark.parametrize(
    ("given", "ca_file", "proxy"),
    [
        (Transport(), "/ca", "http://p"),
        (Transport(ca="x"), "", "http://p"),
        (Transport(proxy=""), "/ca", ""),
        (Transport(proxy="http://q"), "/ca", "http://q"),
    ],
)
def test_transport_of_mitmproxy(given: Transport, ca_file: str, proxy: str) -> None:
    """What the file does not say of that way comes from mitmproxy."""
    completed = given.completed("/ca", "http://p")
    assert (completed.ca_file, completed.proxy) == (ca_file, proxy)


def test_empty(envs: Path) -> None:
    """An empty optional value counts as not set."""
    request = read(envs, f"{WHOLE}SCOPE=\nAUDIENCE=\n").token_request
    assert (request.scope, request.audience) == ("", ())


def test_identity(envs: Path) -> None:
    """Equal token requests are one identity, and any difference makes another."""
    first = read(envs, WHOLE).token_request
    again = read(envs, f"{WHOLE}HEADER=X-Token\nMETHODS=GET\n").token_request
    assert first == again
    assert hash(first) == hash(again)
    for line in ("SCOPE=x", "AUDIENCE=x", "RESOURCE=x", "TOKEN_PARAM_x=y", "TOKEN_HEADER_x=y"):
        assert read(envs, f"{WHOLE}{line}\n").token_request != first
    assert read(envs, WHOLE.replace(SECRET, "another")).token_request != first


def test_identity_of_certificate(envs: Path) -> None:
    """A changed certificate or key is another identity."""
    text = f"{ENOUGH}TOKEN_ENDPOINT_AUTH_METHOD=tls_client_auth\nCLIENT_CERT_FILE=c.pem\nCLIENT_KEY_FILE=k.pem\n"
    requests = []
    for certificate, key in [(CERTIFICATE, CERTIFICATE_KEY), self_signed("client")]:
        (envs / "c.pem").write_text(certificate)
        (envs / "k.pem").write_text(key)
        requests.append(read(envs, text).token_request)
    assert requests[0] != requests[1]
    assert "PRIVATE" not in repr(requests)


def test_order(envs: Path) -> None:
    """The order of lines changes no identity."""
    lines = ["GRANT_TYPE=password", "USERNAME=me", "PASSWORD=x"]
    one, other = (read(envs, WHOLE + "\n".join([*order, ""])).token_request for order in (lines, lines[::-1]))
    assert one == other


EXAMPLE = (Path(__file__).parents[2] / "envs" / "dev.env.example").read_text(encoding="utf-8")


def test_example(envs: Path) -> None:
    """With its first keys filled in, it is an environment that names its token endpoint."""
    text = EXAMPLE.replace("CLIENT_ID=\n", "CLIENT_ID=abc\n", 1).replace(
        "CLIENT_SECRET=\n", f"CLIENT_SECRET={SECRET}\n", 1
    )
    environment = read(envs, text)
    assert environment.token_request == TokenRequest(
        endpoint="https://login.dev.example.com/oauth2/token", client_id="abc", client_secret=SECRET
    )
    assert environment == read(envs, text.split("\n\n")[1])


def test_example_keys() -> None:
    """It tells of every key and of no other, and which of them are secrets."""
    text = EXAMPLE
    told = [keys.split_source(key)[0] for key in re.findall(r"^#?([A-Z][A-Za-z_-]+)=", text, re.MULTILINE)]
    rows = {**keys.KEYS, **keys.FAMILIES}
    assert {keys.family_of(key) or key for key in told} == set(rows)
    (secrets,) = re.findall(r"The secrets are ([^.]+)\.", text)
    assert set(re.findall(r"[A-Z_]+", secrets)) == {key for key, row in rows.items() if row.secret}


@given(st.binary(max_size=300))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever a file holds, it is an environment or mistakes."""
    folder = tmp_path_factory.mktemp("envs")
    (folder / "qa.env").write_bytes(WHOLE.encode() + content.replace(b"_COMMAND", b"").replace(b"_command", b""))
    said = ""
    try:
        Folder(folder).read()
    except InvalidEnvironments as error:
        said = str(error)
    assert SECRET not in said

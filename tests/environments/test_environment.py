import contextlib
import os
import re
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from credential_injector.environments import keys, secrets
from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import Folder, InvalidEnvironments
from credential_injector.oauth.client_auth import METHODS
from credential_injector.oauth.grants import FIXED, GRANTS
from credential_injector.oauth.request import TokenRequest, Transport
from tests.certificates import KEYS, pem_of, self_signed

ENOUGH = "HOST=https://api.qa.example.com\nCLIENT_ID=abc\n"
SECRET = "hunter2-canary"
WHOLE = f"{ENOUGH}CLIENT_SECRET={SECRET}\n"


@pytest.fixture
def envs(tmp_path: Path) -> Path:
    folder = tmp_path / "envs"
    folder.mkdir()
    return folder


def read(folder: Path, text: str | bytes, name: str = "qa") -> Environment:
    content = text.encode() if isinstance(text, str) else text
    (folder / f"{name}.env").write_bytes(content)
    (environment,) = Folder(folder, shown_as="envs").read()
    return environment


def mistakes(folder: Path, text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(InvalidEnvironments) as error:
        read(folder, text)
    assert SECRET not in str(error.value)
    for line in error.value.mistakes:
        assert re.match(r"envs/qa\.env: [^:]+: \S", line), line
        assert "expected" in line or "did you mean" in line, line
    return error.value.mistakes


def test_the_smallest_file_is_an_environment_with_the_defaults_of_the_contract(envs: Path) -> None:
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


def test_every_key_of_the_contract_is_read(envs: Path) -> None:
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
    assert environment.methods == frozenset({"GET", "HEAD"})


def test_the_default_token_endpoint_is_on_the_first_origin_without_its_path(envs: Path) -> None:
    environment = read(envs, WHOLE.replace("api.qa.example.com", "gw.example.com:8443/orders,*.example.com"))
    assert environment.token_request.endpoint == "https://gw.example.com:8443/oauth2/v2.0/token"


def test_keys_are_case_insensitive_and_a_byte_order_mark_and_crlf_do_no_harm(envs: Path) -> None:
    text = WHOLE.replace("HOST", "host").replace("CLIENT_SECRET", "export Client_Secret").replace("\n", "\r\n")
    assert read(envs, b"\xef\xbb\xbf" + text.encode()).token_request.client_secret == SECRET


def test_no_secret_shows_in_the_repr(envs: Path) -> None:
    environment = read(envs, f"{WHOLE}TOKEN_PARAM_key={SECRET}\nTOKEN_HEADER_X-Key={SECRET}\n")
    assert SECRET not in repr(environment)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("CLIENT_SECRT=x", "CLIENT_SECRT: unknown key (line 4), did you mean CLIENT_SECRET?"),
        ("QQQ=x", "QQQ: unknown key (line 4); expected one of HOST, TOKEN_ENDPOINT, "),
        ("CLIENT_ID_FILE=x", "CLIENT_ID_FILE: unknown key (line 4)"),
        ("TOKEN_PARAM_=x", "TOKEN_PARAM_: lacks a name"),
        ("TOKEN_PARAM_scope=x", "TOKEN_PARAM_scope: would replace a standard field; expected SCOPE instead"),
        ("TOKEN_HEADER_Authorization=x", "TOKEN_HEADER_Authorization: would replace a header"),
        ("TOKEN_HEADER_X(Y=x", "line 4: does not end in a header's name"),
        ('TOKEN_HEADER_X-Y="a\\nb"', "TOKEN_HEADER_X-Y: cannot stand in a header"),
        ("TOKEN_ENDPOINT=http://login.example.com/t", "TOKEN_ENDPOINT: would send the credentials in clear"),
        ("TOKEN_ENDPOINT=login.example.com/t", "TOKEN_ENDPOINT: is malformed"),
        ("TOKEN_ENDPOINT=", "TOKEN_ENDPOINT: is empty; expected a value"),
        ("TOKEN_ENDPOINT=https://[::1/t", "TOKEN_ENDPOINT: is malformed"),
        ("TOKEN_ENDPOINT=https://login.example.com:x/t", "TOKEN_ENDPOINT: is malformed"),
        ("TOKEN_ENDPOINT=https://me:pw@login.example.com/t", "TOKEN_ENDPOINT: holds a user name"),
        (
            "TOKEN_ENDPOINT_AUTH_METHOD=basic",
            "TOKEN_ENDPOINT_AUTH_METHOD: is not a known value; expected one of client_secret_p",
        ),
        ("GRANT_TYPE=implicit", "GRANT_TYPE: is not a known value; expected one of client_credentials, password, "),
        ("HEADER=X Y", "HEADER: is not a header's name"),
        ("HEADER=Content-Length", "HEADER: is a header that HTTP itself needs"),
        ("PREFIX=Bärer", "PREFIX: cannot stand in a header"),
        ("HEADER=Proxy-Authorization", "HEADER: is a header that HTTP itself needs"),
        ("TOKEN_URL=https://x.example/t", "TOKEN_URL: unknown key (line 4), did you mean TOKEN_ENDPOINT?"),
        ("TOKEN_HEADER_X-A=1\nTOKEN_HEADER_x-a=2", "TOKEN_HEADER_: names a header twice"),
        ("TOKEN_ENDPOINT=https://login.example.com:0/t", "TOKEN_ENDPOINT: is malformed"),
        ("TOKEN_ENDPOINT=https://$$$/t", "TOKEN_ENDPOINT: is malformed"),
        ("TOKEN_ENDPOINT=https://login.example.com/t#", "TOKEN_ENDPOINT: holds a user name or a fragment"),
        ("TOKEN_ENDPOINT='https://login.example.com/t t'", "TOKEN_ENDPOINT: is malformed"),
        (
            "TOKEN_PARAM_Client_Assertion=x",
            "TOKEN_PARAM_Client_Assertion: would replace a standard field; expected TOKEN_ENDP",
        ),
        ("OVERWRITE=maybe", "OVERWRITE: is not a known value; expected one of always, never, only"),
        ("WITHOUT_TOKEN=die", "WITHOUT_TOKEN: is not a known value; expected one of block, pass"),
        ("METHODS=GET POST", "METHODS: is malformed"),
        ("METHODS=", "METHODS: is empty"),
        ("HOST=https://other.example.com", "HOST: is set twice (lines 1 and 4)"),
        ("scope=a\nSCOPE=b", "SCOPE: is set twice (lines 4 and 5)"),
        ("SCOPE", "SCOPE: has no '=' (line 4)"),
        ('SCOPE="open', "line 4: cannot be read"),
        ("SCOPE=${NOT_SET_ANYWHERE}", "SCOPE: uses ${NOT_SET_ANYWHERE} on line 4, which is not set"),
        ("CLIENT_SECRET_FILE=x", "CLIENT_SECRET: is given by CLIENT_SECRET and by CLIENT_SECRET_FILE"),
        ("TOKEN_ENDPOINT_AUTH_METHOD=none", "CLIENT_SECRET: is not used with TOKEN_ENDPOINT_AUTH_METHOD=none"),
        (
            "TOKEN_PARAM_Refresh_Token=x",
            "TOKEN_PARAM_Refresh_Token: would replace a standard field; expected REFRESH_TOKEN ",
        ),
        ("HEADER_=x", "HEADER_: lacks a name; expected HEADER_<name>=value"),
        ("HEADER_Host=x", "HEADER_Host: would replace a header that HTTP itself needs"),
        ("HEADER_X-A=1\nHEADER_x-a=2", "HEADER_: names a header twice"),
        ("HEADER_authorization=x", "HEADER_Authorization: would replace the credential"),
        ("HEADER=X-Key\nHEADER_x-key=x", "HEADER_X-Key: would replace the credential"),
        ("HEADER_X-Key=ä", "HEADER_X-Key: cannot stand in a header"),
        ("ISSUER=http://login.example.com", "ISSUER: would send the credentials in clear"),
        ("ISSUER=https://login.example.com/?a=b", "ISSUER: holds a query"),
        (
            "ISSUER=https://login.example.com\nTOKEN_ENDPOINT=https://login.example.com/t",
            "TOKEN_ENDPOINT: is given, and ISSUER publishes one; expected one of the two",
        ),
        ("CA_FILE=nowhere.pem", "CA_FILE: names a file that cannot be read"),
        ("CA=x", "CA: is not a certificate"),
        ("TIMEOUT=0", "TIMEOUT: is not a number of seconds; expected 1 to 60"),
        ("TIMEOUT=61", "TIMEOUT: is not a number of seconds; expected 1 to 60"),
        ("TIMEOUT=1e1", "TIMEOUT: is not a number of seconds; expected 1 to 60"),
        ("INSECURE_TLS=yes", "INSECURE_TLS: is not a known value; expected one of true, false"),
        ("PROXY=proxy.example.com:3128", "PROXY: is malformed"),
        ("PROXY=socks5://proxy.example.com", "PROXY: is malformed"),
        ("PROXY=http://proxy.example.com/path", "PROXY: is malformed"),
        ("PROXY=http://proxy.example.com:x", "PROXY: is malformed"),
        ("PROXY=http://", "PROXY: is malformed"),
    ],
)
def test_a_mistake_names_file_and_key_and_what_was_expected(envs: Path, line: str, wrong: str) -> None:
    (said,) = mistakes(envs, f"{WHOLE}{line}\n")
    assert said.startswith(f"envs/qa.env: {wrong}")


KEY = pem_of(KEYS["P-256"]())
CERTIFICATE, CERTIFICATE_KEY = self_signed("client")


def pasted(key: str, pem: str) -> str:
    return f'{key}="{pem}"'


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        # A grant's missing key
        (
            ["GRANT_TYPE=password", "CLIENT_SECRET=x"],
            ["USERNAME: is missing", "PASSWORD: is missing; expected the secret itself, PA"],
        ),
        (["GRANT_TYPE=refresh_token", "CLIENT_SECRET=x"], ["REFRESH_TOKEN: is missing"]),
        (["GRANT_TYPE=jwt_bearer"], ["PRIVATE_KEY: is missing", "JWT_ISSUER: is missing"]),
        (["GRANT_TYPE=token_exchange"], ["SUBJECT_TOKEN: is missing"]),
        (["GRANT_TYPE=authorization_code"], ["AUTHORIZATION_ENDPOINT: is missing; expected a URL, or ISSUER"]),
        (["GRANT_TYPE=device_code"], ["DEVICE_AUTHORIZATION_ENDPOINT: is missing"]),
        # A key of another grant
        (
            ["CLIENT_SECRET=x", "USERNAME=me"],
            ["USERNAME: is not used with GRANT_TYPE=client_credentials; expected one or"],
        ),
        (["CLIENT_SECRET=x", "VALUE=x"], ["VALUE: is not used with GRANT_TYPE=client_credentials"]),
        (
            ["CLIENT_SECRET=x", "ACTOR_TOKEN_COMMAND=echo x"],
            ["ACTOR_TOKEN_COMMAND: is not used with GRANT_TYPE="],
        ),
        (
            ["GRANT_TYPE=authorization_code", "ISSUER=https://a.example", "REDIRECT_URI=https://b.example:8400/"],
            ["REDIRECT_URI: is not a URL of this machine with a port; expected one such as http://127.0.0.1:84"],
        ),
        (
            ["GRANT_TYPE=authorization_code", "ISSUER=https://a.example", "REDIRECT_URI=http://localhost/callback"],
            ["REDIRECT_URI: is not a URL of this machine with a port; expected one such as http://127.0.0.1:84"],
        ),
        (
            ["GRANT_TYPE=device_code", "ISSUER=https://a.example", "AUTHORIZATION_ENDPOINT=https://a.example/a"],
            ["AUTHORIZATION_ENDPOINT: is not used with GRANT_TYPE=device_code"],
        ),
        (
            ["GRANT_TYPE=device_code", "ISSUER=https://a.example", "DEVICE_AUTHORIZATION_ENDPOINT=https://a.example/a"],
            ["DEVICE_AUTHORIZATION_ENDPOINT: is given, and ISSUER publishes one"],
        ),
        # Of another grant than one that there is, or another method
        (["GRANT_TYPE=implicit", "VALUE=x"], ["GRANT_TYPE: is not a known value"]),
        (
            ["TOKEN_ENDPOINT_AUTH_METHOD=jwt", pasted("PRIVATE_KEY", KEY)],
            ["TOKEN_ENDPOINT_AUTH_METHOD: is not a known"],
        ),
        # A client authentication method's missing key
        (
            ["TOKEN_ENDPOINT_AUTH_METHOD=private_key_jwt"],
            ["PRIVATE_KEY: is missing; expected the secret itself, PRIVATE_KEY_FILE=path or PRIVATE_KEY_COMMAND="],
        ),
        (
            ["TOKEN_ENDPOINT_AUTH_METHOD=tls_client_auth"],
            ["CLIENT_CERT: is missing; expected the secret itself, CLIENT_CERT_FILE", "CLIENT_KEY: is missing"],
        ),
        (
            ["TOKEN_ENDPOINT_AUTH_METHOD=self_signed_tls_client_auth", pasted("CLIENT_CERT", CERTIFICATE)],
            ["CLIENT_KEY: is missing"],
        ),
        (["TOKEN_ENDPOINT_AUTH_METHOD=client_secret_jwt"], ["CLIENT_SECRET: is missing"]),
        (["ISSUER=https://a.example"], ["CLIENT_SECRET: is missing"]),
        # A key of another method
        (
            ["CLIENT_SECRET=x", pasted("PRIVATE_KEY", KEY)],
            [
                "PRIVATE_KEY: is not used with GRANT_TYPE=client_credentials and"
                " TOKEN_ENDPOINT_AUTH_METHOD=client_secret_post; expected one or the other"
            ],
        ),
        (
            ["CLIENT_SECRET=x", pasted("CLIENT_KEY", KEY)],
            ["CLIENT_KEY: is not used with TOKEN_ENDPOINT_AUTH_METHOD="],
        ),
        (
            ["CLIENT_SECRET=x", "ISSUER=https://a.example", "KEY_ID=x"],
            [
                "KEY_ID: is not used with GRANT_TYPE=client_credentials and TOKEN_ENDPOINT_AUTH_METHOD="
                "client_secret_post or client_secret_basic or client_secret_jwt"
            ],
        ),
        (
            ["TOKEN_ENDPOINT_AUTH_METHOD=private_key_jwt", pasted("PRIVATE_KEY", KEY), "CLIENT_SECRET=x"],
            ["CLIENT_SECRET: is not used with TOKEN_ENDPOINT_AUTH_METHOD=private_key_jwt"],
        ),
        # A credential of the file's own, of which nobody is asked
        (["GRANT_TYPE=static"], ["VALUE: is missing", "CLIENT_ID: is not used with GRANT_TYPE=static"]),
        (["GRANT_TYPE=basic"], ["USERNAME: is missing", "PASSWORD: is missing", "CLIENT_ID: is not"]),
        (
            ["GRANT_TYPE=static", "VALUE=x", "TOKEN_ENDPOINT=https://a.example", "TOKEN_PARAM_x=y", "PROXY=direct"],
            [
                "CLIENT_ID: is not used",
                "TOKEN_ENDPOINT: is not used",
                "TOKEN_PARAM_x: is not used",
                "PROXY: is not used",
            ],
        ),
        (["GRANT_TYPE=static", 'VALUE="a\\nb"'], ["VALUE: cannot stand in a header", "CLIENT_ID: is"]),
        (["GRANT_TYPE=static", "VALUE=x", "JUNK"], ["JUNK: has no '='", "CLIENT_ID: is not used"]),
        # Keys and certificates
        (
            [
                "TOKEN_ENDPOINT_AUTH_METHOD=tls_client_auth",
                pasted("CLIENT_CERT", CERTIFICATE),
                pasted("CLIENT_KEY", KEY),
            ],
            ["CLIENT_CERT: does not match CLIENT_KEY; expected the certificate of that key"],
        ),
        (
            [
                "TOKEN_ENDPOINT_AUTH_METHOD=private_key_jwt",
                pasted("PRIVATE_KEY", KEY),
                pasted("CLIENT_CERT", CERTIFICATE),
            ],
            ["CLIENT_CERT: does not match PRIVATE_KEY"],
        ),
        (
            ["TOKEN_ENDPOINT_AUTH_METHOD=private_key_jwt", pasted("PRIVATE_KEY", KEY), "SIGNING_ALG=RS256"],
            ["SIGNING_ALG: does not fit PRIVATE_KEY; expected one of ES256"],
        ),
        (
            ["TOKEN_ENDPOINT_AUTH_METHOD=private_key_jwt", "PRIVATE_KEY_FILE=../nowhere.pem"],
            ["PRIVATE_KEY_FILE: names a file that cannot be read (No such file"],
        ),
        (
            ["TOKEN_ENDPOINT_AUTH_METHOD=private_key_jwt", "PRIVATE_KEY=hunter2-canary"],
            ["PRIVATE_KEY: is not a private key"],
        ),
        (
            [
                "TOKEN_ENDPOINT_AUTH_METHOD=private_key_jwt",
                pasted("PRIVATE_KEY", pem_of(KEYS["RSA"](), passphrase=SECRET)),
            ],
            ["PRIVATE_KEY: is encrypted with a passphrase"],
        ),
        (
            ["TOKEN_ENDPOINT_AUTH_METHOD=private_key_jwt", pasted("PRIVATE_KEY", pem_of(X25519PrivateKey.generate()))],
            ["PRIVATE_KEY: cannot sign a JWT"],
        ),
        (
            ["GRANT_TYPE=jwt_bearer", pasted("PRIVATE_KEY", KEY), "JWT_ISSUER=x", "JWT_LIFETIME=0"],
            ["JWT_LIFETIME: is not a number of seconds; expected 1 to 86400"],
        ),
    ],
)
def test_what_does_not_go_together_is_named(envs: Path, lines: list[str], wrong: list[str]) -> None:
    said = mistakes(envs, "\n".join([ENOUGH.strip(), *lines, ""]))
    assert len(said) == len(wrong), said
    for line, start in zip(said, wrong, strict=True):
        assert line.startswith(f"envs/qa.env: {start}")


@pytest.mark.parametrize(
    ("lines", "grant", "method"),
    [
        (["CLIENT_SECRET=x"], "client_credentials", "client_secret_post"),
        (["GRANT_TYPE=password", "CLIENT_SECRET=x", "USERNAME=me", "PASSWORD=x"], "password", "client_secret_post"),
        (["GRANT_TYPE=refresh_token", "CLIENT_SECRET=x", "REFRESH_TOKEN=x"], "refresh_token", "client_secret_post"),
        (["GRANT_TYPE=jwt_bearer", pasted("PRIVATE_KEY", KEY), "JWT_ISSUER=x"], "jwt_bearer", "none"),
        (
            [
                "GRANT_TYPE=urn:ietf:params:oauth:grant-type:jwt-bearer",
                pasted("PRIVATE_KEY", KEY),
                "JWT_ISSUER=x",
                "SIGNING_ALG=es256",
                "CLIENT_SECRET=x",
            ],
            "jwt_bearer",
            "client_secret_post",
        ),
        (["GRANT_TYPE=Token_Exchange", "SUBJECT_TOKEN=x"], "token_exchange", "none"),
        (["GRANT_TYPE=device_code", "ISSUER=https://a.example"], "device_code", "none"),
        (["GRANT_TYPE=authorization_code", "ISSUER=https://a.example", "CLIENT_SECRET=x"], "authorization_code", ""),
        (["CLIENT_SECRET=x", "ISSUER=https://a.example"], "client_credentials", ""),
        ([pasted("PRIVATE_KEY", KEY), "ISSUER=https://a.example"], "client_credentials", ""),
        (
            ["CLIENT_SECRET=x", "ISSUER=https://a.example", "TOKEN_ENDPOINT_AUTH_METHOD=client_secret_jwt"],
            "client_credentials",
            "client_secret_jwt",
        ),
        (
            [
                "TOKEN_ENDPOINT_AUTH_METHOD=tls_client_auth",
                pasted("CLIENT_CERT", CERTIFICATE),
                pasted("CLIENT_KEY", CERTIFICATE_KEY),
            ],
            "client_credentials",
            "tls_client_auth",
        ),
    ],
)
def test_what_goes_together_is_a_token_request(envs: Path, lines: list[str], grant: str, method: str) -> None:
    request = read(envs, "\n".join([ENOUGH.strip(), *lines, ""])).token_request
    assert (request.grant_type, request.auth_method) == (grant, method)
    assert bool(request.endpoint) == (not request.issuer)


def test_a_credential_of_the_files_own_needs_no_more_than_itself(envs: Path) -> None:
    static = read(envs, f"HOST=https://api.example.com\nGRANT_TYPE=static\nVALUE={SECRET}\nHEADER=X-Api-Key\nPREFIX=\n")
    assert static.token_request == TokenRequest(grant_type="static", values=(("VALUE", SECRET),))
    assert (static.header, static.prefix) == ("X-Api-Key", "")
    basic = read(envs, f"HOST=https://*.example.com\nGRANT_TYPE=basic\nUSERNAME=me\nPASSWORD={SECRET}\n")
    assert (basic.header, basic.prefix) == ("Authorization", "Basic")
    assert SECRET not in repr([static, basic])


def test_headers_beside_the_token_keep_their_names(envs: Path) -> None:
    (envs / "key").write_text(f"{SECRET}\n")
    environment = read(envs, f"{WHOLE}HEADER_X-Tenant=acme\nheader_Ocp-Apim-Key=x\nHEADER_FILE=y\n")
    assert environment.extra_headers == (("X-Tenant", "acme"), ("Ocp-Apim-Key", "x"), ("FILE", "y"))
    environment = read(envs, f"{WHOLE}HEADER_X-Key_FILE=key\n")
    assert environment.extra_headers == (("X-Key", SECRET),)
    assert SECRET not in repr(environment)


def test_the_way_to_the_authorization_server_is_read_and_changes_no_identity(envs: Path) -> None:
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
def test_what_the_file_does_not_say_of_the_way_is_mitmproxys(given: Transport, ca_file: str, proxy: str) -> None:
    completed = given.completed("/ca", "http://p")
    assert (completed.ca_file, completed.proxy) == (ca_file, proxy)


def test_a_changed_certificate_or_key_is_another_identity(envs: Path) -> None:
    text = f"{ENOUGH}TOKEN_ENDPOINT_AUTH_METHOD=tls_client_auth\nCLIENT_CERT_FILE=c.pem\nCLIENT_KEY_FILE=k.pem\n"
    requests = []
    for certificate, key in [(CERTIFICATE, CERTIFICATE_KEY), self_signed("client")]:
        (envs / "c.pem").write_text(certificate)
        (envs / "k.pem").write_text(key)
        requests.append(read(envs, text).token_request)
    assert requests[0] != requests[1]
    assert "PRIVATE" not in repr(requests)


def test_the_order_of_lines_changes_no_identity(envs: Path) -> None:
    lines = ["GRANT_TYPE=password", "USERNAME=me", "PASSWORD=x"]
    one, other = (read(envs, WHOLE + "\n".join([*order, ""])).token_request for order in (lines, lines[::-1]))
    assert one == other


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", ["HOST: is missing", "CLIENT_ID: is missing", "CLIENT_SECRET: is missing"]),
        (
            ENOUGH,
            ["CLIENT_SECRET: is missing; expected the secret itself, CLIENT_SECRET_FILE=path or CLIENT_SECRET_COM"],
        ),
        (f"{ENOUGH}CLIENT_SECRET=\n", ["CLIENT_SECRET: is empty"]),
        (WHOLE.replace("https://api.qa.example.com", ""), ["HOST: is empty"]),
        (WHOLE.replace("https://api.qa.example.com", ","), ["HOST: is empty"]),
        (WHOLE.replace("https:", "https://ok.example.com,ftp:"), ["HOST: origin 2 has an unknown scheme"]),
        (WHOLE.replace("//api", "//*.api"), ["TOKEN_ENDPOINT: is missing and HOST begins with a wildcard"]),
        (WHOLE.replace("https:", "http:"), ["TOKEN_ENDPOINT: is missing and HOST begins with plain http"]),
    ],
)
def test_what_is_missing_is_named(envs: Path, text: str, wrong: list[str]) -> None:
    said = mistakes(envs, text)
    assert len(said) == len(wrong)
    assert all(line.startswith(f"envs/qa.env: {start}") for line, start in zip(said, wrong, strict=True))


def test_all_mistakes_of_all_files_are_told_at_once(envs: Path) -> None:
    (envs / "dev.env").write_text(WHOLE.replace("CLIENT_ID=abc", "CLIENT_ID="))
    (envs / "prod.env").write_text("HOST=https://prod.example.com\nOVERWRITE=x\n")
    with pytest.raises(InvalidEnvironments) as error:
        Folder(envs, shown_as="envs").read()
    assert [line.split(" ", 2)[:2] for line in error.value.mistakes] == [
        ["envs/dev.env:", "CLIENT_ID:"],
        ["envs/prod.env:", "OVERWRITE:"],
        ["envs/prod.env:", "CLIENT_ID:"],
        ["envs/prod.env:", "CLIENT_SECRET:"],
    ]


@pytest.mark.parametrize("line", ["CLIENT_SECERT=x", "CLIENT_SECRET='a", 'CLIENT_SECRET="a" b', "CLIENT_SECRET_FILE="])
def test_a_misspelt_or_unreadable_key_is_not_also_called_missing(envs: Path, line: str) -> None:
    assert len(mistakes(envs, f"{ENOUGH}{line}\n")) == 1


def test_a_name_that_older_and_newer_idna_spell_differently_is_refused(envs: Path) -> None:
    (said,) = mistakes(envs, WHOLE.replace("api.qa.example.com", "stra\u00dfe.example"))
    assert "its xn-- form" in said
    assert read(envs, WHOLE.replace("api.qa", "b\u00fccher")).origins[0].host == "xn--bcher-kva.example.com"


def test_a_wrong_value_is_not_also_called_missing(envs: Path) -> None:
    assert len(mistakes(envs, WHOLE.replace("https://api.qa.example.com", "ftp://x"))) == 1


@pytest.mark.parametrize("stray", ["hunter2canary=x\nhunter2canary=y", "hunter2canary=${nope}", "AKIA5CANARY="])
def test_a_stray_line_that_looks_like_a_key_is_not_repeated_either(envs: Path, stray: str) -> None:
    for said in mistakes(envs, f"{WHOLE}{stray}\n"):
        assert said.startswith(("envs/qa.env: line 4: ", "envs/qa.env: line 5: "))
        assert "CANARY" not in said.upper()


@pytest.mark.parametrize("stray", [SECRET, "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ==", "c0ffee" * 6])
def test_a_stray_line_of_a_pasted_secret_is_not_repeated(envs: Path, stray: str) -> None:
    (said,) = mistakes(envs, f"{WHOLE}{stray}\n")
    assert said.startswith("envs/qa.env: line 4: ")
    assert stray.partition("=")[0].upper() not in said.upper()


def test_a_variable_reaches_the_process_environment_and_earlier_keys(
    envs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QA_SECRET", SECRET)
    text = f"{ENOUGH}CLIENT_SECRET=${{QA_SECRET}}\nSCOPE=${{CLIENT_ID}}/${{UNSET:-default}}\n"
    request = read(envs, text).token_request
    assert (request.client_secret, request.scope) == (SECRET, "abc/default")


def test_an_earlier_key_comes_before_the_process_environment(envs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_ID", "from outside")
    assert read(envs, f"{WHOLE}SCOPE=${{CLIENT_ID}}\n").token_request.scope == "abc"


def test_a_single_quoted_value_is_literal(envs: Path) -> None:
    assert read(envs, f"{ENOUGH}CLIENT_SECRET='pa${{ss}}word'\n").token_request.client_secret == "pa${ss}word"


def test_a_part_of_a_secret_that_looks_like_a_variable_is_not_repeated(envs: Path) -> None:
    (said,) = mistakes(envs, f"{ENOUGH}CLIENT_SECRET=pa${{hunter2}}word\n")
    assert "hunter2" not in said
    assert "single quotes" in said


def test_an_empty_optional_value_counts_as_not_set(envs: Path) -> None:
    request = read(envs, f"{WHOLE}SCOPE=\nAUDIENCE=\n").token_request
    assert (request.scope, request.audience) == ("", ())


def test_a_secret_may_come_from_a_file_beside_the_env_file(envs: Path) -> None:
    (envs / "secret.txt").write_text(f"{SECRET}\n")
    assert read(envs, f"{ENOUGH}CLIENT_SECRET_FILE=secret.txt\n").token_request.client_secret == SECRET


def test_a_secret_file_that_cannot_be_read_is_named_by_its_key(envs: Path) -> None:
    (said,) = mistakes(envs, f"{ENOUGH}CLIENT_SECRET_FILE=nowhere.txt\n")
    assert said.startswith("envs/qa.env: CLIENT_SECRET_FILE: names a file that cannot be read (No such file")


def test_a_secret_may_come_from_a_command_which_runs_without_a_shell(envs: Path) -> None:
    (envs / "print.py").write_text("import sys; print(sys.argv[1])")
    text = f"{ENOUGH}CLIENT_SECRET_COMMAND={sys.executable} print.py '{SECRET};$HOME'\n"
    assert read(envs, text).token_request.client_secret == f"{SECRET};$HOME"


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("{python} -c 'import sys; print(\"canary\", file=sys.stderr); sys.exit(3)'", "ended with 3"),
        ("{python} -c 'import sys; sys.stdout.buffer.write(bytes([255]))'", "printed something that is not UTF-8"),
        ("{python} -c 'input(); import time; time.sleep(60)'", "ended with 1"),
        ("/no/such/program", "cannot be started (No such file"),
        ("echo 'open", "has a quote that is not closed; expected a command that prints the secret"),
        (
            "echo secret | cat",
            "holds a shell's |; expected a command that prints the secret; it runs without a shell",
        ),
        ("{python} -c 'print(1); print(2)'", "holds a line break or a control character; expected one line"),
        ("{python} -c pass", "is empty"),
    ],
)
def test_a_command_that_prints_no_secret_is_named_by_its_key(envs: Path, command: str, wrong: str) -> None:
    text = f"{ENOUGH}CLIENT_SECRET_COMMAND={command.format(python=sys.executable)}\n"
    (said,) = mistakes(envs, text)
    assert said.startswith(f"envs/qa.env: CLIENT_SECRET_COMMAND: {wrong}")
    assert "canary" not in said


def test_a_command_has_a_deadline_and_what_it_started_ends_with_it(envs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "COMMAND_DEADLINE", 0.3)
    os.mkfifo(envs / "alive")
    alive = os.open(envs / "alive", os.O_RDONLY | os.O_NONBLOCK)
    (said,) = mistakes(envs, f"{ENOUGH}CLIENT_SECRET_COMMAND=sh -c 'sleep 60 > alive & echo > alive; wait'\n")
    assert "did not end within" in said
    os.set_blocking(alive, True)
    assert os.read(alive, 10) == b"\n"
    assert os.read(alive, 10) == b""  # nobody has it open any more
    os.close(alive)


def test_two_files_on_one_origin_are_named_both(envs: Path) -> None:
    (envs / "dev.env").write_text(WHOLE.replace("api.qa", "API.qa"))
    (said,) = mistakes(envs, WHOLE)
    assert said == (
        "envs/qa.env: HOST: claims https://api.qa.example.com, which envs/dev.env claims too;"
        " expected each origin in one file"
    )


def test_only_the_named_environments_are_read(envs: Path) -> None:
    (envs / "broken.env").write_text("nonsense")
    (envs / "qa.env").write_text(WHOLE)
    assert [environment.name for environment in Folder(envs, only=["qa"]).read()] == ["qa"]


def test_an_environment_that_does_not_exist_is_told_with_the_nearest_one(envs: Path) -> None:
    (envs / "prod.env").write_text(WHOLE)
    with pytest.raises(InvalidEnvironments, match=r"inject_env: prd: .*prd\.env does not exist, did you mean prod\?"):
        Folder(envs, only=["prd"]).read()


def test_files_that_are_no_environments_are_left_alone(envs: Path) -> None:
    for name in ("dev.env.example", "README.md", ".#qa.env"):
        (envs / name).write_text("nonsense")
    assert Folder(envs).read() == ()
    assert Folder(envs / "missing").read() == ()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        (
            ".env",
            "envs/.env: the file's name: is not read; expected NAME.env, a file for each environment; rename it to"
            " envs/qa.env",
        ),
        (
            "qa.env.txt",
            "envs/qa.env.txt: the file's name: is not read; expected NAME.env, a file for each environment; rename it"
            " to envs/qa.env",
        ),
        (
            "QA.ENV",
            "envs/QA.ENV: the file's name: is not read; expected NAME.env, a file for each environment; rename it to"
            " envs/QA.env",
        ),
        ("a b.env", "envs/a b.env: the file's name: cannot name an environment"),
    ],
)
def test_a_file_whose_name_names_no_environment_is_told(envs: Path, name: str, wrong: str) -> None:
    (envs / name).write_text(WHOLE)
    with pytest.raises(InvalidEnvironments) as error:
        Folder(envs, shown_as="envs").read()
    assert str(error.value).startswith(wrong)


@pytest.mark.parametrize(
    ("name", "others", "advice"),
    [
        (".env", ["qa"], "envs/dev.env"),
        (".env", ["qa", "dev", "test"], "envs/NAME.env"),
        ("qa.env.txt", ["qa"], "envs/NAME.env"),
        ("qa.env.txt", ["dev"], "envs/qa.env"),
    ],
)
def test_rename(envs: Path, name: str, others: list[str], advice: str) -> None:
    """No file that is there has the name that a misnamed one should get."""
    for other in (name, *(f"{other}.env" for other in others)):
        (envs / other).write_text("")
    (said,) = Folder(envs, shown_as="envs").misnamed()
    assert said.endswith(f"; rename it to {advice}")


def test_no_ending(envs: Path) -> None:
    """An environment that is asked for, whose file lacks its .env."""
    (envs / "qa").write_text(WHOLE)
    with pytest.raises(InvalidEnvironments) as error:
        Folder(envs, only=["qa"], shown_as="envs").read()
    assert str(error.value) == "inject_env: qa: envs/qa.env does not exist; rename envs/qa to envs/qa.env"


def test_a_file_that_is_no_text_is_told(envs: Path) -> None:
    (said,) = mistakes(envs, b"HOST=\xff\xfe")
    assert said == "envs/qa.env: the file: is not UTF-8 text; expected one that is saved as UTF-8"


@pytest.mark.parametrize("beginning", ["", "# the API of qa\n\n", "---\n"])
def test_yaml(envs: Path, beginning: str) -> None:
    """It is said once, not for each line."""
    yaml = beginning + WHOLE.replace("=", ": ", 3)
    assert mistakes(envs, yaml) == ("envs/qa.env: the file: looks like YAML; expected KEY=value lines",)


@pytest.mark.parametrize("line", ["SCOPE: read", "SCOPE:"])
def test_one_line_of_yaml(envs: Path, line: str) -> None:
    """A file is no YAML for one line of it, wherever that stands."""
    (said,) = mistakes(envs, f"{line}\n{WHOLE}")
    assert said.startswith("envs/qa.env: line 1: ")


def test_a_file_that_cannot_be_read_is_told(envs: Path) -> None:
    (envs / "qa.env").mkdir()
    with pytest.raises(InvalidEnvironments, match=re.escape("envs/qa.env: the file: cannot be read (Is a directory)")):
        Folder(envs, shown_as="envs").read()


def test_equal_token_requests_are_one_identity_and_any_difference_makes_another(envs: Path) -> None:
    first = read(envs, WHOLE).token_request
    again = read(envs, f"{WHOLE}HEADER=X-Token\nMETHODS=GET\n").token_request
    assert first == again
    assert hash(first) == hash(again)
    for line in ("SCOPE=x", "AUDIENCE=x", "RESOURCE=x", "TOKEN_PARAM_x=y", "TOKEN_HEADER_x=y"):
        assert read(envs, f"{WHOLE}{line}\n").token_request != first
    assert read(envs, WHOLE.replace(SECRET, "another")).token_request != first


@pytest.mark.parametrize("key", ["CLIENT_SECRET:", "TOKEN_HEADER_X-Key:", "client_secret"])
def test_a_secret_behind_a_missing_equals_sign_is_not_taken_for_a_key(envs: Path, key: str) -> None:
    (said,) = mistakes(envs, f"{WHOLE}{key}{SECRET}\n")
    assert said.startswith("envs/qa.env: line 4: has no '='")
    assert SECRET.upper() not in said


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
def test_any_bytes_are_an_environment_or_mistakes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("envs")
    (folder / "qa.env").write_bytes(WHOLE.encode() + content.replace(b"_COMMAND", b"").replace(b"_command", b""))
    said = ""
    try:
        Folder(folder).read()
    except InvalidEnvironments as error:
        said = str(error)
    assert SECRET not in said


LINES = [
    *(f"{key}=abc" for key in keys.KEYS if key not in ("GRANT_TYPE", "TOKEN_ENDPOINT_AUTH_METHOD")),
    pasted("PRIVATE_KEY", KEY),
    pasted("CLIENT_CERT", CERTIFICATE),
    pasted("CLIENT_KEY", CERTIFICATE_KEY),
    *("ISSUER=https://a.example", "TOKEN_ENDPOINT=https://a.example", "TOKEN_PARAM_a=b", "HEADER_x=y"),
    *("JUNK", "CLIENT_ID", "VALUE='open"),
]


@given(
    grant=st.sampled_from([*GRANTS, *FIXED, "x"]),
    method=st.sampled_from([*METHODS, "x", None]),
    lines=st.lists(st.sampled_from(LINES), max_size=9),
)
def test_any_keys_together_are_an_environment_or_mistakes(
    tmp_path_factory: pytest.TempPathFactory, grant: str, method: str | None, lines: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("envs")
    chosen = [f"GRANT_TYPE={grant}", *([f"TOKEN_ENDPOINT_AUTH_METHOD={method}"] if method else [])]
    with contextlib.suppress(InvalidEnvironments):
        environment = read(folder, "\n".join(["HOST=https://api.example.com", *chosen, *lines, ""]))
        assert environment.token_request.grant_type == grant
        assert environment.token_request.auth_method == method or method is None
        assert "PRIVATE" not in repr(environment)

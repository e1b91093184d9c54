"""Keys that do not go together, and the defaults that one key gives another."""

import contextlib
import logging
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from credential_injector.environments import keys
from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import Folder, InvalidEnvironments
from credential_injector.oauth.client_auth import METHODS
from credential_injector.oauth.grants import FIXED, GRANTS
from tests.certificates import KEYS, pem_of
from tests.environments.files import CERTIFICATE, CERTIFICATE_KEY, ENOUGH, KEY, SECRET, WHOLE, mistakes, pasted, read

CLIENT = ["CLIENT_ID=abc", f"CLIENT_SECRET={SECRET}"]
EXCHANGE = ["GRANT_TYPE=token_exchange", f"SUBJECT_TOKEN={SECRET}"]
BASIC = ["GRANT_TYPE=basic", f"PASSWORD={SECRET}"]
STATIC = "GRANT_TYPE=static"
VALUE = f"VALUE={SECRET}"


def read_lines(folder: Path, *lines: str) -> Environment:
    (folder / "qa.env").write_text("\n".join(["HOST=https://api.example.com", *lines, ""]))
    (environment,) = Folder(folder, shown_as="envs").read()
    return environment


LOGIN = ["GRANT_TYPE=login", "LOGIN_URL=https://a.example/login", "TOKEN_AT=/token"]
BODY = 'LOGIN_BODY=\'{"u": "${USERNAME}"}\''
AWS = ["GRANT_TYPE=aws_sigv4", "AWS_ACCESS_KEY_ID=AKIA", f"AWS_SECRET_ACCESS_KEY={SECRET}"]


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ([*CLIENT, "QUERY=a", "COOKIE=b"], "COOKIE: is given besides QUERY; expected one of them"),
        ([*CLIENT, "HEADER=X-A", "QUERY=b"], "QUERY: is given besides HEADER; expected one of them"),
        (
            [*CLIENT, "QUERY=a", "PREFIX=Bearer"],
            "PREFIX: goes before a credential in a header, and QUERY names another",
        ),
        ([*CLIENT, "COOKIE=a", "HEADER_Cookie=b"], "HEADER_Cookie: would replace the cookie of COOKIE"),
        ([STATIC, "VALUE=a;b", "COOKIE=a"], "VALUE: cannot stand in a cookie; expected visible ASCII"),
        ([*CLIENT, "QUERY=a b"], "QUERY: is not a parameter's name"),
        ([*CLIENT, "COOKIE=a b"], "COOKIE: is not a cookie's name"),
        ([*CLIENT, "AS=a b"], "AS: is malformed; expected names such as admin"),
        (LOGIN[:2], "TOKEN_AT: is missing; expected where the token is, such as /token or cookie:session"),
        ([*LOGIN, "CLIENT_ID=x"], "CLIENT_ID: is not used with GRANT_TYPE=login"),
        ([*LOGIN, "TOKEN_HEADER_X-A=x"], "TOKEN_HEADER_X-A: is not used with GRANT_TYPE=login"),
        ([*LOGIN, BODY], "USERNAME: is missing, and LOGIN_BODY has ${USERNAME}; expected its value"),
        (
            [*LOGIN, BODY, "USERNAME=me", f"PASSWORD={SECRET}"],
            "PASSWORD: is not used, as LOGIN_BODY has no ${PASSWORD}",
        ),
        ([*LOGIN, "LOGIN_BODY={"], "LOGIN_BODY: is no JSON; expected such as"),
        ([*LOGIN, "LOGIN_BODY=a=b", "LOGIN_METHOD=GET"], "LOGIN_BODY: cannot go with LOGIN_METHOD=GET"),
        ([*LOGIN, "EXPIRES_AT=x"], "EXPIRES_AT: is malformed; expected a JSON pointer"),
        ([*CLIENT, "LOGIN_URL=https://a.example/"], "LOGIN_URL: is not used with GRANT_TYPE=client_credentials"),
        (AWS, "AWS_REGION: or AWS_SERVICE is missing, and https://api.example.com does not tell it"),
        ([*AWS, "AWS_REGION=a", "AWS_SERVICE=b", "HEADER=X-A"], "HEADER: does not go with GRANT_TYPE=aws_sigv4"),
        ([*CLIENT, "DPOP=true", "QUERY=a"], "QUERY: does not go with DPOP, whose token goes into Authorization"),
        ([*CLIENT, "DPOP=true", "HEADER_DPoP=a"], "HEADER_DPoP: would replace the proof of DPOP"),
        ([*CLIENT, pasted("DPOP_KEY", KEY)], "DPOP_KEY: is given without DPOP=true; expected both or neither"),
    ],
)
def test_no_oauth2(envs: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], wrong: str) -> None:
    """Keys of logins, places, accounts, proofs and signatures that do not go together."""
    monkeypatch.setenv("HOME", str(envs))
    told = mistakes(envs, "\n".join(["HOST=https://api.example.com", *lines, ""]))
    assert any(line.startswith(f"envs/qa.env: {wrong}") for line in told), told


def test_places(envs: Path) -> None:
    """A place that is no header has no prefix, and a login needs no client."""
    assert read_lines(envs, *CLIENT, "QUERY=a").place == ("query parameter a", "QUERY")
    assert read_lines(envs, *CLIENT, "COOKIE=b").place == ("cookie b", "COOKIE")
    environment = read_lines(envs, *LOGIN, BODY, "USERNAME=me", "COOKIE=sid", "LIFETIME=60")
    assert (environment.prefix, environment.token_request.auth_method) == ("", "none")
    assert environment.token_request.value("LOGIN_BODY") == '{"u": "${USERNAME}"}'


def test_dpop(envs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key of the file's, the user's own is part of the identity."""
    monkeypatch.setenv("HOME", str(envs / "home"))
    (envs / "home").mkdir()
    environment = read_lines(envs, *CLIENT, "DPOP=true")
    assert environment.prefix == "DPoP"
    assert "PRIVATE KEY" in environment.token_request.value("DPOP_KEY")


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        # The scheme is in the value, and the prefix would write it again.
        ([STATIC, f"VALUE=Bearer {SECRET}"], "VALUE: begins with Bearer, and PREFIX goes before it; expected"),
        ([STATIC, f"VALUE=bEARER {SECRET}"], "VALUE: begins with Bearer, and PREFIX goes before it"),
        ([STATIC, f"VALUE=Basic {SECRET}"], "VALUE: begins with Basic, and PREFIX goes before it"),
        ([STATIC, f"VALUE=basic {SECRET}", "PREFIX=Token"], "VALUE: begins with Basic, and PREFIX goes before it"),
        ([STATIC, f"VALUE=token {SECRET}", "PREFIX=Token"], "VALUE: begins with PREFIX, which goes before it"),
        ([STATIC, f"VALUE=ApiKey v1 {SECRET}", "PREFIX=ApiKey v1"], "VALUE: begins with PREFIX, which goes before it"),
        (
            [STATIC, f"VALUE=Bearer {SECRET}", "HEADER=X-Key", "PREFIX=Bearer"],
            "VALUE: begins with Bearer, and PREFIX goes before it",
        ),
        ([STATIC, "VALUE_FILE=key"], "VALUE_FILE: begins with Bearer, and PREFIX goes before it"),
        # RFC 7617 section 2
        (
            [*BASIC, "USERNAME=me:you"],
            "USERNAME: holds a colon, at which the server would end it; expected a name with",
        ),
        # RFC 8693 section 2.1
        ([*EXCHANGE, "ACTOR_TOKEN_TYPE=x"], "ACTOR_TOKEN_TYPE: is given without ACTOR_TOKEN; expected both or neither"),
        (
            [*CLIENT, "INSECURE_TLS=true", "CA_FILE=ca.pem"],
            "INSECURE_TLS: verifies nothing, so CA_FILE has no use; expected one of the two",
        ),
        (
            [*CLIENT, "ISSUER=https://login.example.com/.well-known/openid-configuration"],
            "ISSUER: is the URL of the metadata; expected the issuer, https://login.example.com",
        ),
        (
            [*CLIENT, "ISSUER=https://login.example.com/realms/qa/.well-known/openid-configuration"],
            "ISSUER: is the URL of the metadata; expected the issuer, https://login.example.com/realms/qa",
        ),
        (
            [*CLIENT, "ISSUER=https://login.example.com/.well-known/oauth-authorization-server/realms/qa"],
            "ISSUER: is the URL of the metadata; expected the issuer, https://login.example.com/realms/qa",
        ),
    ],
)
def test_contradiction(tmp_path: Path, lines: list[str], wrong: str) -> None:
    """It is named, with what to write, and nothing else is called wrong."""
    (tmp_path / "key").write_text(f"Bearer {SECRET}")
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    with pytest.raises(InvalidEnvironments) as error:
        read_lines(tmp_path, *lines)
    (said,) = error.value.mistakes
    assert said.startswith(f"envs/qa.env: {wrong}")
    assert SECRET not in said


@pytest.mark.parametrize(
    "lines",
    [
        [STATIC, f"VALUE=Bearer {SECRET}", "PREFIX="],
        [STATIC, f"VALUE=Bearer {SECRET}", "HEADER=X-Key"],
        [STATIC, f"VALUE=bearer-{SECRET}"],
        [STATIC, "VALUE=Bearer"],
        ["GRANT_TYPE=password", *CLIENT, "USERNAME=me:you", "PASSWORD=x"],
        [*EXCHANGE, "ACTOR_TOKEN_TYPE=x", "ACTOR_TOKEN=y"],
        [*EXCHANGE, "ACTOR_TOKEN=y"],
        [*CLIENT, "INSECURE_TLS=false", "CA_FILE=ca.pem"],
        [*CLIENT, "ISSUER=https://login.example.com/well-known"],
    ],
)
def test_no_contradiction(tmp_path: Path, lines: list[str]) -> None:
    """What goes together is taken."""
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    read_lines(tmp_path, *lines)


ALONE = (
    "gets the credential without Bearer before it; if the API wants it, write PREFIX=Bearer; if not, write PREFIX= and"
    " this line goes"
)


WITH_SCHEME = (
    "gets VALUE as it stands, which begins with Bearer; if the API wants that, write PREFIX= and this line goes; if"
    " not, take Bearer out of VALUE"
)


@pytest.mark.parametrize(
    ("lines", "header", "prefix", "note"),
    [
        ([STATIC, VALUE], "Authorization", "Bearer", ""),
        ([STATIC, VALUE, "HEADER=authorization"], "authorization", "Bearer", ""),
        ([STATIC, VALUE, "HEADER=X-Api-Key"], "X-Api-Key", "", ALONE),
        ([STATIC, f"VALUE=bearer {SECRET}", "HEADER=X-Api-Key"], "X-Api-Key", "", WITH_SCHEME),
        ([STATIC, VALUE, "HEADER=X-Api-Key", "PREFIX="], "X-Api-Key", "", ""),
        ([STATIC, VALUE, "HEADER=X-Api-Key", "PREFIX=Bearer"], "X-Api-Key", "Bearer", ""),
        ([*CLIENT, "HEADER=X-Token"], "X-Token", "", ALONE),
        (CLIENT, "Authorization", "Bearer", ""),
        ([*BASIC, "USERNAME=me"], "Authorization", "Basic", ""),
        ([*BASIC, "USERNAME=me", "HEADER=X-Authorization"], "X-Authorization", "Basic", ""),
    ],
)
def test_default_prefix(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lines: list[str], header: str, prefix: str, note: str
) -> None:
    """Bearer is Authorization's; another header gets the credential alone, and the log says so once a reading."""
    caplog.set_level(logging.INFO)
    environment = read_lines(tmp_path, *lines)
    assert (environment.header, environment.prefix) == (header, prefix)
    assert caplog.messages == ([f"envs/qa.env: PREFIX: is not given, so {header} {note}"] if note else [])


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
def test_together(envs: Path, lines: list[str], wrong: list[str]) -> None:
    """Keys that the grant or the method misses, or does not use."""
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
def test_token_request(envs: Path, lines: list[str], grant: str, method: str) -> None:
    """Keys that go together, and the client authentication method that follows from them."""
    request = read(envs, "\n".join([ENOUGH.strip(), *lines, ""])).token_request
    assert (request.grant_type, request.auth_method) == (grant, method)
    assert bool(request.endpoint) == (not request.issuer)


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
def test_missing(envs: Path, text: str, wrong: list[str]) -> None:
    """Each missing key is named."""
    said = mistakes(envs, text)
    assert len(said) == len(wrong)
    assert all(line.startswith(f"envs/qa.env: {start}") for line, start in zip(said, wrong, strict=True))


@pytest.mark.parametrize("line", ["CLIENT_SECERT=x", "CLIENT_SECRET='a", 'CLIENT_SECRET="a" b', "CLIENT_SECRET_FILE="])
def test_said_once(envs: Path, line: str) -> None:
    """A key that is misspelt, unreadable or wrong is not also called missing."""
    assert len(mistakes(envs, f"{ENOUGH}{line}\n")) == 1


def test_wrong_said_once(envs: Path) -> None:
    """A wrong value is not also called missing."""
    assert len(mistakes(envs, WHOLE.replace("https://api.qa.example.com", "ftp://x"))) == 1


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
def test_any_keys(tmp_path_factory: pytest.TempPathFactory, grant: str, method: str | None, lines: list[str]) -> None:
    """Whatever keys stand together, they are an environment or mistakes."""
    folder = tmp_path_factory.mktemp("envs")
    chosen = [f"GRANT_TYPE={grant}", *([f"TOKEN_ENDPOINT_AUTH_METHOD={method}"] if method else [])]
    with contextlib.suppress(InvalidEnvironments):
        environment = read(folder, "\n".join(["HOST=https://api.example.com", *chosen, *lines, ""]))
        assert environment.token_request.grant_type == grant
        assert environment.token_request.auth_method == method or method is None
        assert "PRIVATE" not in repr(environment)

"""Each key by itself: what its value may be, and what is said where it is wrong."""

from pathlib import Path

import pytest

from tests.environments.files import WHOLE, mistakes, read


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
        ('SCOPE="open', "line 4: cannot be read (is a quote not closed, or followed by something?); expected"),
        ("SCOPE: read", "line 4: cannot be read (':' in place of '='); expected KEY=value"),
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
def test_mistake(envs: Path, line: str, wrong: str) -> None:
    """It names file and key, what is wrong and what was expected."""
    (said,) = mistakes(envs, f"{WHOLE}{line}\n")
    assert said.startswith(f"envs/qa.env: {wrong}")


def test_idna(envs: Path) -> None:
    """A name that older and newer IDNA spell differently is refused."""
    (said,) = mistakes(envs, WHOLE.replace("api.qa.example.com", "stra\u00dfe.example"))
    assert "its xn-- form" in said
    assert read(envs, WHOLE.replace("api.qa", "b\u00fccher")).origins[0].host == "xn--bcher-kva.example.com"

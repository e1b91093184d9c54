"""Credentials that sign: DPoP's proof and AWS's signature are written when the request leaves."""

from dataclasses import replace

import pytest
from mitmproxy import http

from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.proxy.credentials import credential_of, outgoing
from credential_injector.proxy.credentials.credential import Again
from tests.certificates import KEYS, pem_of
from tests.oauth.test_dpop import verified
from tests.proxy.credentials.test_header import request
from tests.proxy.test_record import QA

TOKEN = AccessToken("canary-token", 1000.0, 4600.0)
KEY = pem_of(KEYS["P-256"]())
DPOP = replace(QA, prefix="DPoP", token_request=TokenRequest(values=(("DPOP", "true"), ("DPOP_KEY", KEY))))
AWS = (("AWS_ACCESS_KEY_ID", "AKIACANARY"), ("AWS_SECRET_ACCESS_KEY", "canary-key"), ("AWS_REGION", "eu-west-1"))
URL = "https://api.example.com/orders?a=1"


def aws(service: str = "s3", *more: tuple[str, str]) -> TokenRequest:
    return TokenRequest(grant_type="aws_sigv4", values=(*AWS, ("AWS_SERVICE", service), *more))


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2.0"])
def test_dpop(version: str) -> None:
    """The client's proof goes; ours is for this request, this token and the nonce that the API wants."""
    one, made = credential_of(DPOP), request(("DPoP", "mine"), ("Authorization", "Bearer mine"), version=version)
    before = one.apply(made, TOKEN)
    assert before is not None
    assert before == one.found_in(request(("Authorization", "Bearer mine")))
    assert one.is_in(made, TOKEN)
    assert "dpop" not in {name.lower() for name, _ in made.headers.items()}  # type: ignore[no-untyped-call]
    one.learn(http.Response.make(401, headers={"DPoP-Nonce": "n1"}), URL)
    assert one.sign(made, TOKEN, URL, 1000.0) is None
    _, claims = verified(made.headers["DPoP"], KEY)
    assert (claims["nonce"], claims["htu"], claims["htm"]) == ("n1", "https://api.example.com/orders", "GET")
    assert one.fingerprint(TOKEN) == TOKEN.fingerprint
    assert "canary" not in one.described(TOKEN)
    record: dict[str, object] = {}
    one.record(TOKEN, record)
    assert "DPoP" in record["headers"]  # type: ignore[operator]
    assert [mask.secret for mask in one.masks(TOKEN)] == ["canary-token"]
    one.remove(made)
    assert not {"dpop", "authorization"} & {name.lower() for name, _ in made.headers.items()}  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("status", "challenge", "again"),
    [
        (401, 'DPoP error="use_dpop_nonce"', Again.SAME_TOKEN),
        (401, 'DPoP error="invalid_token"', Again.NEW_TOKEN),
        (200, 'DPoP error="use_dpop_nonce"', Again.NO),
    ],
)
def test_answered(status: int, challenge: str, again: Again) -> None:
    """A nonce asks for another proof, not for another token."""
    assert (
        credential_of(DPOP).answered(
            http.Response.make(status, headers={"WWW-Authenticate": challenge, "DPoP-Nonce": "new"}), lambda: ""
        )
        is again
    )


@pytest.mark.parametrize("service", ["s3", "execute-api"])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2.0"])
def test_aws(service: str, version: str) -> None:
    """What the client signed is replaced, and the secrets are told to nobody."""
    environment = replace(QA, token_request=aws(service, ("AWS_SESSION_TOKEN", "canary-session")))
    one = credential_of(environment)
    made = request(("Authorization", "AWS4-HMAC-SHA256 mine"), ("X-Amz-Date", "old"), ("X-Amz-A", "b"), version=version)
    assert one.apply(made, TOKEN) is not None
    assert one.sign(made, TOKEN, URL, 1000.0) is None
    assert made.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIACANARY/")
    assert f"/eu-west-1/{service}/aws4_request" in made.headers["Authorization"]
    assert made.headers["X-Amz-Security-Token"] == "canary-session"
    assert one.is_in(made, TOKEN)
    assert one.fingerprint(TOKEN) is None
    assert "canary" not in one.described(TOKEN).lower().replace("akiacanary", "canary")
    assert "canary-session" in {mask.secret for mask in one.masks(TOKEN)}
    assert one.answered(http.Response.make(403), lambda: "") is Again.NO
    one.learn(http.Response.make(200), URL)
    record: dict[str, object] = {}
    one.record(TOKEN, record)
    assert "canary" not in str(record)
    one.remove(made)
    assert one.found_in(made) is None


@pytest.mark.parametrize(
    ("service", "url", "sent"),
    [
        ("s3", URL, {"X-Amz-Content-SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}),
        ("sts", URL, None),
        ("s3", URL.replace("https", "http"), None),
    ],
)
def test_cannot(service: str, url: str, sent: dict[str, str] | None) -> None:
    """A body that nobody can hash is told."""
    one, made = credential_of(replace(QA, token_request=aws(service))), request(*(sent or {}).items())
    if sent is None:
        made.content = None
    one.apply(made, TOKEN)
    assert one.sign(made, TOKEN, url, 1000.0)


def test_no_scope() -> None:
    """Without a region there is no signature."""
    lacking = TokenRequest(grant_type="aws_sigv4", values=AWS[:2])
    one, made = credential_of(replace(QA, token_request=lacking)), request()
    one.apply(made, TOKEN)
    assert "AWS_REGION and AWS_SERVICE" in (one.sign(made, TOKEN, URL, 1000.0) or "")
    with pytest.raises(NoToken, match="AWS_REGION"):
        outgoing(replace(QA, token_request=lacking), TOKEN, base="https://api.example.com")


def test_outgoing() -> None:
    """A probe is signed as the proxy signs."""
    headers, path = outgoing(DPOP, TOKEN, "/a?b=c", base="https://api.example.com", now=1000.0)
    assert (headers["Authorization"], path) == ("DPoP canary-token", "/a?b=c")
    assert verified(headers["DPoP"], KEY)[1]["htu"] == "https://api.example.com/a"

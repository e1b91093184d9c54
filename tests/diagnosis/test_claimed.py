"""Causes that the token's claims show."""

from dataclasses import replace

import pytest

from credential_injector.diagnosis.doctor import diagnose
from credential_injector.diagnosis.evidence import Evidence
from credential_injector.origins.origin import parse_origin
from tests.diagnosis.cases import BOUND, HOUR, NOW, ORDERS, QA, RESOURCE, STATIC, bearer, case, date, invalid, told


@pytest.mark.parametrize(
    ("evidence", "code", "word", "cause", "advice"),
    [
        (case(401, bearer(error="invalid_token"), claims={"cnf": {"jkt": "abc"}}),
         "dpop", "DPoP",
         "the token is bound to a key (cnf.jkt), so the API wants a DPoP proof with it, which this add-on does not "
         "make",
         "ask whoever runs the authorization server for tokens of the client in envs/qa.env that are not bound"),
        (case(401, bearer(error="invalid_token"), BOUND, claims={"cnf": {"x5t#S256": "abc"}}),
         "mtls", "mTLS",
         "the token is bound to a client certificate (cnf.x5t#S256), so the API takes it over TLS with that only",
         "have mitmproxy show it to the API: --set client_certs=FILE, of CLIENT_KEY and CLIENT_CERT in envs/qa.env "
         "in PEM form"),
        (case(401, {}, STATIC, claims={"cnf": {"x5t#S256": "abc"}}),
         "mtls", "mTLS",
         "the token is bound to a client certificate (cnf.x5t#S256), so the API takes it over TLS with that only",
         "have mitmproxy show it to the API: --set client_certs=FILE, of the certificate and its key in PEM form"),
        (case(401, date(NOW), STATIC, claims={"exp": NOW - 7300}),
         "expired", "expired",
         "the token expired 2 h ago",
         "put a new one into envs/qa.env, or write a GRANT_TYPE that gets one there"),
        (case(401, invalid("The token is expired"), STATIC),
         "expired", "expired",
         "the API says that the token has expired",
         "put a new one into envs/qa.env, or write a GRANT_TYPE that gets one there"),
        (case(401, {**invalid("Jwt expired at 2026"), **date(NOW + 4000)}, claims={}),
         "clock", "clock",
         "the token has expired by the API's clock, which is 67 min ahead of this machine's",
         "set this machine's clock by network time; if it is right, ask whoever runs the API to set theirs"),
        (case(401, {**invalid("The access token expired"), **date(NOW + 4000)}),
         "clock", "clock",
         "the token has expired by the API's clock, which is 67 min ahead of this machine's",
         "set this machine's clock by network time; if it is right, ask whoever runs the API to set theirs"),
        (case(401, date(NOW + 4000), claims={}),
         "clock", "clock",
         "the token has expired by the API's clock, which is 67 min ahead of this machine's",
         "set this machine's clock by network time; if it is right, ask whoever runs the API to set theirs"),
        (case(401, {**invalid("The token is not yet valid"), **date(NOW - 120)}, claims={"iat": NOW - 60}),
         "clock", "clock",
         "the token is not valid yet by the API's clock, which is 2 min behind this machine's",
         "set this machine's clock by network time; if it is right, ask whoever runs the API to set theirs"),
        (case(401, date(NOW + 7199), claims={}),
         "clock", "clock",
         "the token has expired by the API's clock, which is 2 h ahead of this machine's",
         "set this machine's clock by network time; if it is right, ask whoever runs the API to set theirs"),
        (case(401, date(NOW - 1000), claims={"nbf": NOW - 60}),
         "clock", "clock",
         "the token is not valid yet by the API's clock, which is 17 min behind this machine's",
         "set this machine's clock by network time; if it is right, ask whoever runs the API to set theirs"),
        (case(401, {}, STATIC, claims={"aud": "app", "azp": "app", "at_hash": "x", "nonce": "y"}),
         "id_token", "ID token",
         "the token is an ID token, which is for the client; an API takes an access token",
         "put the access_token of the same login into envs/qa.env"),
        (case(401, {}, claims={"aud": "https://api.uat.example.com"}, owner=lambda _: "uat"),
         "other_environment", "other env",
         "the token is one for uat, by its issuer and audience",
         "compare TOKEN_ENDPOINT or ISSUER, CLIENT_ID, SCOPE, AUDIENCE and RESOURCE in envs/qa.env with those of "
         "uat"),
        (case(401, {}, claims={"aud": "00000003-0000-0000-c000-000000000000"}),
         "audience", "audience",
         "the token is for Microsoft Graph, not for this API",
         "write a scope of the API, such as api://…/.default, into SCOPE in envs/qa.env"),
        (case(401, {}, claims={"iss": "https://t.auth0.com/", "aud": "https://t.auth0.com/userinfo"}),
         "audience", "audience",
         "the token is for the issuer's userinfo endpoint, not for this API",
         "write the API's audience into AUDIENCE in envs/qa.env"),
        (case(401, invalid("The audience 'x' is invalid"), claims={"aud": "account"}),
         "audience", "audience",
         "the API says that the token is not for it; the token is for aud account",
         "ask whoever runs the API for its audience, and write it into AUDIENCE or RESOURCE in envs/qa.env, or into"
         " SCOPE where the authorization server takes it from there"),
        (case(401, invalid("wrong aud"), RESOURCE),
         "audience", "audience",
         "the API says that the token is not for it",
         "ask whoever runs the API for its audience, and write it into RESOURCE in envs/qa.env, or into SCOPE where"
         " the authorization server takes it from there"),
        (case(401, invalid("IDX10214: Audience validation failed"), RESOURCE, claims={"aud": "urn:orders"}),
         "audience", "audience",
         "the API says that the token is not for it; the token is for aud urn:orders",
         "ask whoever runs the API for its audience, and write it into RESOURCE in envs/qa.env, or into SCOPE where"
         " the authorization server takes it from there"),
        (case(401, invalid("Audience validation failed"), STATIC, claims={"aud": "urn:a"}),
         "audience", "audience",
         "the API says that the token is not for it; the token is for aud urn:a",
         "put a token for this API into envs/qa.env"),
        (case(401, bearer(error="invalid_token"), ORDERS, claims={"aud": "account"}),
         "audience", "audience",
         "the token is for aud account, although AUDIENCE in envs/qa.env asks for https://orders.example.com",
         "ask whoever runs the authorization server to give the client in envs/qa.env tokens for that audience"),
        (case(401, {}, RESOURCE, claims={"aud": ["urn:a", "urn:b"]}),
         "audience", "audience",
         "the token is for aud urn:a urn:b, although RESOURCE in envs/qa.env asks for urn:orders",
         "ask whoever runs the authorization server to give the client in envs/qa.env tokens for that audience"),
    ],
)  # fmt: skip
def test_named(evidence: Evidence, code: str, word: str, cause: str, advice: str) -> None:
    """Each cause has a code, a word, a sentence, and what to do."""
    assert told(evidence) == (code, word, cause, advice)


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        (case(401, {}, claims={"aud": "api://orders"}), "unknown"),
        (case(401, invalid("bad_signature:"), claims={}), "signature"),
        (case(401, invalid("audiences and audit of the expiry"), claims={}), "unknown"),
        (case(401, {}, claims={"aud": "https://elsewhere.example.com"}), "unknown"),
        (case(403, {}, RESOURCE, claims={"aud": "urn:a"}), "unknown"),
        (case(401, {}, RESOURCE, claims={"aud": ["urn:orders", "urn:b"]}), "unknown"),
        (case(401, {}, ORDERS, claims={"aud": "https://orders.example.com/"}), "unknown"),
        (case(401, {}, ORDERS, claims={"aud": "11111111-2222-3333-4444-555555555555"}), "unknown"),
        (case(401, {}, RESOURCE, claims={"aud": "https://api.qa.example.com/v2"}), "unknown"),
        (case(401, invalid("bad signature"), RESOURCE, claims={"aud": "urn:a"}), "signature"),
        (case(401, {}, RESOURCE, claims={}), "unknown"),
        (case(401, {}, claims={"aud": "https://api.qa.example.com"}, owner=lambda _: "uat"), "unknown"),
        (case(401, {}, claims={"aud": "urn:a"}, owner=lambda _: "qa"), "unknown"),
        (case(403, {}, claims={"aud": "urn:a"}, owner=lambda _: "uat"), "unknown"),
        (case(401, invalid("expired"), claims={"aud": "urn:a"}, owner=lambda _: "uat"), "unknown"),
        (case(401, date(NOW + 2), claims={}), "unknown"),
        (case(401, date(NOW + HOUR + 60), claims={}), "unknown"),
        (case(401, date(NOW + 4000), claims={"exp": NOW + 8000}), "unknown"),
        (case(401, date(NOW - 1000), claims={"iat": NOW - 60}), "unknown"),
        (case(401, {**invalid("Jwt expired"), **date(NOW + 2)}, claims={"exp": NOW + 1}), "unknown"),
        (case(401, {**invalid("not yet valid"), **date(NOW - 4)}, claims={"nbf": NOW}), "unknown"),
        (case(401, {**date(NOW + 4000), "Age": "4000"}, claims={}), "unknown"),
        (case(401, {"Date": ["Wed, 21 Oct 2115 07:28:00 GMT", "x"]}, claims={}), "unknown"),
        (case(401, {"Date": "tomorrow"}, claims={}), "unknown"),
        (case(403, date(NOW + 4000), claims={}), "unknown"),
        (case(401, {}, STATIC, claims={"exp": NOW + 1}), "unknown"),
        (case(401, {}, STATIC, claims={"exp": "-1e999"}), "unknown"),
        (case(401, date(NOW - 100), STATIC, claims={"exp": NOW - 50}), "unknown"),
        (case(401, {}, claims={"exp": NOW - 50}), "unknown"),
        (case(401, invalid("wrong signature"), STATIC, claims={"exp": NOW - 7300}), "signature"),
        (case(401, {}, STATIC, claims={"aud": "app", "azp": "app", "nonce": "y"}), "unknown"),
        (case(401, {}, STATIC, claims={"aud": "app", "azp": "app", "at_hash": "x", "scope": "read"}), "unknown"),
        (case(401, {}, STATIC, claims={"aud": "api", "azp": "app", "at_hash": "x"}), "unknown"),
        (case(401, {}, replace(QA, origins=(parse_origin("https://graph.microsoft.com"),)),
              claims={"aud": "https://graph.microsoft.com"}), "unknown"),
        (case(401, {}, claims={"iss": "https://t.auth0.com/", "aud": ["urn:a", "https://t.auth0.com/userinfo"]}),
         "unknown"),
        (case(403, {}, claims={"cnf": {"jkt": "abc"}}), "unknown"),
        (case(401, invalid("bad signature"), claims={"cnf": {"jkt": "abc"}}), "signature"),
        (case(401, {}, claims={"cnf": {"x5t#S256": "abc"}}, shows_certificate=True), "unknown"),
        (case(401, {}, claims={"cnf": {}}), "unknown"),
        (case(401, invalid("expired"), claims={"cnf": {"jkt": "abc"}}), "unknown"),
        (case(401, invalid("expired"), claims={"cnf": {"x5t#S256": "abc"}}), "unknown"),
        (case(401, {}, claims={"iss": "https://b.example.com/", "aud": "https://t.auth0.com/userinfo"}), "unknown"),
    ],
)  # fmt: skip
def test_near(evidence: Evidence, code: str | None) -> None:
    """What comes near a cause and has another reading is not named."""
    found = diagnose(evidence)
    assert (found.code if found is not None else None) == code

"""Where no rule speaks, and in which order they do."""

import time
from collections.abc import Iterator

import pytest

from credential_injector.diagnosis.doctor import diagnose
from credential_injector.diagnosis.evidence import Evidence
from credential_injector.oauth.token import Failure
from tests.diagnosis.cases import (
    API,
    BASIC,
    BOUND,
    HOUR,
    NOW,
    PERSON,
    RESOURCE,
    STATIC,
    bearer,
    case,
    date,
    invalid,
    jwt,
)

AUDIENCE = "ask whoever runs the API which audience it expects, and compare AUDIENCE and RESOURCE in envs/qa.env"
SCOPE = "ask whoever runs the API which scope or role it wants, and compare SCOPE in envs/qa.env"
VALUE = "check that VALUE in envs/qa.env is for this API and still valid"
DOWN = Failure("http_503", "it answered 503")
CLOCK = "set this machine's clock by network time, and ask whoever runs the API to look at theirs"


@pytest.fixture
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_utc")
@pytest.mark.parametrize(
    ("evidence", "cause", "advice"),
    [
        (case(401),
         "the API gives no reason; the token is valid until 11:23 (60 min), has scope read write, cannot be read, as it"
         " is no JWT", AUDIENCE),
        (case(401, replaced_too=True, claims={"aud": "api://orders", "scp": "read"}),
         "the API refuses a new token, too, and gives no reason; the token is valid until 11:23 (60 min), has aud"
         " api://orders, has scope read", AUDIENCE),
        (case(401, claims={"aud": [API, "urn:other"], "scope": ""}),
         f"the API gives no reason; the token is valid until 11:23 (60 min), has aud {API} urn:other",
         "ask whoever runs the API which authorization server and scope it wants, as the audience fits, and compare"
         " TOKEN_ENDPOINT or ISSUER and SCOPE in envs/qa.env"),
        (case(401, bearer(error="invalid_token"), BOUND, claims={}),
         "the API says invalid_token, without a reason; the token is valid until 11:23 (60 min), has no aud, has scope"
         " read write",
         f"{AUDIENCE}; where the token is bound to the client's certificate, mitmproxy must show it to the API, too:"
         " --set client_certs=FILE, of CLIENT_KEY and CLIENT_CERT in PEM form"),
        (case(401, invalid("Token expired"), claims={"scope": ""}),
         "the API says that the token has expired; the token is valid until 11:23 (60 min), has no aud", CLOCK),
        (case(401, invalid("not yet valid"), claims={"aud": "urn:a", "scope": ""}),
         "the API says that the token is not valid yet; the token is valid until 11:23 (60 min), has aud urn:a", CLOCK),
        (case(403, claims={"scope": "read"}),
         "the API gives no reason; the token is valid until 11:23 (60 min), has no aud, has scope read", SCOPE),
        (case(401, invalid("No such session"), claims={"scope": ""}),
         "the API says invalid_token and why in its WWW-Authenticate header; the token is valid until 11:23 (60 min),"
         " has no aud", f"read error_description there, or {AUDIENCE}"),
        (case(403, bearer(error="invalid_scope", error_description="No"), claims={"scope": ""}),
         "the API says why in its WWW-Authenticate header; the token is valid until 11:23 (60 min), has no aud",
         f"read error_description there, or {SCOPE}"),
        (case(401, {}, STATIC), "the API gives no reason; the credential stands in envs/qa.env", VALUE),
        (case(401, {}, STATIC, claims={"exp": NOW + 9 * 86400}),
         "the API gives no reason; the token is valid until 2026-12-06 10:23 (9 days), has no aud", VALUE),
        (case(401, {}, STATIC, token=jwt(exp=1e300)), "the API gives no reason; the token has no aud", VALUE),
        (case(401, {}, BASIC), "the API gives no reason; the credential stands in envs/qa.env",
         "check USERNAME and PASSWORD in envs/qa.env, and ask whoever runs the API what this user may do"),
    ],
)  # fmt: skip
def test_unknown(evidence: Evidence, cause: str, advice: str) -> None:
    """Without evidence it says what is known of the token, and where to look."""
    found = diagnose(evidence)
    assert found is not None
    assert (found.code, found.word, found.cause, found.advice) == ("unknown", "?", cause, advice)


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        (case(401, {**bearer(realm="x"), **date(NOW)}, STATIC, claims={"exp": NOW - 1, "aud": "urn:a"}), "expired"),
        (case(401, {"WWW-Authenticate": "Basic"}, STATIC, claims={"exp": NOW - 1}), "expired"),
        (case(401, date(NOW + 2 * HOUR), STATIC, claims={"exp": NOW - 1}), "expired"),
        (case(401, date(NOW + 2 * HOUR), RESOURCE, claims={"aud": "urn:a"}), "clock"),
        (case(401, {}, RESOURCE, claims={"aud": "urn:a"}, owner=lambda _: "uat"), "other_environment"),
        (case(401, {}, RESOURCE, claims={"aud": "urn:a", "cnf": {"jkt": "x"}}), "audience"),
        (case(401, bearer(error="insufficient_scope", scope="a"), RESOURCE, claims={"aud": "urn:a"}), "scope"),
        (case(401, bearer(error="insufficient_user_authentication", scope="a"), PERSON), "step_up"),
        (case(401, {"WWW-Authenticate": ['DPoP error="use_dpop_nonce"', 'Bearer error="invalid_token"']}), "dpop"),
        (case(431, bearer(error="invalid_token")), "size"),
    ],
)
def test_order(evidence: Evidence, code: str) -> None:
    """Where several causes are there, the one that nothing else can mend comes first."""
    found = diagnose(evidence)
    assert found is not None
    assert found.code == code


@pytest.mark.parametrize(
    ("evidence", "code", "cause", "advice"),
    [
        (case(401, outdated=True), "outdated",
         "the API does not take this token any more, and the request was not sent again with the one that is in use by"
         " now", "send the request again"),
        (case(401, invalid("revoked"), outdated=True, failure=DOWN), "outdated",
         "the API does not take this token any more (invalid_token), and the request was not sent again with the one"
         " that is in use by now", "send the request again"),
        (case(401, failure=DOWN), "no_new_token",
         "the API does not take this token any more, and there is no new one (http_503): it answered 503",
         "wait, or ask whoever runs the authorization server"),
    ],
)  # fmt: skip
def test_no_other_token_tried(evidence: Evidence, code: str, cause: str, advice: str) -> None:
    """Where nobody knows whether a new token would do, it does not send people to ask for another audience."""
    found = diagnose(evidence)
    assert found is not None
    assert (found.code, found.word, found.cause, found.advice) == (code, "old token", cause, advice)


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        (case(401, outdated=True, replaced_too=True), "unknown"),
        (case(401, {}, STATIC, outdated=True), "unknown"),
        (case(403, outdated=True), "unknown"),
        (case(401, invalid("audience"), RESOURCE, claims={"aud": "urn:a"}, outdated=True), "audience"),
    ],
)
def test_another_token_does_not_help(evidence: Evidence, code: str) -> None:
    """A new token that was refused, too, and a cause that it would share, are told as before."""
    found = diagnose(evidence)
    assert found is not None
    assert found.code == code

"""Whatever an API answers to a request with our token, and whatever the token says."""

import base64
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from credential_injector.diagnosis import challenges
from credential_injector.diagnosis.doctor import diagnose
from credential_injector.diagnosis.evidence import Evidence
from credential_injector.environments.environment import Environment
from credential_injector.oauth.token import AccessToken
from credential_injector.origins.origin import parse_origin
from tests.diagnosis.cases import Fields
from tests.fuzz.inputs import (
    ANY_TEXT,
    NOW,
    NUMBERS,
    REQUEST,
    SECRET,
    TEXT,
    TOKEN,
    as_bytes,
    assert_harmless,
    mutated,
)

QA = Environment("qa", "envs/qa.env", (parse_origin("https://api.example.com"),), REQUEST)
VALID = (
    b'Basic realm="a, b", Bearer error="insufficient_scope", scope="admin api://x/.default", acr_values=a, max_age=5,'
    b' error_description="The audience is invalid", resource_metadata="https://api.example.com/x", Negotiate YII='
)
NAMES = st.sampled_from(["error", "scope", "acr_values", "max_age", "error_description", "resource_metadata", "realm"])
WORDS = st.sampled_from(
    [
        *(
            "invalid_token",
            "insufficient_scope",
            "insufficient_user_authentication",
            "use_dpop_nonce",
            "insufficient_claims",
        ),
        *("admin", "Token expired", "not yet valid", "bad signature", "wrong aud", "unknown issuer", "revoked"),
        *("https://[::1", "https://api.example.com/metadata", TOKEN, SECRET),
    ]
)
PARAMETERS = st.builds(lambda name, value: f'{name}="{value}"', NAMES, WORDS | TEXT)
CHALLENGES = st.builds(
    lambda scheme, parameters: f"{scheme} {', '.join(parameters)}",
    st.sampled_from(["Bearer", "bearer", "DPoP", "Basic", "Negotiate", TOKEN]),
    st.lists(PARAMETERS, max_size=4),
)
FIELDS = CHALLENGES | TEXT | mutated(VALID).map(lambda value: value.decode("utf-8", "surrogateescape"))
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "WWW-Authenticate": st.lists(FIELDS, max_size=3),
        "Date": st.sampled_from(["Wed, 21 Oct 2115 07:28:00 GMT", "Wed, 21 Oct 0000 07:28:00 -9999"]) | TEXT,
        "Location": st.sampled_from(["/login", f"https://{TOKEN}/login", "https://[::1/login", "//x?SAMLRequest="])
        | TEXT,
        "Access-Control-Allow-Origin": st.lists(TEXT, max_size=2),
    },
)
CLAIMS = st.dictionaries(
    st.sampled_from(["iss", "aud", "scope", "roles", "exp", "nbf", "iat", "acr", "auth_time", "cnf", "at_hash", "azp"]),
    st.sampled_from(["abc", "https://login.example.com", NOW - 60, NOW + 60, 0]) | NUMBERS | ANY_TEXT
    | st.lists(ANY_TEXT, max_size=3)
    | st.dictionaries(st.sampled_from(["jkt", "x5t#S256"]), ANY_TEXT, max_size=2),
)  # fmt: skip
# A token's own claims may be shown: there is no canary among them.
JWTS = CLAIMS.map(as_bytes).map(lambda claims: f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.{TOKEN}")


@given(
    st.sampled_from([200, 302, 400, 401, 401, 401, 403, 407, 431]),
    HEADERS,
    st.just(TOKEN) | JWTS,
    st.sampled_from(["client_credentials", "static"]),
    st.sampled_from(["", "null", "http://localhost:3000", f"http://{TOKEN}"]),
)
def test_answer(status: int, headers: Mapping[str, str | list[str]], token: str, grant_type: str, page: str) -> None:
    """It is told in one line without a secret, or not at all."""
    environment = replace(QA, token_request=replace(REQUEST, grant_type=grant_type))
    access_token = AccessToken(token, NOW - 60, NOW + 60)
    found = diagnose(Evidence(environment, access_token, status, Fields(headers), NOW, page=page))
    if found is not None:
        assert len(found.word) <= 10
        assert_harmless(f"{found.code} {found.word}")
        assert found.cause.isprintable()
        assert found.advice.isprintable()
        for secret in (TOKEN, SECRET):
            assert secret not in str(found)
    else:
        assert status not in (401, 403, 407, 431)


@given(FIELDS)
def test_challenges(field: str) -> None:
    """Any field is read to its end, and each name in it is a name."""
    for challenge in challenges.read([field]):
        for name in (challenge.scheme, *challenge.parameters):
            assert name.isascii()
            assert name.isprintable()
            assert not set(name) & set(' ",=')

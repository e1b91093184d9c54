"""Whatever a token endpoint answers."""

import base64
import math
import re

from hypothesis import given
from hypothesis import strategies as st

from credential_injector.oauth.answers import LONGEST_RETRY_AFTER, OAUTH_ERRORS, Answer, read_answer
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import LONGEST_LIFETIME, AccessToken, NoToken
from tests.fuzz.inputs import NOW, NUMBERS, REQUEST, TEXT, TOKEN, as_bytes, assert_harmless, json_values, mutated

VALUES = json_values(st.just(TOKEN))
LIFETIMES = st.sampled_from([3600, "3600", 0, -1, "1e400", "nan", "\u0661"]) | NUMBERS | NUMBERS.map(str) | VALUES
CLAIMS = st.builds(lambda exp: as_bytes({"exp": exp}), LIFETIMES | st.just(NOW + 60)) | st.binary(max_size=20)
JWTS = CLAIMS.map(lambda claims: f"{TOKEN}.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.x")
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "access_token": st.just(TOKEN) | JWTS | VALUES,
        "token_type": st.sampled_from(["Bearer", "bearer", "DPoP"]) | VALUES,
        "expires_in": LIFETIMES,
        "error": st.sampled_from(sorted(OAUTH_ERRORS)) | VALUES,
        "error_description": VALUES,
    },
)
VALID = as_bytes({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600})
ANSWERS = st.builds(
    Answer,
    st.just(200) | st.integers(100, 599) | st.sampled_from([301, 400, 401, 429, 503]),
    st.dictionaries(
        st.sampled_from(["Retry-After", "Content-Type", "WWW-Authenticate"]),
        st.sampled_from(["7", "Wed, 21 Oct 2115 07:28:00 GMT", "Wed, 21 Oct 0000 07:28:00 -9999"])
        | NUMBERS.map(str)
        | TEXT
        | mutated(b"Wed, 21 Oct 2115 07:28:00 GMT").map(lambda value: value.decode("latin-1")),
        max_size=2,
    ),
    BODIES.map(as_bytes) | VALUES.map(as_bytes) | st.binary() | mutated(VALID) | st.just(b"[" * 100_000),
)


@given(ANSWERS)
def test_answers(answer: Answer) -> None:
    """Every answer is a token that can be sent, or a refusal without a secret."""
    said = outcome(answer, REQUEST)
    if isinstance(said, NoToken):
        check_refusal(said)
    else:
        check_token(said)


def outcome(answer: Answer, request: TokenRequest) -> AccessToken | NoToken:
    try:
        return read_answer(answer, request, NOW)
    except NoToken as error:
        return error


def check_refusal(error: NoToken) -> None:
    """It is told in words of ours."""
    assert error.__cause__ is None
    assert_harmless(f"{error} {error!r} {error.reason}")
    own = {"expired", "invalid_response", "redirect"}
    assert error.code in OAUTH_ERRORS | own or re.fullmatch(r"http_[45][0-9]{2}", error.code)
    assert error.retry_after is None or 0 <= error.retry_after <= LONGEST_RETRY_AFTER


def check_token(token: AccessToken) -> None:
    """It can stand in a header, lives from now on, and not for ever; its secret is not in its representation."""
    assert re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", token.value)
    assert NOW == token.issued_at < token.expires_at <= NOW + LONGEST_LIFETIME
    assert NOW < token.usable_until <= token.expires_at
    assert math.isfinite(token.refresh_from)
    assert not isinstance(token.issued_at, bool)
    assert_harmless(repr(token))

"""The words of a flow's comment."""

import pytest

from credential_injector.oauth.jwt_claims import JwtClaims
from credential_injector.proxy import story
from credential_injector.proxy.credentials.credential import Before


@pytest.mark.parametrize(
    ("name", "what", "shown"),
    [
        ("qa", "+Bearer", "qa: +Bearer"),
        ("qa", "Basic→Bearer", "qa: Basic→Bearer"),
        ("prod", "Basic→Bearer", "prod:Basic→Bearer"),
        ("production-eu", "+Bearer", "producti…:+Bearer"),
        ("production-eu", "401→200", "producti…:401→200"),
        ("prod", "+X-Ocp-Apim-Subscription-Key", "prod:+X-Ocp-Apim…"),
        ("production-eu", "+X-Ocp-Apim-Subscription-Key", "pro…:+X-Ocp-Apim…"),
    ],
)
def test_headline(name: str, what: str, shown: str) -> None:
    """A headline fits mitmweb's list, and its name gives way to what happened."""
    assert story.headline(name, what) == shown
    assert len(shown) <= story.HEADLINE


@pytest.mark.parametrize(
    ("before", "other", "label", "shown"),
    [
        (None, "", "Bearer", "+Bearer"),
        (Before("Basic"), "", "Bearer", "Basic→Bearer"),
        (Before("another value"), "", "X-Api-Key", "?→X-Api-Key"),
        (Before("Bearer"), "", "Bearer", "Bearer→ours"),
        (Before("Bearer"), "uat", "Bearer", "uat→Bearer"),
    ],
)
def test_change(before: Before | None, other: str, label: str, shown: str) -> None:
    """What stood there and what stands there now."""
    assert story.change(before, label, other) == shown


@pytest.mark.parametrize(
    ("challenge", "code"),
    [
        ('Bearer realm="x", error="invalid_token", error_description="secret"', "invalid_token"),
        ("Bearer error=insufficient_scope", "insufficient_scope"),
        ('Bearer error="canary_made_up"', ""),
        ("Bearer", ""),
        ("", ""),
    ],
)
def test_error_code(challenge: str, code: str) -> None:
    """Only a known code is repeated of what the API wrote."""
    assert story.error_code(challenge) == code


def test_few() -> None:
    """A comment lists a few names; more of them stand in the metadata."""
    claims = JwtClaims(scope=tuple(map(str, range(20))))
    assert story.before("Authorization", Before("Bearer", claims)).endswith(
        "(scope 0 1 2 3 4 5 6 7 8 9 10 11 and 8 more)"
    )


@pytest.mark.parametrize("dashes", ["-", "- -", "-  -", "- - -"])
def test_like_ours(dashes: str) -> None:
    """A claim and a cause that hold what looks like a line of ours are part of their own line."""
    nasty = f"x {dashes} why: nothing"
    told = story.before("Authorization", Before("Bearer", JwtClaims(issuer=nasty, subject=nasty, roles=(nasty,))))
    told += story.amended("qa: 401 ?", "", f"why: has aud {nasty}")
    assert told.count("why: nothing") == 4
    assert " - why: nothing" not in told


@pytest.mark.parametrize("written", ["mine", "mine, and more of it", "look at this later\nqa: +Bearer\n- rule: x", ""])
def test_person(written: str) -> None:
    """What a person wrote while the request was on its way is kept."""
    assert story.amended(written, "qa: 403 ?", "why: x") == f"qa: 403 ?\n- why: x\n\n{written}"
    assert story.amended("qa: +Bearer\n- rule: x", "qa: 403 ?", "why: x") == "qa: 403 ?\n- why: x\n- rule: x"

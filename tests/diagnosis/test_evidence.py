"""What may be repeated of a server's words, and what a token may do."""

from dataclasses import replace

import pytest

from credential_injector.diagnosis.doctor import diagnose
from credential_injector.diagnosis.evidence import LONGEST_NAME, MOST_NAMES, Evidence
from tests.diagnosis.cases import BASIC, OPAQUE, QA, STATIC, bearer, case, jwt


@pytest.mark.parametrize(
    ("name", "may"),
    [
        ("admin", True),
        ("api://orders/Orders.Read", True),
        ("urn:example:loa:2", True),
        ("x" * LONGEST_NAME, True),
        ("x" * (LONGEST_NAME + 1), False),
        ("", False),
        ("two words", False),
        ("line\nbreak", False),
        ("\u202eevil", False),
        ("caf\xe9", False),
        ('quo"te', False),
        ("back\\slash", False),
        (OPAQUE, False),
        (OPAQUE.upper(), False),
        (OPAQUE[:7], True),
        (OPAQUE[:8], False),
        (OPAQUE[-8:], False),
        (f"a/{OPAQUE[4:12]}/b", False),
        (QA.token_request.client_secret, False),
        ("sub-ec-7", False),
    ],
)
def test_repeatable(name: str, may: bool) -> None:
    """A server's name is short and visible, and holds no eight characters of a secret."""
    evidence = case(403, environment=replace(QA, extra_headers=(("X-Key", "c4nary-sub-ec-7"),)))
    assert evidence.is_repeatable(name) is may


@pytest.mark.parametrize("name", ["c4nary-password", "x-password"])
def test_password(name: str) -> None:
    """A server sees a password that was sent to it, and cannot have it repeated."""
    assert not case(403, environment=BASIC).is_repeatable(name)


def test_short_secret() -> None:
    """A secret of a few characters is not repeated either."""
    evidence = case(403, bearer(error="insufficient_scope", scope="my-c4n"), STATIC, token="c4n")
    assert not evidence.is_repeatable("my-c4n")


def test_many_names() -> None:
    """A server's names are repeated once each, and a few of them."""
    assert case(403).names(["a", "a", "b\n", *map(str, range(100))]) == ["a", *map(str, range(MOST_NAMES - 2))]


@pytest.mark.parametrize(
    ("evidence", "scope"),
    [
        (case(403), ("read", "write")),
        (case(403, scope="read"), ("read",)),
        (case(403, {}, STATIC), None),
        (case(403, claims={}), ("read", "write")),
        (case(403, claims={"scope": "a"}, scope="b"), ("a",)),
        (case(403, claims={"scp": ["a"], "roles": ["b"]}), ("a", "b")),
        (case(403, claims={"roles": ["b"]}), ("b",)),
        (case(403, claims={"permissions": ["b"]}), None),
        (case(403, {}, STATIC, claims={}), None),
    ],
)
def test_scope(evidence: Evidence, scope: tuple[str, ...] | None) -> None:
    """The claims come first, then what was granted, then what was asked for."""
    assert evidence.scope == scope


def test_echo() -> None:
    """A server that names our token as a scope, an acr value or a scheme does not get it into a sentence."""
    token = jwt(scope="read")
    for headers in (
        bearer(error="insufficient_scope", scope=f"{token} {token[3:30]} admin"),
        bearer(error="insufficient_user_authentication", acr_values=f"{token[5:25]} b"),
        bearer(error="invalid_token", error_description=token, resource_metadata=f"https://x.example/{token}"),
        {"WWW-Authenticate": f"{token} realm=x, Basic"},
        {"WWW-Authenticate": f"Bearer {token}=1"},
    ):
        said = str(diagnose(case(401, headers, token=token)))
        assert not any(token[start : start + 8] in said for start in range(len(token) - 7)), said

"""Whose token it is."""

import time

import pytest

from credential_injector.environments.environment import Environment
from credential_injector.environments.owners import Owners
from credential_injector.oauth.jwt_claims import JwtClaims
from credential_injector.oauth.request import TokenRequest
from credential_injector.origins.origin import parse_origin

TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
OTHER_TENANT = "11111111-86f1-41af-91ab-2d7cd011db47"


def environment(name: str, host: str = "", **request: object) -> Environment:
    asks = TokenRequest(**{"endpoint": f"https://login.{name}.example.com/oauth2/token", **request})  # type: ignore[arg-type]
    return Environment(name, f"envs/{name}.env", (parse_origin(host or f"https://api.{name}.example.com"),), asks)


QA, UAT = environment("qa"), environment("uat")
SHARED = {"endpoint": "https://login.example.com/token"}
KEYCLOAK = "https://sso.example.com/realms/{}/protocol/openid-connect/token"
ENTRA = "https://login.microsoftonline.com/{}/oauth2/v2.0/token"


@pytest.mark.parametrize(
    ("own", "other", "claims", "name"),
    [
        (QA, UAT, JwtClaims(audience=("https://api.uat.example.com",)), "uat"),
        (QA, UAT, JwtClaims(audience=("https://api.uat.example.com/",)), "uat"),
        (QA, UAT, JwtClaims(issuer="https://login.uat.example.com/"), "uat"),
        (QA, UAT, JwtClaims(audience=("https://api.qa.example.com",)), ""),
        (QA, UAT, JwtClaims(issuer="https://login.qa.example.com", audience=("https://api.uat.example.com",)), "uat"),
        (QA, UAT, JwtClaims(issuer="https://login.uat.example.com", audience=("https://api.qa.example.com",)), ""),
        (QA, UAT, JwtClaims(issuer="https://elsewhere.example", audience=("api",)), ""),
        (QA, UAT, JwtClaims(), ""),
        # One server for both: the audience decides.
        (environment("qa", **SHARED), environment("uat", **SHARED, audience=("u",)), JwtClaims(audience=("u",)), "uat"),
        (environment("qa", **SHARED), environment("uat", **SHARED), JwtClaims("https://login.example.com"), ""),
        # One audience for both: the issuer decides.
        (
            environment("qa", audience=("api",)),
            environment("uat", audience=("api",)),
            JwtClaims(issuer="https://login.uat.example.com", audience=("api",)),
            "uat",
        ),
        (
            environment("qa", endpoint=KEYCLOAK.format("qa")),
            environment("uat", endpoint=KEYCLOAK.format("uat")),
            JwtClaims(issuer="https://sso.example.com/realms/uat", audience=("account",)),
            "uat",
        ),
        (
            environment("qa", endpoint=ENTRA.format(TENANT)),
            environment("uat", endpoint=ENTRA.format(OTHER_TENANT)),
            JwtClaims(issuer=f"https://sts.windows.net/{OTHER_TENANT}/", tenant=OTHER_TENANT),
            "uat",
        ),
        (
            environment("qa", endpoint=ENTRA.format(TENANT)),
            environment("uat", endpoint=ENTRA.format(TENANT)),
            JwtClaims(issuer=f"https://sts.windows.net/{TENANT}/", tenant=TENANT),
            "",
        ),
        (
            environment("qa", host="*.qa.example.com"),
            environment("uat", issuer="https://u", endpoint=""),
            JwtClaims("https://u"),
            "uat",
        ),
    ],
)  # fmt: skip
def test_other(own: Environment, other: Environment, claims: JwtClaims, name: str) -> None:
    """Another environment is named only where its file, and not the own one, fits what the token says."""
    assert Owners([own, other]).other(claims, own) == name
    assert Owners([other, own]).other(claims, own) == name


def test_nobody_guesses() -> None:
    """Where two others fit, neither is named."""
    claims = JwtClaims(audience=("shared",))
    others = [environment("uat", audience=("shared",)), environment("prod", audience=("shared",))]
    assert Owners([QA, *others]).other(claims, QA) == ""


def test_thousands() -> None:
    """With a client's token in each request, thousands of environments that share a server cost nothing."""
    several = [environment(f"e{number}", **SHARED, audience=("api",)) for number in range(10_000)]
    owners = Owners(several)
    claims = JwtClaims(issuer="https://login.example.com", audience=("api", "https://api.e7.example.com"))
    began = time.perf_counter()
    assert not any(owners.other(claims, several[3]) for _ in range(1000))
    only = JwtClaims(issuer="https://login.example.com", audience=("https://api.e7.example.com",))
    assert all(owners.other(only, several[3]) == "e7" for _ in range(1000))
    assert time.perf_counter() - began < 0.5  # it is 3 ms; with a copy of each set it was 1.8 s

"""What is advised where a login that is no OAuth2 brought the token."""

from dataclasses import replace
from typing import Any

import pytest

from credential_injector.diagnosis.doctor import diagnose
from credential_injector.diagnosis.evidence import Evidence
from credential_injector.oauth.token import Failure
from tests.diagnosis.cases import API, LOGIN, bearer, case, invalid

OTHER_LOGIN = "ask whoever runs the API which login it trusts, and compare LOGIN_URL and TOKEN_AT in envs/qa.env"
RIGHTS = "ask whoever runs the API to allow it to the user that logs in by envs/qa.env"
MAY_DO = "ask whoever runs the API what the user that logs in by envs/qa.env may do"
IN_HEADER = replace(LOGIN, header="Authorization", cookie="")
METADATA = "https://api.qa.example.com/.well-known/oauth-protected-resource"


def of_login(*given: Any, **more: Any) -> Evidence:
    return case(*given, **{"environment": LOGIN, **more})


@pytest.mark.parametrize(
    ("evidence", "code", "advice"),
    [
        (of_login(302, {"Location": "https://sso.example.com/login"}), "login_page",
         "check USERNAME, PASSWORD, TOKEN_AT and COOKIE in envs/qa.env, and whether LOGIN_URL is that page"),
        (of_login(401), "unknown", f"check TOKEN_AT and COOKIE in envs/qa.env, and {MAY_DO}"),
        (of_login(401, claims={"aud": API}), "unknown", f"check TOKEN_AT and COOKIE in envs/qa.env, and {MAY_DO}"),
        (of_login(403), "unknown", MAY_DO),
        (of_login(401, claims={"iss": "https://b", "aud": "c"}, owner=lambda _: "uat"), "other_environment",
         "compare LOGIN_URL, LOGIN_BODY and USERNAME in envs/qa.env with those of uat"),
        (of_login(401, claims={"aud": "https://graph.microsoft.com"}), "audience", OTHER_LOGIN),
        (of_login(401, failure=Failure("http_503", "it answered 503")), "no_new_token",
         "wait, or ask whoever runs the server of LOGIN_URL in envs/qa.env"),
    ],
)  # fmt: skip
def test_advised(evidence: Evidence, code: str, advice: str) -> None:
    """It names keys that the file can have."""
    found = diagnose(evidence)
    assert found is not None
    assert (found.code, found.advice) == (code, advice)


@pytest.mark.parametrize(
    ("headers", "code", "advice"),
    [
        (invalid("the issuer is wrong"), "issuer", OTHER_LOGIN),
        (invalid("bad signature"), "signature", OTHER_LOGIN),
        (invalid("the audience is wrong"), "audience", OTHER_LOGIN),
        (invalid("it was revoked"), "revoked", "ask whoever runs the API why"),
        (bearer(error="insufficient_scope", scope="admin"), "scope", RIGHTS),
        ({"WWW-Authenticate": "DPoP"}, "dpop",
         "write a GRANT_TYPE that gets such a token, as client_credentials does with DPOP=true, into envs/qa.env"),
        (bearer(resource_metadata=METADATA), "metadata",
         f"compare {METADATA} with GRANT_TYPE and LOGIN_URL in envs/qa.env"),
    ],
)  # fmt: skip
def test_challenged(headers: dict[str, str | list[str]], code: str, advice: str) -> None:
    """So do those of what the API says of a token in Authorization."""
    found = diagnose(of_login(401, headers, environment=IN_HEADER))
    assert found is not None
    assert (found.code, found.advice) == (code, advice)

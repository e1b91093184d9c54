"""Causes that the API names in WWW-Authenticate."""

from dataclasses import replace

import pytest

from credential_injector.diagnosis.doctor import diagnose
from credential_injector.diagnosis.evidence import Evidence
from tests.diagnosis.cases import BASIC, ENTRA, NOW, OPAQUE, PERSON, QA, STATIC, bearer, case, invalid, told


@pytest.mark.parametrize(
    ("evidence", "code", "word", "cause", "advice"),
    [
        (case(401, bearer(error="insufficient_user_authentication", acr_values="urn:mfa"), PERSON,
              claims={"acr": "pwd"}),
         "step_up", "login",
         "the API wants a person's login with acr urn:mfa (the token has pwd)",
         "log in again in that way; run: credential-injector login qa"),
        (case(401, bearer(error="insufficient_user_authentication", max_age="300"), PERSON,
              claims={"auth_time": NOW - 7200}),
         "step_up", "login",
         "the API wants a person's login at most 5 min ago (the token's was 2 h ago)",
         "log in again in that way; run: credential-injector login qa"),
        *(
            (case(401, bearer(error="insufficient_user_authentication", max_age="300"), PERSON,
                  claims={"auth_time": auth_time}),
             "step_up", "login",
             "the API wants a person's login at most 5 min ago",
             "log in again in that way; run: credential-injector login qa")
            for auth_time in (float("inf"), float("-inf"), -1e300, 1e300)
        ),
        (case(401, bearer(error="insufficient_user_authentication")),
         "step_up", "login",
         "the API wants a person's login of a stronger kind",
         "write GRANT_TYPE=authorization_code into envs/qa.env, with which a person logs in"),
        (case(401, bearer(error="insufficient_claims", claims="eyJ9"), PERSON),
         "claims_challenge", "claims",
         "the API wants claims that the token does not have (insufficient_claims, Conditional Access of Entra ID)",
         "run: credential-injector login qa"),
        (case(403, bearer(error="insufficient_scope", scope="read admin"), claims={"scope": "read write"}),
         "scope", "scope",
         "the API wants scope admin, the token has read write",
         "add admin to SCOPE in envs/qa.env"),
        (case(403, bearer(error="insufficient_scope", scope="admin")),
         "scope", "scope",
         "the API wants scope admin, the token has read write",
         "add admin to SCOPE in envs/qa.env"),
        (case(403, bearer(error="insufficient_scope", scope="write"), scope="read"),
         "scope", "scope",
         "the API wants scope write, the token has read",
         "SCOPE in envs/qa.env asks for it already; ask whoever runs the authorization server to grant it to the "
         "client"),
        (case(403, bearer(error="insufficient_scope", scope="admin"), claims={"scope": ""}),
         "scope", "scope",
         "the API wants scope admin, the token has none",
         "add admin to SCOPE in envs/qa.env"),
        (case(403, bearer(error="insufficient_scope", scope="admin"), STATIC),
         "scope", "scope",
         "the API wants scope admin, and says that the token lacks it",
         "put a credential that has it into envs/qa.env"),
        (case(401, bearer(error="insufficient_scope", scope="admin"), PERSON, claims={"scp": "read"}),
         "scope", "scope",
         "the API wants scope admin, the token has read",
         "add admin to SCOPE in envs/qa.env, then run: credential-injector login qa"),
        (case(403, bearer(error="insufficient_scope"), claims={"scope": "read"}),
         "scope", "scope",
         "the API says that the token's scope does not suffice; it has read",
         "ask whoever runs the API which scope it wants, and add it to SCOPE in envs/qa.env"),
        (case(403, bearer(error="insufficient_scope", scope="read"), claims={"scope": "read"}),
         "scope", "scope",
         "the API says that the token's scope does not suffice; it has read",
         "ask whoever runs the API which scope it wants, and add it to SCOPE in envs/qa.env"),
        (case(403, bearer(scope="admin"), claims={"scope": "read"}),
         "scope", "scope",
         "the API wants scope admin, the token has read",
         "add admin to SCOPE in envs/qa.env"),
        (case(403, bearer(error="insufficient_scope", scope="api://orders/Orders.Read api://orders/Orders.Write"),
              ENTRA, claims={"scp": "Orders.Read"}),
         "scope", "scope",
         "the API wants scope api://orders/Orders.Write, the token has Orders.Read",
         "ask whoever runs the authorization server to grant it to the client in envs/qa.env"),
        (case(403, bearer(error="insufficient_scope", scope="Orders.Write.All"), ENTRA,
              claims={"roles": ["Orders.Read.All"]}),
         "role", "role",
         "the API wants role Orders.Write.All, the token has Orders.Read.All",
         "ask whoever runs the authorization server to grant it to the client in envs/qa.env"),
        (case(403, bearer(error="insufficient_scope", scope=OPAQUE), scope="read"),
         "scope", "scope",
         "the API says that the token's scope does not suffice; it has read",
         "ask whoever runs the API which scope it wants, and add it to SCOPE in envs/qa.env"),
        (case(403, bearer(error="insufficient_scope", scope="admin"), claims={"permissions": ["x"]}),
         "scope", "scope",
         "the API wants scope admin, and says that the token lacks it",
         "add admin to SCOPE in envs/qa.env"),
        (case(401, {"WWW-Authenticate": 'DPoP algs="ES256"'}),
         "dpop", "DPoP",
         "the API wants a DPoP proof with the token",
         "write DPOP=true into envs/qa.env, if the authorization server binds tokens to a key"),
        (case(401, {"WWW-Authenticate": 'DPoP error="use_dpop_nonce", Bearer'}),
         "dpop", "DPoP",
         "the API wants a DPoP proof with the token",
         "write DPOP=true into envs/qa.env, if the authorization server binds tokens to a key"),
        (case(400, bearer(error="invalid_request")),
         "invalid_request", "request",
         "the API says that the request is malformed (invalid_request)",
         "look whether the client sends a token of its own in the query or in the body, beside that of envs/qa.env"),
        (case(401, {"WWW-Authenticate": 'Basic realm="x"'}),
         "scheme", "scheme",
         "the API asks for Basic, and the token goes as Bearer",
         "if the API takes nothing else, write GRANT_TYPE=basic, USERNAME and PASSWORD into envs/qa.env"),
        (case(401, {"WWW-Authenticate": ["Negotiate", "NTLM"]}),
         "scheme", "scheme",
         "the API asks for Negotiate or NTLM, and the token goes as Bearer",
         "ask whoever runs the API how it wants to be called, and change GRANT_TYPE or PREFIX in envs/qa.env"),
        (case(401, {"WWW-Authenticate": 'ApiKey realm="x"'}),
         "scheme", "scheme",
         "the API asks for ApiKey, and the token goes as Bearer",
         "ask whoever runs the API how it wants to be called, and change GRANT_TYPE or PREFIX in envs/qa.env"),
        (case(401, bearer(realm="x"), BASIC),
         "scheme", "scheme",
         "the API asks for Bearer, and the credential goes as Basic",
         "write a GRANT_TYPE that gets a token, such as client_credentials, into envs/qa.env"),
        (case(401, bearer(realm="x"), replace(QA, header="X-Api-Key")),
         "header", "header",
         "the API asks for Bearer in Authorization, and the token goes in X-Api-Key",
         "if the API takes no X-Api-Key, remove HEADER from envs/qa.env"),
        (case(401, bearer(realm="x"), replace(QA, prefix="")),
         "prefix", "prefix",
         "the API asks for Bearer, and the token goes without a scheme before it",
         "write PREFIX=Bearer into envs/qa.env"),
        (case(401, bearer(realm="x"), replace(QA, prefix="Token")),
         "prefix", "prefix",
         "the API asks for Bearer, and the token goes as Token",
         "write PREFIX=Bearer into envs/qa.env"),
        (case(401, invalid("The iss claim is not valid"), claims={"iss": "https://login.example.com"}),
         "issuer", "issuer",
         "the API says that it does not take tokens of this issuer, https://login.example.com",
         "ask whoever runs the API which authorization server it trusts, and compare TOKEN_ENDPOINT or ISSUER in "
         "envs/qa.env"),
        (case(401, invalid("unknown issuer"), STATIC),
         "issuer", "issuer",
         "the API says that it does not take tokens of this issuer",
         "ask whoever runs the API which authorization server it trusts, and compare VALUE in envs/qa.env"),
        (case(401, invalid("Signed JWT rejected: Invalid signature"), claims={}),
         "signature", "signature",
         "the API says that it cannot verify the token's signature",
         "check that TOKEN_ENDPOINT or ISSUER in envs/qa.env fits the authorization server that the API trusts, and"
         " ask whoever runs the API whether it has that server's present keys"),
        (case(401, invalid("The token was revoked"), replaced_too=True),
         "revoked", "revoked",
         "the API says that the token is revoked, a new one, too",
         "ask whoever runs the authorization server why"),
        (case(401, bearer(resource_metadata="https://api.qa.example.com/.well-known/oauth-protected-resource")),
         "metadata", "?",
         "the API gives no reason; it publishes which authorization servers and scopes it takes",
         "compare https://api.qa.example.com/.well-known/oauth-protected-resource with ISSUER or TOKEN_ENDPOINT, "
         "RESOURCE and SCOPE in envs/qa.env"),
        (case(401, bearer(error="invalid_token", error_description="No",
                          resource_metadata="https://api.qa.example.com/metadata")),
         "metadata", "?",
         "the API says invalid_token and why in its WWW-Authenticate header; it publishes which authorization servers "
         "and scopes it takes",
         "compare https://api.qa.example.com/metadata with ISSUER or TOKEN_ENDPOINT, RESOURCE and SCOPE in "
         "envs/qa.env"),
    ],
)  # fmt: skip
def test_named(evidence: Evidence, code: str, word: str, cause: str, advice: str) -> None:
    """Each cause has a code, a word, a sentence, and what to do."""
    assert told(evidence) == (code, word, cause, advice)


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        (case(401, bearer(scope="admin"), claims={"scope": "read"}), "unknown"),
        (case(403, bearer(scope="read"), claims={"scope": "read"}), "unknown"),
        (case(403, bearer(scope="admin"), STATIC), "unknown"),
        (case(403, bearer(scope="api://orders/.default"), ENTRA, claims={"scp": "Orders.Read"}), "unknown"),
        (case(403, bearer(scope="api://orders/Orders.Read"), ENTRA, claims={"scp": "Orders.Read"}), "unknown"),
        (case(403, {"WWW-Authenticate": 'Basic error="insufficient_scope"'}), "unknown"),
        (case(403, {"WWW-Authenticate": 'Bearer realm="error=insufficient_scope"'}), "unknown"),
        (case(404, bearer(realm="x")), None),
        (case(404, bearer(error="insufficient_scope")), "scope"),
        (case(200, bearer(error="invalid_token")), None),
        (case(401, bearer(error="something_new")), "unknown"),
        (case(401, {"WWW-Authenticate": ["Basic realm=x", "Bearer"]}), "unknown"),
        (case(401, {"WWW-Authenticate": "Basic realm=x, Bearer"}), "unknown"),
        (case(401, {"WWW-Authenticate": "Basic"}, BASIC), "unknown"),
        (case(403, {"WWW-Authenticate": "Basic"}), "unknown"),
        (case(401, {"WWW-Authenticate": ["DPoP", "Bearer"]}), "unknown"),
        (case(401, {"WWW-Authenticate": ["DPoP", "Bearer"]}, BASIC), "scheme"),
        (case(401, {"WWW-Authenticate": f"{OPAQUE} x=y"}), "unknown"),
        (case(401, {"WWW-Authenticate": "Basic"}, replace(QA, header="X-Api-Key")), "unknown"),
        (case(401, invalid("wrong audience"), replace(QA, header="X-Api-Key")), "unknown"),
        (case(401, invalid("expired, revoked, malformed, or invalid for other reasons")), "unknown"),
        (case(401, invalid("the issuer of the audience")), "unknown"),
        (case(401, invalid("it may be revoked")), "unknown"),
        (case(403, bearer(error_description="The audience is invalid")), "unknown"),
        (case(401, bearer(error_description="The audience is invalid")), "unknown"),
        (case(401, {"WWW-Authenticate": f"Basic, {OPAQUE} x=y"}), "unknown"),
        (case(403, bearer(scope="api://other/read"), scope="api://orders/read"), "scope"),
        (case(401, {"WWW-Authenticate": 'OAuth2 realm="WSO2 API Manager", error="invalid_token"'}), "unknown"),
        (case(401, {"WWW-Authenticate": 'OAuth2 realm="WSO2 API Manager"'}), "scheme"),
        (case(401, invalid("missing required 'exp' claim"), STATIC), "unknown"),
        (case(401, invalid("JWT without an audience")), "unknown"),
        (case(401, bearer(error="invalid_token", error_description="The access token expired",
                          resource_metadata="https://api.qa.example.com/metadata"), claims={}), "unknown"),
        (case(401, bearer(resource_metadata="http://api.qa.example.com/metadata")), "unknown"),
        (case(401, bearer(resource_metadata=f"https://api.qa.example.com/{OPAQUE}")), "unknown"),
        (case(401, bearer(resource_metadata="https://u:p@api.qa.example.com/")), "unknown"),
        (case(401, bearer(resource_metadata="https://[::1")), "unknown"),
    ],
)  # fmt: skip
def test_near(evidence: Evidence, code: str | None) -> None:
    """What comes near a cause and has another reading is not named."""
    found = diagnose(evidence)
    assert (found.code if found is not None else None) == code


@pytest.mark.parametrize(
    ("status", "message", "code", "cause"),
    [
        (401, "the token is revoked: 100 %25", "revoked", "the API says that the token is revoked"),
        (401, "wrong%20audience", "audience", "the API says that the token is not for it"),
        (401, "c4nary%0a", "unknown", "the API says why in its grpc-message header; the token is valid until "),
        (403, "the token is revoked", "unknown", "the API says why in its grpc-message header; the token is valid"),
    ],
)
def test_grpc(status: int, message: str, code: str, cause: str) -> None:
    """gRPC's message is read like an error_description, and never repeated."""
    found = diagnose(case(status, {"grpc-message": message}))
    assert found is not None
    assert (found.code, found.cause[: len(cause)]) == (code, cause)
    assert "c4nary" not in str(found)
    assert found.advice.startswith("read it there, or ask ") == (code == "unknown")

"""Causes that the answer's status and headers show."""

from dataclasses import replace

import pytest

from credential_injector.diagnosis.doctor import diagnose
from credential_injector.diagnosis.evidence import Evidence
from credential_injector.oauth.request import TokenRequest
from tests.diagnosis.cases import API, LOGIN, case, told


@pytest.mark.parametrize(
    ("evidence", "code", "word", "cause", "advice"),
    [
        (case(431, header_size=9123),
         "size", "size",
         "the request's headers have 9123 bytes, and the one with the token has 41, which is more than the API "
         "takes",
         "look which headers of the client are large, such as Cookie, or have the API take larger ones"),
        (case(431, header_size=20000),
         "size", "size",
         "the request's headers have 20000 bytes, and the one with the token has 41, which is more than the API "
         "takes",
         "look which headers of the client are large, such as Cookie, or have the API take larger ones"),
        (case(400, token="x" * 8100, header_size=8500),
         "size", "size",
         "the request's headers have 8500 bytes, and the one with the token has 8122, which is more than the API "
         "takes",
         "ask whoever runs the authorization server of envs/qa.env for a token with fewer claims, such as groups "
         "and roles, or whoever runs the API to take larger headers"),
        (case(407),
         "proxy_login", "proxy",
         "a proxy on the way wants a login, so the request did not reach the API",
         "check HOST in envs/qa.env, and ask whoever runs the network which proxy stands before the API"),
        (case(407, proxy="proxy.example.com:3128"),
         "proxy_login", "proxy",
         "the upstream proxy proxy.example.com:3128 wants a login, so the request did not reach the API",
         "give mitmproxy the proxy's user and password: --set upstream_auth=USER:PASSWORD"),
        (case(302, {"Location": "https://login.example.com/oauth2/start?response_type=code&client_id=x"}),
         "login_page", "login page",
         "the API redirects to a login page at login.example.com, as it does for a browser without a session",
         "ask whoever runs the API under which host and path it takes tokens, and write that into HOST in "
         "envs/qa.env"),
        (case(302, {"Location": "https://idp.example.com/sso?SAMLRequest=fZ"}),
         "login_page", "login page",
         "the API redirects to a login page at idp.example.com, as it does for a browser without a session",
         "ask whoever runs the API under which host and path it takes tokens, and write that into HOST in "
         "envs/qa.env"),
        (case(303, {"Location": "/users/sign-in?next=%2Forders"}),
         "login_page", "login page",
         "the API redirects to a login page, as it does for a browser without a session",
         "ask whoever runs the API under which host and path it takes tokens, and write that into HOST in "
         "envs/qa.env"),
        (case(303, {"Location": "/session?next=%2Forders"}, LOGIN),
         "login_page", "login page",
         "the API redirects to a login page, as it does for a browser without a session",
         "check USERNAME, PASSWORD, TOKEN_AT and COOKIE in envs/qa.env, and whether LOGIN_URL is that page"),
        (case(200, page="http://localhost:3000"),
         "cors", "CORS",
         "the answer has no Access-Control-Allow-Origin, which would allow http://localhost:3000, so the page sees "
         "'Failed to fetch'",
         "ask whoever runs the API to allow the origin http://localhost:3000"),
        (case(200, {"Access-Control-Allow-Origin": "https://app.example.com"}, page="http://localhost:3000"),
         "cors", "CORS",
         "the answer allows another origin than http://localhost:3000 in Access-Control-Allow-Origin, so the page "
         "sees 'Failed to fetch'",
         "ask whoever runs the API to allow the origin http://localhost:3000"),
        (case(200, {"Access-Control-Allow-Origin": "http://localhost:3000"}, page="null"),
         "cors", "CORS",
         "the answer allows another origin than null in Access-Control-Allow-Origin, so the page sees 'Failed to "
         "fetch'",
         "open the page from a server, as a file and a sandboxed frame have no origin that an API could allow"),
        (case(200, {"Access-Control-Allow-Origin": ["*", "*"]}, page="http://localhost:3000"),
         "cors", "CORS",
         "the answer names several origins in Access-Control-Allow-Origin, so the page sees 'Failed to fetch'",
         "ask whoever runs the API to name one"),
    ],
)  # fmt: skip
def test_named(evidence: Evidence, code: str, word: str, cause: str, advice: str) -> None:
    """Each cause has a code, a word, a sentence, and what to do."""
    assert told(evidence) == (code, word, cause, advice)


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        (case(400, token="x" * 7900, header_size=8100), None),
        (case(400, {"Content-Type": "application/problem+json"}, token="x" * 8100, header_size=8500), None),
        (case(413, header_size=9123), None),
        (case(404), None),
        (case(409), None),
        (case(422), None),
        (case(429), None),
        (case(500), None),
        (case(301, {"Location": "https://www.example.com/orders"}), None),
        (case(302, {"Location": "/orders/login-history"}), None),
        (case(302, {"Location": "https://login.example.com/orders"}), None),
        (case(302, {"Location": "/login"}, url="https://api.qa.example.com/logout"), None),
        (case(302, {"Location": "/login?response_type=code"}, url="https://api.qa.example.com/authorize"), None),
        (case(302, {"Location": "https://[::1/login"}), None),
        (case(302), None),
        (case(302, {"Location": "/session"}), None),
        (case(302, {"Location": "https://other.example.com/session"}, LOGIN), None),
        (case(302, {"Location": "/"}, replace(LOGIN, token_request=TokenRequest(API, grant_type="login"))), None),
        (case(304, {"Location": "/login"}), None),
        (case(201, {"Location": "/login"}), None),
        (case(200), None),
        (case(200, {"Access-Control-Allow-Origin": "http://localhost:3000"}, page="http://localhost:3000"), None),
        (case(200, {"Access-Control-Allow-Origin": "*"}, page="http://localhost:3000"), None),
        (case(200, {"Access-Control-Allow-Origin": "null"}, page="null"), None),
        (case(200, page="https://api.qa.example.com", url="https://api.qa.example.com:443/orders"), None),
        (case(304, page="http://localhost:3000"), None),
        (case(500, page="http://localhost:3000"), None),
        (case(401, page="http://localhost:3000"), "unknown"),
    ],
)  # fmt: skip
def test_near(evidence: Evidence, code: str | None) -> None:
    """What comes near a cause and has another reading is not named."""
    found = diagnose(evidence)
    assert (found.code if found is not None else None) == code

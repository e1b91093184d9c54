"""Sentences for people."""

from dataclasses import replace

import pytest

from credential_injector import messages, status_lines
from credential_injector.environments.environment import Environment
from credential_injector.oauth.answers import OAUTH_ERRORS
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import Failure, NoToken
from credential_injector.proxy.policy import RULES
from credential_injector.status import Counts

REQUEST = TokenRequest(endpoint="https://login.example.com/token", client_id="abc")
QA = Environment(name="qa", file="envs/qa.env", origins=(), token_request=REQUEST)
KEY = replace(QA, token_request=replace(REQUEST, endpoint="", grant_type="static"))
LOGIN = replace(QA, token_request=TokenRequest("https://api.example.com/login", grant_type="login"))
# Of what keeps a login from a token: those that NoToken lists, without an issuer's and a person's.
OWN_CODES = (
    *("unreachable", "untrusted", "certificate_expired", "certificate_name", "certificate_not_yet_valid", "timeout"),
    *("proxy_unreachable", "proxy_refused", "redirect", "invalid_response", "expired", "late", "clock"),
    *("ending", "internal", "invalid_cookie", "no_query", "no_login_token"),
)
REFUSED = "[Errno 111] Connect call failed"


@pytest.mark.parametrize(
    ("environment", "error", "upstream", "said"),
    [
        (QA, REFUSED, "",
         "mitmproxy cannot connect to the API, so the token never left; check HOST in envs/qa.env, and the network or"
         " VPN"),
        (KEY, REFUSED, "",
         "mitmproxy cannot connect to the API, so the credential never left; check HOST in envs/qa.env, and the network"
         " or VPN"),
        (QA, REFUSED, "127.0.0.1:3128",
         "mitmproxy cannot connect through the upstream proxy 127.0.0.1:3128, so the token never left; check that it"
         " runs, and its address in mitmproxy's option mode"),
        (QA, "Upstream proxy 127.0.0.1:3128 refused HTTP CONNECT request: 403 Forbidden", "127.0.0.1:3128",
         "the upstream proxy 127.0.0.1:3128 refuses to connect mitmproxy to the API (403 Forbidden), so the token never"
         " left; check HOST in envs/qa.env, and what that proxy allows"),
        (KEY, "Certificate verify failed: hostname mismatch", "127.0.0.1:3128",
         "mitmproxy does not trust the API's certificate (hostname mismatch), so the credential never left; check HOST"
         " in envs/qa.env"),
    ],
)  # fmt: skip
def test_not_connected(environment: Environment, error: str, upstream: str, said: str) -> None:
    """It blames what mitmproxy connects to: the API, or the upstream proxy."""
    assert messages.not_connected(environment, error, upstream) == said


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("proxy_unreachable", "check PROXY in envs/qa.env"),
        ("proxy_refused", "check PROXY in envs/qa.env"),
        ("login_endpoint", "check DEVICE_AUTHORIZATION_ENDPOINT or ISSUER in envs/qa.env"),
    ],
)
def test_blame(code: str, said: str) -> None:
    """What fails before the token endpoint is asked does not blame it."""
    failure = messages.failure(QA, NoToken(code, "why"))
    assert failure.startswith(f"no token ({code}): why; {said}")
    assert "TOKEN_ENDPOINT" not in failure


@pytest.mark.parametrize(
    ("code", "lasting", "said"),
    [
        ("http_503", False, "wait, or ask whoever runs the server of LOGIN_URL in envs/qa.env"),
        ("http_429", False, "wait, or ask whoever runs the server of LOGIN_URL in envs/qa.env"),
        ("http_401", True, "check LOGIN_URL, LOGIN_BODY, USERNAME and PASSWORD in envs/qa.env"),
        ("http_405", True, "check LOGIN_URL and LOGIN_METHOD in envs/qa.env"),
        ("invalid_client", True, "check LOGIN_URL, LOGIN_BODY, USERNAME and PASSWORD in envs/qa.env"),
        ("login_required", True, "check LOGIN_URL, LOGIN_BODY, USERNAME and PASSWORD in envs/qa.env"),
        ("timeout", False, "check that the server is up and LOGIN_URL in envs/qa.env is right"),
        ("certificate_name", False, "check the host of LOGIN_URL in envs/qa.env"),
        ("untrusted", False, "name the authority that issued it in CA_FILE in envs/qa.env"),
        ("proxy_refused", False, "check PROXY in envs/qa.env"),
    ],
)
def test_login(code: str, lasting: bool, said: str) -> None:
    """A login's advice names the keys of a login."""
    assert messages.advice(LOGIN, Failure(code, "why", lasting=lasting)).startswith(said)


@pytest.mark.parametrize("code", sorted({*OAUTH_ERRORS, *OWN_CODES, "http_400", "http_404", "http_415", "http_500"}))
@pytest.mark.parametrize("lasting", [True, False])
def test_login_names_no_other_key(code: str, lasting: bool) -> None:
    """None of a login's advice is about a token endpoint, a client or a grant."""
    advice = messages.advice(LOGIN, Failure(code, "why", lasting=lasting))
    for word in ("TOKEN_ENDPOINT", "ISSUER", "SCOPE", "CLIENT_", "client", "authorization server", "{", "run:"):
        assert word not in advice


def test_word() -> None:
    """Each rule that keeps a token from a request has a word for the headline, with room for a short name."""
    kinds = {rule.kind for rule in RULES} - {"host", "preflight", "overwrite"}
    kinds |= {"near miss", "no token", "other scheme", "other host", "other port", "other path"}
    assert {kind for kind in kinds if not 0 < len(messages.word(kind)) <= 13} == set()
    assert messages.word("http_503") == "server down"
    assert messages.word("http_404") == ""


@pytest.mark.parametrize(
    ("grant_type", "counted", "said"),
    [
        ("client_credentials", Counts(), "0 requests with a token, 0 token requests, 0 sent again, 0 blocked"),
        ("password", Counts(1, 1, 1, 1), "1 request with a token, 1 token request, 1 sent again, 1 blocked"),
        ("static", Counts(1), "1 request with a credential, 0 sent again, 0 blocked"),
        ("basic", Counts(2, blocked=3), "2 requests with a credential, 0 sent again, 3 blocked"),
        ("", Counts(2, 2), "2 requests with a token, 2 token requests, 0 sent again, 0 blocked"),
    ],
)
def test_counts(grant_type: str, counted: Counts, said: str) -> None:
    """One is singular, and what needs no token request is called a credential."""
    assert status_lines.counts(counted, grant_type) == said

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from credential_injector import messages
from credential_injector.environments.environment import Environment
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken, NoToken, Served
from credential_injector.origins.origin import parse_origin
from credential_injector.proxy import record
from credential_injector.proxy.credential import HeaderCredential

QA = Environment(
    name="qa",
    file="envs/qa.env",
    origins=(parse_origin("https://api.example.com"),),
    token_request=TokenRequest(endpoint="https://api.example.com/oauth2/v2.0/token", client_id="abc"),
)
CREDENTIAL = HeaderCredential(QA)
TOKEN = AccessToken("canary", 1000.0, 4600.5)


@dataclass
class Flow:
    metadata: dict[Any, Any] = field(default_factory=dict)
    marked: str = ""
    comment: str = ""


def test_injected() -> None:
    """An injected flow holds everything but the token."""
    flow = Flow()
    record.injected(flow, QA, CREDENTIAL, Served(TOKEN, "cached", 3599.0), "Basic")
    assert flow.comment.splitlines() == [
        "qa: token injected (cached, 59 min left), replaced Basic",
        f"- Authorization: Bearer <{TOKEN.fingerprint}>",
        "- envs/qa.env",
    ]
    assert flow.marked == ":key:"
    assert flow.metadata == {
        "inject": {
            "action": "injected",
            "environment": "qa",
            "reason": None,
            "token": TOKEN.fingerprint,
            "source": "cached",
            "expires_at": 4600,
            "replaced": "Basic",
            "retried": False,
            "header": "Authorization",
            "token_length": 6,
        }
    }


@pytest.mark.parametrize("action", ["kept", "skipped", "blocked"])
def test_not_injected(action: str) -> None:
    """A flow that got no token is not found by the filter for injected ones."""
    flow = Flow()
    getattr(record, action)(flow, QA, "no reason")
    assert flow.metadata["inject"]["action"] == action
    assert flow.metadata["inject"]["reason"]
    assert flow.comment.startswith("qa: ")
    assert "injected" not in flow.comment


def test_blocked() -> None:
    """A blocked flow gives the line for the client."""
    flow = Flow()
    assert record.blocked(flow, QA, "no way") == flow.comment == "qa: request blocked: no way"
    assert flow.marked == ":no_entry:"
    assert record.blocked(Flow(), None, "no way") == "credential injector: request blocked: no way"


def test_comment() -> None:
    """A comment that a person wrote is kept, and ours is replaced on a replay."""
    flow = Flow(comment="look at this", marked=":red_circle:")
    record.kept(flow, QA, "it has its own")
    assert flow.comment.endswith("\n\nlook at this")
    assert flow.marked == ":red_circle:"
    record.blocked(flow, QA, "no way")
    assert flow.comment == "qa: request blocked: no way"


@pytest.mark.parametrize(
    ("code", "lasting", "what_to_do"),
    [
        ("invalid_client", True, "check CLIENT_ID, CLIENT_SECRET and TOKEN_ENDPOINT_AUTH_METHOD in envs/qa.env"),
        ("http_403", True, "check the credentials and TOKEN_ENDPOINT in envs/qa.env"),
        ("http_503", False, "wait, or ask whoever runs the authorization server"),
        ("login_required", False, "run: credential-injector login qa"),
        (
            "issuer_mismatch",
            True,
            "write ISSUER in envs/qa.env exactly as the server does, with or without a slash at its end",
        ),
    ],
)
def test_no_token(code: str, lasting: bool, what_to_do: str) -> None:
    """A missing token says what happened, what to do, and when it is tried again."""
    error = NoToken(code, "the token endpoint answered 4xx", lasting=lasting, next_try=57.2)
    assert messages.no_token(QA, error) == (
        f"no token ({code}): the token endpoint answered 4xx; {what_to_do}; next try in 58 s"
    )


def test_recent_failure() -> None:
    """A failure of a moment ago tells that somebody tries again."""
    assert messages.no_token(QA, NoToken("timeout", "no")).endswith("; it is tried again now")


@pytest.mark.parametrize("code", ["late", "timeout"])
def test_clock(code: str) -> None:
    """The clock is named only where it is to blame: a server or a lock that is slow makes a token late, too."""
    assert "clock" not in messages.failure(QA, NoToken(code, "no"))
    assert "this machine's clock" in messages.failure(QA, NoToken("clock", "no"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3.0, "0 s"),
        (0.4, "0 s"),
        (89.9, "89 s"),
        (90.0, "1 min"),
        (3600.0, "60 min"),
        (7200.0, "2 h"),
        (1e6, "11 days"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    """A duration is short, and never too long."""
    assert messages.duration(seconds) == text


@pytest.mark.parametrize(
    ("changes", "injected"),
    [
        ({}, True),
        ({"token": None}, True),
        ({"header": ..., "token_length": ...}, True),
        ({"token_length": "x"}, True),
        ({"token": ...}, False),
        ({"token": 5}, False),
        ({"header": 5}, False),
        ({"headers": "X-Key"}, False),
        ({"action": "kept"}, False),
    ],
)
def test_was_injected(changes: dict[str, Any], injected: bool) -> None:
    """A capture may hold anything, and one of an older version has fewer keys."""
    flow = Flow()
    record.injected(flow, QA, CREDENTIAL, Served(TOKEN, "cached", 3599.0), None)
    kept = {**flow.metadata["inject"], **changes}
    flow.metadata["inject"] = {name: value for name, value in kept.items() if value is not ...}
    assert record.was_injected(flow) == injected


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("untrusted", "name the authority that issued it in CA_FILE in envs/qa.env, or have the server's certificate"),
        ("certificate_expired", "ask whoever runs the authorization server to renew it, or check this machine's clock"),
        ("certificate_not_yet_valid", "check this machine's clock"),
        ("certificate_name", "check the host of TOKEN_ENDPOINT or ISSUER in envs/qa.env"),
    ],
)
def test_the_advice_about_a_certificate(code: str, advice: str) -> None:
    """Only where no known authority issued it does CA_FILE help."""
    said = messages.failure(QA, NoToken(code, "no"))
    assert f"; {advice}" in said
    assert ("CA_FILE" in said) == (code == "untrusted")


STRANGE = "a+b/c=:"
PLAIN = "check CLIENT_ID, CLIENT_SECRET and TOKEN_ENDPOINT_AUTH_METHOD in envs/qa.env"
DECODES = "if they are right, the server does not form-decode"


@pytest.mark.parametrize(
    ("request_of", "advice"),
    [
        (TokenRequest(client_id="abc", client_secret=STRANGE), PLAIN),
        (TokenRequest(client_id="abc", client_secret="x", auth_method="client_secret_basic"), PLAIN),
        (TokenRequest(client_id="abc", client_secret="a-b_c.d~", auth_method="client_secret_basic"), PLAIN),
        (TokenRequest(client_id="abc", client_secret=STRANGE, auth_method="client_secret_basic"), DECODES),
        (TokenRequest(client_id=STRANGE, client_secret="x", auth_method="client_secret_basic"), DECODES),
        (TokenRequest(client_id="abc", client_secret=STRANGE, auth_method="", issuer="https://a.example"), DECODES),
        (TokenRequest(client_id="abc", auth_method="private_key_jwt"), "CLIENT_ID, PRIVATE_KEY and TOKEN_ENDP"),
        (TokenRequest(client_id="abc", auth_method="private_key_jwt"), "SIGNING_ALG: some take RS256 and ES256 only"),
        (TokenRequest(client_id="abc", auth_method="tls_client_auth"), "CLIENT_ID, CLIENT_CERT, CLIENT_KEY and TOKEN"),
        (TokenRequest(client_id="abc", auth_method="none"), "check CLIENT_ID and TOKEN_ENDPOINT_AUTH_METHOD in"),
        (TokenRequest(client_id="abc", auth_method="", values=(("PRIVATE_KEY", "x"),)), "SIGNING_ALG"),
    ],
)
def test_the_advice_about_a_refused_client(request_of: TokenRequest, advice: str) -> None:
    """It hangs on how the client authenticated."""
    said = messages.failure(replace(QA, token_request=request_of), NoToken("invalid_client", "no", lasting=True))
    assert advice in said
    assert (DECODES in said) == (advice == DECODES)
    assert STRANGE not in said


@pytest.mark.parametrize("key", ["CLIENT_KEY", "PRIVATE_KEY"])
def test_an_api_that_wants_a_certificate(key: str) -> None:
    """It may end the handshake, and only who has a certificate is told of client_certs."""
    environment = replace(QA, token_request=replace(QA.token_request, values=((key, "canary"),)))
    said = messages.not_connected(environment, "OpenSSL Error([('SSL routines', '', 'tls alert handshake failure')])")
    assert said.startswith("mitmproxy cannot connect to the API, so the token never left")
    assert ("--set client_certs=FILE" in said) == (key == "CLIENT_KEY")
    assert "canary" not in said


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        ("certificate has expired", "ask whoever runs the API to renew it"),
        ("hostname mismatch", "check HOST in envs/qa.env"),
        ("self-signed certificate", "--set ssl_verify_upstream_trusted_ca=ca.pem"),
    ],
)
def test_certificate_advice(why: str, advice: str) -> None:
    """A CA helps only where none that is trusted issued the API's certificate."""
    told = messages.not_connected(QA, f"Certificate verify failed: {why}")
    assert f"({why})" in told
    assert advice in told
    assert ("trusted_ca" in told) == (why == "self-signed certificate")

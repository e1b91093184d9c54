"""What a flow says of its request."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest

from credential_injector import messages
from credential_injector.diagnosis.diagnosis import Diagnosis
from credential_injector.environments.environment import Environment
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import AccessToken, NoToken, Served
from credential_injector.origins.origin import parse_origin
from credential_injector.proxy import record
from credential_injector.proxy.credentials.credential import Before
from credential_injector.proxy.route_table import Route
from credential_injector.status import Counts
from credential_injector.tokens.provider import Named, Provider
from tests.oauth.test_jwt_claims import jwt

QA = Environment(
    name="qa",
    file="envs/qa.env",
    origins=(parse_origin("https://api.example.com"), parse_origin("https://gw.example.com/orders")),
    token_request=TokenRequest(
        endpoint="https://api.example.com/oauth2/v2.0/token", client_id="abc", scope="read write"
    ),
)
TOKEN = AccessToken(jwt(iss="https://login", aud="api", sub="me", scope="read"), 1000.0, 4600.5, scope="read")
UNTIL = f"{datetime.fromtimestamp(4600.5):%H:%M:%S}"  # noqa: DTZ006 - as a person reads it


def route_of(environment: Environment) -> Route:
    source = Provider().source(environment.token_request, environment.transport, Named(environment.name))
    return Route(environment, source, Counts())


ROUTE = route_of(QA)


@dataclass
class Flow:
    metadata: dict[Any, Any] = field(default_factory=dict)
    marked: str = ""
    comment: str = ""


def flow_of(before: Before | None = None, other: str = "", comment: str = "") -> Flow:
    """One that carries TOKEN."""
    flow = Flow(comment=comment)
    record.injected(flow, ROUTE, Served(TOKEN, "cached", 3599.0), before, other)
    return flow


def test_injected() -> None:
    """An injected flow holds everything but the token."""
    flow = flow_of(Before("Basic"))
    assert flow.comment.splitlines() == [
        "qa: Basic→Bearer",
        "- before: Authorization: Basic",
        f"- after: Authorization: Bearer <{TOKEN.fingerprint}>",
        f"- token injected (cached, 59 min left), expires {UNTIL}, issued 1 s ago",
        "- token: iss https://login, aud api, sub me, scope read",
        "- scope: asked read write, granted: read",
        "- rule: HOST=https://api.example.com in envs/qa.env",
    ]
    assert flow.marked == ":key:"
    assert flow.metadata == {
        "inject": {
            "action": "injected",
            "environment": "qa",
            "reason": None,
            "token": TOKEN.fingerprint,
            "source": "cached",
            "issued_at": 1000,
            "expires_at": 4600,
            "replaced": "Basic",
            "before": {"scheme": "Basic", "claims": None, "environment": None},
            "claims": {
                "iss": "https://login",
                "aud": ["api"],
                "sub": "me",
                "scope": ["read"],
                "names": ["iss", "aud", "sub", "scope"],
            },
            "scope": {"asked": "read write", "granted": "read"},
            "rule": {"file": "envs/qa.env", "key": "HOST", "value": "https://api.example.com"},
            "retried": False,
            "diagnosis": None,
            "header": "Authorization",
            "token_length": len(TOKEN.value),
        }
    }


def test_other_origin() -> None:
    """A flow says which of the file's origins matched."""
    flow = Flow()
    (other,) = ROUTE.others
    record.injected(flow, other, Served(TOKEN, "cached", 3599.0), None)
    assert "\n- rule: HOST=https://gw.example.com/orders in envs/qa.env" in flow.comment
    assert flow.metadata["inject"]["rule"]["value"] == "https://gw.example.com/orders"


def test_token_of_another_environment() -> None:
    """That the client sent a token of another environment stands in the headline."""
    before = Before("Bearer", ROUTE.story(TOKEN).token.claims)
    flow = flow_of(before, "uat")
    headline, line, *_ = flow.comment.splitlines()
    assert headline == "qa: uat→Bearer"
    assert line == ("- before: Authorization: Bearer, a token for uat (iss https://login, aud api, sub me, scope read)")
    assert flow.metadata["inject"]["before"]["environment"] == "uat"


def test_retried() -> None:
    """A flow whose request was sent again tells both answers, and keeps what the client had sent."""
    flow = flow_of(Before("Basic"), comment="look at this")
    other = AccessToken("canary-2", 2000.0, 5600.0)
    record.retried(flow, ROUTE, Served(other, "refreshed", 3599.0), ("401", "200"), 'Bearer error="invalid_token"')
    first, again, before, after, *_ = flow.comment.splitlines()
    assert (first, before) == ("qa: 401→200", "- before: Authorization: Basic")
    assert again == f"- sent again after a 401: 401 (invalid_token) to <{TOKEN.fingerprint}>, 200 to the one below"
    assert after == f"- after: Authorization: Bearer <{other.fingerprint}>"
    assert flow.comment.endswith("\n\nlook at this")
    told = flow.metadata["inject"]
    assert (told["answers"], told["first_challenge"]) == ([401, 200], 'Bearer error="invalid_token"')
    assert (told["replaced"], told["before"]["scheme"], told["retried"]) == ("Basic", "Basic", True)
    assert (told["token"], told["claims"], told["source"]) == (other.fingerprint, None, "refreshed")


def test_diagnosed() -> None:
    """The cause is the first thing that a refused flow says."""
    flow = flow_of()
    found = Diagnosis("scope", "scope", "the API wants scope admin", "add it to SCOPE", {"missing": ["admin"]})
    record.diagnosed(flow, "403", found)
    assert flow.comment.splitlines()[:3] == [
        "qa: 403 scope",
        "- why: the API wants scope admin; add it to SCOPE",
        "- before: no Authorization",
    ]
    assert flow.metadata["inject"]["diagnosis"] == {
        "code": "scope",
        "cause": "the API wants scope admin",
        "advice": "add it to SCOPE",
        "missing": ["admin"],
    }


def test_stays() -> None:
    """A 401 that stays does not read like success."""
    flow = flow_of()
    record.stays(flow, "401", "the token was new")
    assert flow.comment.splitlines()[:2] == ["qa: 401 ?", "- the API answered 401, which stays: the token was new"]
    assert flow.metadata["inject"]["reason"] == "401 and not sent again: the token was new"


@pytest.mark.parametrize(
    ("action", "headline"), [("kept", "qa: kept Basic"), ("skipped", "qa: left as is"), ("blocked", "qa: blocked")]
)
def test_not_injected(action: str, headline: str) -> None:
    """A flow that got no token is not found by the filter for injected ones."""
    flow = Flow()
    before = [] if action == "blocked" else [Before("Basic")]
    getattr(record, action)(flow, ROUTE, "no reason", *before)
    assert flow.metadata["inject"]["action"] == action
    assert flow.metadata["inject"]["reason"] == "no reason"
    first, why, *_, rule = flow.comment.splitlines()
    assert (first, rule) == (headline, "- rule: HOST=https://api.example.com in envs/qa.env")
    assert why.startswith("- why: ")
    assert why.endswith("no reason")
    assert ("\n- before: Authorization: Basic" in flow.comment) == bool(before)
    assert "injected" not in flow.comment
    assert flow.metadata["inject"]["rule"]["value"] == "https://api.example.com"


def test_blocked() -> None:
    """A blocked flow gives the line for the client."""
    flow = Flow()
    assert record.blocked(flow, ROUTE, "no way", word="bad client") == "qa: request blocked: no way"
    assert flow.comment.splitlines()[:2] == ["qa: bad client", "- why: request blocked: no way"]
    assert flow.marked == ":no_entry:"
    assert record.blocked(Flow(), None, "no way") == "credential injector: request blocked: no way"


def test_comment() -> None:
    """A comment that a person wrote is kept, and ours is replaced on a replay."""
    flow = Flow(comment="look at this", marked=":red_circle:")
    record.kept(flow, ROUTE, "it has its own")
    assert flow.comment.endswith("\n\nlook at this")
    assert flow.marked == ":red_circle:"
    record.blocked(flow, ROUTE, "no way")
    assert flow.comment.startswith("qa: blocked\n")
    assert flow.comment.count("\n\n") == 1
    assert flow.comment.endswith("\n\nlook at this")


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
    record.injected(flow, ROUTE, Served(TOKEN, "cached", 3599.0), None)
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

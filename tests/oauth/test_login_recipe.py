"""A login that is no OAuth2: what is sent, and what its answer says."""

import json
import math
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from requests.structures import CaseInsensitiveDict

from credential_injector.oauth.answers import Answer
from credential_injector.oauth.login_recipe import At, message, parse_at, read_login
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.token import NoToken
from tests.oauth.test_jwt_claims import jwt

NOW = 1_700_000_000.0
ODD = 'a"b&c=d\\e\n%+é'


def login(**values: str) -> TokenRequest:
    given = {"TOKEN_AT": "/token", **values}
    return TokenRequest("https://api.test/login", grant_type="login", auth_method="none", values=tuple(given.items()))


def answer(body: Any = None, status: int = 200, cookies: tuple[str, ...] = (), **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, CaseInsensitiveDict(named), content, cookies)


def test_json() -> None:
    """What goes into JSON is escaped as JSON."""
    sent = message(
        login(LOGIN_BODY='{"u": "${USERNAME}", "p": ["${PASSWORD}", "$1 ${X}"]}', USERNAME="me", PASSWORD=ODD)
    )
    assert (sent.method, sent.headers) == ("POST", {"Content-Type": "application/json"})
    assert json.loads(sent.body or "") == {"u": "me", "p": [ODD, "$1 ${X}"]}


def test_form() -> None:
    """What goes into a form is percent-encoded."""
    sent = message(login(LOGIN_BODY="u=${USERNAME}&p=${PASSWORD}&x=a b", USERNAME="me&x=1", PASSWORD=ODD))
    assert sent.headers == {"Content-Type": "application/x-www-form-urlencoded"}
    assert sent.body == "u=me%26x%3D1&p=a%22b%26c%3Dd%5Ce%0A%25%2B%C3%A9&x=a b"


@pytest.mark.parametrize("kind", ["", "text/xml; charset=iso-8859-1", "application/soap+xml"])
def test_xml(kind: str) -> None:
    """What goes into XML is escaped as XML: in texts, in attributes and in CDATA sections."""
    template = (
        '<?xml version="1.0"?>\n<l u="${USERNAME}" v=\'${USERNAME}\'><p>${PASSWORD}</p><![CDATA[${PASSWORD}]]></l>'
    )
    name, password = """<me'"> é""", """a&b%20]]>+c"""
    request = login(LOGIN_BODY=template, USERNAME=name, PASSWORD=password)
    sent = message(replace(request, headers=(("content-type", kind),) if kind else ()))
    assert {key.lower(): value for key, value in sent.headers.items()} == {"content-type": kind or "application/xml"}
    read = ElementTree.fromstring(sent.body or "")
    assert (read.attrib, read.findtext("p")) == ({"u": name, "v": name}, password)
    assert read[0].tail == password


@pytest.mark.parametrize(
    ("kind", "body", "sent"),
    [
        ("text/xml", "${PASSWORD}", "a&amp;b&lt;c&quot; %"),
        ("application/vnd.api+json", "${PASSWORD}", 'a&b<c\\" %'),
        ("Text/Plain; charset=utf-8", "p=${PASSWORD}", 'p=a&b<c" %'),
        ("text/plain", '{"p": "${PASSWORD}"}', '{"p": "a&b<c\\" %"}'),
        ("application/x-www-form-urlencoded;charset=utf-8", "p=${PASSWORD}", "p=a%26b%3Cc%22+%25"),
        ("text/plain", " <p>${PASSWORD}</p>", " <p>a&amp;b&lt;c&quot; %</p>"),
    ],
)
def test_kinds(kind: str, body: str, sent: str) -> None:
    """JSON and XML are known by how they begin, else Content-Type decides; of another type nobody knows escapes."""
    request = replace(login(LOGIN_BODY=body, PASSWORD='a&b<c" %'), headers=(("Content-Type", kind),))
    assert message(request) == ("POST", {"Content-Type": kind}, sent)


def test_no_body() -> None:
    """A method of its own, and headers."""
    request = login(LOGIN_METHOD="GET")
    assert message(request) == ("GET", {}, None)


def test_content_type() -> None:
    """The file may say what the body is."""
    request = TokenRequest(
        "https://api.test/", grant_type="login", headers=(("content-type", "text/x"),), values=(("LOGIN_BODY", "{}"),)
    )
    assert message(request).headers == {"content-type": "text/x"}


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("/a/0/b~1c", At("body", "/a/0/b~1c")),
        ("header:X-Token", At("header", "X-Token")),
        ("cookie:sid", At("cookie", "sid")),
        ("/", At("body", "/")),
    ],
)
def test_at(text: str, at: At) -> None:
    """A JSON pointer, a header, a cookie."""
    assert parse_at(text) == at


@pytest.mark.parametrize("text", ["", "a", "a/b", "/~2", "header:", "cookie:a b", "body:/a", "header:X\n", "$.a"])
def test_at_mistake(text: str) -> None:
    """Anything else is a mistake."""
    with pytest.raises(ValueError, match="is malformed; expected a JSON pointer"):
        parse_at(text)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("/token", answer({"token": "abc"})),
        ("/data/0/a~1b~0", answer({"data": [{"a/b~": "abc"}]})),
        ("header:x-auth-token", answer({}, X_Auth_Token="abc")),
        ("header:X-Auth-Token", answer(b"<html>", 302, X_Auth_Token="abc", Location="/")),
        ("cookie:sid", answer(b"", 302, ("a=b; Path=/", "sid=abc; HttpOnly; Path=/; SameSite=Lax"))),
        ("cookie:sid", answer(b"", 204, ("sid=old", "sid=abc; expires=Fri, 27 Nov 2099 19:00:00 GMT"))),
        ("/token", answer({"token": "abc"}, 201)),
        ("/0/token", answer([{"token": "abc"}])),
        ("/1", answer([1, "abc"])),
        ("cookie:sid", answer(b"", 200, ("sid=abc; Secure; HttpOnly; Partitioned; Priority=High",))),
        ("cookie:sid", answer(b"", 200, ("sid=abc", "sid=; Domain=example.com; Max-Age=0"))),
        ("cookie:sid", answer(b"", 200, ("sid=abc; expires=Wed, 21 Oct 0000 07:28:00 -9999",))),
        ("cookie:sid", answer(b"", 302, ("sid=abc",), Location="https://api.test/")),
        ("cookie:sid", answer(b"", 302, ("sid=abc",), Location="/login/done")),
        ("cookie:sid", answer(b"", 200, ("sid=abc",), Location="/login")),
    ],
)
def test_found(at: str, said: Answer) -> None:
    """The token is where TOKEN_AT says; a form's login answers with a redirect."""
    assert read_login(said, login(TOKEN_AT=at), NOW).value == "abc"


@pytest.mark.parametrize(
    ("said", "values", "code", "lasting"),
    [
        (answer({"canary": 1}), {}, "no_login_token", True),
        (answer(b"<html>canary</html>"), {}, "no_login_token", True),
        (answer([1]), {"TOKEN_AT": "/0"}, "invalid_response", False),
        (answer([]), {"TOKEN_AT": "/0/token"}, "no_login_token", True),
        (answer("canary"), {"TOKEN_AT": "/0"}, "no_login_token", True),
        (answer([{"error": "canary"}], 403), {"TOKEN_AT": "/0/token"}, "http_403", True),
        (answer({"data": ["canary"]}), {"TOKEN_AT": "/data/1"}, "no_login_token", True),
        (answer({"data": ["canary"]}), {"TOKEN_AT": "/data/-1"}, "no_login_token", True),
        (answer({"data": ["canary"]}), {"TOKEN_AT": "/data/x"}, "no_login_token", True),
        (answer({"token": 7}), {}, "invalid_response", False),
        (answer({"token": "a\ncanary"}), {}, "invalid_response", False),
        (answer({"token": ""}), {}, "invalid_response", False),
        (answer(b"[" * 100_000), {}, "no_login_token", True),
        (answer(b"", 302, Location="https://canary.example/"), {}, "redirect", True),
        (answer(b"", 302, ("sid=canary",), Location="/login?error"), {"TOKEN_AT": "cookie:sid"},
         "no_login_token", True),
        (answer(b"", 303, ("sid=canary",), Location="http://api.test/login"), {"TOKEN_AT": "cookie:sid"},
         "no_login_token", True),
        (answer(b"", 302, X_A="canary", Location="/login"), {"TOKEN_AT": "header:X-A"}, "no_login_token", True),
        (answer(b"", 200, ("sid=; Max-Age=0",)), {"TOKEN_AT": "cookie:sid"}, "no_login_token", True),
        (answer(b"", 200, ("sid=deleted; Max-Age=0",)), {"TOKEN_AT": "cookie:sid"}, "no_login_token", True),
        (answer({"token": "a", "in": 0}), {"EXPIRES_IN_AT": "/in"}, "expired", False),
        (answer(b"", 200, ("other=canary",)), {"TOKEN_AT": "cookie:sid"}, "no_login_token", True),
        (answer({"error": "canary"}, 401), {}, "http_401", True),
        (answer({}, 429, Retry_After="7"), {}, "http_429", False),
        (answer({}, 503), {}, "http_503", False),
        (answer({"token": "a", "at": 1}), {"EXPIRES_AT": "/at"}, "expired", False),
    ],
)  # fmt: skip
def test_refused(said: Answer, values: dict[str, str], code: str, lasting: bool) -> None:
    """The reason tells what is missing, and repeats nothing."""
    with pytest.raises(NoToken) as error:
        read_login(said, login(**values), NOW)
    assert (error.value.code, error.value.lasting) == (code, lasting)
    assert "canary" not in str(error.value)


@pytest.mark.parametrize(
    ("said", "values", "lifetime"),
    [
        ({"token": "a", "in": 60}, {"EXPIRES_IN_AT": "/in"}, 60),
        ({"token": "a", "in": "60"}, {"EXPIRES_IN_AT": "/in"}, 60),
        ({"token": "a"}, {"EXPIRES_IN_AT": "/in", "LIFETIME": "90"}, 90),
        ({"token": "a", "in": "x"}, {"EXPIRES_IN_AT": "/in", "LIFETIME": "90"}, 90),
        ({"token": "a", "at": NOW + 30}, {"EXPIRES_AT": "/at", "LIFETIME": "90"}, 30),
        ({"token": "a", "at": (NOW + 30) * 1000}, {"EXPIRES_AT": "/at"}, 30),
        ({"token": "a", "at": "2023-11-14T22:14:20Z"}, {"EXPIRES_AT": "/at"}, 60),
        ({"token": "a", "at": "2023-11-14T23:14:20+01:00"}, {"EXPIRES_AT": "/at"}, 60),
        ({"token": "a", "at": "Tue, 14 Nov 2023 22:14:20 GMT"}, {"EXPIRES_AT": "/at"}, 60),
        ({"token": "a", "at": "soon"}, {"EXPIRES_AT": "/at"}, 300),
        ({"token": "a"}, {"LIFETIME": "90"}, 90),
        ({"token": jwt(exp=NOW + 120)}, {}, 120),
        ({"token": jwt(exp=NOW + 120)}, {"LIFETIME": "90"}, 90),
        ({"token": "a"}, {}, 300),
        ({"token": "a", "in": 1e300}, {"EXPIRES_IN_AT": "/in"}, 365 * 86400),
    ],
)
def test_lifetime(said: dict[str, object], values: dict[str, str], lifetime: float) -> None:
    """What the answer says where the file tells to look, else LIFETIME, else the token, else 300 seconds."""
    token = read_login(answer(said), login(**values), NOW)
    assert math.isclose(token.expires_at - NOW, lifetime)


@pytest.mark.parametrize(
    ("cookie", "lifetime"),
    [
        ("sid=a; Max-Age=120; expires=Tue, 14 Nov 2023 22:14:20 GMT", 120),
        ("sid=a; expires=Tue, 14 Nov 2023 22:14:20 GMT; Path=/", 60),
        ("sid=a; Path=/", 300),
        (f"sid={jwt(exp=NOW + 90)}; Max-Age=120", 90),
        (f"sid={jwt(exp=NOW + 90)}; expires=Tue, 14 Nov 2023 22:14:20 GMT", 60),
        (f"sid={jwt(exp=NOW + 900)}; Max-Age=120", 120),
        (f"sid={jwt(exp=NOW + 90)}; Path=/", 90),
        (f"sid={jwt(sub='me')}; Max-Age=120", 120),
        (f"sid={jwt(exp=NOW - 90)}; Max-Age=120", 120),
    ],
)
def test_cookie_lifetime(cookie: str, lifetime: float) -> None:
    """A cookie says how long it lives, and a JWT in it, too: the earlier end counts."""
    token = read_login(answer(b"", cookies=(cookie,)), login(TOKEN_AT="cookie:sid"), NOW)
    assert token.expires_at - NOW == lifetime


def test_lifetime_of_file() -> None:
    """LIFETIME stands above what a cookie and a JWT say."""
    said = answer(b"", cookies=(f"sid={jwt(exp=NOW + 90)}; Max-Age=120",))
    assert read_login(said, login(TOKEN_AT="cookie:sid", LIFETIME="600"), NOW).expires_at - NOW == 600

"""Tokens that only their fingerprints tell."""

import base64
import json
import os
from urllib.parse import quote

import pytest

from credential_injector.oauth.fingerprints import fingerprint
from credential_injector.proxy import candidates
from credential_injector.proxy.candidates import recognised

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJjYW5hcnkiOiJ5ZXMifQ.c2lnbmF0dXJl-x_y"
OPAQUE = "canary/to+ken|1!x=="
WANTED = {len(token): {fingerprint(token)} for token in (JWT, OPAQUE)}


@pytest.mark.parametrize("token", [JWT, OPAQUE])
@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "Bearer {}",
        '{{"access_token":"{}","x":1}}',
        "grant=a&token={}&x=y",
        "/next/{}/more?x",
        "id={};path=/",
        "<a href='/x?{}'>",
        "a\\n{}\\nb",
        "x" * 3000 + ":{}:" + "y" * 3000,
    ],
)
@pytest.mark.parametrize("escapes", ["", "percent", "percent twice", "JSON", "JSON in JSON"])
def test_recognised(token: str, text: str, escapes: str) -> None:
    """A token is found in whatever stands around it, escaped or not."""
    match escapes:
        case "percent":
            token = quote(token, safe="")
        case "percent twice":
            text = quote(text, safe="{}")
            token = quote(quote(token, safe=""), safe="")
        case "JSON":
            token = token.replace("/", "\\/").replace("+", "\\u002b")
        case "JSON in JSON":
            token = json.dumps(token.replace("/", "\\/"))[1:-1]
    whole = text.format(token)
    found = set(recognised({"a": [whole, None, 5]}, WANTED)), set(recognised((whole.encode(),), WANTED))
    assert found == ({JWT},) * 2 or found == ({OPAQUE},) * 2


@pytest.mark.parametrize("text", [f"x{JWT}", f"{JWT}x", JWT[1:], JWT.lower(), "", "\ud800 \\u00 %zz"])
def test_not_recognised(text: str) -> None:
    """A longer word that a token is part of is another word."""
    assert list(recognised(text, WANTED)) == []


def test_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image in base64 costs a hash for a small part of its characters, a text in JSON next to none."""
    hashed: list[str] = []

    def counted(value: str) -> str:
        hashed.append(value)
        return fingerprint(value)

    monkeypatch.setattr(candidates, "fingerprint", counted)
    image = base64.b64encode(os.urandom(300_000))
    assert list(recognised(image, WANTED)) == []
    assert len(hashed) < len(image) / 100
    hashed.clear()
    document = json.dumps([{"id": number, "name": "some words in it"} for number in range(10_000)])
    assert list(recognised(document, WANTED)) == []
    assert len(hashed) < 10


@pytest.mark.parametrize(
    ("value", "length"), [(8, 8), (900, 900), (7, None), (1 << 17, None), (-1, None), ("9", None), (None, None)]
)
def test_length_of(value: object, length: int | None) -> None:
    """A length that stands in a capture may be anything."""
    assert candidates.length_of(value) == length

"""Credentials and masks, in headers and in texts."""

import json
from urllib.parse import quote

import pytest
from mitmproxy.http import Headers, Request

from credential_injector.proxy import masking
from credential_injector.proxy.masking import mask_of, unnamed
from credential_injector.proxy.request_fields import RequestFields

SECRET = "canary/to+ken.a-b_c=="
MASK = mask_of("qa", "Authorization", SECRET, "sha256:ab12cd34ef56")
SHOWN = "<qa sha256:ab12cd34ef56>"
FORMS = {
    "plain": SECRET,
    "percent": quote(SECRET, safe=""),
    "percent, lower case": quote(SECRET, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "percent, slash kept": quote(SECRET, safe="/="),
    "percent, twice": quote(quote(SECRET, safe=""), safe=""),
    "percent, three times": quote(quote(quote(SECRET, safe=""), safe=""), safe=""),
    "JSON, slash": SECRET.replace("/", "\\/"),
    "JSON, code": SECRET.replace("/", "\\u002f").replace("+", "\\u002B").replace("=", "\\u003d"),
    "JSON in JSON": json.dumps(SECRET.replace("/", "\\/"))[1:-1],
    "JSON in a URL": quote(SECRET.replace("/", "\\/").replace("=", "\\u003d"), safe=""),
}


@pytest.mark.parametrize("form", FORMS)
def test_in_a_text(form: str) -> None:
    """A secret is masked in a body, however it is escaped; what stands around it stays."""
    before, after = (f'{{"next":"https://a/?x={text}&y=%2F\\/"}}' for text in (FORMS[form], SHOWN))
    assert masking.masked(before, [MASK]) == after
    assert masking.masked([before.encode()], [MASK]) == [after.encode()]


@pytest.mark.parametrize("form", FORMS)
def test_in_headers(form: str) -> None:
    """So it is in any header, and a header that holds it can be dropped."""
    headers = Headers(Location=f"/next?token={FORMS[form]}&x=%2F", Accept="*/*")
    masking.hide(headers, [MASK])
    assert headers == Headers(Location=f"/next?token={SHOWN}&x=%2F", Accept="*/*")
    headers["Location"] = FORMS[form]
    masking.drop(headers, [MASK])
    assert headers == Headers(Accept="*/*")


@pytest.mark.parametrize("secret", ["a\\b\\\\cd/ef", "100%/of%2Fit", '"quoted"/x', "//++==__", "12345678"])
def test_odd_secrets(secret: str) -> None:
    """What a person chose may hold the characters of the escapes themselves."""
    mask = mask_of("qa", "X-Key", secret, unnamed())
    for form in (secret, quote(secret, safe=""), quote(quote(secret, safe=""), safe=""), json.dumps(secret)[1:-1]):
        assert masking.masked(f"<{form}>", [mask]) == "<<qa secret>>"


@pytest.mark.parametrize("text", ["canary/to ken.a-b_c==", "canary%2to+ken.a-b_c==", "canary/to+ken.a-b_c=", "\ud800"])
def test_other_texts_stay(text: str) -> None:
    """What is not the secret stays as it is."""
    assert masking.masked(text, [MASK]) == text


def test_back_as_it_was() -> None:
    """While a person holds a request back, its headers can be put back exactly, with several secrets in them."""
    masks = [
        mask_of("qa", "Authorization", "canary-static", unnamed()),
        mask_of("qa", "X-Key", "canary-a/b", unnamed("X-Key")),
        mask_of("qa", "X-Tenant", "7", unnamed("X-Tenant")),
    ]
    fields = {
        "Authorization": "Bearer canary-static",
        "X-Key": "canary-a/b",
        "X-Tenant": "7",
        "Cookie": "17=canary-a/b",
        "Referer": "http://a/?x=canary-a%2Fb",
    }
    headers = Headers([(name.encode(), value.encode()) for name, value in fields.items()])
    masking.hide(headers, masks, escaped=False)
    assert headers["Authorization"] == "Bearer <qa secret>"
    assert (headers["X-Key"], headers["X-Tenant"]) == ("<qa secret X-Key>", "<qa secret X-Tenant>")
    assert headers["Cookie"] == "17=<qa secret X-Key>"
    masking.show(headers, masks)
    assert dict(headers) == fields


@pytest.mark.parametrize(
    ("header", "masked", "left"),
    [
        (":path", ("/v1/21?v=1x;api_key=<qa+secret>&a", "a=21; b= 1;c"), ("/v1/21?v=1x&a", "a=21; b= 1;c")),
        ("Cookie", ("/v1/21?v=1x;api_key=1&a", "a=21; b= <qa secret>;c"), ("/v1/21?v=1x;api_key=1&a", "a=21;c")),
    ],
)
def test_short_part(header: str, masked: tuple[str, str], left: tuple[str, str]) -> None:
    """A short secret is a whole value in the query or in a cookie, and the same characters elsewhere stay."""
    request = Request.make("GET", "http://a/v1/21?v=1x;api_key=1&a", headers=[(b"Cookie", b"a=21; b= 1;c")])
    fields, mask = RequestFields(request.data), mask_of("qa", header, "1", unnamed())
    for escaped in (False, True):
        before = (request.path, request.headers["Cookie"])
        masking.hide(fields, [mask], escaped=escaped)
        assert (request.path, request.headers["Cookie"]) == masked
        masking.show(fields, [mask])
        assert (request.path, request.headers["Cookie"]) == before
    masking.drop(fields, [mask])
    assert (request.path, request.headers["Cookie"]) == left


@pytest.mark.parametrize("cookies", ["session=canary; csrf=canary", "a=1;b", "session=canary"])
def test_several_cookies(cookies: str) -> None:
    """Of HEADER_Cookie nothing is left, however many cookies it names."""
    request = Request.make("GET", "http://a/", headers=[(b"Cookie", cookies.encode())])
    fields, mask = RequestFields(request.data), mask_of("qa", "Cookie", cookies, unnamed("Cookie"))
    masking.hide(fields, [mask])
    assert request.headers["Cookie"] == "<qa secret Cookie>"
    masking.show(fields, [mask])
    masking.drop(fields, [mask])
    assert "Cookie" not in request.headers

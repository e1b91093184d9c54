"""WWW-Authenticate."""

import pytest

from credential_injector.diagnosis.challenges import LONGEST, Challenge, read

BEARER = Challenge("Bearer", {"error": "invalid_token"})


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([], []),
        ([""], []),
        (["Bearer"], [Challenge("Bearer")]),
        (["Bearer, Basic"], [Challenge("Bearer"), Challenge("Basic")]),
        (["Bearer", "Basic realm=x"], [Challenge("Bearer"), Challenge("Basic", {"realm": "x"})]),
        (['Basic realm="a, Digest b=c", Bearer error=invalid_token'],
         [Challenge("Basic", {"realm": "a, Digest b=c"}), BEARER]),
        ([r'Bearer a="say \"b=c\", \\", error="d"'], [Challenge("Bearer", {"a": 'say "b=c", \\', "error": "d"})]),
        (['Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"'],  # RFC 9110 section 11.6.1
         [Challenge("Newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
          Challenge("Basic", {"realm": "simple"})]),
        (['bearer ERROR = "invalid_token"'], [Challenge("bearer", {"error": "invalid_token"})]),
        (["Negotiate YII+/=, Bearer error=invalid_token"], [Challenge("Negotiate"), BEARER]),
        (["Negotiate YII==", "Bearer error=invalid_token"], [Challenge("Negotiate"), BEARER]),
        ([",, Bearer ,error=invalid_token,,"], [BEARER]),
        (['Bearer a="",error=invalid_token'], [Challenge("Bearer", {"a": "", "error": "invalid_token"})]),
        (["Bearer a=1, a=2"], [Challenge("Bearer", {"a": "1"})]),
        # What breaks the grammar.
        (['Bearer a="b" error="c"'], [Challenge("Bearer", {"a": "b", "error": "c"})]),
        (["Bearer scope=api://orders/read"], [Challenge("Bearer", {"scope": "api://orders/read"})]),
        (["Bearer realm=x Basic realm=y"], [Challenge("Bearer", {"realm": "x"}), Challenge("Basic", {"realm": "y"})]),
        (["error=invalid_token"], []),
        (["error=invalid_token, Bearer"], [Challenge("Bearer")]),
        (['"Bearer error=invalid_token"'], []),
        (['Bearer a=b, error="invalid_token'], [Challenge("Bearer", {"a": "b"})]),
        (['Bearer error="invalid_token\\'], [Challenge("Bearer")]),
        (["Bearer error="], [Challenge("Bearer")]),
        (["Bearer =invalid_token"], []),
        (["Bearer\r\n error=invalid_token"], [BEARER]),
        (["\udcff\x00{Bearer} \u2028"], [Challenge("Bearer")]),
        ([f"{' ' * LONGEST}Bearer"], []),
        (["Bearer", " " * LONGEST, "Basic"], [Challenge("Bearer")]),
    ],
)  # fmt: skip
def test_read(fields: list[str], found: list[Challenge]) -> None:
    """Challenges of one field or several; what cannot be read is left out."""
    assert list(read(fields)) == found


@pytest.mark.timeout(30)  # it takes one on a quiet machine, and minutes where pieces are read again and again
@pytest.mark.parametrize("piece", ['"', '\\"', 'a="', "a=", "a ", " ", ",", "a= ", "=", '"\\', 'a="\\"'])
def test_long(piece: str) -> None:
    """Whatever repeats, each character is read a few times only."""
    text = (piece * LONGEST)[:LONGEST]
    for _ in range(20):
        assert read([f"Bearer, {text}"])[0].scheme == "Bearer"

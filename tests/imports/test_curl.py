"""curl commands as people write them, and as browsers copy them."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credential_injector.imports.curl import drafts_of_curl, is_curl
from credential_injector.imports.draft import Draft
from credential_injector.imports.shell_words import words
from credential_injector.imports.source import NotImportable, Source

URL = "https://login.example.com/token"
WHOLE = {"TOKEN_ENDPOINT": URL, "CLIENT_ID": "me", "CLIENT_SECRET": "it"}
BASIC = {**WHOLE, "TOKEN_ENDPOINT_AUTH_METHOD": "client_secret_basic"}
FORM = "grant_type=client_credentials&client_id=me&client_secret=it"


def imported(command: str) -> Draft:
    source = Source(Path("curl.txt"), command, None)
    assert is_curl(source)
    (draft,) = drafts_of_curl(source, [])
    return draft


@pytest.mark.parametrize(
    ("command", "values"),
    [
        (f"curl -sX POST {URL} -d grant_type=client_credentials -d client_id=me -d client_secret=it", WHOLE),
        (f"curl -sSd '{FORM}' {URL}", WHOLE),
        (f"curl -d'{FORM}' {URL} -o /dev/null --tls-max 1.2 --resolve a:1:b -w '%{{http_code}}'", WHOLE),
        (f"curl -kLsu me:it --compressed {URL} -d grant_type=client_credentials", BASIC),
        (f"curl --url={URL} --user me:it --data=grant_type=client_credentials", BASIC),
        (f"#!/bin/sh\n# a token\ncurl {URL} -d '{FORM}' | jq -r .access_token", WHOLE),
        (f"$ curl {URL} -d '{FORM}' >token.json", WHOLE),
        (f"curl {URL} -d '{FORM}'\ncurl https://api.example.com/", WHOLE),
        (
            f"curl {URL} \\\n  --data-raw $'grant_type=client_credentials\\u0026client_id=me&client_secret=i\\x74'",
            WHOLE,
        ),
        (f'curl.exe ^"{URL}^" ^\n  -H ^"accept: */*^" ^\n  --data-raw ^"{FORM.replace("&", "^&")}^"', WHOLE),
        (f"curl {URL} -F grant_type=client_credentials -F 'client_id=me;type=text/plain' -F client_secret=it", WHOLE),
        (f"curl {URL} -d '{FORM}' -d 'audience=@home'", {**WHOLE, "AUDIENCE": "@home"}),
        (f"""curl {URL} -d "grant_type=client_credentials&client_id=me" -d 'client_secret='"it" """, WHOLE),
        (f"curl {URL} -d '{FORM}' -d 'scope=$HOME'", {**WHOLE, "SCOPE": "$HOME"}),
    ],
)
def test_command(command: str, values: dict[str, str]) -> None:
    """What curl would send is imported."""
    assert dict(imported(command).values) == values


@pytest.mark.parametrize("written", ["$SECRET", '"$SECRET"', "${SECRET}", '"${SECRET:-x}"'])
def test_variable_of_the_shell(written: str) -> None:
    """What only the shell knows is to be filled in; its name is no secret."""
    draft = imported(f"curl {URL} -d grant_type=client_credentials -d client_id=me -d client_secret={written}")
    assert "CLIENT_SECRET" not in draft.values
    assert "the variable SECRET" in draft.notes["CLIENT_SECRET"]


@pytest.mark.parametrize("option", ["--data-urlencode client_secret@it.txt", "-d @it.txt", "-F client_secret=@it.txt"])
def test_file(option: str) -> None:
    """A file that curl would read is not read, but told."""
    draft = imported(f"curl {URL} -d grant_type=client_credentials -d client_id=me {option}")
    assert "CLIENT_SECRET" not in draft.values
    assert "to be read from a file" in draft.left_out[0]


def test_json() -> None:
    """A login by JSON is no token request, and the error says what it is."""
    with pytest.raises(NotImportable, match=r"sends JSON; expected a form .* GRANT_TYPE=login"):
        imported(f"""curl {URL} --json '{{"grant_type": "client_credentials"}}'""")


@given(st.text())
def test_any_text(text: str) -> None:
    """Whatever stands after the name, it is a draft or an error."""
    with suppress(NotImportable):
        assert imported(f"curl {text}").values


@given(
    st.lists(st.text(alphabet="ab '\"$\\\n{}()`;&|<>#é").filter(lambda word: "\\\n" not in word and "`" not in word))
)
def test_quoted_words(given_words: list[str]) -> None:
    """Words that are quoted as a shell wants come back."""
    quoted = [word.replace("'", "'\\''") for word in given_words]
    assert words(" ".join(f"'{word}'" for word in quoted)) == given_words

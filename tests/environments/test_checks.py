"""Keys that do not go together, as the folder tells of them, and the defaults that one key gives another."""

import logging
from pathlib import Path

import pytest

from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import Folder, InvalidEnvironments
from tests.certificates import self_signed

SECRET = "hunter2-canary"
CLIENT = ["CLIENT_ID=abc", f"CLIENT_SECRET={SECRET}"]
EXCHANGE = ["GRANT_TYPE=token_exchange", f"SUBJECT_TOKEN={SECRET}"]
BASIC = ["GRANT_TYPE=basic", f"PASSWORD={SECRET}"]
STATIC = "GRANT_TYPE=static"
KEY = f"VALUE={SECRET}"
CERTIFICATE, _ = self_signed("login.example.com")


def read(folder: Path, *lines: str) -> Environment:
    (folder / "qa.env").write_text("\n".join(["HOST=https://api.example.com", *lines, ""]))
    (environment,) = Folder(folder, shown_as="envs").read()
    return environment


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        # The scheme is in the value, and the prefix would write it again.
        ([STATIC, f"VALUE=Bearer {SECRET}"], "VALUE: begins with Bearer, and PREFIX goes before it; expected"),
        ([STATIC, f"VALUE=bEARER {SECRET}"], "VALUE: begins with Bearer, and PREFIX goes before it"),
        ([STATIC, f"VALUE=Basic {SECRET}"], "VALUE: begins with Basic, and PREFIX goes before it"),
        ([STATIC, f"VALUE=basic {SECRET}", "PREFIX=Token"], "VALUE: begins with Basic, and PREFIX goes before it"),
        ([STATIC, f"VALUE=token {SECRET}", "PREFIX=Token"], "VALUE: begins with PREFIX, which goes before it"),
        ([STATIC, f"VALUE=ApiKey v1 {SECRET}", "PREFIX=ApiKey v1"], "VALUE: begins with PREFIX, which goes before it"),
        (
            [STATIC, f"VALUE=Bearer {SECRET}", "HEADER=X-Key", "PREFIX=Bearer"],
            "VALUE: begins with Bearer, and PREFIX goes before it",
        ),
        ([STATIC, "VALUE_FILE=key"], "VALUE_FILE: begins with Bearer, and PREFIX goes before it"),
        # RFC 7617 section 2
        (
            [*BASIC, "USERNAME=me:you"],
            "USERNAME: holds a colon, at which the server would end it; expected a name with",
        ),
        # RFC 8693 section 2.1
        ([*EXCHANGE, "ACTOR_TOKEN_TYPE=x"], "ACTOR_TOKEN_TYPE: is given without ACTOR_TOKEN; expected both or neither"),
        (
            [*CLIENT, "INSECURE_TLS=true", "CA_FILE=ca.pem"],
            "INSECURE_TLS: verifies nothing, so CA_FILE has no use; expected one of the two",
        ),
        (
            [*CLIENT, "ISSUER=https://login.example.com/.well-known/openid-configuration"],
            "ISSUER: is the URL of the metadata; expected the issuer, https://login.example.com",
        ),
        (
            [*CLIENT, "ISSUER=https://login.example.com/realms/qa/.well-known/openid-configuration"],
            "ISSUER: is the URL of the metadata; expected the issuer, https://login.example.com/realms/qa",
        ),
        (
            [*CLIENT, "ISSUER=https://login.example.com/.well-known/oauth-authorization-server/realms/qa"],
            "ISSUER: is the URL of the metadata; expected the issuer, https://login.example.com/realms/qa",
        ),
    ],
)
def test_a_contradiction(tmp_path: Path, lines: list[str], wrong: str) -> None:
    """It is named, with what to write, and nothing else is called wrong."""
    (tmp_path / "key").write_text(f"Bearer {SECRET}")
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    with pytest.raises(InvalidEnvironments) as error:
        read(tmp_path, *lines)
    (said,) = error.value.mistakes
    assert said.startswith(f"envs/qa.env: {wrong}")
    assert SECRET not in said


@pytest.mark.parametrize(
    "lines",
    [
        [STATIC, f"VALUE=Bearer {SECRET}", "PREFIX="],
        [STATIC, f"VALUE=Bearer {SECRET}", "HEADER=X-Key"],
        [STATIC, f"VALUE=bearer-{SECRET}"],
        [STATIC, "VALUE=Bearer"],
        ["GRANT_TYPE=password", *CLIENT, "USERNAME=me:you", "PASSWORD=x"],
        [*EXCHANGE, "ACTOR_TOKEN_TYPE=x", "ACTOR_TOKEN=y"],
        [*EXCHANGE, "ACTOR_TOKEN=y"],
        [*CLIENT, "INSECURE_TLS=false", "CA_FILE=ca.pem"],
        [*CLIENT, "ISSUER=https://login.example.com/well-known"],
    ],
)
def test_a_near_contradiction(tmp_path: Path, lines: list[str]) -> None:
    """What goes together is taken."""
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    read(tmp_path, *lines)


ALONE = (
    "gets the credential without Bearer before it; if the API wants it, write PREFIX=Bearer; if not, write PREFIX= and"
    " this line goes"
)
WITH_SCHEME = (
    "gets VALUE as it stands, which begins with Bearer; if the API wants that, write PREFIX= and this line goes; if"
    " not, take Bearer out of VALUE"
)


@pytest.mark.parametrize(
    ("lines", "header", "prefix", "note"),
    [
        ([STATIC, KEY], "Authorization", "Bearer", ""),
        ([STATIC, KEY, "HEADER=authorization"], "authorization", "Bearer", ""),
        ([STATIC, KEY, "HEADER=X-Api-Key"], "X-Api-Key", "", ALONE),
        ([STATIC, f"VALUE=bearer {SECRET}", "HEADER=X-Api-Key"], "X-Api-Key", "", WITH_SCHEME),
        ([STATIC, KEY, "HEADER=X-Api-Key", "PREFIX="], "X-Api-Key", "", ""),
        ([STATIC, KEY, "HEADER=X-Api-Key", "PREFIX=Bearer"], "X-Api-Key", "Bearer", ""),
        ([*CLIENT, "HEADER=X-Token"], "X-Token", "", ALONE),
        (CLIENT, "Authorization", "Bearer", ""),
        ([*BASIC, "USERNAME=me"], "Authorization", "Basic", ""),
        ([*BASIC, "USERNAME=me", "HEADER=X-Authorization"], "X-Authorization", "Basic", ""),
    ],
)
def test_default_prefix(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lines: list[str], header: str, prefix: str, note: str
) -> None:
    """Bearer is Authorization's; another header gets the credential alone, and the log says so once a reading."""
    caplog.set_level(logging.INFO)
    environment = read(tmp_path, *lines)
    assert (environment.header, environment.prefix) == (header, prefix)
    assert caplog.messages == ([f"envs/qa.env: PREFIX: is not given, so {header} {note}"] if note else [])

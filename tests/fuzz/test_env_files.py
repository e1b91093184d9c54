"""Whatever stands in an env file."""

import subprocess
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from credential_injector.environments.env_file import EnvFile
from credential_injector.environments.environment import Environment, read
from credential_injector.oauth.answers import Answer
from tests.fuzz.inputs import (
    CANARIES,
    SECRET,
    TEXT,
    assert_harmless,
    mostly,
    mutated,
    nothing_secret_is_logged,
)
from tests.fuzz.test_answers import outcome

VALID = f"""# the API of qa
HOST=https://api.example.com, https://*.qa.example.com:8443/orders
export CLIENT_ID=abc
CLIENT_SECRET='{SECRET}'
TOKEN_ENDPOINT_AUTH_METHOD="client_secret_basic"
SCOPE=read write
AUDIENCE=https://a.example, urn:b
TOKEN_PARAM_sub_command=${{HOME:-{SECRET}}}
TOKEN_HEADER_X-Tenant={SECRET}
HEADER=X-Api-Token
PREFIX=
OVERWRITE=never
METHODS=GET,HEAD
"""
KEYS = st.sampled_from(
    [
        *("HOST", "CLIENT_ID", "CLIENT_SECRET", "CLIENT_SECRET_FILE", "CLIENT_SECRET_COMMAND", "TOKEN_ENDPOINT"),
        *("GRANT_TYPE", "TOKEN_ENDPOINT_AUTH_METHOD", "SCOPE", "AUDIENCE", "RESOURCE", "HEADER", "PREFIX", "METHODS"),
        *("OVERWRITE", "WITHOUT_TOKEN", "TOKEN_PARAM_", "TOKEN_PARAM_x", "TOKEN_HEADER_x", "TOKEN_HEADER_X_FILE"),
        *("client_secret", "CLIENT_SECRT", "SECRET", "export HOST", "'TOKEN_PARAM_\x1b\n'", "#", "İ", ""),
    ]
)
SEPARATORS = mostly(st.just("="), st.sampled_from([" = ", ":", ": ", " ", "", "==", "=\t", "=\x0c"]))
QUOTES = mostly(st.just(""), st.sampled_from(["'", '"']))
VALUES = st.builds(
    lambda quote, value, end: f"{quote}{value}{end}",
    QUOTES,
    TEXT
    | st.builds("{}{}".format, CANARIES, TEXT | st.sampled_from(["${UNSET}", "${", "'", '"']))
    | st.sampled_from(
        [
            *("https://api.example.com", "http://api.example.com", "https://[::1%é]", "https://u:C4nary@x.example"),
            *("https://xn--.example", f"https://{'ä' * 300}.example", "*.example.com", "GET", "bearer", "always"),
            *("${HOST}", "${C4nary}", "${", "${\ud800}", "${UNSET:-C4nary}", "/", "\0", "sh -c 'echo C4nary'", "'"),
        ]
    ),
    QUOTES | st.sampled_from([" # comment", "\\"]),
)
LINES = st.builds(lambda key, separator, value: f"{key}{separator}{value}", KEYS, SEPARATORS, VALUES)
TEXTS = st.lists(LINES, max_size=8).map("\n".join) | TEXT | LINES.map(lambda line: f"{VALID}{line}\n")
CONTENTS = (
    st.binary()
    | mutated(VALID.encode())
    | st.builds(
        lambda text, encoding: text.encode(encoding, "surrogatepass" if "utf" in encoding else "replace"),
        TEXTS,
        st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]),
    )
)


@given(CONTENTS)
def test_env_file(content: bytes) -> None:
    """Whatever stands in an env file, it is an environment, or mistakes without a secret."""
    with tempfile.TemporaryDirectory() as folder, nothing_secret_is_logged(), without_programs():
        path = Path(folder) / "qa.env"
        path.write_bytes(content)
        file = EnvFile(path, "envs/qa.env")
        environment = read(file)
        assert path.read_bytes() == content
        assert [each.name for each in path.parent.iterdir()] == ["qa.env"]
    assert (environment is None) == bool(file.mistakes)
    for mistake in file.mistakes:
        assert mistake.startswith("envs/qa.env: ")
        assert_harmless(mistake)
    if environment is not None:
        check_environment(environment)


def check_environment(environment: Environment) -> None:
    """It can be used: its credential's header does not split, and its refusals can be told."""
    assert environment.header.isascii()
    assert environment.header.isprintable()
    assert environment.prefix.isascii()
    assert environment.prefix.isprintable()
    assert environment.origins
    for name, value in environment.token_request.headers:
        assert f"{name}{value}".isascii()
        assert f"{name}{value}".isprintable()
    assert str(outcome(Answer(503, {}, b""), environment.token_request)).isprintable()


def without_programs() -> AbstractContextManager[object]:
    """No command of a made-up file may run."""
    return patch.object(subprocess, "Popen", side_effect=FileNotFoundError(2, "No such file or directory"))

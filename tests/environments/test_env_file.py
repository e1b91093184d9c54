"""The lines of an env file."""

import re
from collections.abc import Callable, Iterable
from io import StringIO
from pathlib import Path

import pytest
from dotenv.parser import Binding as Parsed
from dotenv.parser import parse_stream
from hypothesis import example, given, settings
from hypothesis import strategies as st

from credential_injector.environments import plain_lines
from credential_injector.environments.env_file import Binding, EnvFile
from credential_injector.environments.folder import Folder, InvalidEnvironments
from tests.environments.files import ENOUGH, SECRET, WHOLE, mistakes, read

BEGINNINGS = st.sampled_from(["KEY=", "OTHER=", "KEY = ", "export KEY=", "KEY", "# ", ""])
PIECES = st.sampled_from(["value", "a b", " ", "\t", "#", '"', "'", "\\", "$", "${KEY}", "`", "=", "ä", "\x0b"])
LINE = st.builds(str.__add__, BEGINNINGS, st.lists(PIECES, max_size=4).map("".join))


def bindings(text: str, parse: Callable[[str], Iterable[Parsed]]) -> tuple[dict[str, Binding], list[str]]:
    file = EnvFile(Path("qa.env"), "envs/qa.env")
    return file.bindings(text, str.upper, lambda key, line: f"{key} {line}", parse), file.mistakes


@example("KEY=value\n")
@example("# it's a comment\n\nKEY=two words\nOTHER=")
@example("KEY=value ")
@example("KEY=value # a comment")
@example("KEY=" + "a" * 1000 + '"')
@settings(max_examples=500)
@given(st.lists(LINE, max_size=3).map("\n".join))
def test_plain_lines(text: str) -> None:
    """They mean what python-dotenv makes of them."""
    assert bindings(text, plain_lines.parse) == bindings(text, lambda text: parse_stream(StringIO(text)))


CUT = "ends before the ' #' on line 2, and the rest counts as a comment"
QUOTE = "has a typographic quote on line 2, which counts as part of the value"


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("PASSWORD=abc #def", CUT),
        ("PASSWORD=abc # def", CUT),
        ("PASSWORD= abc\t#", CUT),
        ("export PASSWORD = #def", CUT),
        ("SCOPE=read #write", CUT),
        ("SCOPE=read # as the API wants it", None),
        ("PASSWORD_COMMAND=print it # as it does", None),
        ("PASSWORD=abc#def", None),
        ("PASSWORD='abc #def'", None),
        ('PASSWORD="abc" # def', None),
        ("PASSWORD=“abc”", QUOTE),
        ("PASSWORD=‘abc", QUOTE),  # noqa: RUF001
        ("SCOPE=«read»", QUOTE),
        ("PASSWORD=a“b", None),
        ("PASSWORD='“abc”'", None),
        ("PASSWORD=", None),
    ],
)
def test_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str, warning: str | None) -> None:
    """What looks like a comment is one, unless a part of a secret may have been cut off that nobody sees."""
    keys = "GRANT_TYPE=password\nHOST=https://a.example.com\nCLIENT_ID=x\nUSERNAME=y\n"
    (tmp_path / "qa.env").write_text(f"# a comment #too\n{line}\n{keys}")
    folder = Folder(tmp_path, shown_as="envs")
    for _ in range(2):
        folder.survey()
    told = [message for message in caplog.messages if "running the command" not in message]
    key = re.split(r"\W+", line.removeprefix("export "))[0]
    assert [message[: len(f"envs/qa.env: {key}: {warning}")] for message in told] == (
        [f"envs/qa.env: {key}: {warning}"] if warning else []
    )
    assert "abc" not in caplog.text
    assert "def" not in caplog.text


def test_case(envs: Path) -> None:
    """Keys have no case, and a byte order mark and CRLF do no harm."""
    text = WHOLE.replace("HOST", "host").replace("CLIENT_SECRET", "export Client_Secret").replace("\n", "\r\n")
    assert read(envs, b"\xef\xbb\xbf" + text.encode()).token_request.client_secret == SECRET


@pytest.mark.parametrize("stray", ["hunter2canary=x\nhunter2canary=y", "hunter2canary=${nope}", "AKIA5CANARY="])
def test_stray(envs: Path, stray: str) -> None:
    """A stray line that looks like a key may be a secret, and is not repeated."""
    for said in mistakes(envs, f"{WHOLE}{stray}\n"):
        assert said.startswith(("envs/qa.env: line 4: ", "envs/qa.env: line 5: "))
        assert "CANARY" not in said.upper()


@pytest.mark.parametrize("stray", [SECRET, "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ==", "c0ffee" * 6])
def test_pasted_secret(envs: Path, stray: str) -> None:
    """Neither is a line of a pasted secret."""
    (said,) = mistakes(envs, f"{WHOLE}{stray}\n")
    assert said.startswith("envs/qa.env: line 4: ")
    assert stray.partition("=")[0].upper() not in said.upper()


@pytest.mark.parametrize("key", ["CLIENT_SECRET:", "TOKEN_HEADER_X-Key:", "client_secret"])
def test_no_equals_sign(envs: Path, key: str) -> None:
    """A secret behind a missing equals sign is not taken for a key."""
    (said,) = mistakes(envs, f"{WHOLE}{key}{SECRET}\n")
    assert said.startswith("envs/qa.env: line 4: has no '='")
    assert SECRET.upper() not in said


def test_variable(envs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable comes from the process environment or an earlier key."""
    monkeypatch.setenv("QA_SECRET", SECRET)
    text = f"{ENOUGH}CLIENT_SECRET=${{QA_SECRET}}\nSCOPE=${{CLIENT_ID}}/${{UNSET:-default}}\n"
    request = read(envs, text).token_request
    assert (request.client_secret, request.scope) == (SECRET, "abc/default")


def test_variable_order(envs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier key comes before the process environment."""
    monkeypatch.setenv("CLIENT_ID", "from outside")
    assert read(envs, f"{WHOLE}SCOPE=${{CLIENT_ID}}\n").token_request.scope == "abc"


def test_single_quotes(envs: Path) -> None:
    """A single-quoted value is literal."""
    assert read(envs, f"{ENOUGH}CLIENT_SECRET='pa${{ss}}word'\n").token_request.client_secret == "pa${ss}word"


def test_no_variable(envs: Path) -> None:
    """A part of a secret that looks like a variable is not repeated."""
    (said,) = mistakes(envs, f"{ENOUGH}CLIENT_SECRET=pa${{hunter2}}word\n")
    assert "hunter2" not in said
    assert "single quotes" in said


def test_no_text(envs: Path) -> None:
    """A file that is not UTF-8 text is told of."""
    (said,) = mistakes(envs, b"HOST=\xff\xfe")
    assert said == "envs/qa.env: the file: is not UTF-8 text; expected one that is saved as UTF-8"


@pytest.mark.parametrize("beginning", ["", "# the API of qa\n\n", "---\n"])
def test_yaml(envs: Path, beginning: str) -> None:
    """It is said once, not for each line."""
    yaml = beginning + WHOLE.replace("=", ": ", 3)
    assert mistakes(envs, yaml) == ("envs/qa.env: the file: looks like YAML; expected KEY=value lines",)


@pytest.mark.parametrize("line", ["SCOPE: read", "SCOPE:"])
def test_one_line_of_yaml(envs: Path, line: str) -> None:
    """A file is no YAML for one line of it, wherever that stands."""
    (said,) = mistakes(envs, f"{line}\n{WHOLE}")
    assert said.startswith("envs/qa.env: line 1: ")


def test_unreadable(envs: Path) -> None:
    """A file that cannot be read is told of."""
    (envs / "qa.env").mkdir()
    with pytest.raises(InvalidEnvironments, match=re.escape("envs/qa.env: the file: cannot be read (Is a directory)")):
        Folder(envs, shown_as="envs").read()

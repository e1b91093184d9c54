"""One env file: its lines, and the files and pipes that it names."""

import os
import re
import threading
from collections.abc import Callable, Iterable
from io import StringIO
from pathlib import Path

import pytest
from dotenv.parser import Binding as Parsed
from dotenv.parser import parse_stream
from hypothesis import example, given, settings
from hypothesis import strategies as st

from credential_injector.environments import plain_lines, secrets
from credential_injector.environments.env_file import Binding, EnvFile
from credential_injector.environments.folder import Folder

BEGINNINGS = st.sampled_from(["KEY=", "OTHER=", "KEY = ", "export KEY=", "KEY", "# ", ""])
PIECES = st.sampled_from(["value", "a b", " ", "\t", "#", '"', "'", "\\", "$", "${KEY}", "`", "=", "ä", "\x0b"])
LINE = st.builds(str.__add__, BEGINNINGS, st.lists(PIECES, max_size=4).map("".join))


def read(text: str, parse: Callable[[str], Iterable[Parsed]]) -> tuple[dict[str, Binding], list[str]]:
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
    assert read(text, plain_lines.parse) == read(text, lambda text: parse_stream(StringIO(text)))


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
def test_a_value_that_may_be_meant_otherwise_is_warned_of_by_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str, warning: str | None
) -> None:
    """A comment is one, unless something that nobody sees could have been cut off a secret."""
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


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(secrets, "PIPE_DEADLINE", 5 * secrets.PIPE_STEP)
    return tmp_path / "pipe"


def value(file: Path) -> str:
    return EnvFile(file.parent / "qa.env", "envs/qa.env").value(
        "PASSWORD", "_FILE", Binding(file.name, 1, "PASSWORD_FILE"), secret=True
    )


@pytest.mark.parametrize("holds", [None, b"", b"half a secret"], ids=["nobody", "nothing", "never closed"])
def test_a_pipe_that_does_not_end_is_given_up(pipe: Path, holds: bytes | None) -> None:
    ends = [os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)]  # else nobody could write before it is read
    try:
        if holds is not None:
            ends.append(os.open(pipe, os.O_WRONLY))
            os.write(ends[1], holds)
        with pytest.raises(ValueError, match="nobody wrote into it and closed it within"):
            value(pipe)
    finally:
        for end in ends:
            os.close(end)


def test_a_pipe_is_read_to_its_end(pipe: Path) -> None:
    """Whoever writes may open it late, and write one piece after the other."""

    def write() -> None:
        with pipe.open("wb", buffering=0) as file:
            for piece in (b"\xef\xbb\xbfa", b" secret", b"\r\n"):
                file.write(piece)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    assert value(pipe) == "a secret"
    writer.join()


@pytest.mark.parametrize(
    ("path", "reason"), [("/dev/zero", "File too large"), (".", "Is a directory"), ("\0", "ValueError")]
)
def test_what_is_no_file_at_all_cannot_be_read(tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"cannot be read .{reason}"):
        EnvFile(tmp_path / "qa.env", "envs/qa.env").value(
            "PASSWORD", "_FILE", Binding(path, 1, "PASSWORD_FILE"), secret=True
        )

import re
from pathlib import Path
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from credential_injector import env_file
from credential_injector.env_file import Binding, EnvFile

BEGINNINGS = st.sampled_from(["KEY=", "OTHER=", "KEY = ", "export KEY=", "KEY", "# ", ""])
PIECES = st.sampled_from(["value", "a b", " ", "\t", "#", '"', "'", "\\", "$", "${KEY}", "`", "=", "ä", "\x0b"])
LINE = st.builds(str.__add__, BEGINNINGS, st.lists(PIECES, max_size=4).map("".join))


def read(text: str) -> tuple[dict[str, Binding], list[str]]:
    file = EnvFile(Path("qa.env"), "envs/qa.env")
    return file.bindings(text, str.upper, lambda key, line: f"{key} {line}"), file.mistakes


@example("KEY=value\n")
@example("# it's a comment\n\nKEY=two words\nOTHER=")
@example("KEY=value ")
@example("KEY=value # a comment")
@example("KEY=" + "a" * 1000 + '"')
@settings(max_examples=500)
@given(st.lists(LINE, max_size=3).map("\n".join))
def test_plain_lines_mean_what_python_dotenv_makes_of_them(text: str) -> None:
    plain = read(text)
    with patch.object(env_file, "PLAIN", re.compile(r"(?!)")):  # no line is
        assert plain == read(text)

"""Whatever stands in another program's files."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from credential_injector.environments.env_file import EnvFile
from credential_injector.environments.environment import read
from credential_injector.imports.draft import Draft
from credential_injector.imports.formats import drafts_of
from credential_injector.imports.source import NotImportable, open_source
from credential_injector.imports.written import NotWritten, write
from tests.fuzz.inputs import NUMBERS, SECRET, TEXT, TOKEN, assert_harmless, json_values, mostly, mutated
from tests.imports.fixtures import FORMATS
from tests.imports.fixtures import SECRET as OF_FIXTURES

Files = dict[str, bytes]
"""By their paths in a folder."""

SUFFIXES = (".json", ".yaml", ".bru", ".txt")
ODD = json_values(
    st.sampled_from([SECRET, TOKEN, "{{a}}", "{{ _.a }}", "${HOME}", "../x", "https://[::1", "#/a", "a\0"])
)


def fixtures() -> list[Files]:
    """The files of each format, a canary in them."""
    made = []
    for name, make in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), "https://login.example.com", "https://api.example.com")
            made.append(
                {
                    str(path.relative_to(folder)): path.read_text().replace(OF_FIXTURES, SECRET).encode()
                    for path in sorted(Path(folder).rglob("*"))
                    if path.is_file()
                }
            )
        assert made[-1], name
    return made


VALID = fixtures()


@st.composite
def broken(draw: st.DrawFn) -> Files:
    """Files of a format, one of them with a few bytes changed."""
    files = draw(st.sampled_from(VALID))
    name = draw(st.sampled_from(sorted(files)))
    return {**files, name: draw(mutated(files[name]))}


@st.composite
def odd(draw: st.DrawFn) -> Files:
    """Files of a format that are JSON, with odd values in a few places."""
    files = draw(st.sampled_from([one for one in VALID if any(name.endswith(".json") for name in one)]))
    name = draw(st.sampled_from([name for name in sorted(files) if name.endswith(".json")]))
    document = json.loads(files[name])
    for _ in range(draw(st.integers(1, 3))):
        document = replaced(draw, document)
    return {**files, name: json.dumps(document).encode()}


def replaced(draw: st.DrawFn, document: Any) -> Any:
    """The same with another value, or another key, in one place."""
    if not isinstance(document, dict | list) or not document or draw(st.integers(0, 5)) == 0:
        return draw(ODD)
    if isinstance(document, list):
        place = draw(st.integers(0, len(document) - 1))
        return [*document[:place], replaced(draw, document[place]), *document[place + 1 :]]
    key = draw(st.sampled_from(sorted(document)))
    new = draw(mostly(st.just(key), TEXT))
    return {
        other if other != key else new: one if other != key else replaced(draw, one) for other, one in document.items()
    }


ANYTHING = st.builds(
    lambda suffix, content: {f"x{suffix}": content},
    st.sampled_from(SUFFIXES),
    st.binary()
    | ODD.map(lambda value: json.dumps(value).encode())
    | TEXT.map(lambda text: text.encode("utf-8", "replace")),
)
COMMANDS = st.lists(
    st.sampled_from(
        ["-d", "grant_type=client_credentials", "-u", "a:b", "'", '"', "$'", "https://l.test/t", "-H", "$("]
    )
    | TEXT
    | NUMBERS.map(str),
).map(lambda words: {"x.txt": f"curl {' '.join(words)}".encode("utf-8", "replace")})


@given(broken() | odd() | ANYTHING | COMMANDS)
def test_files(files: Files) -> None:
    """They become drafts that can be written and read, or an error that names the file and no secret."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for one, content in files.items():
            (folder / "in" / one).parent.mkdir(parents=True, exist_ok=True)
            (folder / "in" / one).write_bytes(content)
        named = [folder / "in" / "bruno"] if "bruno/bruno.json" in files else sorted((folder / "in").iterdir())
        if isinstance(said := imported(named), NotImportable):
            assert str(said).startswith(str(folder / "in")), str(said)
            assert_harmless(str(said).replace(name, ""))
        else:
            check_written(said, folder)
        outside = {path for path in folder.rglob("*") if path.is_file() and path.parent != folder / "envs"}
        assert outside == {folder / "in" / one for one in files}


def imported(paths: Sequence[Path]) -> list[Draft] | NotImportable:
    try:
        return drafts_of([open_source(path) for path in paths])
    except NotImportable as error:
        return error


def check_written(drafts: Sequence[Draft], folder: Path) -> None:
    """All are written, so that each is read without a mistake but for what is to be filled in; or none is."""
    try:
        written = write(drafts, folder / "envs")
    except NotWritten as error:
        for line in str(error).split("\n"):
            assert_harmless(line.replace(str(folder), ""))
        assert not list(folder.glob("envs/*"))
        return
    assert len(written) == len(drafts)
    for one in written:
        file = EnvFile(one.path, one.path.name)
        read(file)
        keys = {mistake.removeprefix(f"{one.path.name}: ").partition(":")[0] for mistake in file.mistakes}
        assert keys <= set(one.to_fill_in), file.mistakes
        assert one.path.stat().st_mode & 0o777 == 0o600

import os
import stat
from pathlib import Path

import pytest

from credential_injector.envoy.files import Files
from tests.envoy.made import content


def mode(path: Path | str) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path / "envoy")
    made.make()
    return made


def test_alone(files: Files) -> None:
    """Without a group, this user alone may enter, read and write, whatever the umask is."""
    before = os.umask(0)
    try:
        path = files.paths.of("a.json")
        files.write(path, {"a": 1})
        files.make()
    finally:
        os.umask(before)
    assert (mode(files.folder), mode(path), mode(files.paths.refusals)) == (0o700, 0o600, 0o600)
    assert stat.S_ISFIFO(Path(files.paths.refusals).stat().st_mode)


def test_group(tmp_path: Path) -> None:
    """A group reads, and writes into the pipe only."""
    group = os.getgroups()[-1] if os.getgroups() else os.getgid()
    files = Files(tmp_path / "envoy", group=group)
    files.make()
    path = files.paths.of("a.json")
    files.write(path, "text")
    assert (mode(files.folder), mode(path), mode(files.paths.refusals)) == (0o750, 0o640, 0o660)
    assert {Path(one).stat().st_gid for one in (files.folder, path, files.paths.refusals)} == {group}


def test_replaced(files: Files) -> None:
    """Another file comes to its place as a whole, as Envoy notices; whoever reads meanwhile reads the old one."""
    path = files.paths.of("a.json")
    assert files.write(path, {"a": 1})
    with Path(path).open() as old:
        number = Path(path).stat().st_ino
        assert files.write(path, {"a": 2})
        assert old.read() == '{\n "a": 1\n}\n'
    assert Path(path).stat().st_ino != number
    assert content(path) == {"a": 2}


def test_same(files: Files) -> None:
    """What says the same already is left alone, and is still removed at the end."""
    path = files.paths.of("a.json")
    files.write(path, {"a": 1})
    number = Path(path).stat().st_ino
    again = Files(files.folder)
    assert not again.write(path, {"a": 1})
    assert Path(path).stat().st_ino == number
    again.end()
    assert not Path(path).exists()


def test_not_written(files: Files) -> None:
    """What could not be put in its place is not left beside it: it may hold a token."""
    path = Path(files.paths.of("a.json"))
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        files.write(str(path), "canary")
    assert sorted(one.name for one in files.folder.iterdir()) == ["a.json", "refusals"]


def test_rest_of_another_run(files: Files) -> None:
    """What a run that was killed left, with its pipe, is in nobody's way; a planted link leads nowhere."""
    outside = files.folder.parent / "outside"
    outside.write_text("as before")
    (files.folder / ".a.json.new").symlink_to(outside)
    files.make()
    files.write(files.paths.of("a.json"), "new")
    assert outside.read_text() == "as before"


def test_end(files: Files) -> None:
    """What was written goes, and what others put there stays."""
    files.write(files.paths.of("a.json"), "text")
    files.write(files.paths.of("b.json"), "text")
    Path(files.paths.of("b.json")).unlink()
    (files.folder / "other").write_text("of somebody else")
    files.end()
    assert [one.name for one in files.folder.iterdir()] == ["other"]


def test_one_command(files: Files) -> None:
    """A folder is one command's, until that ends."""
    files.write(files.paths.of("a.json"), "text")
    with pytest.raises(ValueError, match="another credential-injector envoy feeds it; end that one"):
        Files(files.folder).make()
    assert Path(files.paths.of("a.json")).exists()
    files.end()
    Files(files.folder).make()


def test_left(files: Files) -> None:
    """What a killed run left is removed at the end, and the next run may have the folder."""
    key = Path(files.paths.certificate(7))
    key.write_text("a key")
    files.end()
    later = Files(files.folder)
    later.make()
    later.end()
    assert list(files.folder.iterdir()) == []

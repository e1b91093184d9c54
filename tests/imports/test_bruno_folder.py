"""Which files of a Bruno collection are read, and which are somebody else's."""

import os
from pathlib import Path

import pytest

from credential_injector.imports import bruno_folder
from credential_injector.imports.draft import Draft
from credential_injector.imports.formats import drafts_of
from credential_injector.imports.source import NotImportable, open_source

BEARER = "auth {{\n  mode: bearer\n}}\n\nauth:bearer {{\n  token: {}\n}}\n"
REQUEST = "get {{\n  url: https://{}.test/\n  auth: inherit\n}}\n"


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def drafts(*paths: Path) -> list[Draft]:
    return drafts_of([open_source(path) for path in paths])


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """One whose token is `own`, with an environment and a request below it."""
    folder = tmp_path / "shared" / "orders"
    written(folder, "bruno.json", "{}")
    written(folder, "collection.bru", BEARER.format("own"))
    written(folder, "below/one.bru", REQUEST.format("one"))
    written(folder, "environments/qa.bru", "vars {\n  a: b\n}\n")
    return folder


@pytest.mark.parametrize("named", ["below/one.bru", "environments/qa.bru"])
def test_above(collection: Path, named: str) -> None:
    """Of a file that is named, the collection is the nearest folder above it."""
    (draft,) = drafts(collection / named)
    assert (draft.name, draft.values["VALUE"], draft.values["HOST"]) == ("qa", "own", "https://one.test")


@pytest.mark.parametrize("named", ["below/one.bru", "environments/qa.bru"])
@pytest.mark.parametrize("whose", ["everybody", "another", "file"])
def test_above_of_others(collection: Path, named: str, whose: str) -> None:
    """What others can change is not read, unless the user names it."""
    if whose == "everybody":
        collection.parent.chmod(0o777)
    elif os.geteuid() == 0:
        os.chown(collection if whose == "another" else collection / "bruno.json", 4242, -1)
    else:
        pytest.skip("only root can give files away")
    with pytest.raises(NotImportable, match=r"bruno\.json: belongs to the collection of .*; name the collection's fol"):
        drafts(collection / named)
    assert [draft.values["VALUE"] for draft in drafts(collection)] == ["own"]


@pytest.mark.parametrize("name", ["collection.bru", "environments/qa.bru", "below/one.bru", "below/folder.bru"])
def test_beside_of_others(collection: Path, name: str) -> None:
    """Each file that is not named must be the user's own."""
    named = written(collection, "named.bru", REQUEST.format("two"))
    path = collection / name
    path.touch()
    assert drafts(named)
    path.chmod(0o666)
    with pytest.raises(NotImportable, match=path.name):
        drafts(named)


def test_below_without_a_collection(tmp_path: Path) -> None:
    """Where there is no collection, the folder's other files must be the user's own, too."""
    named = written(tmp_path, "one.bru", BEARER.format("t") + "get {\n  url: https://a.test/\n  auth: bearer\n}\n")
    written(tmp_path, "two.bru", REQUEST.format("two"))
    assert [draft.values["VALUE"] for draft in drafts(named)] == ["t"]
    (tmp_path / "two.bru").chmod(0o666)
    with pytest.raises(NotImportable, match=r"two\.bru"):
        drafts(named)


@pytest.mark.parametrize("name", ["collection.bru", "environments/prod.bru", "stolen.bru", "below/folder.bru"])
def test_link(collection: Path, tmp_path: Path, name: str) -> None:
    """No link in a collection makes a file of another one part of it."""
    written(tmp_path, "private.bru", BEARER.format("canary") + REQUEST.format("x"))
    (collection / name).unlink(missing_ok=True)
    (collection / name).symlink_to(tmp_path / "private.bru")
    with pytest.raises(NotImportable, match="leads out of the collection") as told:
        drafts(collection)
    assert "canary" not in str(told.value)


def test_linked_folder(collection: Path, tmp_path: Path) -> None:
    """Nor does a link to a folder; within the collection a link is fine."""
    written(tmp_path, "private/prod.bru", "vars {\n  secret: canary\n}\n")
    (collection / "inner.bru").symlink_to(collection / "below" / "one.bru")
    (collection / "requests").symlink_to(tmp_path / "private")
    assert [draft.values["VALUE"] for draft in drafts(collection)] == ["own"]
    (collection / "environments" / "qa.bru").unlink()
    (collection / "environments").rmdir()
    (collection / "environments").symlink_to(tmp_path / "private")
    with pytest.raises(NotImportable, match="leads out of the collection"):
        drafts(collection)


def test_nested(collection: Path) -> None:
    """A collection within another one keeps its requests and its auth to itself."""
    written(collection, "inner/bruno.json", "{}")
    written(collection, "inner/collection.bru", BEARER.format("inner"))
    written(collection, "inner/two.bru", REQUEST.format("two"))
    for named, token, host in (
        (collection, "own", "one"),
        (collection / "inner", "inner", "two"),
        (collection / "inner" / "two.bru", "inner", "two"),
        (collection / "below" / "one.bru", "own", "one"),
    ):
        assert [(one.values["VALUE"], one.values["HOST"]) for one in drafts(named)] == [(token, f"https://{host}.test")]


def test_size_of_all(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size counts for all files together."""
    monkeypatch.setattr(bruno_folder, "LARGEST", 1000)
    for number in range(3):
        written(collection, f"{number}.bru", REQUEST.format(number) + "docs {\n" + "  x\n" * 100 + "}\n")
    with pytest.raises(NotImportable, match="orders: has files of more than"):
        drafts(collection)


@pytest.mark.parametrize(("limit", "most"), [("MOST_FILES", 3), ("MOST_ENTRIES", 5)])
def test_many(collection: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int) -> None:
    """Neither has a folder that is no collection's, such as a home folder, all its files read."""
    monkeypatch.setattr(bruno_folder, limit, most)
    for number in range(4):
        written(collection, f"{number}.bru", REQUEST.format(number))
    with pytest.raises(NotImportable, match="orders: has more than"):
        drafts(collection)

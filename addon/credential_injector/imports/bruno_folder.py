"""The folder of a Bruno collection: which of its files are read, and how much of them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from credential_injector.imports.bru import Block, read_bru
from credential_injector.imports.source import LARGEST, NotImportable, Source, open_source
from credential_injector.permissions import Look

MARKS = ("bruno.json", "collection.bru")
MOST_FILES = 2000  # requests, environments and folders with settings
MOST_ENTRIES = 50_000  # of folders, whatever they are
_NOT_ENTERED = ("node_modules", ".git")


class BrunoFolder:
    """One collection's files, each of which is read once.

    Whoever names the collection's folder, or its bruno.json, names what is in it. Of a single file that is named, the
    others are read only where nobody else can change them: what they say decides where secrets go.
    """

    def __init__(self, named: Sequence[Source]) -> None:
        self._shown = named[0].name
        self._named = {_absolute(one.path): one for one in named}
        self._all_named = named[0].path.name in MARKS
        self._look = Look()
        self._left = LARGEST
        self._kept: dict[Path, dict[str, Block]] = {}
        self.root = self._nearest(named[0].path.parent)
        self._within = Path(os.path.realpath(self.root))

    def _nearest(self, folder: Path) -> Path:
        """The collection's folder: the nearest one with its mark. Raises NotImportable."""
        for one in (folder, *folder.absolute().parents):
            for mark in MARKS:
                if _is_file(one / mark):
                    if not self._all_named:
                        self._check_owner(one / mark)
                    return one
        return folder

    def environments(self) -> list[Path]:
        """Its environments' files. Raises NotImportable."""
        folder = self.root / "environments"
        return [path for path in self._bru_files(folder, 0) if path.parent == folder] if folder.is_dir() else []

    def requests(self) -> Iterator[Path]:
        """Its requests' files, without those of a collection within it. Raises NotImportable."""
        for path in self._bru_files(self.root, MOST_ENTRIES):
            if path.name not in ("collection.bru", "folder.bru") and path.parent != self.root / "environments":
                yield path

    def blocks(self, path: Path, *, keep: bool = False) -> dict[str, Block]:
        """The blocks of a file; none where there is no file. Raises NotImportable."""
        if path in self._kept:
            return self._kept[path]
        blocks: dict[str, Block] = {}
        if (named := self._named.get(_absolute(path))) is not None:
            blocks = _read(named)
        elif _is_file(path):
            self._check(path)
            source = open_source(path)
            self._left -= len(source.text)
            if self._left < 0:
                raise NotImportable(self.root, "", f"has files of more than {LARGEST >> 20} MB; expected a few")
            blocks = _read(source)
        if keep:
            self._kept[path] = blocks
        return blocks

    def _bru_files(self, folder: Path, deepest: int) -> list[Path]:
        """The .bru files below a folder, in order."""
        found: list[Path] = []
        entries, folders = 0, [folder]
        while folders:
            below = []
            try:
                with os.scandir(folders.pop()) as scanned:
                    for entry in scanned:
                        entries += 1
                        if entry.name.endswith(".bru"):
                            found.append(Path(entry.path))
                        elif deepest and entry.name not in _NOT_ENTERED and entry.is_dir(follow_symlinks=False):
                            below.append(Path(entry.path))
                        if len(found) > MOST_FILES or entries > MOST_ENTRIES:
                            raise NotImportable(
                                self.root, "", f"has more than {MOST_FILES} requests; expected one collection's folder"
                            )
            except OSError as error:
                raise NotImportable(folder, "", f"cannot be read ({error.strerror}); expected a folder") from None
            # A folder with a mark of its own is another collection, whose requests have another auth.
            folders += [one for one in below if not any(_is_file(one / mark) for mark in MARKS)]
        return sorted(found)

    def _check(self, path: Path) -> None:
        """Raises NotImportable for a file that the user did not name, and that leads out of what they did name."""
        if not Path(os.path.realpath(path)).is_relative_to(self._within):
            raise NotImportable(path, "", "is a link that leads out of the collection; expected a file in it")
        if not self._all_named:
            self._check_owner(path)

    def _check_owner(self, path: Path) -> None:
        if self._look.objection(path) is not None:
            raise NotImportable(
                path,
                "",
                f"belongs to the collection of {self._shown}, and other users of this machine can change it;"
                " name the collection's folder if you trust what is in it",
            )


def _read(source: Source) -> dict[str, Block]:
    try:
        return read_bru(source.text)
    except ValueError as error:
        place, _, what = str(error).partition(": ")
        raise source.wrong(place, what) from None


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - `.absolute()` keeps `..`


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a folder that this user must not enter
        return False

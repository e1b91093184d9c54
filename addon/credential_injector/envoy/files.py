"""The files in Envoy's folder. The only module of this package that writes."""

import errno
import json
import os
import stat
from contextlib import suppress
from pathlib import Path

from credential_injector.envoy.paths import Paths
from credential_injector.envoy.typed import Message

_SUFFIXES = {".json", ".new", ".pem", ".prom", ".txt", ".yaml"}


class Files:
    """A folder that this user alone may read, and the members of a group if one is given."""

    def __init__(self, folder: Path, *, group: int | None = None) -> None:
        self.folder = folder
        self.paths = Paths(str(folder))
        self._group = group
        self._made: set[Path] = set()
        self._lock: int | None = None

    def make(self) -> None:
        """Make the folder and the pipe. Raises OSError, and ValueError where another command feeds the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._take()
        self._protect(self.folder, 0o700)
        pipe = Path(self.paths.refusals)
        # What a run left that was killed is removed at the end, too: nobody writes all of it again.
        self._made |= {one for one in self.folder.iterdir() if one.suffix in _SUFFIXES or one.name == "admin"}
        # An Envoy that somebody else has started goes on writing into the one that it has opened.
        if not (pipe.exists() and stat.S_ISFIFO(pipe.lstat().st_mode)):
            pipe.unlink(missing_ok=True)
            os.mkfifo(pipe, 0o600)
        self._protect(pipe, 0o600, writes=True)
        self._made.add(pipe)

    def left_of_secrets(self) -> list[str]:
        """Files of credentials that are there already."""
        return [str(file) for name in ("token-*.json", "header-*.json") for file in self.folder.glob(name)]

    def write(self, path: str, content: Message | str) -> bool:
        """Replace a file as a whole. Returns whether it says something else now. Raises OSError."""
        file, text = Path(path), content if isinstance(content, str) else json.dumps(content, indent=1) + "\n"
        with suppress(OSError, UnicodeDecodeError):
            if file.read_text("utf-8") == text:
                self._made.add(file)
                return False
        beside = file.with_name(f".{file.name}.new")
        beside.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as new:
                new.write(text)
            self._protect(beside, 0o600)
            beside.replace(file)  # Envoy notices a file that is moved, and not one that is written
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            raise OSError(error.errno, error.strerror, path) from None  # a full disk names no file
        self._made.add(file)
        return True

    def overwrite(self, path: str, text: str) -> None:
        """Write into a file in its place: Envoy notices that only, of a file that is no resource. Raises OSError."""
        file = Path(path)
        if not file.is_file() or file.is_symlink():
            self.write(path, text)
        elif file.read_text("utf-8") != text:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW), "w", encoding="utf-8") as same:
                same.write(text)
        self._made.add(file)

    def end(self) -> None:
        """Remove everything that was written, and give the folder free."""
        for path in self._made:
            with suppress(OSError):
                path.unlink()
        self._made.clear()
        if self._lock is not None:
            Path(self.paths.of("admin")).unlink(missing_ok=True)  # which Envoy itself writes
            os.close(self._lock)
            self._lock = None

    def _take(self) -> None:
        """Take the folder for this process, however that ends: two would remove each other's files."""
        import fcntl  # here, as Windows has none

        if self._lock is not None:
            return
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            self._lock = None
            if error.errno != errno.EWOULDBLOCK:
                return  # this file system knows no locks
            raise ValueError(
                f"--dir {self.folder}: another credential-injector envoy feeds it; end that one, or name another folder"
            ) from None

    def _protect(self, path: Path, mode: int, *, writes: bool = False) -> None:
        """Give it this mode; the group gets what its owner has, but does not write."""
        if self._group is not None:
            os.chown(path, -1, self._group)
            mode |= mode >> 3 & (0o060 if writes else 0o050)
        path.chmod(mode)

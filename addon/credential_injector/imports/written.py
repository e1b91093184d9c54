"""Drafts -> environment files, all of them or none."""

import errno
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from credential_injector.environments import environment
from credential_injector.environments.env_file import EnvFile
from credential_injector.environments.file_names import printable
from credential_injector.environments.folder import Folder, InvalidEnvironments
from credential_injector.imports.draft import Draft
from credential_injector.imports.env_text import Secrets, env_text

_MISSING = re.compile(
    r"(?P<key>[A-Z_]+): is missing(?: and [^;]*)?[;,] (?:so it has no default; )?expected (?P<expected>.+)"
)


class NotWritten(Exception):
    """Why no file was written: a line, or several."""


class Written(NamedTuple):
    """One file that was written."""

    path: Path
    draft: Draft
    to_fill_in: tuple[str, ...]
    """The keys that it needs, and whose values the draft does not have."""


def write(drafts: Sequence[Draft], folder: Path, *, secrets: Secrets = "file", force: bool = False) -> list[Written]:
    """Write a file for each draft, which only this user can read. Raises NotWritten; then nothing is written."""
    drafts = _told_apart(drafts)
    paths = [_path(folder, draft.name) for draft in drafts]
    names = [draft.name.lower() for draft in drafts]  # some disks take QA.env for qa.env
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise NotWritten(
            f"two environments would be called {printable(twice)}; import one of them at a time, with --name"
        )
    texts: list[tuple[Written, str]] = []
    mistakes: list[str] = []
    for path, draft in zip(paths, drafts, strict=True):
        try:
            blank = to_fill_in(draft)
            texts.append((Written(path, draft, tuple(blank)), env_text(draft, secrets, to_fill_in=blank)))
        except ValueError as error:
            mistakes += [f"{printable(draft.source)}: environment {printable(draft.name)}: {one}" for one in error.args]
    if mistakes:
        raise NotWritten("\n".join(mistakes))
    if taken := _taken(drafts, folder):
        raise NotWritten("\n".join(taken))
    if not force and (there := [str(one.path) for one, _ in texts if os.path.lexists(one.path)]):
        raise NotWritten(f"{', '.join(there)}: exists already; choose another --name, or overwrite it with --force")
    _write_all([(one.path, text) for one, text in texts], folder, force=force)
    return [one for one, _ in texts]


def _path(folder: Path, name: str) -> Path:
    """The file of an environment. No path is made of a name in another way. Raises NotWritten."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise NotWritten(f"{printable(name)}: cannot name an environment; expected letters, digits, '-', '_' and '.'")
    return folder / f"{name}.env"


def _told_apart(drafts: Sequence[Draft]) -> list[Draft]:
    """Drafts of the same origin, with AS in each: else mitmproxy would not start."""
    hosts = [set(filter(None, map(str.strip, draft.values.get("HOST", "").split(",")))) for draft in drafts]
    made: list[Draft] = []
    for number, draft in enumerate(drafts):
        shared = [other for other, one in enumerate(hosts) if other != number and one & hosts[number]]
        if shared and "AS" not in draft.values:
            first = {"DEFAULT": "true"} if number < min(shared) else {}
            note = "several files name this host; X-Inject-As chooses one, and DEFAULT=true serves everybody else"
            values = {**draft.values, "AS": draft.name, **first}
            made.append(replace(draft, values=values, notes={**draft.notes, "AS": note}))
        else:
            made.append(draft)
    return made


def _taken(drafts: Sequence[Draft], folder: Path) -> list[str]:
    """Origins that files of the folder have already, unless these are overwritten."""
    new = {draft.name for draft in drafts}
    try:
        environments, _ = Folder(folder).survey()
    except InvalidEnvironments:
        return []
    owners = {str(origin): one.file for one in environments if one.name not in new for origin in one.origins}
    return [
        f"{draft.name}: {host} is in HOST of {owners[host]} already; remove it there, or overwrite that file by --name"
        for draft in drafts
        for host in map(str.strip, draft.values.get("HOST", "").split(","))
        if host in owners
    ]


def to_fill_in(draft: Draft) -> dict[str, str]:
    """The keys that the draft's file needs besides its own, each with what is expected.

    Raises ValueError, whose arguments are the mistakes in what the draft has: `KEY: what is wrong`.
    """
    shown = f"{draft.name}.env"
    file = EnvFile(Path(shown), shown)
    environment.parse(file, env_text(draft))
    blank, mistakes = {}, []
    for mistake in (one.removeprefix(f"{shown}: ") for one in file.mistakes):
        missing = _MISSING.fullmatch(mistake)
        if missing is not None:
            blank[missing["key"]] = missing["expected"]
        else:
            mistakes.append(mistake)
    if mistakes:
        raise ValueError(*mistakes)
    return blank


def _write_all(texts: Sequence[tuple[Path, str]], folder: Path, *, force: bool) -> None:
    temporary: list[Path] = []
    made: list[Path] = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, text in texts:
            descriptor, name = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.", suffix=".new")  # 0600
            temporary.append(Path(name))
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
        if folders := [path for path, _ in texts if path.is_dir() and not path.is_symlink()]:
            raise IsADirectoryError(errno.EISDIR, f"{folders[0].name} is a folder")  # before the first is replaced
        for (path, _), new in zip(texts, temporary, strict=True):
            if force:
                new.replace(path)
            else:
                _link(path, new)
                made.append(path)
    except (OSError, ValueError) as error:
        for path in made:
            with suppress(OSError):
                path.unlink()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise NotWritten(f"{folder}: cannot be written ({reason}); nothing was written") from None
    finally:
        for path in temporary:
            with suppress(OSError):
                path.unlink()


def _link(path: Path, new: Path) -> None:
    """Give the new file this name, too, unless something has it. Raises OSError."""
    try:
        path.hardlink_to(new)  # unlike a rename, it overwrites nothing
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links, such as a USB stick's
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(new.read_bytes())
        except OSError:
            path.unlink()
            raise

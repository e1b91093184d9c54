"""Who may read a file that holds secrets, and who may write what is read: an env file decides which commands run."""

import os
import shlex
import stat
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

NAMED = 10  # files that a warning names one by one
MOST_LINKS = 40  # symbolic links that a path may lead through; Linux follows as many
HAS_MODES = os.name == "posix"
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def others_can_read(path: Path) -> bool:
    """Whether other users of this machine can. Where files have no modes (Windows), nobody knows."""
    try:
        return HAS_MODES and bool(path.stat().st_mode & 0o044)
    except OSError:
        return False


def warning(paths: Sequence[Path]) -> str:
    """One line for these files, with the command that fixes it."""
    names = " ".join(shlex.quote(str(path)) for path in paths[:NAMED])
    more = f" (and {len(paths) - NAMED} more)" if len(paths) > NAMED else ""
    return f"other users of this machine can read secrets; run: chmod 600 {names}{more}"


class Look:
    """One look at who can change files, which asks about each folder once.

    As with ssh's StrictModes, only the user and root may change a file, and every folder and link on its path.
    Without modes (Windows), there is nothing to see.
    """

    def __init__(self, *, has_modes: bool = HAS_MODES) -> None:
        self._has_modes = has_modes
        self._users = trusted_users() if has_modes else frozenset()
        self._found: dict[Path, str | None] = {}

    def objection(self, path: Path) -> str | None:
        """What is wrong, what is expected, and the command that fixes it. None where nothing is wrong, or no file."""
        return self._along(path.absolute(), MOST_LINKS) if self._has_modes else None

    def _along(self, path: Path, links: int) -> str | None:
        if path not in self._found:
            parent = path.parent
            self._found[path] = (None if parent == path else self._along(parent, links)) or self._at(path, links)
        return self._found[path]

    def _at(self, path: Path, links: int) -> str | None:
        try:
            status = path.lstat()
            target = path.readlink() if stat.S_ISLNK(status.st_mode) else None
        except (OSError, ValueError):  # there is none, or its name holds a NUL
            return None  # whoever reads it says so
        shown, user = shlex.quote(str(path)), os.geteuid()
        if status.st_uid not in self._users:
            chown = f"{'sudo ' if user else ''}chown{' -h' if target else ''} {_user(user)} {shown}"
            return (
                f"can be changed by the user {_user(status.st_uid)}, who could so run commands as you; expected that"
                f" only you and root can; if you trust what it holds, run: {chown}"
            )
        if target is not None:
            # Of a link like /proc/self/fd/63 the target is no path, and what it leads to is this process's own.
            return self._along(path.parent / target, links - 1) if links else None
        if not status.st_mode & _WRITABLE or stat.S_ISCHR(status.st_mode):  # to write to a terminal changes no input
            return None
        is_folder = stat.S_ISDIR(status.st_mode)
        if is_folder and status.st_mode & stat.S_ISVTX:  # as /tmp: there nobody replaces other's files
            return None
        private = any(_is_private_group(user, status.st_gid) for user in self._users)
        if private and not status.st_mode & stat.S_IWOTH and not _has_acl(path):
            return None
        return (
            "can be changed by other users of this machine, who could so run commands as you; expected that only you"
            f" can; run: chmod {'go-w' if is_folder else '600'} {shown}"
        )


def trusted_users() -> frozenset[int]:
    """This user, root, and with sudo whoever called it, as git has it (safe.directory)."""
    user, caller = os.geteuid(), os.environ.get("SUDO_UID", "")
    return frozenset({0, user, *([int(caller)] if user == 0 and caller.isascii() and caller.isdigit() else [])})


def is_private_group(user: int, group: int) -> bool:
    """Whether a group is this user's alone. Many systems give each user one, and let it write what the user creates
    (umask 002); Debian's ssh makes the same exception. Root has none: in containers, other users are in its group.
    """
    import grp
    import pwd

    try:
        own, members = pwd.getpwuid(user), grp.getgrgid(group)
    except KeyError:
        return False
    return (
        group != 0
        and (own.pw_gid, own.pw_name) == (group, members.gr_name)
        and set(members.gr_mem) <= {own.pw_name}
        and all(other.pw_uid == user for other in pwd.getpwall() if other.pw_gid == group)
    )


_is_private_group = lru_cache(is_private_group)  # a directory service may answer slowly


def _has_acl(path: Path) -> bool:
    """Whether the group's bits are the mask of an access control list, so that they tell of others than the group."""
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except (AttributeError, OSError):  # only Linux has the function, and not every file system the lists
        return False


def _user(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)

"""Which files of a folder are env files, and what to do with those that only look like one."""

import re
from collections.abc import Iterator
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

OWN_EXAMPLE = "dev.env.example"  # of which `credential-injector init` makes a file
_LIKE_ENV = re.compile(r"^\.env$|[^.]\.env(\.txt)?$", re.IGNORECASE)
_EXAMPLE = re.compile(r"(.+?)(\.env)?\.(example|sample|template|dist)", re.IGNORECASE)
_HOST = re.compile(rb"^\s*(?:export\s+)?HOST\s*(=|:\s)", re.IGNORECASE | re.MULTILINE)
_MOST_BYTES = 1 << 20  # of a file that may be an env file


def env_files(folder: Path, shown: str) -> tuple[dict[str, Path], list[str]]:
    """The env files by the names of their environments, and the mistakes in files' names. Raises OSError."""
    files: dict[str, Path] = {}
    mistakes: list[str] = []
    for file in sorted(folder.iterdir(), key=attrgetter("name")) if folder.is_dir() else []:
        if file.suffix == ".env" and not file.name.startswith("."):
            files[printable(file.stem)] = file
        elif _LIKE_ENV.search(file.name) and file.name[:2] != ".#":
            mistakes.append(
                f"{shown}/{printable(file.name)}: the file's name: is not read; expected NAME.env, a file for each"
                f" environment; rename it to {shown}/{_free_name(file)}.env"
            )
    return files, mistakes


def found_instead(folder: Path, shown: str) -> str:
    """What to do with something like an env file, where there is none; empty where nothing is like one."""
    with suppress(OSError):
        paths = sorted(folder.iterdir())
        for advices in (_renamed(paths, shown), _moved(paths, shown), _copied(paths, shown)):
            for advice in advices:
                return advice
    return ""


def printable(name: str) -> str:
    """A file's name without characters that a terminal obeys, or that no output can hold, as they are not UTF-8."""
    if name.isprintable():
        return name
    return "".join(character if character.isprintable() else "?" for character in name)


def _free_name(file: Path) -> str:
    """What to call the environment of a misnamed file; NAME, where the file of every likely name is there."""
    own = printable(re.sub(r"\.env(\.txt)?$", "", file.name, flags=re.IGNORECASE))
    for name in (own,) if own else ("qa", "dev", "test"):
        target = file.with_name(f"{name}.env")
        if not target.exists() or target.samefile(file):  # QA.ENV is QA.env where case does not count
            return name
    return "NAME"


def _renamed(paths: list[Path], shown: str) -> Iterator[str]:
    for path in paths:
        name = re.match(r"[A-Za-z0-9_-]*", path.name)
        if name and name[0] and not _EXAMPLE.fullmatch(path.name) and (host := _host_in(path)):
            todo = "rename it to" if host[1] == b"=" else "write KEY=value lines into"
            yield f"{shown}/{printable(path.name)} has a HOST, and is not read; {todo} {shown}/{name[0]}.env"


def _host_in(path: Path) -> re.Match[bytes] | None:
    """The HOST of a file, with `=` as in an env file, or with `:` as in YAML."""
    return _HOST.search(path.read_bytes()) if path.is_file() and path.stat().st_size < _MOST_BYTES else None


def _moved(paths: list[Path], shown: str) -> Iterator[str]:
    for path in paths:
        if path.is_dir() and (inside := sorted(path.glob("*.env"))):
            name = printable(path.name)
            yield (
                f"{shown}/{name}/{printable(inside[0].name)} lies in a folder of its own, where it is not read; move it"
                f" to {shown}, or name its folder: inject_envs={shown}/{name}"
            )


def _copied(paths: list[Path], shown: str) -> Iterator[str]:
    for path in paths:
        name = printable(path.name)
        if name != OWN_EXAMPLE and (example := _EXAMPLE.fullmatch(name)):
            yield f"{shown}/{name} is an example, which is not read; copy it to {shown}/{example[1]}.env and fill it in"

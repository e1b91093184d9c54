"""The folder of environment files. Only new and changed files are read."""

import logging
import stat
from collections.abc import AsyncGenerator, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from credential_injector import permissions
from credential_injector.environments import file_names, watch
from credential_injector.environments.env_file import EnvFile
from credential_injector.environments.environment import Environment, read
from credential_injector.environments.file_names import printable
from credential_injector.environments.spelling import did_you_mean
from credential_injector.origins.origin import Origin
from credential_injector.permissions import Look
from credential_injector.threads import overdue

logger = logging.getLogger(__name__)

DEFAULT_FOLDER = "envs"
OVERDUE = 15.0  # seconds after which the log says that reading takes long; a single pipe or command takes less


class InvalidEnvironments(ValueError):
    """Some files are wrong. `mistakes` are lines: file, key, what is wrong, what is expected."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


class _Reading(NamedTuple):
    """What a file said, and the state of the files it was read from."""

    environment: Environment | None
    file: EnvFile
    state: tuple[object, ...]


class Folder:
    """`path/*.env`, or only those that `only` names. `shown_as` is the folder's name in messages."""

    def __init__(self, path: Path, *, only: Iterable[str] | None = None, shown_as: str | None = None) -> None:
        self.path = path
        self._only = None if only is None else tuple(only)
        self._shown = printable(shown_as or str(path))
        self._readings: dict[str, _Reading] = {}
        self.at = self._shown
        """What is being read, as messages name it."""

    def read(self) -> tuple[Environment, ...]:
        """The environments as they are now. A file that has not changed is not read again, so its commands do not run.

        Raises InvalidEnvironments with every mistake of every file.
        """
        before = self._readings
        environments, mistakes = self.survey()
        _warn_of_others(reading for name, reading in self._readings.items() if reading is not before.get(name))
        if mistakes:
            raise InvalidEnvironments(mistakes)
        return environments

    def survey(self) -> tuple[tuple[Environment, ...], list[str]]:
        """The environments whose files are right, and every mistake. Raises InvalidEnvironments without a folder."""
        self.at = self._shown
        with overdue(OVERDUE, self._tell_overdue):
            return self._survey()

    def _tell_overdue(self) -> None:
        logger.warning(
            f"{self.at}: still being read, {OVERDUE:.0f} s after {self._shown} was begun; no change is noticed until a"
            " disk, a pipe or a command answers"
        )

    def _survey(self) -> tuple[tuple[Environment, ...], list[str]]:
        before, look = self._readings, Look()
        if self.path.is_dir() and (objection := look.objection(self.path)):
            raise InvalidEnvironments([f"{self._shown}: the folder: {objection}"])
        files, mistakes = self._files()
        for name in self._only or ():
            if name not in files:
                mistakes.append(self._missing(name, files))
        self._readings = {
            name: self._reading(name, file, look)
            for name, file in files.items()
            if self._only is None or name in self._only
        }
        mistakes += (mistake for reading in self._readings.values() for mistake in reading.file.mistakes)
        for name, reading in self._readings.items():
            if reading is not before.get(name):
                for line in reading.file.warnings:
                    logger.warning(line)
        environments = tuple(one.environment for one in self._readings.values() if one.environment is not None)
        mistakes += _shared_origins(environments)
        return environments, mistakes

    def names(self) -> list[str]:
        """The names of the environments, without reading a file. Raises InvalidEnvironments."""
        return list(self._files()[0])

    def secret_files(self, name: str) -> list[Path]:
        """The files that held the secrets of an environment when it was read last."""
        return list(dict.fromkeys(self._readings[name].file.secret_files))

    def _files(self) -> tuple[dict[str, Path], list[str]]:
        """The env files by the names of their environments, and the mistakes in files' names."""
        try:
            return file_names.env_files(self.path, self._shown)
        except OSError as error:
            wrong = f"{self._shown}: cannot be read ({error.strerror}); expected a folder"
            raise InvalidEnvironments([wrong]) from None

    def misnamed(self) -> list[str]:
        """The mistakes in files' names. Raises InvalidEnvironments."""
        return self._files()[1]

    def found_instead(self) -> str:
        """What to do with something like an env file, where there is none; empty where nothing is like one."""
        return file_names.found_instead(self.path, self._shown)

    def _missing(self, name: str, files: Iterable[str]) -> str:
        """The mistake of asking for an environment that is not there, with what may have been meant."""
        wrong = f"inject_env: {name}: {self._shown}/{name}.env does not exist"
        if (self.path / name).is_file():
            return f"{wrong}; rename {self._shown}/{name} to {self._shown}/{name}.env"
        return wrong + (did_you_mean(name, files, cutoff=0.5) or f"; expected one of {', '.join(files) or 'none'}")

    def take_over(self, before: "Folder") -> None:
        """Keep what `before` has read, if it is the same folder."""
        if before.path == self.path:
            self._readings = dict(before._readings)

    def forget(self, names: Iterable[str]) -> bool:
        """Read these environments' files again next time, if a command or a pipe in them may give another secret.

        Returns whether there is one.
        """
        forgotten = {name for name in names if name in self._readings and self._readings[name].file.runs_commands}
        self._readings = {name: kept for name, kept in self._readings.items() if name not in forgotten}
        return bool(forgotten)

    def changes(self) -> AsyncGenerator[None]:
        """Once at the beginning, then whenever something may have changed. It never ends by itself."""
        return watch.changes(self._watched, self._shown)

    def _reading(self, name: str, file: Path, look: Look) -> _Reading:
        earlier = self._readings.get(name)
        if earlier is not None and earlier.state == _state([file, *earlier.file.files], look):
            return earlier
        self.at = f"{self._shown}/{printable(file.name)}"
        reading = EnvFile(file, self.at, look)
        before = _state([file], look)  # so that a change during the reading counts as one after it
        environment = read(reading)
        return _Reading(environment, reading, before + _state(reading.files, look))

    def _watched(self) -> set[Path]:
        """The folders whose changes matter. For one that does not exist: the one in which it would be made."""
        folders = {self.path.resolve()}
        folders |= {file.resolve().parent for one in self._readings.values() for file in one.file.files}
        return {next(place for place in (folder, *folder.parents) if place.is_dir()) for folder in folders}


def open_folder(given: str, only: Iterable[str] = ()) -> Folder:
    """The folder that `inject_envs` names: in the working directory, else beside addon/.

    Raises InvalidEnvironments where there is none, unless it is the default.
    """
    clone = Path(__file__).parents[2]
    try:
        path = Path(given).expanduser()
        places = [path, clone.parent / path] if (clone / "inject.py").is_file() else [path]
        found = next((place for place in places if place.is_dir()), None)
    except (OSError, RuntimeError, ValueError):  # too long, of an unknown user, with a NUL
        path, found = Path(given), None
    if found is None and given != DEFAULT_FOLDER:
        wrong = f"inject_envs: {given}: no such folder; expected the folder of the environment files"
        raise InvalidEnvironments([wrong])
    return Folder(found or path, only=tuple(only) or None)


def _warn_of_others(readings: Iterable[_Reading]) -> None:
    secret = [path for reading in readings for path in reading.file.secret_files]
    if exposed := list(dict.fromkeys(filter(permissions.others_can_read, secret))):
        logger.warning(permissions.warning(exposed))


def _state(files: Iterable[Path], look: Look) -> tuple[object, ...]:
    def state(path: Path) -> object:
        try:
            status = path.stat()
        except OSError:
            return None
        # Reading from a pipe changes its time.
        content = (status.st_mtime_ns, status.st_size) if stat.S_ISREG(status.st_mode) else ()
        return *content, status.st_ino, look.objection(path)

    return tuple(map(state, files))


def _shared_origins(environments: Iterable[Environment]) -> list[str]:
    """The mistakes of files that name the same origin, and do not differ by who asks."""
    owners: dict[Origin, list[Environment]] = {}
    for environment in environments:
        for origin in dict.fromkeys(environment.origins):
            owners.setdefault(origin, []).append(environment)
    mistakes = []
    for origin, several in owners.items():
        for number, environment in enumerate(several):
            for other in several[:number]:
                if (wrong := _conflict(environment, other)) is not None:
                    mistakes.append(
                        f"{environment.file}: HOST: claims {origin}, which {other.file} claims too; {wrong}"
                    )
                    break
    return mistakes


def _conflict(one: Environment, other: Environment) -> str | None:
    """Why it is not clear which of two files of one origin serves a request."""
    if not one.asked_as and not other.asked_as:
        return "expected each origin in one file, or AS in each, which says who asks"
    if one.default and other.default:
        return "and both have DEFAULT=true; expected one of them"
    if common := set(one.asked_as).intersection(other.asked_as):
        return f"and both have AS={min(common)}; expected each name in one file"
    unnamed = next((each for each in (one, other) if not each.asked_as and not each.default), None)
    return f"expected AS or DEFAULT=true in {unnamed.file}, too" if unnamed is not None else None

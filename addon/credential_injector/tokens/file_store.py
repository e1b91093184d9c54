"""The token store in a file that outlives the process."""

import asyncio
import concurrent.futures
import errno
import itertools
import json
import logging
import math
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import filelock

from credential_injector import permissions
from credential_injector.oauth.token import AccessToken
from credential_injector.tokens.store import DEFAULT_LIMITS, Limits, TokenStore
from credential_injector.tokens.stored_token import entry_of, kept_until, parsed, token_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

LOCK_POLL = 0.05  # seconds
FILE_VERSION = 1
LOGINS = "~/.mitmproxy/credential-injector.tokens"  # in the folder of mitmproxy's own secrets, whose name never changes

# It logs each attempt at a lock at level debug, and mitmweb's event log keeps debug records.
logging.getLogger("filelock").setLevel(logging.WARNING)


def open_file(where: str, limits: Limits = DEFAULT_LIMITS) -> TokenStore:
    """The store in a file, which is not opened yet. Raises ValueError, whose text does not repeat `where`."""
    path = _file(where)
    if permissions.others_can_read(path):
        logger.warning(f"inject_tokens: {permissions.warning([path])}")
    return _FileStore(path, str(path), limits)


def open_logins() -> TokenStore:
    """The user's own file: keeps logins where no store is named."""
    path = Path(LOGINS)
    with suppress(OSError, RuntimeError):  # using it says so
        path = path.expanduser()
        path.parent.mkdir(mode=0o700, exist_ok=True)
    return _FileStore(path, option="")


def _file(where: str) -> Path:
    try:
        # Follow links now: os.replace would replace the link, and its locks would have other names.
        path = Path(where).expanduser().resolve()
        folder, taken = path.parent.is_dir(), path.exists() and not path.is_file()
    except (OSError, RuntimeError, ValueError):
        raise ValueError("is malformed; expected a file's path") from None
    if taken:
        raise ValueError("is not a file; expected a file's path")
    if not folder:
        raise ValueError(
            "is in a folder that does not exist; expected a file in a folder that does, or redis://host:6379/0"
        )
    return path


class _FileStore(TokenStore):
    """A JSON file: `{"version": 1, "tokens": {identity: entry}}`, each entry as `entry_of` makes it."""

    def __init__(self, path: Path, option: str, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(str(path), option, limits)
        self._path = path
        self._hung: concurrent.futures.Future[Any] | None = None
        """What did not return in time. Until it does, another thread would hang, too."""

    @asynccontextmanager
    async def lock(self, identity: str, wait: float) -> AsyncIterator[bool]:
        async with AsyncExitStack() as lock:
            # Only 16 bits of the identity, so that the folder's listing does not help to guess a secret. Identities
            # that share a lock wait for each other.
            path = self._beside(f"lock-{identity[-4:]}")
            try:
                await lock.enter_async_context(self._locked(path, wait))
            except filelock.Timeout:
                held = False
            else:
                held = True
            yield held

    async def read(self, identity: str) -> AccessToken | None:
        return (await self._in_time(self._read)).get(identity)

    async def write(self, identity: str, token: AccessToken, now: float) -> None:
        await self._in_time(partial(self._write, identity, token, now))

    async def _in_time(self, function: Callable[[], T]) -> T:
        """Call it with the file locked, for a reader too: Windows cannot replace a file that somebody reads."""
        result: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            with _lock(self._beside("lock"), self.limits.file_patience):
                done = function()
            result.set_result(done)

        await self._returns(result, run, self.limits.file_patience)
        return result.result()

    @asynccontextmanager
    async def _locked(self, path: Path, wait: float) -> AsyncIterator[None]:
        """Hold a file's lock. Raises filelock.Timeout after `wait` seconds, or OSError.

        One thread takes, holds and frees it, so that a caller who is cancelled at any moment leaves nothing locked.
        """
        held: concurrent.futures.Future[None] = concurrent.futures.Future()
        ended = threading.Event()

        def hold() -> None:
            with _lock(path, wait, ended):
                held.set_result(None)
                ended.wait()

        try:
            await self._returns(held, hold, wait + self.limits.file_patience)
            yield
        finally:
            ended.set()

    async def _returns(self, result: concurrent.futures.Future[T], run: Callable[[], None], seconds: float) -> None:
        """Wait until `run`, in a thread, has set the result. Raises what it raises, or TimeoutError."""
        if self._hung is not None and not self._hung.done():
            raise TimeoutError

        def run_to_the_end() -> None:
            try:
                run()
            except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
                if not result.done():
                    result.set_exception(error)

        result.set_running_or_notify_cancel()
        threading.Thread(target=run_to_the_end, name="token store", daemon=True).start()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wrap_future(result)
        except TimeoutError:
            self._hung = result
            raise

    def _read(self) -> Mapping[str, AccessToken]:
        try:
            with self._path.open("rb") as file:
                content = file.read(self.limits.largest_file + 1)
        except FileNotFoundError:
            return {}
        said = parsed(content) if len(content) <= self.limits.largest_file else None
        if isinstance(said, dict) and said.get("version") == FILE_VERSION and isinstance(said.get("tokens"), dict):
            entries = {identity: token_of(entry) for identity, entry in said["tokens"].items()}
            return {identity: token for identity, token in entries.items() if token is not None}
        self._move_aside()
        return {}

    def _move_aside(self) -> None:
        asides = (self._beside(f"corrupt-{number}") for number in itertools.count(1))
        aside = next(aside for aside in asides if not aside.exists())
        self._path.replace(aside)
        logger.warning(f"inject_tokens: {self._path} was no token store; it is now {aside.name}, and a new one begins")

    def _write(self, identity: str, token: AccessToken, now: float) -> None:
        tokens = {**self._read(), identity: token}
        entries = {identity: entry_of(token) for identity, token in tokens.items() if kept_until(token) > now}
        content = json.dumps({"version": FILE_VERSION, "tokens": entries})
        if len(content) > self.limits.largest_file:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        # Nobody else writes it while the lock is held. If it exists, a killed process left it.
        new = self._beside("new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(content)
        with suppress(OSError):
            new.chmod(0o600)  # the umask may take even our own access; some disks have no modes
        new.replace(self._path)

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{suffix}")


@contextmanager
def _lock(path: Path, wait: float, given_up: threading.Event | None = None) -> Iterator[None]:
    """Hold a file's lock. Raises filelock.Timeout after `wait` seconds, or when it is given up, or OSError."""
    lock = filelock.FileLock(path, mode=0o600)
    given_up = given_up or threading.Event()
    for turn in range(math.ceil(wait / LOCK_POLL) + 1):
        if turn and given_up.wait(LOCK_POLL):
            break
        # filelock would make a missing folder, readable by everybody.
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        with suppress(filelock.Timeout):
            lock.acquire(blocking=False)
            break
    if not lock.is_locked:
        raise filelock.Timeout(str(path))
    try:
        yield
    finally:
        lock.release()

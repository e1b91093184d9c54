"""A token -> its fingerprint: `sha256:` and 12 hex digits, enough to tell whether two tokens are the same.

It is an HMAC (RFC 2104) under a key of this user's: anybody who sees a bare hash could try passwords against it.
"""

import hmac
import logging
import secrets
import threading
from functools import cache
from pathlib import Path

from credential_injector import permissions
from credential_injector.oauth import own_file

logger = logging.getLogger(__name__)

KEY_FILE = "~/.mitmproxy/credential-injector.key"  # beside mitmproxy's own secrets
KEY_SIZE = 32  # bytes, written as hex digits

_reading = threading.Lock()


def fingerprint(value: str) -> str:
    """The fingerprint of a token. The first call reads or makes the key. Never raises."""
    return f"sha256:{hmac.digest(key(), value.encode(errors='surrogateescape'), 'sha256').hex()[:12]}"


def key() -> bytes:
    """The user's key, which all processes share; a key of this process where there can be none. Never raises."""
    with _reading:  # `cache` would let two threads make one each
        return read_or_make_key()


@cache
def read_or_make_key() -> bytes:
    """The key; in one thread at a time."""
    path = Path(KEY_FILE)
    try:
        path = path.expanduser()
        made = _read(path) if path.exists() else _make(path)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: there is no home
        logger.warning(
            f"{path} cannot be used ({_cause(error)}), so fingerprints of tokens are made with a key of this process:"
            " no other process can compare them, or find a token by them; make the file readable and writable for this"
            " user, or remove it to get a new one"
        )
        return secrets.token_bytes(KEY_SIZE)
    if permissions.others_can_read(path):
        logger.warning(permissions.warning([path]))
    return made


def _read(path: Path) -> bytes:
    """Read the key. Raises OSError, or ValueError where the file holds no key."""
    with path.open("rb") as file:
        content = file.read(2 * KEY_SIZE + 1)
    made = bytes.fromhex(content.decode("ascii"))
    if len(made) != KEY_SIZE:
        raise ValueError
    return made


def _make(path: Path) -> bytes:
    """Make the key. Processes that do so at the same time all get the first one's. Raises OSError, or ValueError."""
    own_file.make(path, secrets.token_hex(KEY_SIZE))
    return _read(path)


def _cause(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"it does not hold {2 * KEY_SIZE} hex digits" if isinstance(error, ValueError) else "this user has no home"

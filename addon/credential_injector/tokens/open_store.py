"""The store that `inject_tokens` and `--tokens` name."""

import re

from credential_injector.environments.spelling import did_you_mean
from credential_injector.tokens.store import DEFAULT_LIMITS, Limits, TokenStore


def open_store(where: str, limits: Limits = DEFAULT_LIMITS) -> TokenStore | None:
    """The store that `inject_tokens` names: a file, or a redis://, rediss:// or unix:// URL. None for `memory`.

    Opens nothing yet. Raises ValueError without repeating `where`, as it may hold a password.
    """
    if where == "memory":
        return None
    if re.fullmatch(r"\w+", where) and did_you_mean(where.lower(), ["memory"], cutoff=0.6):
        raise ValueError(
            "is neither memory nor a path; did you mean memory? For a file of this name write ./ before it"
        )
    if re.match(r"(redis|rediss|unix):(?!//)", where, re.IGNORECASE):
        raise ValueError(
            "is malformed; expected a URL such as redis://host:6379/0, or for a file of this name ./ before it"
        )
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", where)
    # Imported only for those who want them: filelock and redis are not free.
    if scheme is None:
        from credential_injector.tokens.file_store import open_file

        return open_file(where, limits)
    if scheme[1] in ("redis", "rediss", "unix"):
        from credential_injector.tokens.redis_store import open_redis

        return open_redis(where, limits)
    raise ValueError("is of no known kind; expected memory, a file, or a redis://, rediss:// or unix:// URL")

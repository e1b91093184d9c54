"""Where an identity's tokens come from and where they are kept."""

import re
from typing import TYPE_CHECKING

from credential_injector.environments.spelling import did_you_mean
from credential_injector.oauth.grants import FIXED, GRANTS
from credential_injector.oauth.request import TokenRequest

if TYPE_CHECKING:
    from credential_injector.tokens.store import TokenStore


def open_store(where: str) -> "TokenStore | None":
    """The store that `inject_tokens` names: a file, or a redis://, rediss:// or unix:// URL. None for `memory`.

    Opens nothing yet. Raises ValueError without repeating `where`, as it may hold a password.
    """
    if where == "memory":
        return None
    if re.fullmatch(r"\w+", where) and did_you_mean(where.lower(), ["memory"], cutoff=0.6):
        raise ValueError(
            "is neither memory nor a path; did you mean memory? For a file of this name write ./ before it"
        )
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", where)
    # Imported only for those who want them: filelock and redis are not free.
    if scheme is None:
        from credential_injector.tokens.file_store import open_file

        return open_file(where)
    if scheme[1] in ("redis", "rediss", "unix"):
        from credential_injector.tokens.redis_store import open_redis

        return open_redis(where)
    raise ValueError("is of no known kind; memory, a file, or a redis://, rediss:// or unix:// URL was expected")


def store_of(request: TokenRequest, store: "TokenStore | None") -> "TokenStore | None":
    """Where a request's tokens live: what a person logged in for outlives the process even without a store."""
    if store is not None or request.grant_type in FIXED or not GRANTS[request.grant_type].login_endpoint:
        return store
    from credential_injector.tokens.file_store import open_logins

    return open_logins()

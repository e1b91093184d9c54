"""Methods, each for all paths or for those below a prefix. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from credential_injector.origins.paths import AMBIGUOUS, is_maybe_below

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 9.1
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+=:@%-]+)+/?")


@dataclass(frozen=True, slots=True)
class Methods:
    """Such as `GET,HEAD, POST /search`."""

    anywhere: frozenset[str]
    below: tuple[tuple[str, str], ...] = ()
    """A method and a path prefix without a slash at its end, each."""

    def allows(self, method: str, path: str) -> bool:
        """Whether they hold this method at this path, which may have a query.

        A path that servers read in different ways is below no prefix.
        """
        if method in self.anywhere:
            return True
        if not self.below:
            return False
        path = path.partition("?")[0]
        return not AMBIGUOUS.search(path) and any(
            method == one and (path == prefix or path.startswith(f"{prefix}/")) for one, prefix in self.below
        )

    def may_mean(self, method: str, path: str) -> bool:
        """Whether a server may read the path as one at which they hold this method. In doubt it may."""
        return method in self.anywhere or any(
            method == one and is_maybe_below(path, prefix) for one, prefix in self.below
        )

    def __str__(self) -> str:
        return ", ".join(
            [",".join(sorted(self.anywhere))] * bool(self.anywhere) + [" ".join(one) for one in self.below]
        )


SAFE = Methods(frozenset(("GET", "HEAD", "OPTIONS")))
"""Those that change nothing (RFC 9110 section 9.2.1)."""


def parse_methods(items: Iterable[str]) -> Methods:
    """Read `GET` and `POST /search`. Raises ValueError."""
    anywhere, below = set(), []
    for item in items:
        method, space, path = item.partition(" ")
        path = path.strip()
        if not _METHOD.fullmatch(method) or (space and not path.startswith("/")):
            raise ValueError("is malformed; expected methods such as GET,HEAD, POST /search")
        if not space:
            anywhere.add(method.upper())
        elif not _PATH.fullmatch(path) or AMBIGUOUS.search(path):
            raise ValueError("has an ambiguous path; expected plain segments such as POST /search")
        else:
            below.append((method.upper(), path.rstrip("/")))
    return Methods(frozenset(anywhere), tuple(dict.fromkeys(below)))

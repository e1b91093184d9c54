"""What a name may have been meant for."""

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str], *, cutoff: float = 0.75) -> str:
    """The known name that this one looks like; empty where none does."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return found[0] if found else ""


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.75) -> str:
    """`, did you mean CLIENT_SECRET?`, or nothing where no known name is near."""
    meant = closest(name, known, cutoff=cutoff)
    return f", did you mean {meant}?" if meant else ""

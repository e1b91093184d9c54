"""Names below which anybody can have one: the Public Suffix List that mitmproxy brings (publicsuffix2)."""

from functools import cache
from typing import Any

_PRIVATE = {
    *("example", "invalid", "localhost", "test"),  # RFC 6761
    *("corp", "home", "internal", "intranet", "lan", "local", "private"),  # RFC 6762 section 3 and appendix G
}
"""Top-level domains that nobody sells names of."""


def covers_public_suffix(name: str) -> bool:
    """Whether a normalised name is a public suffix, or one is below it: `com`, `co.uk`, `github.io`, `amazonaws.com`.

    So is every top-level domain, also one that the list does not know, unless it is kept for private use.
    """
    suffixes = _suffixes()
    listed = suffixes.get_tld(name, strict=True)  # None: the list does not know its top-level domain
    return "." not in name and name not in _PRIVATE if listed is None else bool(listed == name)


@cache
def _suffixes() -> Any:
    """Read with the first wildcard: that takes 60 ms."""
    import publicsuffix2

    # Given a path, it opens it in a way that Python 3.14 warns of.
    with open(publicsuffix2.PSL_FILE, encoding="utf-8") as file:  # noqa: PTH123 - its own constant
        return publicsuffix2.PublicSuffixList(file)

"""Names below which anybody can register one, by the Public Suffix List that comes with mitmproxy (publicsuffix2)."""

from functools import cache
from typing import Any

_PRIVATE = {
    *("example", "invalid", "localhost", "test"),  # RFC 6761
    *("corp", "home", "internal", "intranet", "lan", "local", "private"),  # RFC 6762 section 3 and appendix G
}
"""Top-level domains below which nobody sells names."""


def covers_public_suffix(name: str) -> bool:
    """Whether a normalised name is a public suffix or has one below it: `com`, `co.uk`, `github.io`, `amazonaws.com`.

    A top-level domain that is not listed counts as one, unless it is for private use.
    """
    suffixes = _suffixes()
    listed = suffixes.get_tld(name, strict=True)  # None: the list does not know its top-level domain
    return "." not in name and name not in _PRIVATE if listed is None else bool(listed == name)


@cache
def _suffixes() -> Any:
    """The list. Reading it takes 60 ms, so it is read with the first wildcard."""
    import publicsuffix2

    # Opened here, as publicsuffix2 uses codecs.open, of which Python 3.14 warns.
    with open(publicsuffix2.PSL_FILE, encoding="utf-8") as file:  # noqa: PTH123 - its own constant
        return publicsuffix2.PublicSuffixList(file)

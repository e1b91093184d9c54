"""How servers may read a path. Pure."""

import re
from urllib.parse import unquote

# Servers read these differently, so a path with one of them proves no prefix: dot segments; characters that may hide
# one, as they are or percent-encoded (";", "#", "%", a slash, a dot, control characters); overlong UTF-8.
AMBIGUOUS = re.compile(
    r"/\.{1,2}(/|$)|[\\;#\x00-\x20\x7f]|%(?:[01][0-9a-f]|23|25|2e|2f|3b|5c|7f|c0|c1|e0%80|f0%80)", re.IGNORECASE
)
_PLAIN = re.compile(r"(?:/[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)+/?")
_CLIMBS = re.compile(r"[/\\][ \t\r\n\0]*\.\.[ \t\r\n\0]*([/\\;?#]|$)")


def segments(path: str) -> tuple[str, ...]:
    """A path as the most lenient server reads it: fully decoded, dot segments resolved, without case, parameters and
    empty segments. Two paths that any server takes for the same are equal here.
    """
    if _PLAIN.fullmatch(path):
        return tuple(path.casefold().strip("/").split("/"))
    found: list[str] = []
    for written in re.split(r"[/\\]", re.split(r"[?#]", _decoded(path))[0].casefold()):
        segment = written.partition(";")[0].strip(" \t\r\n\0")
        if segment == "..":
            del found[-1:]
        elif segment not in ("", "."):
            found.append(segment)
    return tuple(found)


def is_maybe_below(path: str, prefix: str) -> bool:
    """Whether a server may read the path as one below the prefix. In doubt it may."""
    below = segments(prefix)
    return AMBIGUOUS.search(path.partition("?")[0]) is not None or segments(path)[: len(below)] == below


def climbs(path: str) -> bool:
    """Whether a path holds `..`: what remains of it depends on how a server reads the segments before ("/a%2fb/..")."""
    return _CLIMBS.search(_decoded(path)) is not None


def _decoded(path: str) -> str:
    """A path without its query, fully percent-decoded."""
    path = path.partition("?")[0]
    for _ in range(4):  # no server decodes that often
        path = unquote(path)
    return path

"""What servers may take a path for. Pure."""

import re
from urllib.parse import unquote

# Servers disagree on what these mean, so they prove no path prefix: dot segments; whatever may hide one, as it is or
# percent-encoded (";", "#", "%", a slash, a dot, control characters); overlong UTF-8.
AMBIGUOUS = re.compile(
    r"/\.{1,2}(/|$)|[\\;#\x00-\x20\x7f]|%(?:[01][0-9a-f]|23|25|2e|2f|3b|5c|7f|c0|c1|e0%80|f0%80)", re.IGNORECASE
)
_PLAIN = re.compile(r"(?:/[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)+/?")
_CLIMBS = re.compile(r"[/\\][ \t\r\n\0]*\.\.[ \t\r\n\0]*([/\\;?#]|$)")


def segments(path: str) -> tuple[str, ...]:
    """A path as the most lenient server reads it: decoded to the end, dot segments resolved, without case, parameters
    and empty segments. Two paths that some server may take for the same are equal here.
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


def climbs(path: str) -> bool:
    """Whether it holds `..`: what is left of it depends on how the server reads the segments before ("/a%2fb/..")."""
    return _CLIMBS.search(_decoded(path)) is not None


def _decoded(path: str) -> str:
    """A path without its query, percent-decoded to the end."""
    path = path.partition("?")[0]
    for _ in range(4):  # no server decodes as often
        path = unquote(path)
    return path

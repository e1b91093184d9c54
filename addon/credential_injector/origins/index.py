"""Scheme, host, port and path of a request -> the value of the most specific origin. Pure."""

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from credential_injector.origins.hosts import is_loopback, is_name, normalise_host
from credential_injector.origins.origin import DEFAULT_PORTS, Origin
from credential_injector.origins.paths import AMBIGUOUS, climbs, segments

T = TypeVar("T")


class Destination(NamedTuple):
    """Where a request goes."""

    scheme: str
    host: str
    """Normalised. Where an address is dialled, the name against which the server is verified, if there is one."""
    port: int
    path: str
    """With its query, as it is sent."""


class Destinations(Generic[T]):
    """A look-up that takes as many steps with 10,000 origins as with one."""

    def __init__(self, entries: Iterable[tuple[Origin, T]] = ()) -> None:
        self._exact: dict[tuple[str, str, int], _Paths[T]] = {}
        self._wildcard: dict[tuple[str, str, int], _Paths[T]] = {}
        for origin, value in entries:
            table = self._wildcard if origin.wildcard else self._exact
            table.setdefault((origin.scheme, origin.host, origin.port), _Paths()).add(origin.path, value)

    def find(self, scheme: str, host: str, port: int, path: str) -> T | None:
        """The value of the most specific origin: the exact host, else the longest wildcard; then the longest path."""
        paths = self._exact.get((scheme, host, port))
        if paths is not None and (found := paths.find(path)) is not None:
            return found
        # Text that only looks like a name ("127.0.0.1\\0%.example.com") may be dialled as something else.
        if not self._wildcard or not is_name(host):
            return None
        dot = host.find(".")
        while dot >= 0:
            paths = self._wildcard.get((scheme, host[dot + 1 :], port))
            if paths is not None and (found := paths.find(path)) is not None:
                return found
            dot = host.find(".", dot + 1)
        return None


class _Paths(Generic[T]):
    """The path prefixes of one scheme, host and port."""

    def __init__(self) -> None:
        self._values: dict[str, T] = {}
        self._longest = 0

    def add(self, prefix: str, value: T) -> None:
        self._values[prefix] = value
        self._longest = max(self._longest, len(prefix))

    def find(self, path: str) -> T | None:
        if self._longest:
            path = path.partition("?")[0]
            if not AMBIGUOUS.search(path):
                # No prefix is longer than `_longest`, so a longer path costs no more.
                if len(path) > self._longest:
                    path = path[: max(path.rfind("/", 0, self._longest + 1), 0)]
                while path:
                    if path in self._values:
                        return self._values[path]
                    path = path[: max(path.rfind("/"), 0)]
        return self._values.get("")


class Excluded:
    """URLs that get no credential though a destination covers them, however their paths are spelt."""

    def __init__(self, urls: Iterable[str] = ()) -> None:
        self._paths: dict[tuple[str, str, int], set[tuple[str, ...]]] = {}
        for url in urls:
            self.add(url)

    def add(self, url: str) -> None:
        """Exclude this URL, too."""
        parts = urlsplit(url)
        origin = (parts.scheme, normalise_host(parts.hostname or ""), parts.port or DEFAULT_PORTS[parts.scheme])
        self._paths.setdefault(origin, set()).add(segments(parts.path))

    def holds(self, scheme: str, host: str, port: int, path: str) -> bool:
        """Whether a request goes to one of them."""
        paths = self._paths.get((scheme, host, port))
        return paths is not None and (segments(path) in paths or climbs(path))


def distance(destination: Destination, origin: Origin) -> tuple[int, bool, bool, bool]:
    """How far a destination is from an origin; then whether their ports, hosts and schemes differ.

    A port counts twice: on one machine it tells servers apart better than the name does.
    """
    scheme, host, port, _ = destination
    usual = DEFAULT_PORTS.get(scheme) == port and DEFAULT_PORTS.get(origin.scheme) == origin.port
    differs = origin.port != port and not usual, not origin.covers(host), origin.scheme != scheme
    return sum(differs) + differs[0], *differs


def difference(destination: Destination, origin: Origin) -> tuple[str, str]:
    """What a destination differs in from an origin: `scheme`, `host`, `port` or `path`; and a sentence."""
    scheme, host, port, _ = destination
    _, other_port, other_host, other_scheme = distance(destination, origin)
    if other_port and is_loopback(host):  # it is another server, whatever else differs
        return "port", f"HOST is {origin}, and this was port {port}"
    if other_scheme:
        # A client may write anything as its scheme.
        what = scheme if scheme in DEFAULT_PORTS else "another scheme"
        return "scheme", f"HOST is {origin}, and this was {what}"
    if other_host:
        return "host", f"HOST is {origin}, and this was {host}"
    if other_port:
        return "port", f"HOST is {origin}, and this was port {port}"
    return "path", f"HOST is {origin}, and this path is not below it"

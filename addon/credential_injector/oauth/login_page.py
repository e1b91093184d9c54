"""The page of a login that is no OAuth2, as redirects name it. Pure."""

from urllib.parse import SplitResult, parse_qsl, urljoin, urlsplit

from credential_injector.origins.hosts import normalise_host
from credential_injector.origins.origin import DEFAULT_PORTS

LOGOUTS = frozenset(("logout", "signout", "sign-out"))
"""Last segments of paths from which a site goes to its login page in any case."""
MOST_FIELDS = 100  # parameters of a query


def leads_to(login_url: str, location: str, url: str) -> bool:
    """Whether a redirect in the answer to a request for `url` leads to LOGIN_URL.

    Scheme, host, port and path are the same, and all parameters of LOGIN_URL's query are there: `/index.php?page=login`
    is not `/index.php?page=home`. Further ones may be, such as `?error` or `?next=/orders`.
    """
    try:
        there, login = urlsplit(urljoin(url, location)), urlsplit(login_url)
        return bool(location) and _place(login) in _places(there) and _fields(login) <= _fields(there)
    except ValueError:  # a server may write anything
        return False


def is_refused(login_url: str, location: str) -> bool:
    """Whether the redirect in the answer to a login leads back to it.

    One to the front page, without a query, does not: many sites send there whoever has logged in.
    """
    front_page = is_front_page(login_url) and "?" not in login_url + location
    return not front_page and leads_to(login_url, location, login_url)


def is_front_page(login_url: str) -> bool:
    """Whether a LOGIN_URL is a site's first page, to which it may redirect for any reason."""
    return urlsplit(login_url).path in ("", "/")


def last_segment(url: str) -> str:
    """Of its path, in lower case."""
    return url.partition("#")[0].partition("?")[0].rstrip("/").rpartition("/")[2].lower()


def _places(parts: SplitResult) -> set[tuple[str, str, int | None, str]]:
    """What a redirect may mean. Behind a proxy that ends TLS, many a server believes that it speaks plain http."""
    scheme, host, port, path = place = _place(parts)
    plain = (scheme, port) == ("http", DEFAULT_PORTS["http"])
    return {place, ("https", host, DEFAULT_PORTS["https"], path)} if plain else {place}


def _place(parts: SplitResult) -> tuple[str, str, int | None, str]:
    """Scheme, host, port and path. Servers of Java's write `;jsessionid=…` behind the path."""
    port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    return parts.scheme, normalise_host(parts.hostname or ""), port, parts.path.partition(";")[0] or "/"


def _fields(parts: SplitResult) -> set[tuple[str, str]]:
    return set(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=MOST_FIELDS))

"""Redirects to the page of a login."""

import pytest

from credential_injector.oauth.login_page import is_refused, leads_to

ORDERS = "https://app.test/orders?page=2"


@pytest.mark.parametrize(
    ("login_url", "location", "url"),
    [
        ("https://app.test/login", "/login", ORDERS),
        ("https://app.test/login", "login?next=/orders#top", ORDERS),
        ("https://app.test/login", "https://APP.test:443/login?error", ORDERS),
        ("https://app.test/login", "//app.test/login", ORDERS),
        ("https://app.test/login", "http://app.test/login", ORDERS),
        ("https://app.test/login", "/login;jsessionid=0A?error", ORDERS),
        ("https://app.test/login", "?error", "https://app.test/login"),
        ("https://app.test/", "/", ORDERS),
        ("https://app.test", "/", ORDERS),
        ("https://app.test/", "https://app.test", ORDERS),
        ("https://app.test/index.php?page=login", "/index.php?error=1&page=login", ORDERS),
        ("http://127.0.0.1:9000/login", "/login", "http://127.0.0.1:9000/orders"),
        ("https://login.test/", "https://login.test/?next=/orders", ORDERS),
    ],
)
def test_leads(login_url: str, location: str, url: str) -> None:
    """The same scheme, host, port and path, however they are written, and all of the query of LOGIN_URL."""
    assert leads_to(login_url, location, url)


@pytest.mark.parametrize(
    ("login_url", "location", "url"),
    [
        ("https://login.test/", "/", ORDERS),
        ("https://login.test/", "https://app.test/", ORDERS),
        ("https://app.test/", "/orders/", ORDERS),
        ("https://app.test/", "/?", "https://app.test:8443/orders"),
        ("https://app.test:8443/", "/", ORDERS),
        ("https://app.test:8443/", "http://app.test/", ORDERS),
        ("http://127.0.0.1:80/", "https://127.0.0.1/", ORDERS),
        ("https://app.test/login", "http://app.test:8080/login", ORDERS),
        ("https://app.test/login", "/login/history", ORDERS),
        ("https://app.test/login", "/Login", ORDERS),
        ("https://app.test/index.php?page=login", "/index.php?page=home", ORDERS),
        ("https://app.test/index.php?page=login", "/index.php", ORDERS),
        ("https://app.test/login", "", "https://app.test/login"),
        ("https://app.test/login", "https://[::1/login", ORDERS),
        ("https://app.test/login", "https://app.test:x/login", ORDERS),
        ("https://app.test/login", "/login?" + "&".join(f"a{n}" for n in range(200)), ORDERS),
    ],
)
def test_does_not_lead(login_url: str, location: str, url: str) -> None:
    """Another scheme, host, port, path or page of the same path is another place, and so is what cannot be read."""
    assert not leads_to(login_url, location, url)


@pytest.mark.parametrize(
    ("login_url", "location", "refused"),
    [
        ("https://app.test/login", "/login", True),
        ("https://app.test/login", "/login?error", True),
        ("https://app.test/login", "/", False),
        ("https://app.test/", "/?error", True),
        ("https://app.test/", "/", False),
        ("https://app.test", "https://app.test/", False),
        ("https://app.test/?login", "/?login=&error", True),
        ("https://app.test/?login", "/", False),
        ("https://app.test/", "", False),
    ],
)
def test_refused(login_url: str, location: str, refused: bool) -> None:
    """A login that leads back to itself is refused; the front page is where others go, too."""
    assert is_refused(login_url, location) is refused

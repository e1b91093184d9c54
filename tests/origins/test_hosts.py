"""Names and addresses of hosts."""

from credential_injector.origins.hosts import LONGEST_NAME, is_loopback, normalise_host


def test_loopback() -> None:
    """Loopback is an address or localhost, and no name that resembles one."""
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "localhost"]))
    assert not any(map(is_loopback, ["127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "2130706433x"]))


def test_long_name() -> None:
    """A name that is too long is not encoded: IDNA takes seconds for it."""
    name = "é." * LONGEST_NAME
    assert normalise_host(name) == name.removesuffix(".")

"""The host names that a request carries."""

import pytest

from credential_injector.origins.claims import Claim


@pytest.mark.parametrize("authority", ["api.example.com", "API.example.com.:443", "api.example.com:443"])
def test_means(authority: str) -> None:
    """A claim means the host that it names, with its port or none."""
    assert Claim("Host header", authority).means("api.example.com", 443)


@pytest.mark.parametrize(
    "authority",
    [
        "evil.example",
        "api.example.com:8443",
        "api.example.com:٤٤٣",
        "api.example.com.evil.example",
        "user@api.example.com",
        "api.example.com@evil.example",
        "api.example.com,evil.example",
        " api.example.com",
        "",
        "api.example.com:" + "9" * 5000,
    ],
)
def test_means_not(authority: str) -> None:
    """A claim of anything else does not mean that host."""
    assert not Claim("Host header", authority).means("api.example.com", 443)


@pytest.mark.parametrize(
    ("authority", "told"),
    [
        ("Evil.Example:8443", "its Host header names evil.example:8443"),
        ("[::1]:80", "its Host header names ::1"),
        ("me:canary@evil.example", "its Host header is no host's name"),
        ("evil\x1b[31m", "its Host header is no host's name"),
        ("[fe80::1%canary \x1b[31m", "its Host header is no host's name"),
        ("[fe80::1%canary \x1b[31m x]:443", "its Host header is no host's name"),
        ("", "its Host header is no host's name"),
        ("canary", "its Host header is no host's name"),
        (f"eyj.{'canary' * 11}.x", "its Host header is no host's name"),
    ],
)
def test_str(authority: str, told: str) -> None:
    """A claim is told by its host; what is no plain host may be a secret, and is not repeated."""
    assert str(Claim("Host header", authority)) == told

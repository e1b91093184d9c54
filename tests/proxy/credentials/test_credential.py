"""What is told of a value that a client sent."""

import pytest

from credential_injector.proxy.credentials import credential


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Basic c2VjcmV0", "Basic"),
        ("bearer abc", "Bearer"),
        ("Digest username=x", "Digest"),
        ("canary", "another value"),
        ("canary two words", "another value"),
        ("", "another value"),
    ],
)
def test_scheme(value: str, shown: str) -> None:
    """Only the name of an authentication scheme is shown."""
    assert credential.scheme(value) == shown


@pytest.mark.parametrize(
    ("value", "rest"),
    [("Bearer canary", "canary"), ("ApiKey canary", "ApiKey canary"), ("canary", "canary"), ("", "")],
)
def test_without_scheme(value: str, rest: str) -> None:
    """Only a known scheme is cut off: another first word may be part of the secret."""
    assert credential.without_scheme(value) == rest

import pytest

from credential_injector.oauth.token import Failure
from credential_injector.tokens.back_off import pause

FAILED = Failure("unreachable", "no")
REFUSED = Failure("invalid_client", "no", lasting=True)
LATER = Failure("http_429", "no", retry_after=30.0)


@pytest.mark.parametrize(
    ("error", "before", "worked", "left", "seconds"),
    [
        (FAILED, None, True, 50.0, 1.0),
        (FAILED, FAILED, False, 0.0, 1.0),
        # Never had a token: the file is wrong.
        (REFUSED, None, False, 0.0, 60.0),
        (LATER, None, False, 0.0, 30.0),
        # It may be a blip: again before the token at hand ends.
        (REFUSED, None, True, 50.0, 25.0),
        (REFUSED, FAILED, True, 50.0, 25.0),
        (REFUSED, LATER, True, 50.0, 25.0),
        (REFUSED, None, True, 1.5, 1.0),
        (REFUSED, None, True, 3000.0, 60.0),
        (LATER, None, True, 8.0, 4.0),
        (LATER, None, True, 3000.0, 30.0),
        (REFUSED, None, True, 0.0, 1.0),
        # Who has no token waits as long as the server said.
        (LATER, None, True, 0.0, 30.0),
        # Twice in a row is no blip.
        (REFUSED, REFUSED, True, 50.0, 60.0),
        (REFUSED, REFUSED, True, 0.0, 60.0),
        (LATER, LATER, True, 8.0, 30.0),
    ],
)
def test_how_long_it_waits(error: Failure, before: Failure | None, worked: bool, left: float, seconds: float) -> None:
    """The next try comes after so many seconds."""
    assert pause(error, before, failures=1, worked=worked, left=left, jitter=0.0) == seconds


def test_it_grows_and_ends_at_five_seconds() -> None:
    """However many failures there were, requests do not wait long for a server that is back."""
    counts = (1, 2, 3, 4, 5, 10_000)
    assert [pause(FAILED, FAILED, failures=count, worked=True, left=0.0, jitter=0.0) for count in counts] == [
        1.0, 2.0, 4.0, 5.0, 5.0, 5.0,
    ]  # fmt: skip


def test_jitter() -> None:
    """Jitter makes the pause a fifth shorter at most, so that many proxies do not return together."""
    assert pause(FAILED, None, failures=9, worked=True, left=0.0, jitter=1.0) == pytest.approx(4.0)

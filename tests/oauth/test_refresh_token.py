"""The refresh token of one identity: what counts more, the store's or ours."""

from credential_injector.oauth.refresh_token import RefreshToken


def test_stored() -> None:
    """A stored one counts more than the file's, for which it came."""
    shown = RefreshToken("file")
    shown.read("stored")
    assert (shown.value, shown.replaced) == ("stored", False)


def test_not_stored() -> None:
    """One that could not be stored counts more than those before it, however many there were."""
    shown = RefreshToken("file")
    shown.read("stored")
    for value in ("first", "second"):
        shown.came(value)
        shown.read("stored")
        assert (shown.value, shown.replaced) == (value, True)


def test_stored_late() -> None:
    """One that is stored late does not bring back what another source of the identity has used up."""
    shown = RefreshToken()
    shown.came("first")
    shown.came("second")
    shown.writes("first")
    shown.read("first")
    assert shown.value == "second"


def test_another() -> None:
    """Another one in the store, of a new login or another proxy, counts more than ours."""
    shown = RefreshToken()
    shown.came("ours")
    shown.writes("ours")
    shown.read("another")
    assert shown.value == "another"


def test_kept() -> None:
    """A server that keeps it has replaced nothing, so there is nothing to lose."""
    shown = RefreshToken("file")
    shown.came("file")
    assert not shown.replaced

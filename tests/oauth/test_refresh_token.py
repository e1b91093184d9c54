"""The refresh token of one identity: what counts more, the store's or ours."""

from credential_injector.oauth.refresh_token import RefreshToken


def test_a_stored_one_counts_more_than_the_file_s() -> None:
    """It came for the file's, which is used up."""
    shown = RefreshToken("file")
    shown.read("stored")
    assert (shown.value, shown.replaced) == ("stored", False)


def test_one_that_could_not_be_stored_counts_more_than_those_before_it() -> None:
    """However often it has been replaced since the store was read."""
    shown = RefreshToken("file")
    shown.read("stored")
    for value in ("first", "second"):
        shown.came(value)
        shown.read("stored")
        assert (shown.value, shown.replaced) == (value, True)


def test_one_that_is_stored_late_does_not_bring_back_what_is_used_up() -> None:
    """Another source of the same identity, which could not reach the store, has used it meanwhile."""
    shown = RefreshToken()
    shown.came("first")
    shown.came("second")
    shown.writes("first")
    shown.read("first")
    assert shown.value == "second"


def test_another_one_in_the_store_counts_more_than_ours() -> None:
    """It is of a new login, or of a proxy that has used ours."""
    shown = RefreshToken()
    shown.came("ours")
    shown.writes("ours")
    shown.read("another")
    assert shown.value == "another"


def test_a_server_that_keeps_it_has_replaced_nothing() -> None:
    """Then there is nothing to lose."""
    shown = RefreshToken("file")
    shown.came("file")
    assert not shown.replaced

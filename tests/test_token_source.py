import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credential_injector.token_source import AccessToken, NoToken, TokenSource


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class TokenEndpoint:
    """Answers when it is told to, and counts."""

    def __init__(self, lifetime: float = 3600.0) -> None:
        self.requests = 0
        self.lifetime = lifetime
        self.fails_with: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, asked_at: float) -> AccessToken:
        self.requests += 1
        token = AccessToken(f"token-{self.requests}", asked_at, asked_at + self.lifetime)
        await self.may_answer.wait()
        if self.fails_with is not None:
            raise self.fails_with
        return token


def source(endpoint: TokenEndpoint, clock: Clock) -> TokenSource:
    return TokenSource(endpoint, clock=clock, jitter=lambda: 0.0)


async def test_a_token_is_fetched_once_and_then_reused() -> None:
    endpoint, clock = TokenEndpoint(), Clock()
    tokens = source(endpoint, clock)
    assert tokens.cached() is None
    first = await tokens.token()
    assert (first.token.value, first.source, first.seconds_left) == ("token-1", "fetched", 3600.0)
    clock.now += 600
    again = tokens.cached()
    assert again is not None
    assert (again.token.value, again.source, again.seconds_left) == ("token-1", "cached", 3000.0)
    assert (await tokens.token()).source == "cached"
    assert endpoint.requests == 1


@pytest.mark.parametrize(("lifetime", "leeway"), [(3600.0, 10.0), (50.0, 5.0), (3.0, 0.3)])
async def test_a_token_is_not_sent_in_its_last_moments(lifetime: float, leeway: float) -> None:
    clock = Clock()
    endpoint = TokenEndpoint(lifetime)
    tokens = source(endpoint, clock)
    await tokens.token()
    clock.now += lifetime - leeway - 0.001
    assert tokens.cached() is not None
    clock.now += 0.002
    assert tokens.cached() is None
    assert (await tokens.token()).token.value == "token-2"


async def test_a_clock_that_was_set_back_makes_the_token_unknown() -> None:
    clock = Clock()
    endpoint = TokenEndpoint()
    tokens = source(endpoint, clock)
    await tokens.token()
    clock.now -= 1
    assert tokens.cached() is None
    await tokens.token()
    assert endpoint.requests == 2


async def test_requests_that_wait_together_share_one_token_request() -> None:
    endpoint = TokenEndpoint()
    endpoint.may_answer.clear()
    tokens = source(endpoint, Clock())
    waiting = [asyncio.create_task(tokens.token()) for _ in range(300)]
    await asyncio.sleep(0)
    endpoint.may_answer.set()
    served = await asyncio.gather(*waiting)
    assert {one.token.value for one in served} == {"token-1"}
    assert endpoint.requests == 1


async def test_a_failure_is_shared_by_those_who_waited() -> None:
    endpoint = TokenEndpoint()
    endpoint.may_answer.clear()
    endpoint.fails_with = NoToken("invalid_client", "no", lasting=True)
    tokens = source(endpoint, Clock())
    waiting = [asyncio.create_task(tokens.token()) for _ in range(50)]
    await asyncio.sleep(0)
    endpoint.may_answer.set()
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert {str(error) for error in errors} == {"invalid_client: no"}
    assert len({id(error) for error in errors}) == 50
    assert endpoint.requests == 1


async def test_one_that_goes_away_strands_nobody() -> None:
    endpoint = TokenEndpoint()
    endpoint.may_answer.clear()
    tokens = source(endpoint, Clock())
    leaves, stays = asyncio.create_task(tokens.token()), asyncio.create_task(tokens.token())
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.sleep(0)
    endpoint.may_answer.set()
    assert (await stays).token.value == "token-1"
    assert endpoint.requests == 1


async def test_a_refusal_is_remembered_for_a_minute() -> None:
    endpoint, clock = TokenEndpoint(), Clock()
    endpoint.fails_with = NoToken("invalid_client", "no", lasting=True)
    tokens = source(endpoint, clock)
    for passed, left in ((0, 60.0), (59, 1.0)):
        clock.now += passed
        with pytest.raises(NoToken) as error:
            await tokens.token()
        assert error.value.next_try == left
        assert error.value.code == "invalid_client"
    assert endpoint.requests == 1
    clock.now += 1
    endpoint.fails_with = None
    assert (await tokens.token()).token.value == "token-2"


async def test_other_failures_back_off_further_each_time_and_start_over_after_a_success() -> None:
    endpoint, clock = TokenEndpoint(lifetime=1.0), Clock()
    tokens = source(endpoint, clock)

    async def pause() -> float:
        endpoint.fails_with = NoToken("unreachable", "no")
        with pytest.raises(NoToken) as error:
            await tokens.token()
        clock.now += error.value.next_try
        return error.value.next_try

    assert [await pause() for _ in range(8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    endpoint.fails_with = None
    await tokens.token()
    clock.now += 5
    assert await pause() == 1.0


async def test_the_server_may_say_how_long_to_wait() -> None:
    endpoint, clock = TokenEndpoint(), Clock()
    endpoint.fails_with = NoToken("http_429", "slow down", retry_after=7.0)
    tokens = source(endpoint, clock)
    with pytest.raises(NoToken) as error:
        await tokens.token()
    assert error.value.next_try == 7.0


async def test_jitter_shortens_a_back_off_by_a_fifth_at_most() -> None:
    endpoint = TokenEndpoint()
    endpoint.fails_with = NoToken("unreachable", "no")
    with pytest.raises(NoToken) as error:
        await TokenSource(endpoint, clock=Clock(), jitter=lambda: 1.0).token()
    assert error.value.next_try == pytest.approx(0.8)


async def test_a_clock_that_was_set_back_does_not_prolong_a_failure() -> None:
    endpoint, clock = TokenEndpoint(), Clock()
    endpoint.fails_with = NoToken("invalid_client", "no", lasting=True)
    tokens = source(endpoint, clock)
    with pytest.raises(NoToken):
        await tokens.token()
    clock.now -= 86400
    endpoint.fails_with = None
    await tokens.token()


async def test_a_token_that_expires_on_its_way_is_a_remembered_failure() -> None:
    clock = Clock()

    async def slow(asked_at: float) -> AccessToken:
        clock.now += 10
        return AccessToken("late", asked_at, asked_at + 5)

    tokens = TokenSource(slow, clock=clock, jitter=lambda: 0.0)
    with pytest.raises(NoToken, match="expired"):
        await tokens.token()
    assert tokens.cached() is None


async def test_an_error_of_ours_is_a_failure_without_its_text() -> None:
    endpoint = TokenEndpoint()
    endpoint.fails_with = RuntimeError("canary")
    with pytest.raises(NoToken) as error:
        await source(endpoint, Clock()).token()
    assert error.value.code == "internal"
    assert "RuntimeError" in error.value.reason
    assert "canary" not in str(error.value)


async def test_closing_ends_what_is_under_way() -> None:
    endpoint = TokenEndpoint()
    endpoint.may_answer.clear()
    tokens = source(endpoint, Clock())
    tokens.close()
    waiting = asyncio.create_task(tokens.token())
    await asyncio.sleep(0)
    tokens.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_a_token_shows_its_fingerprint_and_never_itself() -> None:
    token = AccessToken("canary", 0.0, 60.0)
    assert "canary" not in repr(token)
    assert token.fingerprint == "sha256:e100fbce008c"
    assert AccessToken("canary", 5.0, 90.0).fingerprint == token.fingerprint


@given(
    st.lists(
        st.tuples(
            st.floats(min_value=-100, max_value=4000),
            st.sampled_from(["token", "refusal", "failure", "error"]),
            st.floats(min_value=0.1, max_value=4000),
        ),
        max_size=40,
    )
)
def test_in_any_order_of_events_no_expired_token_is_served_and_no_remembered_failure_forgotten(
    steps: list[tuple[float, str, float]],
) -> None:
    failures = {"refusal": NoToken("x", "x", lasting=True), "failure": NoToken("y", "y"), "error": KeyError("z")}

    async def scenario() -> None:
        endpoint, clock = TokenEndpoint(), Clock()
        tokens = source(endpoint, clock)
        forbidden_until = 0.0
        for passes, outcome, lifetime in steps:
            clock.now += passes
            endpoint.fails_with, endpoint.lifetime = failures.get(outcome), lifetime
            before, forbidden = endpoint.requests, passes >= 0 and clock.now < forbidden_until
            try:
                served = await tokens.token()
            except NoToken as error:
                forbidden_until = clock.now + error.next_try
            else:
                forbidden_until = 0.0
                assert clock.now < served.token.usable_until <= served.token.expires_at
                assert served.seconds_left > 0
            assert endpoint.requests - before <= (0 if forbidden else 1)

    asyncio.run(scenario())

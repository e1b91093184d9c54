import asyncio

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from credential_injector.oauth.fingerprints import fingerprint
from credential_injector.oauth.token import AccessToken, NoToken, Served
from credential_injector.tokens.source import TokenSource


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class TokenEndpoint:
    """Answers when it is told to, and counts."""

    def __init__(self, lifetime: float = 3600.0) -> None:
        self.requests = 0
        self.replaced: list[str | None] = []
        self.lifetime = lifetime
        self.fails_with: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, asked_at: float, replaces: str | None) -> AccessToken:
        self.requests += 1
        self.replaced.append(replaces)
        token = AccessToken(f"token-{self.requests}", asked_at, asked_at + self.lifetime)
        await self.may_answer.wait()
        if self.fails_with is not None:
            raise self.fails_with
        return token


def source(endpoint: TokenEndpoint, clock: Clock) -> TokenSource:
    return TokenSource(endpoint, clock=clock, jitter=lambda: 0.0)


def value(tokens: TokenSource) -> str | None:
    served = tokens.cached()
    return served.token.value if served else None


async def settle() -> None:
    """Let every task run until it waits for something else than its turn."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_reuse() -> None:
    """A token is fetched once and then reused."""
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


async def test_last_failure() -> None:
    """The last failure is told until a token request succeeds, however long ago it was."""
    endpoint, clock = TokenEndpoint(), Clock()
    tokens = source(endpoint, clock)
    endpoint.fails_with = NoToken("invalid_client", "no", lasting=True)
    with pytest.raises(NoToken):
        await tokens.token()
    now = tokens.status()
    assert (now.failure and now.failure.code, now.next_try) == ("invalid_client", 60.0)
    clock.now += 3600
    now = tokens.status()
    assert (now.failure and now.failure.code, now.next_try) == ("invalid_client", 0.0)
    endpoint.fails_with = None
    await tokens.token()
    assert tokens.status().failure is None


@pytest.mark.parametrize(("lifetime", "leeway"), [(3600.0, 10.0), (50.0, 5.0), (3.0, 0.3)])
async def test_leeway(lifetime: float, leeway: float) -> None:
    """A token is not sent in its last moments."""
    clock = Clock()
    endpoint = TokenEndpoint(lifetime)
    tokens = source(endpoint, clock)
    await tokens.token()
    clock.now += lifetime - leeway - 0.001
    assert tokens.cached() is not None
    clock.now += 0.002
    assert tokens.cached() is None
    assert (await tokens.token()).token.value == "token-2"


async def test_clock_set_back() -> None:
    """A clock that was set back makes the token unknown."""
    clock = Clock()
    endpoint = TokenEndpoint()
    tokens = source(endpoint, clock)
    await tokens.token()
    clock.now -= 1
    assert tokens.cached() is None
    await tokens.token()
    assert endpoint.requests == 2


async def test_single_flight() -> None:
    """Requests that wait together share one token request."""
    endpoint = TokenEndpoint()
    endpoint.may_answer.clear()
    tokens = source(endpoint, Clock())
    waiting = [asyncio.create_task(tokens.token()) for _ in range(300)]
    await asyncio.sleep(0)
    endpoint.may_answer.set()
    served = await asyncio.gather(*waiting)
    assert {one.token.value for one in served} == {"token-1"}
    assert endpoint.requests == 1


async def test_shared_failure() -> None:
    """A failure is shared by those who waited."""
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


async def test_cancelled() -> None:
    """One that goes away strands nobody."""
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


async def test_refusal() -> None:
    """A refusal is remembered for a minute."""
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


async def test_back_off() -> None:
    """Other failures back off further each time, and start over after a success."""
    endpoint, clock = TokenEndpoint(lifetime=1.0), Clock()
    tokens = source(endpoint, clock)

    async def pause() -> float:
        endpoint.fails_with = NoToken("unreachable", "no")
        with pytest.raises(NoToken) as error:
            await tokens.token()
        clock.now += error.value.next_try
        return error.value.next_try

    assert [await pause() for _ in range(8)] == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0, 5.0]
    endpoint.fails_with = None
    await tokens.token()
    clock.now += 5
    assert await pause() == 1.0


async def test_retry_after() -> None:
    """The server may say how long to wait."""
    endpoint, clock = TokenEndpoint(), Clock()
    endpoint.fails_with = NoToken("http_429", "slow down", retry_after=7.0)
    tokens = source(endpoint, clock)
    with pytest.raises(NoToken) as error:
        await tokens.token()
    assert error.value.next_try == 7.0


async def test_retry_after_zero() -> None:
    """A server that says not to wait is given a moment all the same."""
    endpoint = TokenEndpoint()
    endpoint.fails_with = NoToken("http_503", "no", retry_after=0.0)
    with pytest.raises(NoToken) as error:
        await source(endpoint, Clock()).token()
    assert error.value.next_try == 1.0


async def test_jitter() -> None:
    """Jitter shortens a back-off by a fifth at most."""
    endpoint = TokenEndpoint()
    endpoint.fails_with = NoToken("unreachable", "no")
    with pytest.raises(NoToken) as error:
        await TokenSource(endpoint, clock=Clock(), jitter=lambda: 1.0).token()
    assert error.value.next_try == pytest.approx(0.8)


REFUSED = NoToken("invalid_client", "no", lasting=True)
LATER = NoToken("http_429", "later", retry_after=30.0)


@pytest.mark.parametrize("blip", [REFUSED, LATER], ids=["refused", "told to wait"])
@pytest.mark.parametrize("lifetime", [20.0, 130.0, 3600.0])
async def test_blip(lifetime: float, blip: NoToken) -> None:
    """One bad answer to a refresh is seen by nobody: the next try comes before the token at hand ends."""
    endpoint, clock = TokenEndpoint(lifetime), Clock()
    tokens = source(endpoint, clock)
    clock.now = (await tokens.token()).token.refresh_from - 1
    endpoint.fails_with = blip
    while value(tokens) == "token-1":
        clock.now += 0.1
        await settle()
        if endpoint.requests == 2:
            endpoint.fails_with = None
    assert value(tokens) == "token-3"
    assert endpoint.requests == 3


async def test_refused_twice() -> None:
    """A refusal of what worked before is remembered when it comes twice in a row."""
    endpoint, clock = TokenEndpoint(3600.0), Clock()
    tokens = source(endpoint, clock)
    await tokens.token()
    endpoint.fails_with = REFUSED
    for passes, requests in ((3550, 2), (19, 2), (1, 3)):  # first with 40 s left, then after half of them
        clock.now += passes
        assert value(tokens) == "token-1"
        await settle()
        assert endpoint.requests == requests
    clock.now += 59
    with pytest.raises(NoToken) as error:
        await tokens.token()
    assert error.value.next_try == 1.0
    assert endpoint.requests == 3


async def test_refused_once() -> None:
    """Without a token at hand one refusal of what worked before is tried again soon."""
    endpoint, clock = TokenEndpoint(60.0), Clock()
    tokens = source(endpoint, clock)
    await tokens.token()
    clock.now += 600
    endpoint.fails_with = REFUSED
    pauses = []
    for _ in range(3):
        with pytest.raises(NoToken) as error:
            await tokens.token()
        pauses.append(error.value.next_try)
        clock.now += error.value.next_try
    assert pauses == [1.0, 60.0, 60.0]


# --- A server that hangs ---


class Hanging:
    """A source whose token requests take 10 s each and fail, and those who ask it."""

    def __init__(self, took: float = 10.0) -> None:
        self.clock, self.took = Clock(), took
        self.endpoint = TokenEndpoint()
        self.endpoint.fails_with = NoToken("timeout", "no")
        self.tokens = TokenSource(self.endpoint, clock=self.clock, monotonic=self.clock, jitter=lambda: 0.0)

    async def ask(self, count: int) -> list[bool]:
        """So many requests at once: whether each one waited for the token request."""
        self.endpoint.may_answer.clear()
        asking = [asyncio.create_task(self.tokens.token()) for _ in range(count)]
        await settle()
        waited = [not one.done() for one in asking]
        self.clock.now += self.took
        self.endpoint.may_answer.set()
        errors = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(error) for error in errors} == {NoToken}
        assert [error.next_try > 0 for error in errors if isinstance(error, NoToken)] == waited
        return waited


async def test_hanging_server() -> None:
    """One request at a time finds out whether a server still hangs; the others fail at once."""
    hanging = Hanging()
    assert await hanging.ask(5) == [True] * 5
    for _ in range(3):
        hanging.clock.now += 5
        assert await hanging.ask(5) == [True, False, False, False, False]
    assert hanging.endpoint.requests == 4


async def test_hung_long_ago() -> None:
    """What was found of a server that hung is forgotten with time."""
    hanging = Hanging()
    await hanging.ask(1)
    hanging.clock.now += 61
    assert await hanging.ask(3) == [True] * 3


async def test_quick_refusal() -> None:
    """Where the server said no quickly all wait for the next answer."""
    hanging = Hanging(took=0.5)
    await hanging.ask(1)
    hanging.clock.now += 1
    assert await hanging.ask(3) == [True] * 3


async def test_set_back_and_slow() -> None:
    """A clock that was set back lets nobody believe that a server hangs."""
    hanging = Hanging()
    await hanging.ask(1)
    hanging.clock.now -= 3600
    assert await hanging.ask(3) == [True] * 3


async def test_set_back_and_failure() -> None:
    """A clock that was set back does not prolong a failure."""
    endpoint, clock = TokenEndpoint(), Clock()
    endpoint.fails_with = NoToken("invalid_client", "no", lasting=True)
    tokens = source(endpoint, clock)
    with pytest.raises(NoToken):
        await tokens.token()
    clock.now -= 86400
    endpoint.fails_with = None
    await tokens.token()


async def test_late() -> None:
    """A token that expires on its way is a remembered failure."""
    clock = Clock()

    async def slow(asked_at: float, replaces: str | None) -> AccessToken:
        clock.now += 10
        return AccessToken("late", asked_at, asked_at + 5)

    tokens = TokenSource(slow, clock=clock, monotonic=clock, jitter=lambda: 0.0)
    with pytest.raises(NoToken, match=r"the token expired while it was on its way, which took 10\.0 s") as error:
        await tokens.token()
    assert (error.value.code, error.value.next_try) == ("late", 1.0)
    assert tokens.cached() is None


@pytest.mark.parametrize("step", [3600.0, -3600.0, 10 * 365 * 86400.0, -0.05])
async def test_set_on_the_way(step: float) -> None:
    """A clock that is set while the token is on its way costs another token request."""
    clock, asked = Clock(), list[tuple[float, str | None]]()
    began = clock.now

    async def fetch(asked_at: float, replaces: str | None) -> AccessToken:
        asked.append((asked_at, replaces))
        clock.now += step if len(asked) == 1 else 0.0
        return AccessToken(f"token-{len(asked)}", asked_at, asked_at + 60)

    served = await TokenSource(fetch, clock=clock, monotonic=lambda: 0.0).token()
    assert (served.token.value, served.seconds_left) == ("token-2", 60.0)
    assert asked == [(began, None), (began + step, fingerprint("token-1"))]


async def test_set_on_arrival() -> None:
    """A clock that is set when the token has come costs no request."""
    clock, endpoint = Clock(), TokenEndpoint()

    def set_back() -> None:
        clock.now -= 100.0

    async def fetch(asked_at: float, replaces: str | None) -> AccessToken:
        if endpoint.requests == 0:
            asyncio.get_running_loop().call_soon(set_back)
        return await endpoint(asked_at, replaces)

    tokens = TokenSource(fetch, clock=clock)
    served = await asyncio.gather(tokens.token(), tokens.token())
    assert [one.token.value for one in served] == ["token-2", "token-2"]


async def test_set_again_and_again() -> None:
    """A clock that is set again and again is told as such."""
    clock, asked = Clock(), list[float]()

    async def fetch(asked_at: float, replaces: str | None) -> AccessToken:
        asked.append(asked_at)
        clock.now += 3600
        return AccessToken("token", asked_at, asked_at + 60)

    with pytest.raises(NoToken) as error:
        await TokenSource(fetch, clock=clock, monotonic=lambda: 0.0).token()
    assert (error.value.code, len(asked)) == ("clock", 2)


async def test_own_error() -> None:
    """An error of ours is a failure without its text."""
    endpoint = TokenEndpoint()
    endpoint.fails_with = RuntimeError("canary")
    with pytest.raises(NoToken) as error:
        await source(endpoint, Clock()).token()
    assert error.value.code == "internal"
    assert "RuntimeError" in error.value.reason
    assert "canary" not in str(error.value)


# --- Refresh ahead ---


@pytest.mark.parametrize(("lifetime", "window"), [(3600.0, 60.0), (100.0, 50.0), (3.0, 1.5)])
async def test_refresh_ahead(lifetime: float, window: float) -> None:
    """In its last minute a token serves on while one refresh runs."""
    endpoint, clock = TokenEndpoint(lifetime), Clock()
    tokens = source(endpoint, clock)
    await tokens.token()
    clock.now += lifetime - window - 0.001
    assert value(tokens) == "token-1"
    await settle()
    assert endpoint.requests == 1
    clock.now += 0.002
    endpoint.may_answer.clear()
    assert [value(tokens) for _ in range(20)] == ["token-1"] * 20
    await settle()
    assert endpoint.requests == 2
    endpoint.may_answer.set()
    await settle()
    assert value(tokens) == "token-2"


async def test_no_traffic() -> None:
    """Without traffic there is no token request."""
    endpoint, clock = TokenEndpoint(100.0), Clock()
    tokens = source(endpoint, clock)
    await tokens.token()
    for _ in range(1000):
        clock.now += 1
        await asyncio.sleep(0)
    assert endpoint.requests == 1


async def test_failed_refreshes() -> None:
    """A valid token outlives failed refreshes, which are spaced."""
    endpoint, clock = TokenEndpoint(3600.0), Clock()
    tokens = source(endpoint, clock)
    await tokens.token()
    endpoint.fails_with = NoToken("http_503", "no")
    clock.now += 3540
    for _ in range(490):
        clock.now += 0.1
        assert value(tokens) == "token-1"
        await settle()
    assert endpoint.requests - 1 == 12  # after 0, 1, 3, 7, 12, 17, ... 47 seconds
    clock.now += 1.1
    assert tokens.cached() is None
    with pytest.raises(NoToken) as error:
        await tokens.token()
    assert 0 < error.value.next_try <= 5
    assert endpoint.requests - 1 == 12


async def test_same_token() -> None:
    """A server that hands the same token out again is not asked for ever."""
    clock = Clock()
    asked = []
    expires_at = clock.now + 3600

    async def same(asked_at: float, replaces: str | None) -> AccessToken:
        asked.append(asked_at)
        return AccessToken("same", asked_at, expires_at)

    tokens = TokenSource(same, clock=clock)
    clock.now = (await tokens.token()).token.refresh_from - 1
    while clock.now < expires_at - 0.5:
        clock.now += 0.05
        tokens.cached()
        await settle()
    assert len(asked) <= 10


def test_refresh_spacing() -> None:
    """A refresh does not start in the second in which the token came."""
    assert AccessToken("x", 100.0, 101.5).refresh_from == 101.0
    assert AccessToken("x", 100.0, 104.0).refresh_from == 102.0


# --- A refused token ---


async def test_renewed() -> None:
    """A refused token is replaced once for all who ask."""
    endpoint = TokenEndpoint()
    tokens = source(endpoint, Clock())
    refused = (await tokens.token()).token.fingerprint
    endpoint.may_answer.clear()
    asking = [asyncio.create_task(tokens.renewed(refused)) for _ in range(50)]
    await settle()
    endpoint.may_answer.set()
    served = await asyncio.gather(*asking)
    assert {(one.token.value, one.source) for one in served if one is not None} == {("token-2", "refreshed")}
    assert endpoint.requests == 2


async def test_late_refusal() -> None:
    """A late refusal of an old token does not cost its successor."""
    endpoint = TokenEndpoint()
    tokens = source(endpoint, Clock())
    old = (await tokens.token()).token.fingerprint
    await tokens.renewed(old)
    served = await tokens.renewed(old)
    assert served is not None
    assert (served.token.value, endpoint.requests) == ("token-2", 2)


async def test_cool_down() -> None:
    """While it cools down a refused token is not replaced."""
    endpoint, clock = TokenEndpoint(), Clock()
    tokens = source(endpoint, clock)
    refused = (await tokens.token()).token.fingerprint
    tokens.cool_down()
    clock.now += 59
    tokens.cool_down()  # does not begin anew
    assert await tokens.renewed(refused) is None
    assert (value(tokens), endpoint.requests) == ("token-1", 1)
    clock.now += 1
    assert await tokens.renewed(refused) is not None


async def test_no_other() -> None:
    """Where there is no other token the refused one stays."""
    endpoint = TokenEndpoint()
    tokens = source(endpoint, Clock())
    refused = (await tokens.token()).token.fingerprint
    endpoint.fails_with = NoToken("http_503", "no")
    with pytest.raises(NoToken):
        await tokens.renewed(refused)
    assert tokens.holds(refused)
    assert value(tokens) == "token-1"


async def test_three_urls() -> None:
    """Where three URLs refuse new tokens the tokens are at fault; one URL says nothing about others."""
    tokens = source(TokenEndpoint(), Clock())
    first = (await tokens.token()).token.fingerprint
    for url in ("/1", "/2"):
        tokens.cool_down(url)
    assert await tokens.renewed(first, "/1") is None
    second = await tokens.renewed(first, "/other")
    assert second is not None
    tokens.cool_down("/3")
    assert await tokens.renewed(second.token.fingerprint, "/other") is None


async def test_same_token_refused() -> None:
    """A server that hands the refused token out again starts the cool-down."""
    clock = Clock()
    asked = []

    async def same(asked_at: float, replaces: str | None) -> AccessToken:
        asked.append(asked_at)
        return AccessToken("same", asked_at, asked_at + 3600)

    tokens = TokenSource(same, clock=clock)
    refused = (await tokens.token()).token.fingerprint
    assert [await tokens.renewed(refused) for _ in range(3)] == [None] * 3
    assert len(asked) == 2


async def test_replaces() -> None:
    """The fetch is told which token it replaces."""
    endpoint, clock = TokenEndpoint(3600.0), Clock()
    tokens = source(endpoint, clock)
    first = (await tokens.token()).token.fingerprint
    second = await tokens.renewed(first)
    assert second is not None
    clock.now += 3550
    tokens.cached()
    await settle()
    assert endpoint.replaced == [None, first, second.token.fingerprint]


async def test_stored() -> None:
    """A token of another process is told as such."""

    async def fetch(asked_at: float, replaces: str | None) -> AccessToken:
        return AccessToken("theirs", asked_at - 60, asked_at + 60, stored=True)

    tokens = TokenSource(fetch, clock=Clock())
    assert (await tokens.token()).source == "store"
    assert (await tokens.token()).source == "cached"


async def test_refresh_and_store() -> None:
    """A refresh that somebody asked for takes no token from a store."""
    replaced = []

    async def fetch(asked_at: float, replaces: str | None) -> AccessToken:
        replaced.append(replaces)
        return AccessToken(f"token-{len(replaced)}", asked_at, asked_at + 60, stored=replaces is None)

    tokens = TokenSource(fetch, clock=Clock())
    assert not tokens.used
    tokens.refresh()
    assert (await tokens.token()).token.value == "token-2"
    assert replaced == [None, fingerprint("token-1")]
    assert tokens.used
    tokens.refresh()
    await settle()
    assert value(tokens) == "token-3"


def test_repr() -> None:
    """A token shows its fingerprint and never itself."""
    token = AccessToken("canary", 0.0, 60.0)
    assert "canary" not in repr(token)
    assert token.fingerprint == fingerprint("canary")
    assert AccessToken("canary", 5.0, 90.0).fingerprint == token.fingerprint


class Life(RuleBasedStateMachine):
    """Requests, time, outcomes and refusals in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.outcome: Exception | None = None
        self.lifetime = 3600.0
        self.flying = 0
        self.asked: list[float] = []
        self.not_before = 0.0
        """No token request may go out before this: a failure is remembered."""
        self.tokens = TokenSource(self.fetch, clock=self.clock, jitter=lambda: 0.0)

    def teardown(self) -> None:
        self.loop.run_until_complete(settle())
        self.loop.close()

    async def fetch(self, asked_at: float, replaces: str | None) -> AccessToken:
        assert asked_at == self.clock.now
        assert asked_at >= self.not_before
        assert self.flying == 0
        self.flying += 1
        self.asked.append(asked_at)
        try:
            await asyncio.sleep(0)
            if self.outcome is not None:
                raise self.outcome
            return AccessToken(f"mine-{len(self.asked)}", asked_at, asked_at + self.lifetime)
        finally:
            self.flying -= 1

    def check(self, served: Served) -> None:
        token = served.token
        assert token.value.startswith("mine-")
        assert token.issued_at <= self.clock.now < token.usable_until <= token.expires_at
        assert served.seconds_left > 0

    @rule(seconds=st.floats(min_value=0, max_value=4000))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(seconds=st.floats(min_value=0, max_value=100))
    def clock_is_set_back(self, seconds: float) -> None:
        self.clock.now -= seconds
        self.not_before = 0.0

    @rule(lifetime=st.floats(min_value=0.1, max_value=4000))
    def server_is_well(self, lifetime: float) -> None:
        self.outcome, self.lifetime = None, lifetime

    @rule(lasting=st.booleans(), retry_after=st.none() | st.floats(min_value=0, max_value=100))
    def server_fails(self, lasting: bool, retry_after: float | None) -> None:
        self.outcome = NoToken("x", "x", lasting=lasting, retry_after=retry_after)

    @rule(count=st.integers(1, 5), refusals=st.integers(0, 3))
    def requests_come(self, count: int, refusals: int) -> None:
        async def ask(refused: str | None) -> None:
            try:
                served = await (self.tokens.token() if refused is None else self.tokens.renewed(refused))
            except NoToken as error:
                if error.next_try:
                    self.not_before = self.clock.now + error.next_try
            else:
                if served is not None:
                    assert served.token.fingerprint != refused
                    self.check(served)

        async def all_of_them() -> None:
            at_hand = self.tokens.cached()
            if at_hand is not None:
                self.check(at_hand)
            refused = at_hand.token.fingerprint if at_hand is not None else None
            before = len(self.asked)
            await asyncio.gather(*(ask(None) for _ in range(count)), *(ask(refused) for _ in range(refusals)))
            await settle()
            assert len(self.asked) - before <= 2  # a refresh that began before the refusal, and one for it

        self.loop.run_until_complete(all_of_them())

    @rule()
    def api_refuses_a_new_token(self) -> None:
        self.tokens.cool_down()


TestLife = Life.TestCase

"""Whatever stands where stored tokens are expected: in the file, and in a real Redis."""

import asyncio
import json
import re
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from credential_injector.oauth.token import AccessToken
from credential_injector.tokens.sharing import shared
from tests.fuzz.inputs import NOW, REQUEST, TOKEN, as_bytes, json_values, mutated, nothing_secret_is_logged
from tests.tokens.stores import RedisServer, TokenEndpoint, client, name_of, opened, redis_server

__all__ = ["redis_server"]  # a fixture

IDENTITY = name_of(REQUEST)

VALUES = json_values(st.just(TOKEN))
TIMES = st.sampled_from([NOW - 60, NOW, NOW + 60, NOW + 3600]) | VALUES
ENTRIES = (
    st.fixed_dictionaries(
        {"access_token": st.just(TOKEN) | VALUES, "issued_at": TIMES, "expires_at": TIMES},
        optional={"endpoints": VALUES | st.lists(VALUES | st.just("https://login.test/token"), max_size=3)},
    )
    | VALUES
)
VALID = {"access_token": TOKEN, "issued_at": NOW, "expires_at": NOW + 3600}
STORES = st.fixed_dictionaries(
    {"version": st.just(1) | VALUES},
    optional={"tokens": st.dictionaries(st.sampled_from([IDENTITY, "other", ""]), ENTRIES) | VALUES},
)
FILES = (
    st.binary()
    | VALUES.map(as_bytes)
    | STORES.map(as_bytes)
    | mutated(as_bytes({"version": 1, "tokens": {IDENTITY: VALID, "other": VALID}}))
)


@given(FILES)
def test_file(content: bytes) -> None:
    """No content of the file costs a request, is sent or is lost."""
    with tempfile.TemporaryDirectory() as folder, nothing_secret_is_logged():
        file = Path(folder) / "tokens.json"
        file.write_bytes(content)
        asyncio.run(ask(str(file)))
        asides = [path.read_bytes() for path in file.parent.glob("*.corrupt-*")]
        assert asides in ([], [content])
        if not asides:  # then it was a store, and is one
            assert json.loads(content)["tokens"].keys() >= json.loads(file.read_bytes())["tokens"].keys() - {IDENTITY}


@given(st.binary() | ENTRIES.map(as_bytes) | mutated(as_bytes(VALID)))
def test_redis(redis_server: RedisServer, value: bytes) -> None:
    """No value in Redis costs a request or is sent."""

    async def put() -> None:
        async with client(redis_server) as connected:
            await connected.set(f"credential-injector:{IDENTITY}", value)

    # A second is not much on a busy machine, and a proxy that has lost its patience asks for a token of its own.
    with nothing_secret_is_logged():
        asyncio.run(put())
        asyncio.run(ask(redis_server.url, redis_patience=30))


async def ask(where: str, **limits: float) -> None:
    """Two proxies, one after the other, that share this store: the second takes what the first has stored."""
    endpoint = TokenEndpoint()
    for _ in range(2):
        async with opened(where, **limits) as store:
            check_token(await shared(store, REQUEST, endpoint)(NOW, None))
    assert endpoint.requests <= 1


def check_token(token: AccessToken) -> None:
    """It may be sent, whoever it is from."""
    assert re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", token.value)
    assert token.issued_at <= NOW < token.usable_until <= token.expires_at
    assert token.value != "token-1" or not token.stored or token.expires_at == NOW + 3600

"""What anybody may have stored: what is not exactly as expected is no token."""

import json
from pathlib import Path

import pytest

from credential_injector.oauth.token import AccessToken
from credential_injector.tokens import stored_token
from credential_injector.tokens.sharing import shared
from tests.tokens.stores import NOW, REQUEST, RedisServer, TokenEndpoint, client, content, entry, name_of, opened, said

UNSENDABLE: list[object] = [
    "",
    " ",
    "a\nb",
    "a\r\nX-Evil: 1",
    "ü",
    "a ",
    " a",
    "\x7f",
    "\x00",
    "\ud800",
    None,
    7,
    True,
    [],
    {},
]


NO_ENDPOINTS: list[object] = [
    None,
    "https://login.test/token",
    {},
    7,
    [7],
    [[]],
    [""],
    ["http://login.test/token"],
    ["https://login.test/\ntoken"],
    ["https://login.test:port/"],
    ["https://["],
]


NO_TIMES: list[object] = [
    None,
    "1",
    True,
    [],
    {},
    float("nan"),
    float("inf"),
    -float("inf"),
    -1,
    10**400,
    -(10**400),
    1e300,
]


@pytest.mark.parametrize(
    "hostile",
    [
        *[entry(value) for value in UNSENDABLE],
        *[entry() | {"refresh_token": value} for value in UNSENDABLE if value is not None],
        *[entry() | {"endpoints": urls} for urls in NO_ENDPOINTS],
        *[entry(issued_at=moment) for moment in NO_TIMES],
        *[entry(expires_at=moment) for moment in NO_TIMES],
        entry(expires_at=NOW),
        entry(issued_at=NOW + 4000),
        entry(issued_at=NOW + 3000),
        entry(expires_at=NOW + 366 * 86400),
        {},
        {"access_token": "stored"},
        [],
        None,
        "stored",
        7,
    ],
)
async def test_malformed_entry(
    hostile: object, where: str, redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A malformed entry is no token and is replaced."""
    name = name_of(REQUEST)
    (tmp_path / "tokens.json").write_text(content({name: hostile, "v1-hostile": hostile}))
    async with client(redis) as connected:
        await connected.set(f"credential-injector:{name}", json.dumps(hostile))
    async with opened(where) as store:
        fetch = shared(store, REQUEST, TokenEndpoint())
        assert [(await fetch(NOW, None)).value for _ in range(2)] == ["token-1", "token-1"]
    assert said(caplog) == []


def test_scope() -> None:
    """What was granted comes back with the token; one that cannot be shown makes it none."""
    token = AccessToken("canary", NOW, NOW + 60, scope="read write")
    stored = stored_token.token_of(stored_token.entry_of(token))
    assert stored == token
    assert stored is not None
    assert stored.scope == "read write"
    odd: tuple[object, ...] = ("a\nb", 7, [])
    for scope in odd:
        assert stored_token.token_of({**stored_token.entry_of(token), "scope": scope}) is None

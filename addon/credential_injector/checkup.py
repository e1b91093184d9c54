"""A checkup of an environment: one real token, and what else would go wrong."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from credential_injector import permissions, record
from credential_injector.environments import Environment
from credential_injector.grants import FIXED
from credential_injector.routes import store_of
from credential_injector.token_endpoint import TokenEndpoint, granted_scope, server_time
from credential_injector.token_request import TokenRequest
from credential_injector.token_source import LEEWAY, AccessToken, NoToken, TokenSource
from credential_injector.token_store import shared

if TYPE_CHECKING:
    from credential_injector.token_store import TokenStore

# Of whether these are granted, the answer says nothing that could be compared: the first is answered by a refresh
# token, and Entra ID's second stands for all that the client may have.
_INCOMPARABLE = ("offline_access", "/.default")


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found out about one environment."""

    name: str
    file: str
    endpoint: str = ""
    """Where its tokens come from; empty where the credential stands in the file."""
    tls: str = ""
    lifetime: float | None = None
    """Seconds for which the token lives. None: there is no token, or it does not expire."""
    scope: tuple[str, ...] = ()
    """What was asked for and granted: of what else was granted, only the number is told, as its names are not ours."""
    more_scope: int = 0
    clock_skew: float | None = None
    """Seconds by which the server's clock is ahead of this machine's; it tells whole seconds only."""
    problems: tuple[str, ...] = ()
    """A line for each: what is wrong, and what to do about it."""

    @property
    def ok(self) -> bool:
        """Whether all is good."""
        return not self.problems


async def check(environment: Environment, store: "TokenStore | None", secret_files: Sequence[Path] = ()) -> Checkup:
    """Ask for one token, as the proxy would, and look at what comes back. `secret_files` hold its secrets."""
    request, problems = environment.token_request, list[str]()
    exposed = [path for path in secret_files if permissions.others_can_read(path)]
    if exposed:
        problems.append(permissions.warning(exposed))
    if request.grant_type in FIXED:
        return Checkup(environment.name, environment.file, problems=tuple(problems))
    endpoint = TokenEndpoint(request, environment.transport.completed())
    loop, asked = asyncio.get_running_loop(), list[tuple[float, float]]()

    refresh_token = ""

    def refresh_with(stored: str) -> None:
        nonlocal refresh_token
        refresh_token = stored

    async def fetch(asked_at: float, _replaces: str | None) -> AccessToken:
        began = loop.time()
        try:
            return await endpoint.token(asked_at, refresh_token)
        finally:
            asked.append((asked_at, loop.time() - began))

    where = store_of(request, store)
    source = TokenSource(
        fetch if where is None else shared(where, request, fetch, refresh_with, timeout=environment.transport.timeout)
    )
    source.refresh()
    token, skew, scope, more = None, None, list[str](), 0
    try:
        token = (await source.token()).token
    except NoToken as error:
        problems.append(record.failure(environment, error))
    problems += _lost(environment, token) if where is None else []
    if endpoint.last is not None:
        skew = _skew(server_time(endpoint.last), *asked[-1])
    if token is not None and endpoint.last is not None:
        granted = granted_scope(endpoint.last)
        wanted = request.scope.split()
        scope = wanted if granted is None else [name for name in wanted if name in granted]
        more = len(set(granted or ()) - set(wanted))
        if missing := [name for name in wanted if name not in scope and not name.endswith(_INCOMPARABLE)]:
            problems.append(
                f"not granted: {' '.join(missing)}; check SCOPE in {environment.file}, or ask whoever runs the"
                " authorization server to allow it to this client"
            )
    if skew is not None and abs(skew) >= LEEWAY:
        ahead = "behind" if skew > 0 else "ahead of"
        problems.append(f"this machine's clock is {abs(skew):.0f} s {ahead} the server's; set it by network time")
    return Checkup(
        environment.name,
        environment.file,
        endpoint=request.shown,
        tls=_tls(request, insecure=environment.transport.insecure_tls, answered=endpoint.last is not None),
        lifetime=None if token is None or math.isinf(token.expires_at) else token.expires_at - token.issued_at,
        scope=tuple(scope),
        more_scope=more,
        clock_skew=skew,
        problems=tuple(problems),
    )


def _lost(environment: Environment, token: AccessToken | None) -> list[str]:
    given = environment.token_request.value("REFRESH_TOKEN") or None
    if token is None or token.refresh_token == given:
        return []
    return [
        "the server has replaced the refresh token, and without a store the new one is lost; put another one into"
        f" {environment.file}, and name a file with --tokens that is mitmproxy's inject_tokens, too"
    ]


def _tls(request: TokenRequest, *, insecure: bool, answered: bool) -> str:
    if urlsplit(request.shown).scheme == "http":
        return "none, loopback"
    if insecure:
        return "NOT VERIFIED"
    return "verified" if answered else ""


def _skew(said: float | None, asked_at: float, took: float) -> float | None:
    """The least by which the clocks can differ. None where the server told no time.

    It told the time at some moment between `asked_at` and `took` seconds later, less the fraction of a second.
    """
    if said is None:
        return None
    least, most = said - (asked_at + took), said + 1 - asked_at
    return 0.0 if least <= 0 <= most else min(least, most, key=abs)

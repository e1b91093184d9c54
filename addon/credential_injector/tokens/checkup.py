"""A checkup of an environment: one real token, and what else would go wrong."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from credential_injector import messages, permissions
from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import Folder
from credential_injector.environments.owners import Owners
from credential_injector.oauth.answers import Answer, granted_scope, server_time, token_scope
from credential_injector.oauth.endpoint import TokenEndpoint
from credential_injector.oauth.endpoints import open_endpoint
from credential_injector.oauth.grants import FIXED
from credential_injector.oauth.login_endpoint import LoginEndpoint
from credential_injector.oauth.request import TokenRequest
from credential_injector.oauth.server import Network
from credential_injector.oauth.token import LEEWAY, AccessToken, NoToken, Served
from credential_injector.status import FailureStatus
from credential_injector.threads import in_thread
from credential_injector.tokens import upstream_tls
from credential_injector.tokens.probe import Finding, Probe, Probed
from credential_injector.tokens.provider import Named, Provider

if TYPE_CHECKING:
    from credential_injector.tokens.store import TokenStore

Send = Callable[[Environment, Served], Awaitable[Finding]]
"""Sends a probe with a token that was served just now."""

AT_ONCE = 32  # environments: each takes some file descriptors, and a process may have no more than 256
# Granted without being named: the first is answered by a refresh token, and Entra ID's second stands for all that the
# client may have.
_INCOMPARABLE = ("offline_access", "/.default")


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found out about one environment."""

    name: str
    file: str
    endpoint: str = ""
    """Where its tokens come from; empty for a credential taken from the file."""
    tls: str = ""
    """Whether the server that issues the tokens is verified."""
    lifetime: float | None = None
    """Seconds for which the token lives. None: there is no token, or it does not expire."""
    scope: tuple[str, ...] = ()
    """What was asked for and granted."""
    more_scope: int = 0
    """The number of other names that were granted. They are the server's words, so they are not printed."""
    clock_skew: float | None = None
    """Whole seconds by which the server's clock is ahead of this machine's."""
    problems: tuple[str, ...] = ()
    """A line for each thing that is wrong, and what to do about it."""
    unconfirmed_scope: tuple[str, ...] = ()
    """What of `scope` neither the answer nor the token names."""
    api_tls: Mapping[str, str] = field(default_factory=dict)
    """What came of TLS to the API, by origin, where it is https and no wildcard: `upstream_tls.Trial.result`."""
    notes: tuple[str, ...] = ()
    """A line for each thing that may be wrong, but cannot be known from here."""
    failure: FailureStatus | None = None
    """Why there is no token; also the first line of `problems`, but for those about its file."""
    probe: Probed | None = None
    """What the API says to a request with the token; None: nobody asked for that, or there is no token."""

    @property
    def ok(self) -> bool:
        """Whether all is good."""
        return not self.problems


async def check_folder(
    folder: Folder,
    store: "TokenStore | None",
    trust: upstream_tls.Trust,
    tell: Callable[[str], None],
    probe: Probe | None = None,
) -> list[Checkup]:
    """Check every environment of a folder, also one whose file is wrong. `tell` shows a line when each begins."""
    environments, mistakes = await in_thread(folder.survey, "environment files")
    wrong: dict[str, list[str]] = {}
    for mistake in mistakes:
        wrong.setdefault(mistake.partition(": ")[0], []).append(mistake)
    send = None if probe is None else partial(probe.send, owners=Owners(environments))
    provider, network, turns = Provider(store), Network(), asyncio.Semaphore(AT_ONCE)

    async def one(environment: Environment) -> Checkup:
        secret_files = folder.secret_files(environment.name)
        async with turns:
            whence = environment.token_request.server_url
            doing = f"asking {whence} for a token" if whence else "checking its file and its API"
            tell(f"{environment.name}: {doing} ...")
            done, trials = await asyncio.gather(
                check(environment, provider, network, secret_files=secret_files, ca_file=trust.ca_file, send=send),
                _try_origins(environment, trust),
            )
        problems = [f"{origin}: {trial.problem}" for origin, trial in trials.items() if trial.problem]
        notes = [f"{origin}: {trial.note}" for origin, trial in trials.items() if trial.note]
        return replace(
            done,
            problems=(*wrong.pop(environment.file, ()), *done.problems, *problems),
            api_tls={origin: trial.result for origin, trial in trials.items()},
            notes=(*_production(environment), *done.notes, *notes),
        )

    checked = await asyncio.gather(*map(one, environments))
    unread = (Checkup(Path(file).stem, file, problems=tuple(whats)) for file, whats in wrong.items())
    return sorted([*checked, *unread], key=lambda one: one.name)


def _production(environment: Environment) -> tuple[str, ...]:
    return (f"production: only {environment.methods} leave",) if environment.production else ()


async def check(
    environment: Environment,
    provider: Provider,
    network: Network | None = None,
    *,
    secret_files: Sequence[Path] = (),
    ca_file: str = "",
    send: Send | None = None,
) -> Checkup:
    """Ask for one token, as the proxy would, and look at what comes back. `send` then sends a probe with it.

    `secret_files` hold its secrets, `ca_file` the authorities that mitmproxy trusts.
    """
    request, problems = environment.token_request, list[str]()
    exposed = [path for path in secret_files if permissions.others_can_read(path)]
    if exposed:
        problems.append(permissions.warning(exposed))
    if request.grant_type in FIXED:
        fixed = provider.source(request, environment.transport, Named(environment.name))
        found = await send(environment, await fixed.token()) if send is not None else None
        return _with(found, Checkup(environment.name, environment.file, problems=tuple(problems)))
    transport = environment.transport.completed(ca_file)
    endpoint = _Timed(open_endpoint(request, transport, network))
    source = provider.source(request, transport, Named(environment.name), endpoint)
    source.refresh()
    served, found, failed, skew, scope = None, None, None, None, _Scope()
    try:
        served = await source.token()
    except NoToken as error:
        failed = error.failure
        problems.append(messages.failure(environment, failed, source.kept_in))
    if served is not None and send is not None:
        found = await send(environment, served)
    token = None if served is None else served.token
    if await provider.loses(request):
        problems.append(messages.lost_refresh_token(environment, source.kept_in))
    answer = endpoint.last
    if answer is not None:
        skew = _skew(server_time(answer), endpoint.asked_at, endpoint.took)
    if token is not None and answer is not None:
        scope = _scope(environment, granted_scope(answer), token_scope(token.claims))
        problems += [scope.problem] if scope.problem else []
    if skew is not None and abs(skew) >= LEEWAY:
        ahead = "behind" if skew > 0 else "ahead of"
        problems.append(f"this machine's clock is {abs(skew):.0f} s {ahead} the server's; set it by network time")
    done = Checkup(
        environment.name,
        environment.file,
        endpoint=request.server_url,
        tls=_tls(request, insecure=environment.transport.insecure_tls, answered=answer is not None),
        lifetime=None if token is None or math.isinf(token.expires_at) else token.expires_at - token.issued_at,
        scope=scope.granted,
        more_scope=scope.more,
        clock_skew=skew,
        problems=tuple(problems),
        unconfirmed_scope=scope.unconfirmed,
        notes=(scope.note,) if scope.note else (),
        failure=None if failed is None else messages.failure_status(environment, failed, source.kept_in),
    )
    return _with(found, done)


def _with(found: Finding | None, checkup: Checkup) -> Checkup:
    """The same with what a probe found."""
    if found is None:
        return checkup
    problems = (*checkup.problems, *filter(None, [found.problem]))
    return replace(checkup, problems=problems, notes=(*checkup.notes, *filter(None, [found.note])), probe=found.probed)


class _Timed:
    """A token endpoint, and when it was asked last."""

    def __init__(self, endpoint: TokenEndpoint | LoginEndpoint) -> None:
        self._endpoint = endpoint
        self.asked_at = self.took = 0.0
        """Unix seconds, and seconds."""

    @property
    def published(self) -> tuple[str, ...]:
        """The endpoint's."""
        return self._endpoint.published

    @property
    def last(self) -> Answer | None:
        """The endpoint's."""
        return self._endpoint.last

    async def token(self, asked_at: float, refresh_token: str = "") -> AccessToken:
        """The endpoint's."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            return await self._endpoint.token(asked_at, refresh_token)
        finally:
            self.asked_at, self.took = asked_at, loop.time() - began


async def _try_origins(environment: Environment, trust: upstream_tls.Trust) -> dict[str, upstream_tls.Trial]:
    """What came of TLS to each origin that is https, by its scheme, host and port; of a wildcard, no host is known."""
    servers = {one.base: one for one in environment.origins if one.scheme == "https" and not one.wildcard}
    trials = await asyncio.gather(
        *(upstream_tls.attempt(origin, trust, environment.file) for origin in servers.values())
    )
    return dict(zip(servers, trials, strict=True))


@dataclass(frozen=True, slots=True)
class _Scope:
    """What came of the scope that was asked for."""

    granted: tuple[str, ...] = ()
    unconfirmed: tuple[str, ...] = ()
    more: int = 0
    problem: str = ""
    note: str = ""


def _scope(environment: Environment, granted: Sequence[str] | None, claimed: Sequence[str] | None) -> _Scope:
    """`granted` is what the answer says, `claimed` what the token says; None: nothing."""
    wanted = environment.token_request.scope.split()
    ask = "ask whoever runs the authorization server to allow it to this client"
    comparable = [name for name in wanted if not name.endswith(_INCOMPARABLE)]
    if granted is not None:
        missing = [name for name in comparable if name not in granted]
        wrong = f"not granted: {' '.join(missing)}; check SCOPE in {environment.file}, or {ask}" if missing else ""
        return _Scope(
            tuple(name for name in wanted if name in granted), more=len(set(granted) - set(wanted)), problem=wrong
        )
    # RFC 6749 section 5.1: what was asked for is granted. Entra ID's tokens name a scope without its resource.
    short = {name: name.rpartition("/")[2] for name in wanted}
    named = set(claimed or ())
    unconfirmed = tuple(name for name in comparable if not named & {name, short[name]})
    note = ""
    if claimed is not None and unconfirmed:
        note = f"the token, a JWT, does not name {' '.join(unconfirmed)}; if the API answers 403, {ask}"
    return _Scope(tuple(wanted), unconfirmed, len(named - {*short, *short.values()}), note=note)


def _tls(request: TokenRequest, *, insecure: bool, answered: bool) -> str:
    if urlsplit(request.server_url).scheme == "http":
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

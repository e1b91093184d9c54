"""One safe request with an environment's token, as the proxy sends it: what the API says to that."""

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from credential_injector.diagnosis.doctor import diagnose
from credential_injector.diagnosis.evidence import Evidence
from credential_injector.environments.environment import Environment
from credential_injector.environments.owners import Owners
from credential_injector.oauth.connections import Connections
from credential_injector.oauth.request import Transport, without_query
from credential_injector.oauth.server import AuthorizationServer, Network
from credential_injector.oauth.token import AccessToken, NoToken, Served
from credential_injector.origins.index import Destinations, Excluded
from credential_injector.origins.origin import Origin
from credential_injector.tokens.upstream_tls import Trust

METHODS = ("GET", "HEAD")  # the safe ones (RFC 9110 section 9.2.1), the better one first
DEADLINE = 10.0  # seconds until the answer's headers are there

# `check` tries TLS to every API anyway, and says of these what to do.
_TOLD_BY_TLS = ("untrusted", "certificate_expired", "certificate_name", "certificate_not_yet_valid")


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe came to."""

    status: int | None = None
    """None: nothing was sent, or no answer came."""
    diagnosis: Mapping[str, Any] | None = None
    """Why the API refuses the token: `code`, `cause`, `advice`, and the evidence by its names."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe came to, and what a person is told."""

    probed: Probed = Probed()
    problem: str = ""
    """What is wrong, and what to do."""
    note: str = ""
    """Why it is not known whether the API takes the token, and what to do."""


class Outgoing(Protocol):
    """Makes the headers and the path with which the proxy sends a token."""

    def __call__(
        self, environment: Environment, token: AccessToken, path: str, *, method: str, base: str, now: float
    ) -> tuple[Mapping[str, str], str]:
        """Raises NoToken."""


class Probe:
    """A request for `path`, which may have a query, in each environment.

    `outgoing` gives the headers and the path with which the proxy sends a token. Raises ValueError where the path is
    none.
    """

    def __init__(self, path: str, outgoing: Outgoing, trust: Trust):
        if not re.fullmatch(r"/[\x21-\x22\x24-\x7e]*", path):
            raise ValueError("is no path; expected one such as /orders?limit=1, which begins with a slash")
        self._path = path
        self._outgoing = outgoing
        # Verified as mitmproxy verifies it, and never kept for the next environment's credential.
        self._network = Network(Connections(lambda *_: trust.context))

    async def send(
        self, environment: Environment, served: Served, *, owners: Owners | None = None, deadline: float = DEADLINE
    ) -> Finding:
        """Send it to the first origin in HOST to which it belongs, with this token, which was served just now.

        `owners` knows whose tokens the API may have got instead.
        """
        began = asyncio.get_running_loop().time()
        file, shown = environment.file, without_query(self._path)
        hosts = [origin for origin in environment.origins if not origin.wildcard]
        if not hosts:
            return Finding(note=f"nothing was probed: HOST in {file} has only wildcards, below which no host is known")
        origin = next((one for one in hosts if _covers(one, self._path)), None)
        if origin is None:
            below = " or ".join(map(str, hosts))
            return Finding(problem=f"nothing was probed: {shown} is not below {below}; name a path in --probe that is")
        endpoints = filter(None, (environment.token_request.endpoint, *served.token.endpoints))
        if Excluded(endpoints).holds(origin.scheme, origin.host, origin.port, self._path):
            problem = f"nothing was probed: {shown} is the token endpoint, where the proxy adds no token"
            return Finding(problem=f"{problem}; name another path in --probe")
        method = next(
            (one for one in METHODS if environment.methods is None or environment.methods.allows(one, self._path)), None
        )
        if method is None:
            return Finding(note=f"nothing was probed: METHODS in {file} has neither GET nor HEAD")
        server = AuthorizationServer(Transport(proxy="", timeout=deadline), network=self._network)
        try:
            headers, path = self._outgoing(
                environment, served.token, self._path, method=method, base=origin.base, now=_moment(served)
            )
            url = origin.base + path
            answer = await server.converse(lambda conversation: conversation.head(method, url, headers), url)
        except NoToken as error:
            if error.code in _TOLD_BY_TLS:
                return Finding()
            place = error.code == "invalid_cookie"
            check = f"COOKIE in {file}" if place else f"HOST in {file}, and the network or VPN"
            return Finding(problem=f"probe: {error.reason}; check {check}")
        diagnosis = diagnose(
            Evidence(
                environment,
                served.token,
                answer.status,
                _Headers(answer.headers),
                now=_moment(served) + asyncio.get_running_loop().time() - began,
                header_size=sum(len(f"{name}: {value}\r\n") for name, value in headers.items()),
                url=without_query(url),
                owner=lambda claims: "" if owners is None else owners.other(claims, environment),
            )
        )
        said = f"{method} {without_query(url)} answered {answer.status}"
        if diagnosis is not None:
            told = {"code": diagnosis.code, "cause": diagnosis.cause, "advice": diagnosis.advice, **diagnosis.values}
            return Finding(Probed(answer.status, told), problem=f"{said}: {diagnosis.cause}; {diagnosis.advice}")
        note = f"{said}, which does not tell whether the API takes the token; name a path in --probe that answers 200"
        return Finding(Probed(answer.status), note="" if 200 <= answer.status < 300 else note)


class _Headers:
    """The headers of an answer, in which all values of a name are one, with commas (RFC 9110 section 5.3)."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def get_all(self, name: str) -> list[str]:
        """As of Evidence."""
        return [self._headers[name]] if name in self._headers else []


def _covers(origin: Origin, path: str) -> bool:
    return Destinations([(origin, True)]).find(origin.scheme, origin.host, origin.port, path) is not None


def _moment(served: Served) -> float:
    """When it was served, in unix seconds. What does not expire is made in that moment."""
    token = served.token
    return token.issued_at if math.isinf(token.expires_at) else token.expires_at - served.seconds_left

"""The claims of a token -> the environment whose token it is. Pure.

Nothing is certain: a token names an audience and an issuer, and a file says where its tokens come from and go to. Where
several environments fit, nobody is named.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from credential_injector.environments.environment import Environment
from credential_injector.oauth.jwt_claims import JwtClaims


class Owners:
    """Looks environments up by their audiences and issuers."""

    def __init__(self, environments: Iterable[Environment]) -> None:
        self._audiences: dict[str, set[str]] = {}
        self._issuers: dict[str, set[str]] = {}
        for environment in environments:
            for audience in _audiences(environment):
                self._audiences.setdefault(audience, set()).add(environment.name)
            for issuer in _issuers(environment):
                self._issuers.setdefault(issuer, set()).add(environment.name)

    def other(self, claims: JwtClaims, environment: Environment) -> str:
        """The name of another environment than this one, whose token it is; empty where it is not clearly another's."""
        audiences = [self._audiences[one] for one in map(_plain, claims.audience) if one in self._audiences]
        issuers = [self._issuers[one] for one in (_plain(claims.issuer), claims.tenant) if one in self._issuers]
        # Mostly it is this one's, and thousands may share a server: then none of the sets is copied.
        if all(any(environment.name in one for one in several) for several in (audiences, issuers) if several):
            return ""
        audience, issuer = _union(audiences), _union(issuers)
        names = (audience & issuer) or audience or issuer
        return next(iter(names)) if len(names) == 1 and environment.name not in names else ""


def _union(several: list[set[str]]) -> set[str]:
    return several[0] if len(several) == 1 else set[str]().union(*several)


def _audiences(environment: Environment) -> Iterable[str]:
    """What the environment's tokens may name as their audience."""
    request = environment.token_request
    yield from map(_plain, (*request.audience, *request.resource))
    for origin in environment.origins:
        if not origin.wildcard:
            yield str(origin)


def _issuers(environment: Environment) -> Iterable[str]:
    """What the environment's tokens may name as their issuer or tenant.

    Most token endpoints are below their issuer's URL (Keycloak, Auth0, Okta), or name the tenant (Entra ID).
    """
    request = environment.token_request
    if request.issuer:
        yield _plain(request.issuer)
    for url in filter(None, (request.issuer, request.endpoint)):
        parts = urlsplit(url)
        yield from filter(_is_tenant, parts.path.split("/"))
        if url == request.endpoint:
            issuer = f"{parts.scheme}://{parts.netloc}"
            yield issuer
            for segment in parts.path.split("/")[1:-1]:
                issuer += f"/{segment}"
                yield issuer


def _is_tenant(segment: str) -> bool:
    return len(segment) == 36 and segment.count("-") == 4


def _plain(url: str) -> str:
    """Servers differ in the slash at the end."""
    return url.removesuffix("/")

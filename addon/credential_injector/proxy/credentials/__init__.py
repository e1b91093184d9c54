"""What goes into a request: the only code that knows where a token is written there."""

from dataclasses import dataclass, field

from credential_injector.environments.environment import Environment
from credential_injector.oauth import aws
from credential_injector.oauth.dpop import is_asked_for
from credential_injector.oauth.token import AccessToken, NoToken
from credential_injector.proxy.credentials.cookie import CookiePlace
from credential_injector.proxy.credentials.credential import Credential
from credential_injector.proxy.credentials.dpop import DpopCredential
from credential_injector.proxy.credentials.header import HeaderPlace
from credential_injector.proxy.credentials.place import Place
from credential_injector.proxy.credentials.placed import PlacedCredential
from credential_injector.proxy.credentials.query import QueryPlace
from credential_injector.proxy.credentials.sigv4 import SigV4Credential


def credential_of(environment: Environment) -> Credential:
    """How this environment's token goes into a request."""
    if environment.token_request.grant_type == aws.GRANT:
        return SigV4Credential(environment)
    placed = PlacedCredential(environment, place_of(environment))
    return DpopCredential(environment, placed) if is_asked_for(environment.token_request) else placed


def place_of(environment: Environment) -> Place:
    """Where it goes."""
    if environment.query:
        return QueryPlace(environment.query)
    if environment.cookie:
        return CookiePlace(environment.cookie)
    return HeaderPlace(environment.header, environment.prefix)


@dataclass(slots=True)
class _Headers:
    fields: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(slots=True)
class _Blank:
    path: bytes
    method: bytes = b"GET"
    content: bytes | None = b""
    http_version: bytes = b"HTTP/1.1"
    headers: _Headers = field(default_factory=_Headers)


def outgoing(
    environment: Environment,
    token: AccessToken,
    path: str = "/",
    *,
    method: str = "GET",
    base: str = "",
    now: float = 0.0,
) -> tuple[dict[str, str], str]:
    """The headers and the path of a request with this token, whose client sends nothing but a path. Raises NoToken.

    It is signed for the origin `base` at `now` (unix seconds), if there is one.
    """
    blank, credential = _Blank(path.encode(), method.encode()), credential_of(environment)
    credential.apply(blank, token)
    if base and (why := credential.sign(blank, token, base + blank.path.decode(), now)) is not None:
        raise NoToken("unsigned", why, lasting=True)
    return {name.decode(): value.decode() for name, value in blank.headers.fields}, blank.path.decode()

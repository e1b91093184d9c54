"""What goes into a request: the only code that knows where a token is written there."""

from dataclasses import dataclass, field

from credential_injector.environments.environment import Environment
from credential_injector.oauth.token import AccessToken
from credential_injector.proxy.credentials.cookie import CookiePlace
from credential_injector.proxy.credentials.credential import Credential
from credential_injector.proxy.credentials.header import HeaderPlace
from credential_injector.proxy.credentials.place import Place
from credential_injector.proxy.credentials.placed import PlacedCredential
from credential_injector.proxy.credentials.query import QueryPlace


def credential_of(environment: Environment) -> Credential:
    """How this environment's token goes into a request."""
    return PlacedCredential(environment, place_of(environment))


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
    http_version: bytes = b"HTTP/1.1"
    headers: _Headers = field(default_factory=_Headers)


def outgoing(environment: Environment, token: AccessToken, path: str = "/") -> tuple[dict[str, str], str]:
    """The headers and the path of a request with this token, whose client sends nothing but a path. Raises NoToken."""
    blank = _Blank(path.encode())
    credential_of(environment).apply(blank, token)
    return {name.decode(): value.decode() for name, value in blank.headers.fields}, blank.path.decode()

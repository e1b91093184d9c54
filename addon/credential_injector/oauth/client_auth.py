"""How a client authenticates at the token endpoint; one row per method (RFC 7591 section 2)."""

from collections.abc import Callable, Container, Mapping
from typing import NamedTuple
from urllib.parse import quote_plus, urlencode

from credential_injector.oauth import pem
from credential_injector.oauth.request import TokenRequest

Message = tuple[dict[str, str], str]
"""Headers and form."""

ASSERTION_LIFETIME = 300.0  # seconds: enough for clocks that differ


class Method(NamedTuple):
    """One client authentication method."""

    needs: tuple[str, ...]
    """The keys that it needs in the environment file."""
    apply: Callable[[TokenRequest, str, float, Message], Message]
    """Add the authentication to a message for an endpoint (URL) at a time (unix seconds)."""
    may: tuple[str, ...] = ()
    """Further keys that it uses where they are given."""
    certificate: bool = False
    """The client shows its certificate in the TLS handshake (RFC 8705 section 2)."""


def _client_secret_post(request: TokenRequest, endpoint: str, _now: float, message: Message) -> Message:
    return _by_authlib("client_secret_post", request.client_id, request.client_secret, endpoint, message)


def _client_secret_basic(request: TokenRequest, endpoint: str, _now: float, message: Message) -> Message:
    # RFC 6749 section 2.3.1: id and secret are form-encoded before they are joined; Authlib joins them as they are.
    client_id, secret = quote_plus(request.client_id), quote_plus(request.client_secret)
    return _by_authlib("client_secret_basic", client_id, secret, endpoint, message)


def _none(request: TokenRequest, endpoint: str, _now: float, message: Message) -> Message:
    return _by_authlib("none", request.client_id, "", endpoint, message)


def _by_authlib(method: str, client_id: str, secret: str, endpoint: str, message: Message) -> Message:
    from authlib.oauth2.auth import ClientAuth  # late, as it takes a while: not when mitmproxy starts

    if not client_id:  # a JWT or a token that is exchanged may be all that there is
        return message
    _, headers, form = ClientAuth(client_id, secret, method).prepare("POST", endpoint, *message)  # type: ignore[no-untyped-call]
    return headers, form


def _client_secret_jwt(request: TokenRequest, endpoint: str, now: float, message: Message) -> Message:
    key = {"kty": "oct", "k": pem.base64url(request.client_secret.encode())}
    return _with_assertion(request, endpoint, now, message, key=key, algorithm="HS256")


def _private_key_jwt(request: TokenRequest, endpoint: str, now: float, message: Message) -> Message:
    key = request.value("PRIVATE_KEY")
    algorithm = request.value("SIGNING_ALG") or pem.algorithms(key)[0]
    return _with_assertion(request, endpoint, now, message, key=pem.jwk(key), algorithm=algorithm)


def _with_assertion(
    request: TokenRequest, endpoint: str, now: float, message: Message, *, key: dict[str, str], algorithm: str
) -> Message:
    from credential_injector.oauth.jwt import signed

    assertion = signed(
        key,
        algorithm=algorithm,
        header=key_header(request),
        issuer=request.client_id,
        subject=request.client_id,
        audience=endpoint,
        now=now,
        lifetime=ASSERTION_LIFETIME,
    )
    headers, form = message
    fields = {
        "client_id": request.client_id,  # optional (RFC 7521 section 4.2), but Entra ID wants it
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }
    return headers, f"{form}&{urlencode(fields)}"


def key_header(request: TokenRequest) -> dict[str, str]:
    """The JWT header fields that name the key that signed it (RFC 7515 sections 4.1.4 and 4.1.8)."""
    key_id, certificate = request.value("KEY_ID"), request.value("CLIENT_CERT")
    thumbprint = {"x5t#S256": pem.thumbprint(certificate)} if certificate else {}  # Entra ID knows keys by that
    return {**({"kid": key_id} if key_id else {}), **thumbprint}


_SECRET = ("CLIENT_ID", "CLIENT_SECRET")
_CERTIFICATE = ("CLIENT_ID", "CLIENT_CERT", "CLIENT_KEY")

# Where the file names no method, the first of these that the server's metadata supports is used.
METHODS: Mapping[str, Method] = {
    "client_secret_post": Method(_SECRET, _client_secret_post),
    "client_secret_basic": Method(_SECRET, _client_secret_basic),
    "client_secret_jwt": Method(_SECRET, _client_secret_jwt),
    "private_key_jwt": Method(
        ("CLIENT_ID", "PRIVATE_KEY"), _private_key_jwt, may=("KEY_ID", "SIGNING_ALG", "CLIENT_CERT")
    ),
    "tls_client_auth": Method(_CERTIFICATE, _none, certificate=True),
    "self_signed_tls_client_auth": Method(_CERTIFICATE, _none, certificate=True),
    "none": Method((), _none, may=("CLIENT_ID",)),
}


def possible(given: Container[str]) -> list[str]:
    """The methods other than none whose keys are all given."""
    return [name for name, method in METHODS.items() if method.needs and all(key in given for key in method.needs)]


def given(request: TokenRequest) -> set[str]:
    """The keys of which a token request has a value."""
    return {"CLIENT_ID", *(["CLIENT_SECRET"] if request.client_secret else []), *dict(request.values)}


def advice(request: TokenRequest) -> str:
    """What to check where the server refuses the client; {file} is the environment's file."""
    methods = [request.auth_method] if request.auth_method else possible(given(request))
    named = dict.fromkeys(key for method in methods for key in METHODS[method].needs) or ["CLIENT_ID"]
    said = f"check {', '.join(named)} and TOKEN_ENDPOINT_AUTH_METHOD in {{file}}"
    if "private_key_jwt" in methods:
        said += ", and that the server takes SIGNING_ALG: some take RS256 and ES256 only"
    client = request.client_id + request.client_secret
    if "client_secret_basic" in methods and quote_plus(client) != client:
        said += (
            "; if they are right, the server does not form-decode client_secret_basic (RFC 6749 section 2.3.1),"
            " and misreads their special characters: write TOKEN_ENDPOINT_AUTH_METHOD=client_secret_post,"
            " or take an id and a secret without any"
        )
    return said

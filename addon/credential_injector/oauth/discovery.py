"""The metadata that an authorization server publishes (RFC 8414, OpenID Connect Discovery 1.0). Pure."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from credential_injector.oauth.request import parse_endpoint, without_query
from credential_injector.oauth.token import NoToken

_ALSO_KEPT = (
    "authorization_response_iss_parameter_supported",
    "mtls_endpoint_aliases",
    "token_endpoint_auth_methods_supported",
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of an issuer (RFC 8414 section 2)."""

    issuer: str
    document: Mapping[str, Any]
    """Only what is used: each environment has one, and all that Keycloak publishes takes 26 kB."""

    def endpoint(self, name: str, *, certificate: bool = False) -> str:
        """The URL of an endpoint; with `certificate`, the one for clients that show one (RFC 8705 section 5).

        Raises NoToken, also for an http URL (RFC 8414 section 2), unless the issuer is an http one on this machine.
        """
        aliases = self.document.get("mtls_endpoint_aliases") if certificate else None
        url = aliases.get(name) if isinstance(aliases, dict) else None
        url = url or self.document.get(name)
        if not isinstance(url, str):
            raise NoToken("invalid_metadata", f"{without_query(self.issuer)} publishes no {name}", lasting=True)
        try:
            scheme = urlsplit(parse_endpoint(url)).scheme
        except ValueError:
            scheme = ""
        if not scheme or (scheme == "http" and urlsplit(self.issuer).scheme == "https"):
            wrong = f"{without_query(self.issuer)} publishes a {name} that is malformed or not https"
            raise NoToken("invalid_metadata", wrong, lasting=True)
        return url

    @property
    def names_issuer(self) -> bool:
        """Whether every answer to a login names the issuer (RFC 9207 section 3)."""
        return self.document.get("authorization_response_iss_parameter_supported") is True

    def endpoints(self, name: str) -> tuple[str, ...]:
        """The well-formed URLs of an endpoint, for clients without a certificate and with one."""
        urls = []
        for certificate in (False, True):
            with suppress(NoToken):
                urls.append(self.endpoint(name, certificate=certificate))
        return tuple(dict.fromkeys(urls))

    def method(self, possible: Sequence[str]) -> str:
        """The first of these client authentication methods that the token endpoint supports. Raises NoToken."""
        supported = self.document.get("token_endpoint_auth_methods_supported")
        if not isinstance(supported, list):
            supported = ["client_secret_basic"]  # RFC 8414 section 2: the default
            supported += [] if "client_secret_basic" in possible else possible
        elif all(method == "none" for method in supported):  # says nothing of clients with a secret: oauth2-mock-server
            supported = possible
        for method in possible:
            if method in supported:
                return method
        wrong = f"{without_query(self.issuer)} supports none of {', '.join(possible)}, for which the file has the keys"
        raise NoToken("unsupported_auth_method", wrong, lasting=True)


def locations(issuer: str) -> tuple[str, str]:
    """Where an issuer's metadata may be: RFC 8414 section 3.1, then OpenID Connect Discovery section 4.1."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    return (
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}{path}/.well-known/openid-configuration",
    )


def metadata(document: Mapping[str, Any], issuer: str) -> Metadata:
    """Raises NoToken where the document is another issuer's (RFC 8414 section 3.3)."""
    said = document.get("issuer")
    if said != issuer:
        named = "another issuer"
        if said in (issuer.rstrip("/"), f"{issuer.rstrip('/')}/"):
            named = f"the issuer {said}; only the slash at the end differs"
        raise NoToken("issuer_mismatch", f"the metadata of {without_query(issuer)} names {named}", lasting=True)
    return Metadata(
        issuer, {name: value for name, value in document.items() if name.endswith("_endpoint") or name in _ALSO_KEPT}
    )

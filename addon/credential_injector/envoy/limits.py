"""What an environment asks for and Envoy does not do. Pure."""

from credential_injector.environments.environment import Environment
from credential_injector.oauth import aws
from credential_injector.oauth.dpop import is_asked_for

_SIGNS = "signs each request, and Envoy puts one credential into all of them"
_IN_FLIGHT = (
    "a request that gets a 401 is not sent again: the token is replaced, and the client sees the 401s of the requests"
    " under way"
)
GENERAL = (
    _IN_FLIGHT,
    "no flow is shown, marked or commented, no diagnosis is made, and no inject_log is written",
    "a client that is not in --clients is not served at all",
    "an HTTP/1 message goes on as it came, but that trailers are in lower case, X-Forwarded-Proto stands last, and an"
    " answer without Date gets one",
    "a TLS client that names no host (SNI), or another one than its CONNECT, is not served",
)
"""What holds for every environment."""


def refusal(environment: Environment) -> str | None:
    """Why Envoy cannot serve an environment at all, and what can."""
    request = environment.token_request
    if request.grant_type == aws.GRANT:
        why = f"GRANT_TYPE={aws.GRANT} {_SIGNS}"
    elif is_asked_for(request):
        why = f"DPOP {_SIGNS}"
    elif environment.query or environment.cookie:
        key = "QUERY" if environment.query else "COOKIE"
        why = f"{key} is no header, and Envoy writes a credential into a header only"
    else:
        return None
    return f"{why}; its requests are blocked; use mitmproxy for {environment.file}"


def lacks(environment: Environment) -> list[str]:
    """What Envoy does otherwise than mitmproxy does for an environment."""
    if (why := refusal(environment)) is not None:
        return [why]
    found = []
    if environment.token_request.value("CLIENT_KEY"):
        found.append("the API sees no client certificate, so it refuses a token that is bound to one (RFC 8705)")
    if environment.confirm is not None:
        found.append(f"CONFIRM needs a person at mitmweb; {environment.confirm} is blocked")
    if environment.methods is not None and not environment.methods.anywhere <= {"GET", "HEAD", "OPTIONS"}:
        found.append("METHODS is compared with the method, headers and the query, and not with _method in a body")
    if environment.asked_as and any("@" in name for name in environment.asked_as):
        found.append("AS is compared with the header X-Inject-As only, and not with ports and users")
    if any(origin.wildcard for origin in environment.origins):
        found.append("a wildcard's certificate holds for one level of names, so deeper ones are not trusted by clients")
    return found

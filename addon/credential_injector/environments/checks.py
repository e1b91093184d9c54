"""Keys of an environment file that are right each, and wrong together."""

from collections.abc import Iterator, Mapping
from typing import Any

from credential_injector.oauth import pem
from credential_injector.oauth.schemes import SCHEMES
from credential_injector.origins.destinations import is_loopback

Mistakes = Iterator[tuple[str, str]]
"""Each with its key, and what is wrong with it. `values` are by the names of the fields, `given` are the keys."""


def check_endpoints(values: Mapping[str, Any], given: Mapping[str, str], login_endpoint: str) -> Mistakes:
    """ISSUER, and the endpoints that it publishes."""
    if "ISSUER" in given:
        for key in {"TOKEN_ENDPOINT", login_endpoint}.intersection(given):
            yield key, "is given, and ISSUER publishes one; one of the two was expected"
        return
    if login_endpoint and login_endpoint not in given:
        yield login_endpoint, "is missing, a URL was expected, or ISSUER, which publishes it"
    if "TOKEN_ENDPOINT" not in given and (origins := values.get("origins")):
        if origins[0].wildcard:
            wrong = "is missing and HOST begins with a wildcard, so it has no default; a URL was expected"
            yield "TOKEN_ENDPOINT", wrong
        elif origins[0].scheme == "http" and not is_loopback(origins[0].host):
            yield "TOKEN_ENDPOINT", "is missing and HOST begins with plain http; an https URL was expected"


def check_pairs(values: Mapping[str, Any], given: Mapping[str, str], grant: str, prefix: str) -> Mistakes:
    """Keys that contradict one another, or that miss one another."""
    of_grant = dict(values.get("values", ()))
    yield from _check_signing(of_grant, given)
    if prefix and "VALUE" in of_grant:
        value = of_grant["VALUE"].lower()
        scheme = SCHEMES.get(value.partition(" ")[0]) if " " in value else None
        expected = "expected the value without it, or an empty PREFIX="
        if scheme is not None:
            yield given["VALUE"], f"begins with {scheme}, and PREFIX goes before it; {expected}"
        elif value.startswith(f"{prefix.lower()} "):
            yield given["VALUE"], f"begins with PREFIX, which goes before it; {expected}"
    if grant == "basic" and ":" in of_grant.get("USERNAME", ""):  # RFC 7617 section 2
        yield given["USERNAME"], "holds a colon, at which the server would end it; expected a name without one"
    if "ACTOR_TOKEN_TYPE" in given and "ACTOR_TOKEN" not in given:  # RFC 8693 section 2.1
        yield given["ACTOR_TOKEN_TYPE"], "is given without ACTOR_TOKEN; expected both or neither"
    if values.get("insecure_tls") and "CA" in given:
        yield given["INSECURE_TLS"], f"verifies nothing, so {given['CA']} has no use; expected one of the two"


def _check_signing(values: Mapping[str, Any], given: Mapping[str, str]) -> Mistakes:
    if "PRIVATE_KEY" in values:
        algorithms = pem.algorithms(values["PRIVATE_KEY"])
        if not algorithms:
            expected = "an RSA, P-256, P-384, P-521 or Ed25519 key was expected"
            yield given["PRIVATE_KEY"], f"cannot sign a JWT, {expected}"
        elif values.get("SIGNING_ALG", algorithms[0]) not in algorithms:
            yield "SIGNING_ALG", f"does not fit PRIVATE_KEY, one of {', '.join(algorithms)} was expected"
    key = "CLIENT_KEY" if "CLIENT_KEY" in values else "PRIVATE_KEY"
    if {"CLIENT_CERT", key} <= values.keys() and not pem.belong_together(values["CLIENT_CERT"], values[key]):
        yield given["CLIENT_CERT"], f"does not match {key}, the certificate of that key was expected"

"""Mistakes that no key of an environment file makes alone, and the defaults that one key gives another."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from credential_injector.environments import keys
from credential_injector.oauth import aws, dpop, login_body, login_recipe, pem
from credential_injector.oauth.client_auth import METHODS, possible
from credential_injector.oauth.grants import FIXED, GRANTS
from credential_injector.oauth.request import TokenRequest, Transport
from credential_injector.oauth.schemes import SCHEMES
from credential_injector.oauth.token import is_cookie
from credential_injector.origins.hosts import is_loopback

_OF_TRANSPORT = tuple(key for key, row in keys.KEYS.items() if row.field in Transport.__slots__)
Mistakes = Iterator[tuple[str, str]]
"""Each with its key, and what is wrong with it."""
Values = Mapping[str, Any]
"""What has been read, by the names of the fields."""
Given = Mapping[str, str]
"""The keys of the file, right or wrong, each as messages name it: `CLIENT_SECRET` may be `CLIENT_SECRET_FILE`."""

DEFAULT_GRANT = "client_credentials"
_OF_GRANTS = {key for grant in GRANTS.values() for key in (*grant.needs, *grant.may)}
_OF_GRANTS |= {key for fixed in FIXED.values() for key in (*fixed.needs, *fixed.may)}
_OF_METHODS = {key for method in METHODS.values() for key in (*method.needs, *method.may)}


def check(values: Values, given: Given) -> Mistakes:
    """Every mistake of this kind."""
    yield from check_header_names(values)
    yield from check_place(values, given)
    yield from check_grant(values, given)
    yield from check_pairs(values, given)


def default_method(grant: str, given: Collection[str]) -> str:
    """The client authentication method of a file that names none; empty where the server's metadata decides."""
    if "ISSUER" in given and possible(given):
        return ""
    return "none" if GRANTS[grant].public and "CLIENT_SECRET" not in given else "client_secret_post"


def default_prefix(values: Values) -> str:
    """Bearer is for Authorization. GRANT_TYPE=basic names its scheme, for any header."""
    if "query" in values or "cookie" in values:
        return ""
    if dict(values.get("values", ())).get("DPOP"):
        return "DPoP"  # RFC 9449 section 7.1
    fixed = FIXED.get(values.get("grant_type", ""))
    if fixed is not None and fixed.prefix:
        return fixed.prefix
    return "Bearer" if values.get("header", "Authorization").lower() == "authorization" else ""


def scheme_of(value: str) -> str:
    """The authentication scheme that a header's value begins with; empty where it begins with none that is known."""
    first, space, _ = value.partition(" ")
    return SCHEMES.get(first.lower(), "") if space else ""


def check_header_names(values: Values) -> Mistakes:
    """Headers that would replace one another."""
    for family in ("TOKEN_HEADER_", "HEADER_"):
        names = [name.lower() for name, _ in values.get(keys.FAMILIES[family].field, ())]
        if len(names) != len(set(names)):
            yield family, "names a header twice, as upper and lower case are the same; expected each header once"
        if family == "HEADER_" and (header := values.get("header", "Authorization")).lower() in names:
            yield f"HEADER_{header}", "would replace the credential; expected another header"


def check_place(values: Values, given: Given) -> Mistakes:
    """A credential goes to one place."""
    places = [key for key in ("HEADER", "QUERY", "COOKIE") if key in given]
    for key in places[1:]:
        yield given[key], f"is given besides {places[0]}; expected one of them"
    if "PREFIX" in given and places and places[0] != "HEADER":
        yield (
            given["PREFIX"],
            f"goes before a credential in a header, and {places[0]} names another place; expected one of the two",
        )
    if any(name.lower() == "cookie" for name, _ in values.get("extra_headers", ())) and "COOKIE" in given:
        yield "HEADER_Cookie", "would replace the cookie of COOKIE; expected one of them"
    if "COOKIE" in given and not is_cookie(dict(values.get("values", ())).get("VALUE", "x")):
        yield (
            given["VALUE"],
            "cannot stand in a cookie; expected visible ASCII without spaces, quotes, commas, ; and \\",
        )


def check_grant(values: Values, given: Given) -> Mistakes:
    """Missing keys, and keys that the grant or the client authentication method does not use.

    A key with a wrong value is not missing. If the grant or the method is invalid, no key is called missing or unused.
    """
    grant = values.get("grant_type", DEFAULT_GRANT)
    needed: tuple[str, ...] = ()
    unused: dict[str, list[str]] = {}
    if any(key in given and keys.KEYS[key].field not in values for key in ("GRANT_TYPE", "TOKEN_ENDPOINT_AUTH_METHOD")):
        pass
    elif grant in FIXED:
        needed = FIXED[grant].needs
        used = {*needed, *FIXED[grant].may}
        unused = {key: [f"GRANT_TYPE={grant}"] for key in given if _is_about_tokens(key) and key not in used}
        yield from _check_aws(values, given)
    elif grant == login_recipe.GRANT:
        needed = GRANTS[grant].needs
        used = {*needed, *GRANTS[grant].may, *_OF_TRANSPORT}
        unused = {key: [f"GRANT_TYPE={grant}"] for key in given if _is_about_tokens(key) and key not in used}
        yield from check_login(values, given)
    else:
        method = values.get("auth_method", default_method(grant, given))
        needed = (*GRANTS[grant].needs, *(METHODS[method].needs if method else ()))
        unused = _unused(grant, [method] if method else possible(given), given)
        yield from check_endpoints(values, given, GRANTS[grant].login_endpoint)
    for key in dict.fromkeys(("HOST", *needed)):
        if key not in given:
            row = keys.KEYS[key]
            secret = f"the secret itself, {key}_FILE=path or {key}_COMMAND=command"
            yield key, f"is missing; expected {secret if row.secret else row.expected}"
    for key, reasons in unused.items():
        yield given[key], f"is not used with {' and '.join(reasons)}; expected one or the other"


def check_login(values: Values, given: Given) -> Mistakes:
    """LOGIN_BODY, and what goes into it."""
    of_grant = dict(values.get("values", ()))
    body = of_grant.get("LOGIN_BODY", "")
    for key in login_recipe.PLACEHOLDERS:
        holds = f"${{{key}}}" in body
        if holds and key not in given:
            yield key, f"is missing, and LOGIN_BODY has ${{{key}}}; expected its value"
        elif key in given and not holds and ("LOGIN_BODY" not in given or body):
            yield given[key], f"is not used, as LOGIN_BODY has no ${{{key}}}; expected it there"
    if body and of_grant.get("LOGIN_METHOD") == "GET":
        yield given["LOGIN_BODY"], "cannot go with LOGIN_METHOD=GET; expected POST or PUT"
    if login_body.is_json(body):
        try:
            json.loads(re.sub(r"\$\{(?:USERNAME|PASSWORD)\}", "x", body))
        except ValueError:
            wrong = 'is no JSON; expected such as {"user": "${USERNAME}", "password": "${PASSWORD}"}'
            yield given["LOGIN_BODY"], wrong


def _unused(grant: str, methods: Iterable[str], given: Iterable[str]) -> dict[str, list[str]]:
    """The keys of another grant or client authentication method, with the lines that they do not go with."""
    used = {*GRANTS[grant].needs, *GRANTS[grant].may}
    used |= {key for method in methods for key in (*METHODS[method].needs, *METHODS[method].may)}
    of_methods = f"TOKEN_ENDPOINT_AUTH_METHOD={' or '.join(methods)}"
    return {
        key: [f"GRANT_TYPE={grant}"] * (key in _OF_GRANTS) + [of_methods] * (key in _OF_METHODS)
        for key in given
        if key in _OF_GRANTS | _OF_METHODS and key not in used
    }


def _is_about_tokens(key: str) -> bool:
    """Whether a key is for token requests only."""
    row = keys.row(key)
    # LOGIN_HEADER_ and TOKEN_HEADER_ fill the same field.
    if row is not None and row.field == "headers":
        return key.startswith("TOKEN_HEADER_")
    return row is not None and row.field in (*TokenRequest.__slots__, *Transport.__slots__) and key != "GRANT_TYPE"


def check_endpoints(values: Values, given: Given, login_endpoint: str) -> Mistakes:
    """ISSUER, and the endpoints that it publishes."""
    if "ISSUER" in given:
        for key in {"TOKEN_ENDPOINT", login_endpoint}.intersection(given):
            yield key, "is given, and ISSUER publishes one; expected one of the two"
        return
    if login_endpoint and login_endpoint not in given:
        yield login_endpoint, "is missing; expected a URL, or ISSUER, which publishes it"
    if "TOKEN_ENDPOINT" not in given and (origins := values.get("origins")):
        if origins[0].wildcard:
            wrong = "is missing and HOST begins with a wildcard, so it has no default; expected a URL"
            yield "TOKEN_ENDPOINT", wrong
        elif origins[0].scheme == "http" and not is_loopback(origins[0].host):
            yield (
                "TOKEN_ENDPOINT",
                "is missing and HOST begins with plain http, so it has no default; expected an https URL",
            )


def check_pairs(values: Values, given: Given) -> Mistakes:
    """Keys that contradict or need one another."""
    of_grant = dict(values.get("values", ()))
    prefix = values.get("prefix", default_prefix(values))
    yield from _check_signing(of_grant, given)
    if prefix and "VALUE" in of_grant:
        expected = "expected the value without it, or an empty PREFIX="
        if scheme := scheme_of(of_grant["VALUE"]):
            yield given["VALUE"], f"begins with {scheme}, and PREFIX goes before it; {expected}"
        elif of_grant["VALUE"].lower().startswith(f"{prefix.lower()} "):
            yield given["VALUE"], f"begins with PREFIX, which goes before it; {expected}"
    if values.get("grant_type") == "basic" and ":" in of_grant.get("USERNAME", ""):  # RFC 7617 section 2
        yield given["USERNAME"], "holds a colon, at which the server would end it; expected a name without one"
    if "ACTOR_TOKEN_TYPE" in given and "ACTOR_TOKEN" not in given:  # RFC 8693 section 2.1
        yield given["ACTOR_TOKEN_TYPE"], "is given without ACTOR_TOKEN; expected both or neither"
    yield from _check_dpop(of_grant, values, given)
    if values.get("insecure_tls") and "CA" in given:
        yield given["INSECURE_TLS"], f"verifies nothing, so {given['CA']} has no use; expected one of the two"


def _check_aws(values: Values, given: Given) -> Mistakes:
    """A signature needs botocore, a region and a service, and goes into Authorization."""
    if values.get("grant_type") != aws.GRANT:
        return
    if not aws.is_installed():
        yield (
            "GRANT_TYPE",
            "needs botocore; expected it beside the add-on: pip install 'mitmproxy-credential-injector[aws]'",
        )
    for key in ("HEADER", "QUERY", "COOKIE", "PREFIX"):
        if key in given:
            yield (
                given[key],
                f"does not go with GRANT_TYPE={aws.GRANT}, which writes Authorization; expected one of the two",
            )
    asked = TokenRequest(values=tuple(values.get("values", ())))
    for origin in values.get("origins", ()):
        host = f"x.{origin.host}" if origin.wildcard else origin.host
        if aws.scope(asked, host) is None and not (origin.wildcard and host.endswith("amazonaws.com")):
            yield (
                "AWS_REGION",
                f"or AWS_SERVICE is missing, and {origin} does not tell it; expected both, such as eu-west-1 and s3",
            )
            return


def _check_dpop(of_grant: Values, values: Values, given: Given) -> Mistakes:
    """RFC 9449: the token goes into Authorization, with a proof beside it."""
    if not of_grant.get("DPOP"):
        if "DPOP_KEY" in given:
            yield given["DPOP_KEY"], "is given without DPOP=true; expected both or neither"
        return
    for key in ("HEADER", "QUERY", "COOKIE", "PREFIX"):
        if key in given:
            yield given[key], "does not go with DPOP, whose token goes into Authorization; expected one of the two"
    if any(name.lower() == "dpop" for name, _ in values.get("extra_headers", ())):
        yield "HEADER_DPoP", "would replace the proof of DPOP; expected another header"
    if "DPOP_KEY" in of_grant and not dpop.can_prove(of_grant["DPOP_KEY"]):
        yield given["DPOP_KEY"], "cannot sign a proof; expected an RSA, P-256, P-384, P-521 or Ed25519 key"


def _check_signing(values: Values, given: Given) -> Mistakes:
    if "PRIVATE_KEY" in values:
        algorithms = pem.algorithms(values["PRIVATE_KEY"])
        if not algorithms:
            yield given["PRIVATE_KEY"], "cannot sign a JWT; expected an RSA, P-256, P-384, P-521 or Ed25519 key"
        elif values.get("SIGNING_ALG", algorithms[0]) not in algorithms:
            yield "SIGNING_ALG", f"does not fit PRIVATE_KEY; expected one of {', '.join(algorithms)}"
    key = "CLIENT_KEY" if "CLIENT_KEY" in values else "PRIVATE_KEY"
    if {"CLIENT_CERT", key} <= values.keys() and not pem.belong_together(values["CLIENT_CERT"], values[key]):
        yield given["CLIENT_CERT"], f"does not match {key}; expected the certificate of that key"

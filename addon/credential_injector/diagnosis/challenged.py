"""Causes that the API names in WWW-Authenticate."""

import math
from typing import Any
from urllib.parse import urlsplit

from credential_injector import messages
from credential_injector.diagnosis.diagnosis import Diagnosis
from credential_injector.diagnosis.evidence import Evidence
from credential_injector.diagnosis.objection import Objection
from credential_injector.oauth.grants import GRANTS
from credential_injector.oauth.token import Failure

LONGEST_URL = 200  # characters
MOST_SCOPES = 64  # names of the API's that are compared


def step_up(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """The person must log in anew, or in a stronger way (RFC 9470 section 3)."""
    if objection.error != "insufficient_user_authentication":
        return None
    claims, wants = evidence.token.claims, []
    values: dict[str, Any] = {}
    if acr := evidence.names(objection.parameters.get("acr_values", "").split()):
        values["acr_values"] = acr
        has = f" (the token has {claims.acr})" if claims is not None and claims.acr else ""
        wants.append(f"with acr {' or '.join(acr)}{has}")
    max_age = objection.parameters.get("max_age", "")
    if max_age.isascii() and max_age.isdigit() and len(max_age) <= 9:
        values["max_age"] = int(max_age)
        ago = evidence.now - claims.auth_time if claims is not None and claims.auth_time is not None else math.inf
        has = f" (the token's was {messages.duration(ago)} ago)" if 0 <= ago <= evidence.now else ""
        wants.append(f"at most {messages.duration(int(max_age))} ago{has}")
    how = " and ".join(wants) or "of a stronger kind"
    advice = f"{'log in again in that way; ' if _logs_in(evidence) else ''}{_log_in(evidence)}"
    return Diagnosis("step_up", "login", f"the API wants a person's login {how}", advice, values)


def claims_challenge(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """Entra ID's Conditional Access wants more than the token shows."""
    if objection.error != "insufficient_claims":
        return None
    cause = "the API wants claims that the token does not have (insufficient_claims, Conditional Access of Entra ID)"
    return Diagnosis("claims_challenge", "claims", cause, _log_in(evidence))


def scope(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """The token lacks a scope or a role (RFC 6750 section 3.1)."""
    has, said = evidence.scope, objection.error == "insufficient_scope"
    # With Entra ID, /.default stands for whatever is granted, and no token has it.
    names = objection.parameters.get("scope", "").split()[:MOST_SCOPES]
    wanted = [name for name in names if not name.endswith("/.default")]
    missing = evidence.names(name for name in wanted if has is not None and not _is_among(name, has))
    if not said and not (evidence.status == 403 and not objection.error and missing):
        return None
    shown, claims = evidence.names(wanted), evidence.token.claims
    code = "role" if claims is not None and claims.roles and claims.scope is None else "scope"
    if missing:
        has_it = f"the token has {_listed(has or ())}" if has else "the token has none"
        cause = f"the API wants {code} {' '.join(missing)}, {has_it}"
    elif shown and has is None:
        cause = f"the API wants {code} {' '.join(shown)}, and says that the token lacks it"
    else:
        shown = []  # names that it has, or none: they explain nothing
        cause = "the API says that the token's scope does not suffice"
        cause += f"; it has {_listed(has)}" if has else ""
    values = {"wanted": evidence.names(wanted), "missing": missing, "has": list(has or ())}
    return Diagnosis(code, code, cause, _scope_advice(evidence, code, missing or shown), values)


def _scope_advice(evidence: Evidence, code: str, names: list[str]) -> str:
    file, asked = evidence.file, evidence.environment.token_request.scope.split()
    if evidence.fixed:
        return f"put a credential that has it into {file}"
    if code == "role" or any(name.endswith("/.default") for name in asked):
        return f"ask whoever runs the authorization server to grant it to the client in {file}"
    if not names:
        return f"ask whoever runs the API which scope it wants, and add it to SCOPE in {file}"
    if all(_is_among(name, tuple(asked)) for name in names):
        return (
            f"SCOPE in {file} asks for it already; ask whoever runs the authorization server to grant it to the client"
        )
    login = f", then {_log_in(evidence)}" if _logs_in(evidence) else ""
    return f"add {' '.join(names)} to SCOPE in {file}{login}"


def dpop(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """The API wants a proof of a key (RFC 9449 section 7.1)."""
    wanted = objection.offers("DPoP") and not objection.offers("Bearer") and evidence.scheme == "Bearer"
    if objection.error not in ("use_dpop_nonce", "invalid_dpop_proof") and not (wanted and evidence.in_authorization):
        return None
    if evidence.environment.token_request.value("DPOP"):
        return Diagnosis(
            "dpop",
            "DPoP",
            f"the API does not take the DPoP proof ({objection.error or 'no reason told'})",
            "check this machine's clock, and ask whoever runs the API at which URL it believes to be",
        )
    return Diagnosis(
        "dpop",
        "DPoP",
        "the API wants a DPoP proof with the token",
        f"write DPOP=true into {evidence.file}, if the authorization server binds tokens to a key",
    )


def invalid_request(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """The request itself is wrong, such as one with two tokens (RFC 6750 section 3.1)."""
    if objection.error != "invalid_request":
        return None
    return Diagnosis(
        "invalid_request",
        "request",
        "the API says that the request is malformed (invalid_request)",
        f"look whether the client sends a token of its own in the query or in the body, beside that of {evidence.file}",
    )


def other_scheme(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """The API offers other ways only than the one in which the token goes (RFC 9110 section 11.6.1)."""
    environment, file, sent = evidence.environment, evidence.file, evidence.scheme
    offered = evidence.names(objection.offered)
    # With an error it has read the token, whatever it calls the scheme.
    if objection.error or not offered or len(offered) < len(objection.offered):
        return None
    values = {"offered": offered, "sent": sent, "header": environment.place[0]}
    asks = f"the API asks for {' or '.join(offered)}"
    if not evidence.in_authorization:
        if not objection.offers("Bearer"):
            return None
        place, key = environment.place
        cause = f"{asks} in Authorization, and the token goes in {place}"
        return Diagnosis("header", "header", cause, f"if the API takes no {place}, remove {key} from {file}", values)
    if objection.offers(sent):
        return None
    goes = f"as {sent}" if sent else "without a scheme before it"
    cause = f"{asks}, and the {messages.noun(environment.token_request.grant_type)} goes {goes}"
    if objection.offers("Bearer") and sent != "Basic":
        return Diagnosis("prefix", "prefix", cause, f"write PREFIX=Bearer into {file}", values)
    if objection.offers("Basic"):
        advice = f"if the API takes nothing else, write GRANT_TYPE=basic, USERNAME and PASSWORD into {file}"
    elif objection.offers("Bearer"):
        advice = f"write a GRANT_TYPE that gets a token, such as client_credentials, into {file}"
    else:
        advice = f"ask whoever runs the API how it wants to be called, and change GRANT_TYPE or PREFIX in {file}"
    return Diagnosis("scheme", "scheme", cause, advice, values)


def issuer(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """The API trusts another authorization server."""
    if objection.about != "issuer":
        return None
    claims = evidence.token.claims
    own = claims.issuer if claims is not None else ""
    cause = "the API says that it does not take tokens of this issuer" + (f", {own}" if own else "")
    key = "VALUE" if evidence.fixed else "TOKEN_ENDPOINT or ISSUER"
    advice = f"ask whoever runs the API which authorization server it trusts, and compare {key} in {evidence.file}"
    return Diagnosis("issuer", "issuer", cause, advice, {"issuer": own})


def signature(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """The API cannot verify the token's signature."""
    if objection.about != "signature":
        return None
    key = "VALUE" if evidence.fixed else "TOKEN_ENDPOINT or ISSUER"
    advice = (
        f"check that {key} in {evidence.file} fits the authorization server that the API trusts, and ask whoever runs"
        " the API whether it has that server's present keys"
    )
    return Diagnosis("signature", "signature", "the API says that it cannot verify the token's signature", advice)


def revoked(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """The token was taken back."""
    if objection.about != "revoked":
        return None
    new = f"put a new one into {evidence.file}" if evidence.fixed else "ask whoever runs the authorization server why"
    too = ", a new one, too" if evidence.replaced_too else ""
    return Diagnosis("revoked", "revoked", f"the API says that the token is revoked{too}", new)


def metadata(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """No cause, but where the API publishes what it wants (RFC 9728 section 5.1)."""
    if objection.about:  # what it says is of more use
        return None
    url = objection.parameters.get("resource_metadata", "")
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    plain = parts.scheme == "https" and parts.hostname and "@" not in parts.netloc and not parts.query
    if not plain or parts.fragment or not evidence.is_repeatable(url, LONGEST_URL):
        return None
    return Diagnosis(
        "metadata",
        "?",
        f"the API {objection.reason}; it publishes which authorization servers and scopes it takes",
        f"compare {url} with ISSUER or TOKEN_ENDPOINT, RESOURCE and SCOPE in {evidence.file}",
        {"resource_metadata": url},
    )


def _logs_in(evidence: Evidence) -> bool:
    grant = GRANTS.get(evidence.environment.token_request.grant_type)
    return grant is not None and bool(grant.login_endpoint)


def _log_in(evidence: Evidence) -> str:
    if _logs_in(evidence):
        return messages.advice(evidence.environment, Failure("login_required", ""))
    return f"write GRANT_TYPE=authorization_code into {evidence.file}, with which a person logs in"


def _is_among(name: str, names: tuple[str, ...]) -> bool:
    """Whether a scope is one of these. Entra ID writes `api://orders/read` and `read` for the same one."""
    return any(
        name == other or (("/" in name) != ("/" in other) and name.rpartition("/")[2] == other.rpartition("/")[2])
        for other in names
    )


def _listed(names: tuple[str, ...]) -> str:
    return " ".join(names[:8]) + (" …" if len(names) > 8 else "")

"""Causes that the token's own claims show, where the API does not take the token at all."""

import math
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from credential_injector import messages
from credential_injector.diagnosis.diagnosis import Diagnosis
from credential_injector.diagnosis.evidence import Evidence
from credential_injector.diagnosis.objection import Objection

SKEW = 5.0  # seconds by which two clocks must differ: Date has whole ones, and an answer takes a while
# Seconds that a time must be over where the API does not speak of time: the most that a library (ASP.NET's) lets pass.
TOLERANCE = 300.0
MOST_AUDIENCES = 4
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# Microsoft Graph's, by which Entra ID means the same application in every tenant.
_GRAPH = re.compile(r"(https://graph\.microsoft\.com|00000003-0000-0000-c000-000000000000)/?", re.IGNORECASE)


def is_rejected(evidence: Evidence, objection: Objection) -> bool:
    """The API does not take the token, whatever it may do."""
    return (evidence.status == 401 and not objection.error) or objection.error == "invalid_token"


def clock(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """By the API's clock the token has expired already, or its life has not begun."""
    claims, there, about = evidence.token.claims, evidence.server_time, objection.about
    if there is None or about not in ("", "expired", "early"):
        return None
    ahead, least = there - evidence.now, 0.0 if about else TOLERANCE
    ends = claims.expires_at if claims is not None else None if evidence.fixed else evidence.token.expires_at
    begins = claims.not_before if claims is not None else None
    if claims is not None and about == "early":  # some libraries look at iat, too
        begins = max(filter(None, (claims.not_before, claims.issued_at)), default=None)
    if about != "early" and ahead >= SKEW and ends is not None and evidence.now < ends <= there - least:
        state, side = "has expired", "ahead of"
    elif about != "expired" and ahead <= -SKEW and begins is not None and there + least < begins:
        state, side = "is not valid yet", "behind"
    else:
        return None
    apart = (
        abs(ahead) if abs(ahead) < 90 else round(abs(ahead) / 60) * 60
    )  # Date has whole seconds, so 2 h is 1 h 59 min
    return Diagnosis(
        "clock",
        "clock",
        f"the token {state} by the API's clock, which is {messages.duration(apart)} {side} this machine's",
        "set this machine's clock by network time; if it is right, ask whoever runs the API to set theirs",
        {"ahead": int(ahead)},
    )


def expired(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """A token that stands in the file has expired by everybody's clock, or the API says so of one that may have."""
    if objection.about not in ("", "expired"):
        return None
    claims, file = evidence.token.claims, evidence.file
    ends = claims.expires_at if claims is not None else None
    over = ends is not None and all(ends <= clock for clock in (evidence.now, evidence.server_time) if clock)
    if evidence.fixed and over and ends is not None and math.isfinite(ends):
        cause = f"the token expired {messages.duration(evidence.now - ends)} ago"
    elif objection.about and (ends is None or over):
        cause = "the API says that the token has expired"
    else:
        return None
    if evidence.fixed:
        advice = f"put a new one into {file}, or write a GRANT_TYPE that gets one there"
    else:
        advice = f"ask whoever runs the API how long it takes the tokens of the client in {file}"
    return Diagnosis("expired", "expired", cause, advice)


def id_token(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """An ID token, which is for the client (OpenID Connect Core section 2)."""
    claims = evidence.token.claims
    if claims is None or objection.about not in ("", "audience", "issuer", "signature"):
        return None
    own = {claims.client, evidence.environment.token_request.client_id} - {""}
    only_id_tokens_have = {"at_hash", "c_hash"} & set(claims.names)
    if (
        not only_id_tokens_have
        or claims.scope is not None
        or len(claims.audience) != 1
        or claims.audience[0] not in own
    ):
        return None
    return Diagnosis(
        "id_token",
        "ID token",
        "the token is an ID token, which is for the client; an API takes an access token",
        f"put the access_token of the same login into {evidence.file}",
        {"names": sorted(only_id_tokens_have)},
    )


def other_environment(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """It is what another environment's token looks like."""
    claims = evidence.token.claims
    if claims is None or objection.about not in ("", "audience", "issuer", "signature") or is_for_us(evidence):
        return None
    other = evidence.owner(claims)
    if not other or other == evidence.environment.name:
        return None
    key = "VALUE" if evidence.fixed else "TOKEN_ENDPOINT or ISSUER, CLIENT_ID, SCOPE, AUDIENCE and RESOURCE"
    return Diagnosis(
        "other_environment",
        "other env",
        f"the token is one for {other}, by its issuer and audience",
        f"compare {key} in {evidence.file} with those of {other}",
        {"environment": other},
    )


def audience(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """The token is for another API."""
    claims, file = evidence.token.claims, evidence.file
    has = claims.audience if claims is not None else ()
    said, asked = objection.about == "audience", _asked(evidence)
    if not said and objection.about:
        return None
    values = {"has": list(has), "asked": list(asked)}
    if (standard := _standard(evidence, has)) is not None:
        what, advice = standard
        return Diagnosis("audience", "audience", f"the token is for {what}, not for this API", advice, values)
    differs = bool(has and asked) and not is_for_us(evidence) and not any(map(_GUID.fullmatch, (*has, *asked)))
    if not said and not differs:
        return None
    for_ = f"the token is for aud {_listed(has)}"
    keys = " and ".join(_keys(evidence)) or "AUDIENCE or RESOURCE"
    if differs:
        cause = f"{for_}, although {keys} in {file} asks for {_listed(asked)}"
        advice = f"ask whoever runs the authorization server to give the client in {file} tokens for that audience"
    else:
        cause = "the API says that the token is not for it" + (f"; {for_}" if has else "")
        # Entra ID takes the audience from the scope.
        advice = f"ask whoever runs the API for its audience, and write it into {keys} in {file}, or into SCOPE where"
        advice += " the authorization server takes it from there"
    if evidence.fixed:
        advice = f"put a token for this API into {file}"
    return Diagnosis("audience", "audience", cause, advice, values)


def outdated(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """Nobody knows whether the API would take a new token, as the request was not sent with one."""
    if evidence.replaced_too or evidence.fixed:
        return None
    refuses = f"the API does not take this token any more{f' ({objection.error})' if objection.error else ''}"
    if evidence.outdated:
        cause = f"{refuses}, and the request was not sent again with the one that is in use by now"
        return Diagnosis("outdated", "old token", cause, "send the request again")
    if (failure := evidence.failure) is not None:
        cause = f"{refuses}, and there is no new one ({failure.code}): {failure.reason}"
        return Diagnosis("no_new_token", "old token", cause, messages.advice(evidence.environment, failure))
    return None


def bound_to_key(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """The token is of use together with a proof only (RFC 9449 section 7.2)."""
    claims = evidence.token.claims
    if claims is None or not claims.key_thumbprint or objection.about:
        return None
    return Diagnosis(
        "dpop",
        "DPoP",
        "the token is bound to a key (cnf.jkt), so the API wants a DPoP proof with it, which this add-on does not make",
        f"ask whoever runs the authorization server for tokens of the client in {evidence.file} that are not bound",
    )


def bound_to_certificate(evidence: Evidence, objection: Objection) -> Diagnosis | None:
    """The token is of use together with a client certificate only (RFC 8705 section 3)."""
    claims = evidence.token.claims
    if claims is None or not claims.certificate_thumbprint or objection.about or evidence.shows_certificate:
        return None
    has = bool(evidence.environment.token_request.value("CLIENT_KEY"))
    pem = f"CLIENT_KEY and CLIENT_CERT in {evidence.file}" if has else "the certificate and its key"
    return Diagnosis(
        "mtls",
        "mTLS",
        "the token is bound to a client certificate (cnf.x5t#S256), so the API takes it over TLS with that only",
        f"have mitmproxy show it to the API: --set client_certs=FILE, of {pem} in PEM form",
    )


def _asked(evidence: Evidence) -> tuple[str, ...]:
    request = evidence.environment.token_request
    return request.audience + request.resource


def _keys(evidence: Evidence) -> list[str]:
    request = evidence.environment.token_request
    return [key for key, given in (("AUDIENCE", request.audience), ("RESOURCE", request.resource)) if given]


def is_for_us(evidence: Evidence) -> bool:
    """Whether the token's audience is what the file asks for, or one of its hosts."""
    claims = evidence.token.claims
    has = {aud.rstrip("/") for aud in claims.audience} if claims is not None else set()
    if has & {asked.rstrip("/") for asked in _asked(evidence)}:
        return True
    return any(origin.covers(host) for host in map(_host, has) if host for origin in evidence.environment.origins)


def _standard(evidence: Evidence, has: tuple[str, ...]) -> tuple[str, str] | None:
    """What each audience of the token is, where that is well known and no API of ours; and what to do."""
    if not has or is_for_us(evidence):
        return None
    file = evidence.file
    if all(map(_GRAPH.fullmatch, has)):
        return "Microsoft Graph", f"write a scope of the API, such as api://…/.default, into SCOPE in {file}"
    claims = evidence.token.claims
    issuer = _host(claims.issuer) if claims is not None else ""
    if issuer and all(aud.endswith("/userinfo") and _host(aud) == issuer for aud in has):
        return "the issuer's userinfo endpoint", f"write the API's audience into AUDIENCE in {file}"
    return None


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _listed(audience: Iterable[str]) -> str:
    several = list(audience)
    return " ".join(several[:MOST_AUDIENCES]) + (" …" if len(several) > MOST_AUDIENCES else "")

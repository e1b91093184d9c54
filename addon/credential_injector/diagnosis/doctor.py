"""Evidence -> why the API refuses the request, and what to do.

A wrong cause is worse than none. So a rule speaks only where its evidence leaves no other reading, and what no rule
explains is `unknown`.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from credential_injector import messages
from credential_injector.diagnosis import answer, challenged, claimed, logins, objection
from credential_injector.diagnosis.diagnosis import Diagnosis
from credential_injector.diagnosis.evidence import Evidence
from credential_injector.diagnosis.objection import Objection

Rule = Callable[[Evidence, Objection], Diagnosis | None]

# Whatever became of the token: by the answer's status alone.
OF_ANSWERS: tuple[Rule, ...] = (answer.size, answer.proxy_login, answer.login_page, answer.cors)
# The API says what it wants.
OF_CHALLENGES: tuple[Rule, ...] = (
    challenged.step_up,
    challenged.claims_challenge,
    challenged.scope,
    challenged.dpop,
    challenged.invalid_request,
)
# The API does not take the token. What is wrong with it for everybody comes before what is wrong for this API.
OF_TOKENS: tuple[Rule, ...] = (
    claimed.clock,
    claimed.expired,
    challenged.other_scheme,
    claimed.id_token,
    claimed.other_environment,
    claimed.audience,
    challenged.issuer,
    challenged.signature,
    claimed.outdated,
    challenged.revoked,
    claimed.bound_to_key,
    claimed.bound_to_certificate,
)
DAY = 86400.0  # seconds
# What the API says of a token whose times say otherwise.
_TIMES = {"expired": "says that the token has expired", "early": "says that the token is not valid yet"}


def diagnose(evidence: Evidence) -> Diagnosis | None:
    """Why the API refuses the request. None: it does not, or not for anything that has to do with the token."""
    said = objection.read(evidence)
    refuses = evidence.status in (401, 403) or (evidence.status >= 400 and said.error != "")
    rules = OF_ANSWERS
    if refuses:
        rules += OF_CHALLENGES
        rules += OF_TOKENS if claimed.is_rejected(evidence, said) else ()
        rules += (challenged.metadata, unknown)
    found = next(filter(None, (rule(evidence, said) for rule in rules)), None)
    return logins.advised(found, evidence) if found is not None and evidence.login_url else found


def unknown(evidence: Evidence, said: Objection) -> Diagnosis:
    """No evidence is an answer, too: what is known of the token, and where to look."""
    refuses = "refuses a new token, too, and " if evidence.replaced_too else ""
    says = _TIMES.get(said.about) or said.reason
    cause = f"the API {refuses}{says}; {_token(evidence)}"
    there = "error_description there" if said.header == "WWW-Authenticate" else "it there"
    read = f"read {there}, or " if said.is_described and not said.about else ""
    return Diagnosis("unknown", "?", cause, read + _advice(evidence, said), {"error": said.error})


def _token(evidence: Evidence) -> str:
    """What is known of the token."""
    token, claims = evidence.token, evidence.token.claims
    if evidence.fixed and claims is None:
        return f"the {messages.noun(evidence.environment.token_request.grant_type)} stands in {evidence.file}"
    parts = []
    ends = (claims.expires_at if claims is not None else None) if evidence.fixed else token.expires_at
    if ends is not None and (at := _clock(ends, evidence.now)):
        parts.append(f"is valid until {at} ({messages.duration(ends - evidence.now)})")
    if claims is not None:
        audience = " ".join(claims.audience[: claimed.MOST_AUDIENCES])
        parts.append(f"has aud {audience}" if audience else "has no aud")
    if scope := evidence.scope:
        parts.append(f"has scope {' '.join(scope[:8])}")
    if claims is None:
        parts.append("cannot be read, as it is no JWT")
    return f"the token {', '.join(parts)}"


def _advice(evidence: Evidence, said: Objection) -> str:
    file, request = evidence.file, evidence.environment.token_request
    if said.about in _TIMES:
        return "set this machine's clock by network time, and ask whoever runs the API to look at theirs"
    if request.grant_type == "basic":
        return f"check USERNAME and PASSWORD in {file}, and ask whoever runs the API what this user may do"
    if evidence.login_url:
        checked = (
            "" if evidence.status == 403 else f"check TOKEN_AT and {evidence.environment.place[1]} in {file}, and "
        )
        return f"{checked}ask whoever runs the API what the user that logs in by {file} may do"
    if evidence.status == 403:
        return f"ask whoever runs the API which scope or role it wants, and compare SCOPE in {file}"
    if evidence.fixed:
        return f"check that VALUE in {file} is for this API and still valid"
    if claimed.is_for_us(evidence):
        who = "which authorization server and scope it wants, as the audience fits"
        advice = f"ask whoever runs the API {who}, and compare TOKEN_ENDPOINT or ISSUER and SCOPE in {file}"
        return advice + messages.certificate_advice(evidence.environment)
    advice = f"ask whoever runs the API which audience it expects, and compare AUDIENCE and RESOURCE in {file}"
    return advice + messages.certificate_advice(evidence.environment)


def _clock(moment: float, now: float) -> str:
    """A time of day, with its date where that is another day; empty where no calendar has it."""
    try:
        local = datetime.fromtimestamp(moment, tz=UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{local:%H:%M}" if abs(moment - now) < DAY / 2 else f"{local:%Y-%m-%d %H:%M}"

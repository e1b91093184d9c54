"""What a flow tells of its request: what the client sent, what the API gets, and why. Pure.

A comment is a headline and lines below it. mitmweb's list shows some 17 characters of it, and its Comment tab draws
the lines as one paragraph, in which the dashes keep them apart.
"""

import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from credential_injector import messages
from credential_injector.diagnosis import challenges
from credential_injector.diagnosis.objection import ERRORS
from credential_injector.environments.environment import Environment
from credential_injector.oauth.jwt_claims import JwtClaims
from credential_injector.oauth.schemes import SCHEMES
from credential_injector.oauth.token import AccessToken, Served
from credential_injector.origins.origin import Origin
from credential_injector.proxy.credentials.credential import Before, Credential

HEADLINE = 17  # characters
MOST_NAMES = 12  # of a claim or a scope that a comment lists; the metadata has all
SHORTEST_NAME = 4  # characters of an environment's name that stay in a headline


class Story(NamedTuple):
    """What all requests to one origin with the same token have in common."""

    token: AccessToken
    fresh: str
    """The comment's beginning where the client sent nothing in the credential's place."""
    after: str
    """The lines that say what the API gets."""
    until: str
    """The clock's time at which the token expires; empty: it does not."""
    below: str
    """The lines about the token and the rule."""
    values: dict[str, Any]
    """The same for programs, in a flow's metadata."""


def story(environment: Environment, origin: Origin, credential: Credential, token: AccessToken) -> Story:
    """Put together once for each token, as each request would have to pay for it."""
    expires = math.isfinite(token.expires_at)
    asked, claims = environment.token_request.scope, token.claims
    values: dict[str, Any] = {
        **blank("injected", environment),
        "issued_at": int(token.issued_at) if expires else None,
        "expires_at": int(token.expires_at) if expires else None,
        "claims": claims.shown() if claims is not None else None,
        "scope": {"asked": asked, "granted": token.scope},
        "rule": rule_values(environment, origin),
    }
    credential.record(token, values)
    lines = []
    if claims is not None and (said := _claims(claims)):
        lines.append(f"token: {said}")
    if asked or token.scope is not None:
        said = "the answer does not say what was" if token.scope is None else _few(token.scope.split()) or "nothing"
        lines.append(one_line(f"scope: asked {_few(asked.split()) or 'nothing'}, granted: {said}"))
    lines.append(rule(environment, origin))
    after = "".join(f"\n- after: {line}" for line in credential.described(token).split("\n"))
    until = f"{datetime.fromtimestamp(token.expires_at):%H:%M:%S}" if expires else ""  # noqa: DTZ006 - the reader's clock
    fresh = headline(environment.title, change(None, credential.label)) + before(credential.place, None) + after
    return Story(token, fresh, after, until, "".join(f"\n- {line}" for line in lines), values)


def blank(action: str, environment: Environment | None) -> dict[str, Any]:
    """A flow's metadata, in which nothing is known yet. Plain values: mitmproxy cannot save anything else."""
    return {
        "action": action,
        "environment": environment.name if environment is not None else None,
        "reason": None,
        "token": None,
        "source": None,
        "expires_at": None,
        "replaced": None,
        "retried": False,
        "before": None,
        "diagnosis": None,
        **({"as": environment.asked_as[0]} if environment is not None and environment.asked_as else {}),
        **({"production": True} if environment is not None and environment.production else {}),
    }


def injected(grant_type: str, served: Served, until: str) -> str:
    """Where the token came from, how old it is and when it ends."""
    if not until:
        return f"\n- {grant_type} credential injected"
    token, left = served.token, served.seconds_left
    age = messages.duration(token.expires_at - left - token.issued_at)
    return f"\n- token injected ({served.source}, {messages.duration(left)} left), expires {until}, issued {age} ago"


def before(place: str, sent: Before | None, other: str = "") -> str:
    """What the client sent. `other` is the environment of ours whose token that is."""
    if sent is None:
        return f"\n- before: no {place}"
    said = _claims(sent.claims) if sent.claims is not None else ""
    whose = f", a token for {other}" if other else ""
    return f"\n- before: {place}: {sent.scheme}{whose}{f' ({said})' if said else ''}"


def before_values(sent: Before | None, other: str = "") -> dict[str, Any] | None:
    """The same for programs."""
    if sent is None:
        return None
    claims = sent.claims.shown() if sent.claims is not None else None
    return {"scheme": sent.scheme, "claims": claims, "environment": other or None}


def rule(environment: Environment, origin: Origin) -> str:
    """Which line of which file matched."""
    asked_as = f", AS={','.join(environment.asked_as)}" if environment.asked_as else ""
    return f"rule: HOST={origin}{asked_as} in {environment.file}"


def rule_values(environment: Environment, origin: Origin) -> dict[str, str]:
    """The same for programs."""
    return {"file": environment.file, "key": "HOST", "value": str(origin)}


def change(sent: Before | None, label: str, other: str = "") -> str:
    """The headline's words: `+Bearer`, `Basic→Bearer`, `Bearer→ours`."""
    if sent is None:
        return f"+{label}"
    scheme = other or (sent.scheme if sent.scheme in SCHEMES.values() else "?")
    return f"{scheme}→{label if label != scheme else 'ours'}"


def headline(name: str, what: str) -> str:
    """A comment's first line: an environment's name and a few words. The space and a long name give way first."""
    line = f"{name}: {what}"
    if len(line) <= HEADLINE:
        return line
    return _cut(f"{_cut(name, max(HEADLINE - len(what) - 1, SHORTEST_NAME))}:{what}", HEADLINE)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def amended(comment: str, headline: str, line: str) -> str:
    """A comment with another line right below its headline, and, unless it is empty, with another headline.

    What a person has written in our comment's place stays below.
    """
    first, _, rest = comment.partition("\n")
    if headline and not (len(first) <= HEADLINE and rest.startswith("- ")):
        rest = f"\n{comment}"
    return f"{headline or first}\n- {one_line(line)}\n{rest}"


def one_line(text: str) -> str:
    """A text that others wrote in part, without what looks like another line where lines are drawn as a paragraph."""
    return re.sub(r"(?: -)+ ", " ", text)


def error_code(challenge: str) -> str:
    """The error code in a WWW-Authenticate header (RFC 6750 section 3.1); empty where there is no known one."""
    codes = (one.parameters.get("error", "") for one in challenges.read([challenge]))
    return next((code for code in codes if code in ERRORS), "")


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return " ".join(names[:MOST_NAMES]) + more


def _claims(claims: JwtClaims) -> str:
    told = {
        "iss": claims.issuer,
        "aud": _few(claims.audience),
        "sub": claims.subject,
        "scope": _few(claims.scope or ()),
        "roles": _few(claims.roles),
    }
    return one_line(", ".join(f"{name} {value}" for name, value in told.items() if value))

"""What the API's WWW-Authenticate says against the token (RFC 6750 section 3), or gRPC's message."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from credential_injector.diagnosis import challenges
from credential_injector.diagnosis.evidence import Evidence

ERRORS = frozenset(
    (
        *("invalid_request", "invalid_token", "insufficient_scope"),  # RFC 6750 section 3.1
        "insufficient_user_authentication",  # RFC 9470 section 3
        *("use_dpop_nonce", "invalid_dpop_proof"),  # RFC 9449 sections 7.1 and 9
        "insufficient_claims",  # Entra ID's claims challenge
    )
)
LONGEST_DESCRIPTION = 512  # characters that are looked at
# What an error_description may be about: `invalid_audience` and `Invalid claim 'aud'` are. Two at a time, or a choice,
# say nothing.
_SUBJECTS = {
    subject: re.compile(rf"(?<![a-z])(?:{words})(?![a-z])")
    for subject, words in {
        "audience": "audience|aud",
        "expired": "expired|exp",
        "early": "not yet valid|not valid yet|nbf|used before|in the future",
        "issuer": "issuer|iss",
        "revoked": "revoked",
        "signature": "signature",
    }.items()
}
_VAGUE = re.compile(r"\b(or|may|might|could|other|missing|without)\b")


@dataclass(frozen=True, slots=True)
class Objection:
    """Texts of the server's, of which only `error` and `about` are known words."""

    offered: tuple[str, ...] = ()
    """The schemes that it offers, as it writes them."""
    error: str = ""
    """One of ERRORS, else empty."""
    about: str = ""
    """What its description of an invalid_token is about: a row of _SUBJECTS, else empty."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Of the challenge with the error, or of the first one with a scheme of ours."""
    header: str = "WWW-Authenticate"
    """Where it stands."""

    @property
    def is_described(self) -> bool:
        """Whether it says more than the error."""
        return bool(self.parameters.get("error_description"))

    @property
    def reason(self) -> str:
        """What follows `the API`: its reason, as far as that is repeated."""
        if self.is_described:
            return f"says {f'{self.error} and ' if self.error else ''}why in its {self.header} header"
        return f"says {self.error}, without a reason" if self.error else "gives no reason"

    def offers(self, scheme: str) -> bool:
        """Whether it offers this scheme."""
        return scheme.lower() in (offered.lower() for offered in self.offered)


def read(evidence: Evidence) -> Objection:
    """The objection of an answer; an empty one where it says nothing against our token."""
    all_ = challenges.read(evidence.headers.get_all("WWW-Authenticate"))
    offered = tuple(dict.fromkeys(challenge.scheme for challenge in all_))
    ours = {"bearer", "dpop", "oauth2", evidence.scheme.lower()}  # WSO2 API Manager writes OAuth2 for Bearer
    mine = [challenge.parameters for challenge in all_ if challenge.scheme.lower() in ours]
    if not evidence.in_authorization:
        # An error is about what stands in Authorization, and that is the client's own (RFC 6750 section 3.1).
        return Objection() if any("error" in each for each in mine) else Objection(offered)
    if not all_ and (message := evidence.first("grpc-message")):
        about = _about(unquote(message[:LONGEST_DESCRIPTION])) if evidence.status == 401 else ""
        return Objection((), "", about, {"error_description": message}, "grpc-message")
    if not mine:
        return Objection(offered)
    parameters = next((each for each in mine if each.get("error") in ERRORS), mine[0])
    error = parameters.get("error", "")
    error = error if error in ERRORS else ""
    about = _about(parameters.get("error_description", "")) if error == "invalid_token" else ""
    return Objection(offered, error, about, parameters)


def _about(description: str) -> str:
    words = description[:LONGEST_DESCRIPTION].lower()
    found = [subject for subject, pattern in _SUBJECTS.items() if pattern.search(words)]
    return found[0] if len(found) == 1 and not _VAGUE.search(words) else ""

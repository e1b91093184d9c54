"""What to do where a login that is no OAuth2 brought the token: its file has no SCOPE, AUDIENCE or TOKEN_ENDPOINT."""

from collections.abc import Mapping
from dataclasses import replace

from credential_injector.diagnosis.diagnosis import Diagnosis
from credential_injector.diagnosis.evidence import Evidence

_OTHER_LOGIN = "ask whoever runs the API which login it trusts, and compare LOGIN_URL and TOKEN_AT in {file}"
_OTHER_GRANT = "write a GRANT_TYPE that gets such a token, as client_credentials does with DPOP=true, into {file}"
_RIGHTS = "ask whoever runs the API to allow it to the user that logs in by {file}"
_ADVICE: Mapping[str, str] = {
    "audience": _OTHER_LOGIN,
    "dpop": _OTHER_GRANT,
    "expired": "ask whoever runs the API how long a login lasts, and write that into LIFETIME in {file}",
    "id_token": "name the place of the access token in TOKEN_AT in {file}",
    "issuer": _OTHER_LOGIN,
    "login_page": "check USERNAME, PASSWORD, TOKEN_AT and {key} in {file}, and whether LOGIN_URL is that page",
    "metadata": "compare {resource_metadata} with GRANT_TYPE and LOGIN_URL in {file}",
    "other_environment": "compare LOGIN_URL, LOGIN_BODY and USERNAME in {file} with those of {environment}",
    "revoked": "ask whoever runs the API why",
    "role": _RIGHTS,
    "scope": _RIGHTS,
    "signature": _OTHER_LOGIN,
}


def advised(found: Diagnosis, evidence: Evidence) -> Diagnosis:
    """The diagnosis with an advice that names the keys of a login."""
    advice = _ADVICE.get(found.code, found.advice)
    if found.code in _ADVICE:
        advice = advice.format(**{**found.values, "file": evidence.file, "key": evidence.environment.place[1]})
    return replace(found, advice=advice)

"""What other programs have, and environment files have not; and what to do about it. Pure."""

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

_LEAVE = "leave it to the client"
_AWS = "AWS signatures: the equal is GRANT_TYPE=aws_sigv4; write it and its keys by hand"
_AUTHS = {
    "asap": f"Atlassian ASAP: {_LEAVE}",
    "awsv4": _AWS,
    "digest": f"digest authentication: {_LEAVE}",
    "edgegrid": f"Akamai EdgeGrid: {_LEAVE}",
    "hawk": f"Hawk: {_LEAVE}",
    "iam": _AWS,
    "jwt": f"a JWT that Postman signs: write GRANT_TYPE=jwt_bearer by hand, or {_LEAVE}",
    "netrc": f"a .netrc file: write GRANT_TYPE=basic by hand, or {_LEAVE}",
    "ntlm": f"NTLM: {_LEAVE}",
    "oauth1": f"OAuth 1: {_LEAVE}",
    "singletoken": f"a single token: {_LEAVE}",
    "wsse": f"WSSE: {_LEAVE}",
}
_REDIRECT = "a login here comes back to REDIRECT_URI; register that with the authorization server"
_FRESH = "each login here makes a new one"
_ID = "requests carry the access token here, unless the token request asks for another kind"
_REFRESH = "tokens are refreshed at TOKEN_ENDPOINT here"
_PKCE = "a login here uses PKCE with S256 always"
_ADVICE = {
    "accesstoken": "the token is asked for anew",
    "authrequestparams": "the request for a login here has no parameters of one's own",
    "authreqheaders": "a browser logs in here, which sends no headers of one's own",
    "authreqqueryparams": "the request for a login here has no parameters of one's own",
    "callbackurl": _REDIRECT,
    "challengealgorithm": _PKCE,
    "codeverifier": _FRESH,
    "pkce": _PKCE,
    "pkcemethod": _PKCE,
    "redirecturi": _REDIRECT,
    "redirecturl": _REDIRECT,
    "refreshrequestparams": "a refresh here has what the token request has",
    "refreshtokenurl": _REFRESH,
    "state": _FRESH,
    "tokensource": _ID,
    "tokentype": _ID,
    "useidtoken": _ID,
    "usetokentype": _ID,
}


def auth_without_equal(kind: str) -> str:
    """A kind of auth, and what to do about it."""
    return _AUTHS.get(kind.lower(), f"its auth: {_LEAVE}")


def settings_without_equal(said: Mapping[str, Any], taken: Container[str]) -> Iterator[str]:
    """A line for each setting that is made, and is not among those that are taken over. It repeats no value."""
    for name, value in said.items():
        if name in taken or value in (None, "", False, "false", [], {}):
            continue
        advice = _ADVICE.get(re.sub(r"[^a-z0-9]", "", name[:100].lower()), "there is no equal here")
        yield f"the setting {name[:80]}: {advice}"

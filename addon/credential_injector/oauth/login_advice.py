"""What to do where a login that is no OAuth2 brings no token; {file} is the environment's file."""

from collections.abc import Mapping

from credential_injector.oauth.token import Failure, NoToken

_REFUSED = "check LOGIN_URL, LOGIN_BODY, USERNAME and PASSWORD in {file}"
_TROUBLE = "wait, or ask whoever runs the server of LOGIN_URL in {file}"
_ADVICE: Mapping[str, str] = {
    "certificate_expired": "ask whoever runs the server to renew it, or check this machine's clock",
    "certificate_name": "check the host of LOGIN_URL in {file}",
    "expired": "check this machine's clock, and TOKEN_AT, EXPIRES_IN_AT and EXPIRES_AT in {file}",
    "http_404": "check LOGIN_URL in {file}",
    "http_405": "check LOGIN_URL and LOGIN_METHOD in {file}",
    "http_415": "check LOGIN_BODY and LOGIN_HEADER_Content-Type in {file}",
    "invalid_response": "check LOGIN_URL and TOKEN_AT in {file}",
    "late": "ask whoever runs the server why it is slow, or for logins that last longer",
    "no_login_token": "check USERNAME, PASSWORD, LOGIN_BODY and TOKEN_AT in {file}",
    "redirect": f"{_REFUSED}, or write TOKEN_AT=cookie:NAME there, if the redirect brings a session's cookie",
    "timeout": "check that the server is up and LOGIN_URL in {file} is right",
    "unreachable": "check LOGIN_URL in {file}, and the network or VPN",
}
_OF_ANY_SERVER = {
    "certificate_not_yet_valid",
    "clock",
    "ending",
    "internal",
    "invalid_cookie",
    "no_query",
    "proxy_refused",
    "proxy_unreachable",
    "untrusted",
}


def advice(error: NoToken | Failure) -> str | None:
    """What to do; None where that is what it is for a token endpoint."""
    if error.code in _OF_ANY_SERVER:
        return None
    return _ADVICE.get(error.code, _REFUSED if error.lasting else _TROUBLE)

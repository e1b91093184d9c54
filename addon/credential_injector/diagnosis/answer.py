"""Causes that the answer's status and headers show, without a look at the token."""

from urllib.parse import parse_qsl, urlsplit

from credential_injector.diagnosis.diagnosis import Diagnosis
from credential_injector.diagnosis.evidence import Evidence
from credential_injector.diagnosis.objection import Objection
from credential_injector.oauth.login_page import LOGOUTS, is_front_page, last_segment, leads_to
from credential_injector.origins.origin import DEFAULT_PORTS

REDIRECTS = (301, 302, 303, 307, 308)
# Bytes of our header from which on it is large. Servers take 8 KiB (nginx, Apache) or more.
LARGE_HEADER = 8000
_LOGIN_PAGES = frozenset(("login", "signin", "sign-in", "authorize"))
# A site goes to its login page from these in any case.
_BEFORE_LOGIN = LOGOUTS | frozenset(
    ("register", "signup", "sign-up", "callback", "confirm", "verify", "reset", "password")
)
# Of OpenID Connect Core section 3.1.2.1, and of SAML 2.0 Bindings section 3.4.4.1.
_LOGIN_PARAMETERS = frozenset(("response_type", "SAMLRequest"))


def size(evidence: Evidence, _: Objection) -> Diagnosis | None:
    """The headers are too large (RFC 6585 section 5)."""
    environment = evidence.environment
    own = len(f"{environment.header or environment.place[0]}: {environment.prefix} {evidence.token.value}".encode())
    # A server that refuses headers has not come to the API, which would answer in JSON.
    may_be = evidence.status == 400 and own > LARGE_HEADER and "json" not in evidence.first("Content-Type").lower()
    if evidence.status != 431 and not may_be:
        return None
    all_ = f"have {evidence.header_size} bytes, and " if evidence.header_size else "are too large; "
    if own * 2 > evidence.header_size or own > LARGE_HEADER:
        advice = (
            f"ask whoever runs the authorization server of {evidence.file} for a token with fewer claims, such as"
            " groups and roles, or whoever runs the API to take larger headers"
        )
    else:
        advice = "look which headers of the client are large, such as Cookie, or have the API take larger ones"
    return Diagnosis(
        "size",
        "size",
        f"the request's headers {all_}the one with the token has {own}, which is more than the API takes",
        advice,
        {"header_size": evidence.header_size, "token_header_size": own},
    )


def proxy_login(evidence: Evidence, _: Objection) -> Diagnosis | None:
    """A proxy wants a login (RFC 9110 section 15.5.8)."""
    if evidence.status != 407:
        return None
    if evidence.proxy:
        cause = f"the upstream proxy {evidence.proxy} wants a login, so the request did not reach the API"
        advice = "give mitmproxy the proxy's user and password: --set upstream_auth=USER:PASSWORD"
    else:
        cause = "a proxy on the way wants a login, so the request did not reach the API"
        advice = f"check HOST in {evidence.file}, and ask whoever runs the network which proxy stands before the API"
    return Diagnosis("proxy_login", "proxy", cause, advice, {"proxy": evidence.proxy})


def login_page(evidence: Evidence, _: Objection) -> Diagnosis | None:
    """A redirect to where a person logs in, which is a website's answer to a request without a session."""
    if evidence.status not in REDIRECTS or last_segment(evidence.url) in _LOGIN_PAGES | _BEFORE_LOGIN:
        return None
    location = evidence.first("Location")
    try:
        parts = urlsplit(location)
        parameters = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True, max_num_fields=100)}
        host = parts.hostname or ""
    except ValueError:
        return None
    own = evidence.login_url
    leads_there = bool(own) and not is_front_page(own) and leads_to(own, location, evidence.url)
    if not _LOGIN_PARAMETERS & parameters and last_segment(location) not in _LOGIN_PAGES and not leads_there:
        return None
    at = f" at {host}" if evidence.is_repeatable(host) else ""
    return Diagnosis(
        "login_page",
        "login page",
        f"the API redirects to a login page{at}, as it does for a browser without a session",
        f"ask whoever runs the API under which host and path it takes tokens, and write that into HOST in"
        f" {evidence.file}",
        {"host": host if at else ""},
    )


def cors(evidence: Evidence, _: Objection) -> Diagnosis | None:
    """A page may not read the answer (WHATWG Fetch, CORS check)."""
    page, status = evidence.page, evidence.status
    if not page or not 200 <= status < 400 or status == 304 or page.lower() == _origin(evidence.url):
        return None
    allowed = evidence.headers.get_all("Access-Control-Allow-Origin")
    if len(allowed) == 1 and allowed[0].strip(" \t") in ("*", page):
        return None
    shown = page if evidence.is_repeatable(page) else "the page's origin"
    advice = f"ask whoever runs the API to allow the origin {shown}"
    if len(allowed) > 1 or "," in "".join(allowed):
        wrong, advice = "names several origins in Access-Control-Allow-Origin", "ask whoever runs the API to name one"
    elif allowed:
        wrong = f"allows another origin than {shown} in Access-Control-Allow-Origin"
    else:
        wrong = f"has no Access-Control-Allow-Origin, which would allow {shown}"
    if page == "null":
        advice = "open the page from a server, as a file and a sandboxed frame have no origin that an API could allow"
    values = {"origin": page if shown == page else "", "status": status}
    return Diagnosis("cors", "CORS", f"the answer {wrong}, so the page sees 'Failed to fetch'", advice, values)


def preflight(file: str, status: int) -> Diagnosis:
    """A browser asked whether it may send a request, and the API refused to answer that (Fetch standard, section 4.8).

    A preflight never carries a credential, so an API must answer it without one.
    """
    return Diagnosis(
        "preflight",
        "preflight",
        f"the API answered {status} to the browser's CORS preflight, which never carries a credential, so the browser"
        " does not send the request and the page sees 'Failed to fetch'",
        f"have the API answer OPTIONS without a token, or check HOST in {file}",
        {"status": status},
    )


def _origin(url: str) -> str:
    """As a browser writes it (RFC 6454 section 6.2); empty where it cannot be told."""
    try:
        parts = urlsplit(url.lower())
        port = parts.port
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}".removesuffix(
        f":{port}" if port == DEFAULT_PORTS.get(parts.scheme) else ""
    )

"""Sentences for people: what happened, what to do about it, and how things stand."""

import math
import shlex
import traceback
from dataclasses import replace
from pathlib import Path

from credential_injector.environments.environment import Environment
from credential_injector.environments.folder import DEFAULT_FOLDER
from credential_injector.oauth import client_auth, login_advice, login_recipe
from credential_injector.oauth.grants import FIXED, GRANTS
from credential_injector.oauth.token import AccessToken, Failure, NoToken, Status
from credential_injector.origins.hosts import is_loopback
from credential_injector.status import Counts, EnvironmentStatus, FailureStatus, RefusedHandshakes, TokenStatus

# What to do about each kind of failure. {file} is the environment's file.
_ADVICE = {
    "access_denied": "ask whoever runs the authorization server to allow this client",
    "clock": "set this machine's clock by network time",
    "ending": "send the request again when mitmproxy runs again",
    "certificate_expired": "ask whoever runs the authorization server to renew it, or check this machine's clock",
    "certificate_name": "check the host of TOKEN_ENDPOINT or ISSUER in {file}",
    "certificate_not_yet_valid": "check this machine's clock",
    "expired": "check this machine's clock, and how long the tokens of the client in {file} live",
    "http_404": "check TOKEN_ENDPOINT in {file}",
    "http_405": "check TOKEN_ENDPOINT in {file}",
    "internal": "report it, with mitmproxy's log",
    "invalid_authorization_response": "log in again, or ask whoever runs the authorization server",
    "invalid_grant": "check the credentials in {file}",
    "invalid_request": "check SCOPE, AUDIENCE, RESOURCE and TOKEN_PARAM_* in {file}",
    "invalid_response": "check that TOKEN_ENDPOINT in {file} is the token endpoint, not a login page",
    "invalid_scope": "check SCOPE in {file}",
    "invalid_target": "check RESOURCE and AUDIENCE in {file}",
    "invalid_metadata": "check ISSUER in {file}, or write TOKEN_ENDPOINT there instead",
    "issuer_mismatch": "write ISSUER in {file} exactly as the server does, with or without a slash at its end",
    "invalid_cookie": "write HEADER or QUERY in COOKIE's place into {file}, if the API takes the credential there",
    "late": "ask whoever runs the authorization server why it is slow, or for tokens that live longer",
    "no_dpop_token": "have the client's tokens bound (dpop_bound_access_tokens), or remove DPOP from {file}",
    "login_endpoint": "check DEVICE_AUTHORIZATION_ENDPOINT or ISSUER in {file}",
    "login_required": "run: credential-injector login {name}{options}",
    "login_refused": "check CLIENT_ID, SCOPE and REDIRECT_URI in {file}",
    "no_query": "write HEADER or COOKIE in QUERY's place into {file}, or WITHOUT_TOKEN=pass, which sends it as it is",
    "no_metadata": "check ISSUER in {file}, or write TOKEN_ENDPOINT there instead",
    "proxy_refused": "check PROXY in {file}, or the proxy that mitmproxy uses: its user and password, and its rules",
    "proxy_unreachable": "check PROXY in {file}, or the proxy that mitmproxy uses, and the network or VPN",
    "redirect_uri": "end the program that listens there, or name another port in REDIRECT_URI in {file}",
    "redirect": "put the address it redirects to into TOKEN_ENDPOINT in {file}",
    "timeout": "check that the server is up and TOKEN_ENDPOINT in {file} is right",
    "unauthorized_client": "ask whoever runs the authorization server to allow this grant to the client",
    "unreachable": "check TOKEN_ENDPOINT in {file}, and the network or VPN",
    "untrusted": "name the authority that issued it in CA_FILE in {file}, or have the server's certificate fixed",
    "unsupported_auth_method": "ask whoever runs the authorization server which TOKEN_ENDPOINT_AUTH_METHOD to use",
    "unsupported_grant_type": "check GRANT_TYPE and TOKEN_ENDPOINT in {file}",
}
# What to do about a certificate of the API's, by OpenSSL's words in mitmproxy's error.
_CERTIFICATES = {
    "has expired": "ask whoever runs the API to renew it, or check this machine's clock",
    "not yet valid": "check this machine's clock",
    "mismatch": "check HOST in {file}",
}
_REFUSED = "check the credentials and TOKEN_ENDPOINT in {file}"
_TROUBLE = "wait, or ask whoever runs the authorization server"


# For the first line of a flow's comment, of which a list shows some 17 characters: by the kind of a verdict, and by the
# code of a failure.
_WORDS = {
    "as": "no account",
    "client": "not admitted",
    "confirm": "not confirmed",
    "malformed": "malformed",
    "method": "bad method",
    "names": "other server",
    "near miss": "other server",
    "no token": "no token",
    "other host": "other host",
    "other path": "other path",
    "other port": "other port",
    "other scheme": "other scheme",
    "page": "other page",
    "ssl_insecure": "unverified",
    "token endpoint": "token request",
    "upstream": "other proxy",
    "verified name": "unverified",
    "access_denied": "denied",
    "clock": "clock",
    "ending": "ending",
    "invalid_client": "bad client",
    "invalid_grant": "bad grant",
    "invalid_scope": "bad scope",
    "invalid_target": "bad audience",
    "invalid_cookie": "no cookie value",
    "no_query": "no query",
    "late": "server slow",
    "no_login_token": "login refused",
    "login_required": "log in",
    "proxy_refused": "proxy refuses",
    "proxy_unreachable": "proxy down",
    "timeout": "server slow",
    "unauthorized_client": "bad client",
    "unreachable": "server down",
    "untrusted": "bad TLS",
}


def word(kind: str) -> str:
    """Two words for a kind of verdict or the code of a failure; empty where there are none."""
    return _WORDS.get(kind, "server down" if kind.startswith("http_5") else "")


def not_connected(environment: Environment, error: str, upstream: str = "") -> str:
    """A reason that tells why a request with a credential could not leave.

    `error` is mitmproxy's own, and `upstream` the address of the proxy through which mitmproxy goes out, if any.
    """
    stays = f"so the {noun(environment.token_request.grant_type)} never left"
    if error.startswith("Certificate verify failed: "):  # the words of mitmproxy, then OpenSSL's
        why = error.removeprefix("Certificate verify failed: ")
        advice = next(
            (advice for words, advice in _CERTIFICATES.items() if words in why),
            "where a company's own CA issued it, put that into a file together with the public ones, and name it:"
            " --set ssl_verify_upstream_trusted_ca=ca.pem",
        )
        return (
            f"mitmproxy does not trust the API's certificate ({why}), {stays}; {advice.format(file=environment.file)}"
        )
    if upstream and error.startswith("Upstream proxy "):  # the words of mitmproxy
        why = error.rpartition(": ")[2]
        return (
            f"the upstream proxy {upstream} refuses to connect mitmproxy to the API ({why}), {stays};"
            f" check HOST in {environment.file}, and what that proxy allows"
        )
    if upstream:
        return (
            f"mitmproxy cannot connect through the upstream proxy {upstream}, {stays};"
            " check that it runs, and its address in mitmproxy's option mode"
        )
    return (
        f"mitmproxy cannot connect to the API, {stays}; check HOST in"
        f" {environment.file}, and the network or VPN{certificate_advice(environment)}"
    )


def noun(grant_type: str) -> str:
    """What the requests of an environment with this grant get."""
    return "credential" if grant_type in FIXED else "token"


def certificate_advice(environment: Environment) -> str:
    """What to add to why the API refuses a token or a connection, where the client has a certificate; else empty."""
    if not environment.token_request.value("CLIENT_KEY"):
        return ""
    # RFC 8705 section 3
    return (
        "; where the token is bound to the client's certificate, mitmproxy must show it to the API, too:"
        " --set client_certs=FILE, of CLIENT_KEY and CLIENT_CERT in PEM form"
    )


def own_error(error: BaseException) -> str:
    """An error of the add-on's own, told without its text, which may hold anything; where it happened cannot."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{type(error).__name__} in {Path(where.filename).name}, line {where.lineno}"
    return f"an error of the add-on's own ({place}); report it, with mitmproxy's log"


def no_token(environment: Environment, error: NoToken, tokens: str = "") -> str:
    """A reason that tells what happened, what to do about it, and when it is tried again."""
    return f"{failure(environment, error, tokens)}; {next_try(error.next_try)}"


def failure(environment: Environment, error: NoToken | Failure, tokens: str = "") -> str:
    """What happened, and what to do about it.

    `tokens` is where tokens are stored, as the command line's --tokens names it; empty for its default.
    """
    return f"no token ({error.code}): {error.reason}; {advice(environment, error, tokens)}"


def advice(environment: Environment, error: NoToken | Failure, tokens: str = "") -> str:
    """What to do about it."""
    todo = login_advice.advice(error) if environment.token_request.grant_type == login_recipe.GRANT else None
    if todo is None and error.code == "invalid_client":
        todo = client_auth.advice(environment.token_request)
    elif todo is None:
        todo = _ADVICE.get(error.code, _REFUSED if error.lasting else _TROUBLE)
    return todo.format(file=environment.file, name=environment.name, options=_options(environment, tokens))


def lost_refresh_token(environment: Environment, tokens: str) -> str:
    """What to do where the server's last refresh token is nowhere but in this process. `tokens` as above."""
    logs_in = bool(GRANTS[environment.token_request.grant_type].login_endpoint)
    if not logs_in and not tokens:
        return (
            "the server has replaced the refresh token, and without a store the new one is lost; put another one into"
            f" {environment.file}, and name a file with --tokens that is mitmproxy's inject_tokens, too"
        )
    todo = advice(environment, Failure("login_required", ""), tokens) if logs_in else f"put one into {environment.file}"
    return (
        "the server has replaced the refresh token, and the new one is lost, as it could not be stored in"
        f" {tokens or 'the file of logins'}; fix that, then {todo}"
    )


def next_try(seconds: float) -> str:
    return f"next try in {duration(math.ceil(seconds))}" if seconds > 0 else "it is tried again now"


def _options(environment: Environment, tokens: str) -> str:
    """What the command line must be told to find the same environment and the same tokens."""
    folder = environment.file.rpartition("/")[0]
    options = {"--envs": str(Path(folder).absolute()) if folder not in ("", DEFAULT_FOLDER) else "", "--tokens": tokens}
    return "".join(f" {option} {shlex.quote(value)}" for option, value in options.items() if value)


def environment_status(environment: Environment, now: Status, counted: Counts, tokens: str) -> EnvironmentStatus:
    """How an environment stands, as values. `tokens` as above."""
    token, failed = None, None
    if now.token is not None:
        ends = not math.isinf(now.seconds_left)
        token = TokenStatus(
            None if environment.token_request.grant_type in FIXED else now.token.fingerprint,
            "store" if now.token.stored else "fetched",
            now.token.issued_at,
            now.token.expires_at if ends else None,
            now.seconds_left if ends else None,
            _granted(now.token),
            now.token.claims.audience if now.token.claims is not None else (),
        )
    if now.failure is not None:
        failed = replace(failure_status(environment, now.failure, tokens, now.next_try), at=now.failed_at)
    request, origins = environment.token_request, tuple(map(str, environment.origins))
    return EnvironmentStatus(
        environment.name,
        environment.file,
        origins,
        request.grant_type,
        request.scope,
        token,
        failed,
        replace(counted),
        tokens,
        environment.production,
    )


def _granted(token: AccessToken) -> str | None:
    """The scope that the answer names, else the one in the token."""
    if token.scope is not None or token.claims is None or token.claims.scope is None:
        return token.scope
    return " ".join(token.claims.scope)


def failure_status(environment: Environment, failed: Failure, tokens: str = "", next_try: float = 0.0) -> FailureStatus:
    """A failure, as values. `tokens` as above."""
    return FailureStatus(failed.code, failed.reason, advice(environment, failed, tokens), next_try)


def duration(seconds: float) -> str:
    """`45 s`, `59 min`, `23 h` or `9 days`, rounded down."""
    if seconds < 90:
        return f"{max(int(seconds), 0)} s"
    if seconds < 90 * 60:
        return f"{int(seconds // 60)} min"
    if seconds < 36 * 3600:
        return f"{int(seconds // 3600)} h"
    return f"{int(seconds // 86400)} days"


def refused_handshakes(one: RefusedHandshakes) -> str:
    """What a client refused, the reasons that there may be, and what to do.

    Apps of one phone share its address, so the same address may trust for one app and not for another: which of the
    two reasons it is cannot be told.
    """
    times = "a TLS handshake" if one.number == 1 else f"{one.number} TLS handshakes"
    named = f"{one.environment}: " if one.environment else ""
    why = (
        "the app pins its certificate, or does not trust the user's; others at this address accept mitmproxy's"
        if one.accepts_others
        else "it does not trust mitmproxy's CA, or pins its certificate"
    )
    how = "docs/phones.md#pinning"
    if is_loopback(one.client):
        how = (
            'start a program of this machine with "credential-injector run -- COMMAND", or run in its shell:'
            f' eval "$(credential-injector env)"; for an app see {how}'
        )
    else:
        how = f"see {how}"
    if not one.environment:
        how += "; no file names this host, so inject_only=true lets it pass unopened"
    return f"{named}{one.client} refused {times} for {one.host} (pinned or untrusting): {why}; {how}"

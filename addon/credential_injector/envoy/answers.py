"""What clients are told where Envoy itself answers: the add-on's words. Pure.

Envoy answers a call of gRPC with the status that fits HTTP's, and the text as its message.
"""

from collections.abc import Iterable, Iterator

from credential_injector.environments.environment import Environment
from credential_injector.envoy import filters
from credential_injector.envoy.paths import Paths
from credential_injector.envoy.typed import Message, extension

_CALL = "request.headers['content-type'].startsWith('application/grpc')"
_DETAILS = "response.code_details"
# What BoringSSL and Envoy say of a certificate, what it means, and what to do. {file} is the environment's.
_CERTIFICATES = (
    (
        "certificate has expired",
        "it has expired",
        "ask whoever runs the API to renew it, or check this machine's clock",
    ),
    ("certificate is not yet valid", "it is not valid yet", "check this machine's clock"),
    ("SAN matcher", "it is for another name", "check HOST in {file}"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "no authority that is known here has issued it",
        "if a company's own CA has, name that in CA_FILE in {file}, or with --upstream-ca",
    ),
)
# What Envoy says where it has no connection to the server, or lost it before an answer began.
_UNKNOWN_NAME = ("no_healthy_upstream", "dns_resolution_failure", "no_healthy_host_for_http_tunnel")
_BEFORE_ANSWER = "upstream_reset_before_response_started{"
_NOT_CONNECTED = ("remote_connection_failure", "local_connection_failure", "connection_timeout")


def of(environments: Iterable[Environment], paths: Paths) -> list[Message]:
    """Those for requests that have the credential of one of these environments. The first that fits counts."""
    return [one for environment in environments for one in _of_one(environment, paths)]


def of_all() -> list[Message]:
    """Those for every request."""
    blocked, differ = f"{_DETAILS} == 'direct_response'", f"{_DETAILS} == '{filters.denied(filters.NAMES_DIFFER)}'"
    return [
        *_both(differ, "request blocked: its CONNECT, TLS and Host name different servers", 403),
        *_both(blocked, "%LOCAL_REPLY_BODY%", 403),
    ]


def where(expression: str) -> Message:
    """A filter for what the expression (CEL) holds for."""
    matches = extension("envoy.access_loggers.extension_filters.cel", "ExpressionFilter", expression=expression)
    return {"extension_filter": matches}


def _of_one(environment: Environment, paths: Paths) -> Iterator[Message]:
    here, title = f"xds.route_name == '{environment.name}'", f"{environment.title}: request blocked:"
    missing = f"{here} && {_DETAILS} == 'failed_to_inject_credential'"
    # With its folder, as Envoy would notice a file that is written and not one that is moved.
    yield from _both(missing, f"%FILE_CONTENT({paths.reason(environment.name)})%", 401)
    yield from _both(
        f"{here} && {_DETAILS} == '{filters.denied(filters.ENDED)}'",
        f"{title} its token has ended, and no other one has come; if credential-injector envoy does not run any more,"
        " start it again",
        401,
    )
    stays, file = "so the credential never left", environment.file.replace("%", "%%")
    for words, means, advice in _CERTIFICATES:
        yield from _both(
            f"{here} && {_DETAILS}.contains('{words.replace(' ', '_')}')",
            f"{title} Envoy does not trust the API's certificate ({means}), {stays}; {advice.format(file=file)}",
        )
    reset = " || ".join(f"{_DETAILS}.startsWith('{_BEFORE_ANSWER}{one}')" for one in _NOT_CONNECTED)
    unknown = " || ".join(f"{_DETAILS}.startsWith('{one}')" for one in _UNKNOWN_NAME)
    yield from _both(
        f"{here} && ({reset} || {unknown})",
        f"{title} Envoy cannot connect to the API, {stays}; check HOST in {file}, and the network or VPN",
    )
    yield from _both(
        f"{here} && {_DETAILS}.startsWith('{_BEFORE_ANSWER}')",
        f"{environment.title}: the API ended the connection before it answered; it may have got the request, so look"
        " there before you send it again",
    )


def _both(expression: str, text: str, of_call: int = 502) -> Iterator[Message]:
    """For a call of gRPC, whose status is that of this status of HTTP, and for any other request."""
    yield _mapper(f"{expression} && {_CALL}", text, of_call)
    yield _mapper(expression, f"{text}\n", 502)


def _mapper(expression: str, text: str, status: int) -> Message:
    return {
        "filter": where(expression),
        "status_code": status,
        "headers_to_add": [
            {"header": {"key": "Cache-Control", "value": "no-store"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
        "body_format_override": {
            "content_type": "text/plain; charset=utf-8",
            "text_format_source": {"inline_string": text},
            "formatters": [extension("envoy.formatter.file_content", "FileContent")],
        },
    }

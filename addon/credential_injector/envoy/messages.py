"""What keeps HTTP messages as they were sent: their case, trailers, sizes, and X-Forwarded-Proto. Pure."""

from credential_injector.envoy.typed import Message, extension

MOST_KILOBYTES = 1024
"""Of the headers of a message."""
MOST_HEADERS = 1000

_PROTO = "x-forwarded-proto"
_ASIDE = "x-credential-injector-forwarded-proto"


def as_sent() -> Message:
    """Options of HTTP/1 with which a message goes on as it came."""
    case = extension(
        "envoy.http.stateful_header_formatters.preserve_case",
        "PreserveCase",
        forward_reason_phrase=True,
        formatter_type_on_envoy_headers="PROPER_CASE",
    )
    return {"enable_trailers": True, "header_key_format": {"stateful_formatter": case}}


def aside() -> Message:
    """Puts a client's X-Forwarded-Proto aside, before Envoy takes it for the truth, or adds one where there is none."""
    return extension(
        "envoy.http.early_header_mutation.header_mutation",
        "EarlyHeaderMutation",
        mutations=[{"remove": _ASIDE}, _copied(_PROTO, _ASIDE), {"remove": _PROTO}],
    )


def back() -> Message:
    """The filter that puts it back, in place of Envoy's."""
    mutations = [{"remove": _PROTO}, _copied(_ASIDE, _PROTO), {"remove": _ASIDE}]
    return extension("envoy.filters.http.header_mutation", "HeaderMutation", mutations={"request_mutations": mutations})


def _copied(name: str, to: str) -> Message:
    """A header that is empty or not there is not copied."""
    return {"append": {"header": {"key": to, "value": f"%REQ({name})%"}}}

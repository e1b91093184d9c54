"""The HTTP filters that put a site's credentials into requests. Pure."""

from collections.abc import Iterable

from credential_injector.environments.environment import Environment
from credential_injector.envoy.paths import Paths
from credential_injector.envoy.typed import Message, extension, from_file, typed, url

NAME = "credential"
"""What each file of a credential names it."""
ENDED, NAMES_DIFFER = "ended", "names_differ"
"""Why a filter here denies a request."""


def denied(why: str) -> str:
    """The response code details of such a request."""
    return f"rbac_access_denied_matched_policy[{why}]"


def of(environments: Iterable[Environment], paths: Paths) -> list[Message]:
    """Those of these environments. All are off, until a route turns on the ones of its environment."""
    return [one for environment in environments for one in _of_one(environment, paths)]


def _of_one(environment: Environment, paths: Paths) -> list[Message]:
    name = environment.name
    passes = environment.without_token == "pass"  # noqa: S105 - a word of WITHOUT_TOKEN's
    until = {
        "name": _until(name),
        "disabled": True,
        "config_discovery": {"config_source": from_file(paths.until(name)), "type_urls": [url("Rbac")]},
    }
    secrets = [(environment.header, paths.token(name))]
    secrets += [(header, paths.header(name, header)) for header, _ in environment.extra_headers]
    return [
        until,
        *(
            {
                **extension(
                    _injector(name, header),
                    "CredentialInjector",
                    overwrite=True,
                    allow_request_without_credential=passes,
                    credential=extension(
                        "envoy.http.injected_credentials.generic",
                        "Generic",
                        header=header,
                        credential={"name": NAME, "sds_config": from_file(path)},
                    ),
                ),
                "disabled": True,
            }
            for header, path in secrets
        ),
    ]


def _until(environment: str) -> str:
    return f"{environment} until"


def _injector(environment: str, header: str) -> str:
    return f"{environment} {header}"


def turned_on(environment: Environment) -> Message:
    """What a route says, to put an environment's credential into its requests."""
    on = typed("FilterConfig", config={})
    headers = [environment.header, *(header for header, _ in environment.extra_headers)]
    names = [_until(environment.name), *(_injector(environment.name, header) for header in headers)]
    return dict.fromkeys(names, on)


def remembered(name: str, text: str, **more: str) -> Message:
    """What a filter remembers of a request, for `agreement`."""
    return {
        "object_key": name,
        "factory_key": "envoy.string",
        "format_string": {"text_format_source": {"inline_string": text}},
        **more,
    }


def agreement(port: int, default_port: int) -> list[Message]:
    """Blocks a request whose Host is another than that of TLS and of CONNECT, where a wildcard lets in several."""
    names = extension(
        "names",
        "SetFilterState",
        on_request_headers=[remembered("host", "%REQ(:AUTHORITY)%"), remembered("short", f"%REQ(:AUTHORITY)%:{port}")],
    )
    same = _call("_==_", _remembered("host"), _remembered("connect"))
    if port == default_port:
        same = _call("_||_", same, _call("_==_", _remembered("short"), _remembered("connect")))
    named = _call("startsWith", _select("connection", "requested_server_name"), target=_select("request", "host"))
    return [names, extension("agreement", "Rbac", matcher=_allows(_call("_&&_", named, same), NAMES_DIFFER))]


def not_back(own_port: int) -> Message:
    """Blocks what would go on to this machine for somebody on another one, and what would go to the proxy itself.

    Who is on another machine must not reach Envoy's admin page, nor whatever else this machine keeps to itself.
    """
    here = [_goes_to(network) for network in _HERE]
    policies = {"here": {"permissions": [_any(here)], "principals": [{"not_id": {"or_ids": {"ids": _FROM_HERE}}}]}}
    if own_port:
        back = [_goes_to(network, own_port) for network in _HERE]
        policies["back"] = {"permissions": [_any(back)], "principals": [{"any": True}]}
    return extension("not back", "Rbac", rules={"action": "DENY", "policies": policies})


_HERE = (("127.0.0.0", 8), ("0.0.0.0", 8), ("::", 127), ("::ffff:127.0.0.0", 104), ("::ffff:0.0.0.0", 104))  # noqa: S104
_FROM_HERE = [
    {"direct_remote_ip": {"address_prefix": address, "prefix_len": length}}
    for address, length in (("127.0.0.0", 8), ("::1", 128), ("::ffff:127.0.0.0", 104))
]


def _any(permissions: list[Message]) -> Message:
    return {"or_rules": {"rules": permissions}}


def _goes_to(network: tuple[str, int], port: int = 0) -> Message:
    address, length = network
    ports: Message = {"upstream_port_range": {"start": port, "end": port + 1}} if port else {}
    ip = {"address_prefix": address, "prefix_len": length}
    return {"matcher": extension("goes to", "UpstreamIpPort", upstream_ip=ip, **ports)}


def _remembered(name: str) -> Message:
    return _call("_[_]", _identifier("filter_state"), _constant(name))


def lives_until(environment: str, time: str, mark: str) -> Message:
    """Lets requests pass until then (RFC 3339), so that nothing has to be alive for a token to end.

    `mark` is what the access log calls the token of those that pass.
    """
    lives = _call("_<_", _select("request", "time"), {"const_expr": {"timestamp_value": time}})
    return extension(_until(environment), "Rbac", matcher=_allows(lives, ENDED, mark))


def _allows(expression: Message, otherwise: str, holds: str = "holds") -> Message:
    """A matcher for RBAC that lets pass what the expression (CEL) holds for; what it calls that, and all else."""

    def action(name: str, what: str) -> Message:
        return {"action": extension(name, "Action", name=name, action=what)}

    predicate = {
        "single_predicate": {
            "input": extension("attributes", "CelMatchInput"),
            "custom_match": extension("expression", "CelMatcher", expr_match={"cel_expr_parsed": {"expr": expression}}),
        }
    }
    return {
        "matcher_list": {"matchers": [{"predicate": predicate, "on_match": action(holds, "ALLOW")}]},
        "on_no_match": action(otherwise, "DENY"),
    }


# Of RBAC's matcher Envoy takes expressions in their parsed form only (cel.expr.ParsedExpr; 1.40).


def _identifier(name: str) -> Message:
    return {"ident_expr": {"name": name}}


def _select(name: str, field: str) -> Message:
    return {"select_expr": {"operand": _identifier(name), "field": field}}


def _constant(text: str) -> Message:
    return {"const_expr": {"string_value": text}}


def _call(function: str, *arguments: Message, target: Message | None = None) -> Message:
    call: Message = {"function": function, "args": list(arguments)}
    return {"call_expr": call if target is None else {**call, "target": target}}

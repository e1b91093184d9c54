"""What Envoy reads at its start, and the lists of its listeners and clusters. Pure."""

from collections.abc import Iterable, Sequence

from credential_injector.envoy.paths import Paths
from credential_injector.envoy.typed import Message, extension, from_file, typed

MOST_CONNECTIONS = 100_000
LONGEST_EXPRESSION = 100_000  # instructions of RE2; by default 100

# Nobody who can send a request to a loopback port, as a page in a browser, may end Envoy or change its log.
_READABLE = ("/stats", "/clusters", "/listeners", "/certs", "/server_info", "/ready", "/memory", "/config_dump")

_RUNTIME = {
    "re2.max_program_size.error_level": LONGEST_EXPRESSION,
    # A condition must hold for all values of a header together. By default (1.40) one of them is enough, so that a
    # client could name an allowed method and another one.
    "envoy.reloadable_features.match_headers_individually": False,
}


def bootstrap(admin_port: int, paths: Paths) -> Message:
    """Envoy's configuration, which names files for what may change."""
    return {
        "node": {"id": "credential-injector", "cluster": "credential-injector"},
        "admin": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}},
            "allow_paths": [{"prefix": path} for path in _READABLE],
        },
        "dynamic_resources": {
            "cds_config": from_file(paths.of("clusters.json")),
            "lds_config": from_file(paths.of("listeners.json")),
        },
        "bootstrap_extensions": [extension("envoy.bootstrap.internal_listener", "InternalListener")],
        "layered_runtime": {"layers": [{"name": "fixed", "static_layer": _RUNTIME}]},
        "overload_manager": {
            "resource_monitors": [
                extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "DownstreamConnections",
                    max_active_downstream_connections=MOST_CONNECTIONS,
                )
            ]
        },
    }


def resources(messages: Iterable[Message]) -> Message:
    """The content of a file of resources."""
    return {"resources": list(messages)}


def secret(name: str, value: str) -> Message:
    """A secret, as SDS has it. Without a value nothing is injected."""
    return typed("Secret", name=name, generic_secret={"secret": {"inline_string": value}})


def leaf(name: str, certificate: str, key: str) -> Message:
    """A certificate and its key in PEM, as SDS has them."""
    return typed(
        "Secret",
        name=name,
        tls_certificate={"certificate_chain": {"inline_string": certificate}, "private_key": {"inline_string": key}},
    )


def extension_config(message: Message) -> Message:
    """A filter, as ECDS has it."""
    return typed("ExtensionConfig", **message)


def commented(lines: Sequence[str]) -> str:
    """Lines as comments of YAML."""
    return "".join(f"# {line}\n" for line in lines)

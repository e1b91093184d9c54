"""How the tokens stand, in Prometheus's text format. Pure."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Figures(NamedTuple):
    """Those of one environment."""

    environment: str
    token_requests: int
    failures: int
    expires_at: float | None
    """When the token that Envoy has ends, in unix seconds. None: it has none, or that does not end."""
    has_token: bool


def text(figures: Sequence[Figures]) -> str:
    """A file for a text collector, such as node_exporter's."""
    return "".join(
        (
            *_metric("token_requests_total", "counter", "Token requests.", _of(figures, "token_requests")),
            *_metric("token_failures_total", "counter", "Times that Envoy lost its token.", _of(figures, "failures")),
            *_metric("has_token", "gauge", "Whether Envoy has a token.", _of(figures, "has_token")),
            *_metric(
                "token_expiry_timestamp_seconds",
                "gauge",
                "When its token ends, in unix time; minus time() are the seconds that are left.",
                _of(figures, "expires_at"),
            ),
        )
    )


def _of(figures: Sequence[Figures], field: str) -> list[tuple[str, float]]:
    values = [(one.environment, getattr(one, field)) for one in figures]
    return [(name, float(value)) for name, value in values if value is not None]


def _metric(name: str, kind: str, said: str, values: Iterable[tuple[str, float]]) -> Iterable[str]:
    full = f"credential_injector_{name}"
    yield f"# HELP {full} {said}\n# TYPE {full} {kind}\n"
    for environment, value in values:
        yield f'{full}{{environment="{environment}"}} {value:.15g}\n'

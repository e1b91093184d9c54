from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from credential_injector.envoy import metrics
from credential_injector.envoy.metrics import Figures

PREFIX = "credential_injector_"


def parsed(*figures: Figures) -> dict[str, Any]:
    """The families of the text, as Prometheus reads them."""
    return {family.name: family for family in text_string_to_metric_families(metrics.text(figures))}


def values(family: Any) -> dict[str, float]:
    return {sample.labels["environment"]: sample.value for sample in family.samples}


def test_read() -> None:
    """Prometheus reads it: counters end in _total, and each family says what it is and of what kind."""
    found = parsed(Figures("qa", 12, 3, 1_800_000_000.5, True), Figures("uat", 0, 1, None, False))
    kinds = {name.removeprefix(PREFIX): family.type for name, family in found.items()}
    assert kinds == {
        "token_requests": "counter",
        "token_failures": "counter",
        "has_token": "gauge",
        "token_expiry_timestamp_seconds": "gauge",
    }
    assert all(family.documentation for family in found.values())
    assert {sample.name for sample in found[f"{PREFIX}token_requests"].samples} == {f"{PREFIX}token_requests_total"}
    assert values(found[f"{PREFIX}token_requests"]) == {"qa": 12, "uat": 0}
    assert values(found[f"{PREFIX}token_failures"]) == {"qa": 3, "uat": 1}
    assert values(found[f"{PREFIX}has_token"]) == {"qa": 1, "uat": 0}


def test_expiry() -> None:
    """Minus time(), it is the seconds that are left; a token that does not end, or is not there, has none."""
    (family,) = [one for name, one in parsed(Figures("qa", 1, 0, 1_800_000_000.25, True)).items() if "expiry" in name]
    assert values(family) == {"qa": 1_800_000_000.25}
    assert values(parsed(Figures("qa", 1, 0, None, True))[f"{PREFIX}token_expiry_timestamp_seconds"]) == {}


def test_large() -> None:
    """A counter that has run for years keeps its last digit."""
    assert values(parsed(Figures("qa", 9_007_199_254, 0, None, True))[f"{PREFIX}token_requests"])["qa"] == 9_007_199_254


def test_none() -> None:
    """Without environments it is still right."""
    assert all(not family.samples for family in parsed().values())

import re
from pathlib import Path

import pytest

from credential_injector.envoy import limits
from tests.envoy.made import environment

PAGE = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("QUERY=api_key\n", "QUERY"),
        ("COOKIE=session\n", "COOKIE"),
        ("DPOP=true\n", "DPOP"),
    ],
)
def test_refusal(tmp_path: Path, lines: str, named: str) -> None:
    """What Envoy cannot serve is said with the key, the file and what to do, in one line."""
    one = environment(tmp_path, lines)
    why = limits.refusal(one)
    assert why is not None
    assert why.startswith(named)
    assert "use mitmproxy for envs/qa.env" in why
    assert limits.lacks(one) == [why]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("CONFIRM=DELETE\n", "CONFIRM"),
        ("METHODS=GET,POST\n", "METHODS"),
        ("AS=regular@8081\n", "AS"),
    ],
)
def test_lacks(tmp_path: Path, lines: str, named: str) -> None:
    """What it does otherwise is said with the key."""
    one = environment(tmp_path, lines)
    assert limits.refusal(one) is None
    assert [line.partition(" ")[0] for line in limits.lacks(one)] == [named]


@pytest.mark.parametrize("lines", ["", "METHODS=GET,HEAD\n", "AS=admin\n", "PRODUCTION=true\n", "HEADER=X-Key\n"])
def test_nothing(tmp_path: Path, lines: str) -> None:
    """Of what Envoy does as mitmproxy does, nothing is said."""
    assert limits.lacks(environment(tmp_path, lines)) == []


def test_wildcard(tmp_path: Path) -> None:
    """A certificate's wildcard is one level deep, and the file's is not."""
    (line,) = limits.lacks(environment(tmp_path, host="https://*.example.com"))
    assert "wildcard" in line


def test_page() -> None:
    """docs/fleet.md says what holds for every environment, in the same words."""
    told = PAGE.partition("\n## What Envoy does otherwise\n")[2].partition("\n## ")[0]
    lines = [re.sub(r"\s+", " ", line) for line in re.findall(r"^- ((?:.+\n)(?:  .+\n)*)", told, re.MULTILINE)]
    assert [line.strip().rstrip(".") for line in lines[: len(limits.GENERAL)]] == list(limits.GENERAL)

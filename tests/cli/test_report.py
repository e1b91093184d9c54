"""What inject_log wrote, summed up."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from credential_injector.cli.main import main


def line(**values: Any) -> str:
    given = {
        "time": "2026-11-27T10:00:00.000+00:00",
        "environment": "qa",
        "action": "injected",
        "method": "GET",
        "host": "api.example.com",
        "path": "/orders/7",
        "status": 200,
        "client": "127.0.0.1",
        "token": "sha256:0123456789ab",
        "diagnosis": None,
        "retried": False,
        **values,
    }
    return json.dumps(given)


LINES = [
    line(),
    line(time="2026-11-27T09:00:00.000+00:00", status=403, diagnosis="scope"),
    line(method="POST", path="/orders", status=201, token="sha256:ba9876543210", retried=True),
    line(method="DELETE", client="192.0.2.7"),
    line(environment="prod", action="blocked", method="POST", status=502, token=None, production=True),
    line(environment=None, action="blocked", status=None),
    "",
    "nonsense",
    "[1]",
    '{"a": 1}',
]


def test_told(tmp_path: Path) -> None:
    """People read a few lines for each environment."""
    (tmp_path / "audit.jsonl").write_text("\n".join(LINES))
    result = CliRunner().invoke(main, ["report", str(tmp_path / "audit.jsonl")])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "no environment: 1 request",
        "  from       2026-11-27 10:00:00 to 2026-11-27 10:00:00 UTC",
        "  became     1 blocked",
        "  answered   1 no answer",
        "  clients    1 127.0.0.1",
        "  tokens     1",
        "prod (production): 1 request",
        "  from       2026-11-27 10:00:00 to 2026-11-27 10:00:00 UTC",
        "  became     1 blocked",
        "  answered   1 5xx",
        "  clients    1 127.0.0.1",
        "  tokens     0",
        "qa: 4 requests",
        "  from       2026-11-27 09:00:00 to 2026-11-27 10:00:00 UTC",
        "  became     4 injected",
        "  answered   3 2xx, 1 4xx",
        "  refused    1 scope",
        "  healed     1 sent again with another token after a 401",
        "  writes     1 POST api.example.com/orders, 1 DELETE api.example.com/orders",
        "  clients    3 127.0.0.1, 1 192.0.2.7",
        "  tokens     2",
        "3 lines could not be read: 8, 9, 10",
    ]


def test_json() -> None:
    """Programs read all of it, also from standard input."""
    result = CliRunner().invoke(main, ["report", "-", "--json"], input="\n".join(LINES))
    told = json.loads(result.stdout)
    assert told["unread_lines"] == [8, 9, 10]
    assert told["environments"]["qa"]["writes"] == {
        "POST api.example.com/orders": 1,
        "DELETE api.example.com/orders": 1,
    }
    assert told["environments"]["prod"]["production"] is True


@pytest.mark.parametrize("content", ["", "\n\n", "nonsense", "[" * 100_000, '{"a": 1}'])
def test_nothing(content: str) -> None:
    """A file of something else is an error."""
    result = CliRunner().invoke(main, ["report", "-"], input=content)
    assert result.exit_code == 1
    assert "no line of inject_log; expected a file that it wrote" in result.output


def test_hostile() -> None:
    """What anybody wrote into the file moves no terminal."""
    result = CliRunner().invoke(
        main, ["report", "-"], input=line(environment="\x1b[31m", method="\x1b]0;x\x07", host="\n")
    )
    assert result.stdout.replace("\n", "").isprintable()

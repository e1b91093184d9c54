"""`credential-injector report`."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

import click

from credential_injector.cli.output import write
from credential_injector.environments.file_names import printable
from credential_injector.origins.methods import SAFE

SHOWN = 8  # lines of each kind; --json has all
NAMED = 3  # numbers of lines that cannot be read
LONGEST_LINE = 1 << 20  # characters; the add-on writes at most some thousand


@dataclass
class Use:
    """What one environment was used for."""

    requests: int = 0
    first: str = ""
    last: str = ""
    actions: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """By the code of the diagnosis."""
    clients: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    """By method, host and the path's first segment: requests with a credential whose method is not safe."""
    tokens: set[str] = field(default_factory=set)
    healed: int = 0
    production: bool = False

    def add(self, line: dict[str, Any]) -> None:
        """One request."""
        moment, action, status = _text(line, "time"), _text(line, "action"), line.get("status")
        self.requests += 1
        self.first, self.last = min(self.first or moment, moment), max(self.last, moment)
        self.actions[action] += 1
        self.statuses[f"{status // 100}xx" if isinstance(status, int) else "no answer"] += 1
        if code := _text(line, "diagnosis"):
            self.refused[code] += 1
        if client := _text(line, "client"):
            self.clients[client] += 1
        if token := _text(line, "token"):
            self.tokens.add(token)
        self.healed += line.get("retried") is True
        self.production |= line.get("production") is True
        method, path = _text(line, "method").upper(), _text(line, "path")
        if action == "injected" and not SAFE.allows(method, path):
            self.writes[f"{method} {_text(line, 'host')}/{path.lstrip('/').partition('/')[0]}"] += 1


@click.command()
@click.argument("file", type=click.File("r", encoding="utf-8", errors="replace"))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def report(file: TextIO, *, as_json: bool) -> None:
    """Sum up what inject_log wrote.

    Says for each environment how many requests there were, what became of them, why the API refused some, what wrote,
    and who asked. FILE may be - for standard input. The exit code is 0, or 1 if no line could be read.

    \b
    Examples:
      credential-injector report audit.jsonl
      zcat audit-*.jsonl.gz | credential-injector report - --json
    """
    uses: dict[str, Use] = {}
    unread: list[int] = []
    for number, line in enumerate(_lines(file), start=1):
        if line is None:
            unread.append(number)
        elif line:
            uses.setdefault(_text(line, "environment") or "no environment", Use()).add(line)
    if not uses:
        raise click.ClickException(
            f"{getattr(file, 'name', 'standard input')}: no line of inject_log; expected a file that it wrote"
        )
    if as_json:
        told = {name: _values(use) for name, use in sorted(uses.items())}
        write(json.dumps({"environments": told, "unread_lines": unread}, indent=2))
    else:
        write("\n".join([*_told(uses), *_unread(unread)]))


def _lines(file: TextIO) -> Iterator[dict[str, Any] | None]:
    """Each line; None where it is none of the add-on's, and nothing for an empty one."""
    while text := file.readline(LONGEST_LINE):
        try:
            line = json.loads(text) if text.strip() else {}
        except (ValueError, RecursionError):
            line = None
        yield line if isinstance(line, dict) and (not line or "action" in line) else None


def _text(line: dict[str, Any], key: str) -> str:
    value = line.get(key)
    return printable(value)[:200] if isinstance(value, str) else ""


def _values(use: Use) -> dict[str, Any]:
    return {
        "requests": use.requests,
        "first": use.first,
        "last": use.last,
        "actions": dict(use.actions),
        "statuses": dict(use.statuses),
        "refused": dict(use.refused),
        "healed": use.healed,
        "writes": dict(use.writes),
        "clients": dict(use.clients),
        "tokens": len(use.tokens),
        "production": use.production,
    }


def _told(uses: dict[str, Use]) -> Iterator[str]:
    for name, use in sorted(uses.items()):
        production = " (production)" if use.production else ""
        yield f"{name}{production}: {_many(use.requests, 'request')}"
        yield f"  from       {_moment(use.first)} to {_moment(use.last)} UTC"
        yield from _row("became", use.actions)
        yield from _row("answered", use.statuses)
        yield from _row("refused", use.refused)
        if use.healed:
            yield f"  healed     {use.healed} sent again with another token after a 401"
        yield from _row("writes", use.writes)
        yield from _row("clients", use.clients)
        yield f"  tokens     {len(use.tokens)}"


def _moment(written: str) -> str:
    return written[:19].replace("T", " ")


def _row(title: str, counted: Counter[str]) -> Iterator[str]:
    """The largest counts, a line for each but where they are few and short."""
    rows = [f"{number} {name}" for name, number in counted.most_common(SHOWN)]
    if len(counted) > SHOWN:
        rows.append(f"and {len(counted) - SHOWN} more")
    together = ", ".join(rows)
    for number, row in enumerate([together] if rows and len(together) <= 66 else rows):
        yield f"  {title if number == 0 else '':<10} {row}"


def _unread(numbers: list[int]) -> Iterable[str]:
    if not numbers:
        return []
    few = ", ".join(map(str, numbers[:NAMED])) + (", …" if len(numbers) > NAMED else "")
    return [f"{_many(len(numbers), 'line')} could not be read: {few}"]


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

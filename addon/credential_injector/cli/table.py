"""Checkups -> lines for people."""

from collections.abc import Iterator, Sequence

from credential_injector import messages
from credential_injector.tokens.checkup import Checkup


def table(checkups: Sequence[Checkup]) -> Iterator[str]:
    """A row for each environment, then what is wrong, then what may be wrong."""
    rows: list[tuple[str, ...]] = [
        ("ENVIRONMENT", "RESULT", "TOKEN", "SCOPE", "CLOCK", "TLS", "API TLS", "TOKENS FROM")
    ]
    rows += [
        (
            one.name,
            "ok" if one.ok else "WRONG",
            "-" if one.lifetime is None else f"lives {messages.duration(one.lifetime)}",
            _scope(one) or "-",
            "-" if one.clock_skew is None else f"{one.clock_skew:+.0f} s",
            one.tls or "-",
            ", ".join(dict.fromkeys(one.api_tls.values())) or "-",
            one.endpoint or (one.file if one.ok else "-"),
        )
        for one in checkups
    ]
    if any(one.probe is not None for one in checkups):
        cells = ["PROBE", *map(_probe, checkups)]
        rows = [(*row[:-1], cell, row[-1]) for row, cell in zip(rows, cells, strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    problems = [f"{one.name}: {problem}" for one in checkups for problem in one.problems]
    yield from ["", *problems] if problems else []
    notes = [f"{one.name}: note: {note}" for one in checkups for note in one.notes]
    yield from ["", *notes] if notes else []


def _scope(checkup: Checkup) -> str:
    asked = " ".join(checkup.unconfirmed_scope)
    granted = " ".join(name for name in checkup.scope if name not in checkup.unconfirmed_scope)
    parts = [", ".join(filter(None, [granted, f"{asked} (asked, not confirmed)" if asked else ""]))]
    if checkup.more_scope:
        parts.append(f"+{checkup.more_scope} not asked for")
    return " ".join(filter(None, parts))


def _probe(checkup: Checkup) -> str:
    probed = checkup.probe
    if probed is None or probed.status is None:
        return "-"
    return f"{probed.status} {probed.diagnosis['code']}" if probed.diagnosis is not None else str(probed.status)

"""What is measured, as tables for people and JSON for programs."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: its rounds, and what was to be reached."""

    what: str
    unit: str
    rounds: list[float]
    least: float | None = None
    most: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def goal(self) -> str:
        """As people read it."""
        bounds = [
            f"{sign} {_digits(bound)}" for sign, bound in (("≥", self.least), ("≤", self.most)) if bound is not None
        ]
        return " and ".join(bounds)

    @property
    def met(self) -> str:
        """Whether the median reaches the goal; where it does not, by how much it misses."""
        if self.least is not None and self.median < self.least:
            return f"**missed** by {_digits(self.least - self.median)}"
        if self.most is not None and self.median > self.most:
            return f"**missed** by {_digits(self.median - self.most)}"
        return "met" if self.goal else ""

    def cells(self) -> list[str]:
        """What, median, spread, goal, met."""
        spread = f"{_digits(min(self.rounds))} to {_digits(max(self.rounds))}"
        return [self.what, f"{_digits(self.median)} {self.unit}".strip(), spread, self.goal, self.met]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the benchmark."""

    name: str
    title: str
    rows: list[Row]
    notes: tuple[str, ...] = ()
    """Paragraphs below the table."""

    def markdown(self) -> str:
        """A section with a table."""
        head = ["", "median", "lowest to highest", "goal", ""]
        lines = [head, ["---"] * len(head), *(row.cells() for row in self.rows)]
        table = [f"| {' | '.join(cells)} |" for cells in lines]
        return "\n".join([f"### {self.title}", "", *table, *(line for note in self.notes for line in ("", note)), ""])

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "rows": [
                {
                    "what": row.what,
                    "unit": row.unit,
                    "median": row.median,
                    "rounds": row.rounds,
                    "least": row.least,
                    "most": row.most,
                }
                for row in self.rows
            ],
            "notes": list(self.notes),
        }


def across(rounds: Iterable[float], reference: float) -> list[float]:
    """Each round as a multiple of a reference."""
    return [one / reference for one in rounds]


def _digits(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"

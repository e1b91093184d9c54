"""What is measured, as tables for people and as JSON for programs."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that was measured in several rounds, and what was to be reached."""

    what: str
    unit: str
    rounds: Sequence[float]
    least: float | None = None
    most: float | None = None

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.rounds)

    @property
    def goal(self) -> str:
        """As people read it; empty where there is none."""
        if self.least is not None:
            return f"≥ {digits(self.least)}"
        return f"≤ {digits(self.most)}" if self.most is not None else ""

    @property
    def verdict(self) -> str:
        """Whether the median reaches the goal; where it does not, by how much it misses."""
        low = self.least is not None and self.median < self.least
        high = self.most is not None and self.median > self.most
        if low or high:
            bound = (self.least if low else self.most) or 0.0
            return f"**missed** by {digits(abs(self.median - bound))}"
        return "met" if self.goal else ""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "what": self.what,
            "unit": self.unit,
            "median": self.median,
            "rounds": list(self.rounds),
            "goal": self.goal,
            "verdict": self.verdict.replace("*", ""),
        }


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the benchmark: its table, and its figures with every round."""

    title: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]
    figures: Sequence[Figure]
    notes: Sequence[str] = ()
    """Paragraphs below the table."""

    def markdown(self) -> str:
        """A section."""
        rows = [self.head, ["---"] * len(self.head), *self.lines]
        table = [f"| {' | '.join(cells)} |" for cells in rows]
        return "\n".join([f"### {self.title}", "", *table, *(line for note in self.notes for line in ("", note)), ""])


def listed(title: str, figures: Sequence[Figure], *notes: str) -> Part:
    """A part whose table has a line for each figure."""
    lines = [
        [one.what, f"{digits(one.median)} {one.unit}".strip(), spread(one.rounds), one.goal, one.verdict]
        for one in figures
    ]
    return Part(title, ("", "median", "lowest to highest", "goal", ""), lines, figures, notes)


def ratios(rounds: Iterable[float], references: Iterable[float]) -> list[float]:
    """Each round as a multiple of the same round of something else."""
    return [one / other for one, other in zip(rounds, references, strict=True)]


def digits(number: float) -> str:
    """Three of them that count."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def spread(rounds: Sequence[float]) -> str:
    """The lowest and the highest round."""
    return f"{digits(min(rounds))} to {digits(max(rounds))}"

"""Figures of several rounds, and the table that shows them."""
from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

# How many samples of a round have to lie above a percentile. 0.99 leaves one of 100, less what floats lose.
_ABOVE_MIN = 0.999


def percentile(samples: list[float], share: float) -> float:
    """The smallest sample that is not below so large a share of all."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass
class Row:
    """One thing that was measured, in every round once more."""

    name: str
    heading: str
    text: str
    rounds: list[list[float]] = field(default_factory=list)
    # Why there are fewer rounds than were asked for.
    failure: str = ""

    def of_rounds(self, share: float) -> list[float]:
        """A percentile of each round; none at all where so few samples cannot tell it."""
        if any(len(samples) * (1 - share) < _ABOVE_MIN for samples in self.rounds):
            return []
        return [percentile(samples, share) for samples in self.rounds]

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "what": f"{self.heading}: {self.text}", "failure": self.failure or None,
                "samples": sum(map(len, self.rounds)),
                "p50_ms": summary(self.of_rounds(0.5)), "p99_ms": summary(self.of_rounds(0.99))}


@dataclass(frozen=True)
class Ratio:
    """One row against another, round by round."""

    above: Row
    below: Row

    def of_rounds(self, share: float) -> list[float]:
        return [a / b for a, b in zip(self.above.of_rounds(share), self.below.of_rounds(share))]

    def as_json(self) -> dict[str, Any]:
        return {"above": self.above.name, "below": self.below.name,
                "p50": summary(self.of_rounds(0.5)), "p99": summary(self.of_rounds(0.99))}


def summary(values: list[float]) -> dict[str, Any] | None:
    if not values:
        return None
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3),
            "rounds": [round(value, 3) for value in values]}


def _cell(values: list[float]) -> str:
    if not values:
        return f"{'-':>8}"
    return f"{statistics.median(values):8.2f}  ({min(values):.2f} - {max(values):.2f})"


def table(rows: list[Row | Ratio]) -> str:
    """One line for each; a heading whenever it changes. A ratio belongs to what stands above it."""
    width = max(len(row.text) for row in rows if isinstance(row, Row)) + 4
    lines, heading = [f"{'':{width}}{'p50, ms (least - greatest)':30}{'p99, ms (least - greatest)':30}samples"], ""
    for row in rows:
        if isinstance(row, Row) and row.heading != heading:
            heading = row.heading
            lines += ["", heading]
        cells = f"{_cell(row.of_rounds(0.5)):30}{_cell(row.of_rounds(0.99)):30}"
        if isinstance(row, Ratio):
            lines.append(f"{'    how many times as long':{width}}{cells}".rstrip())
            continue
        lines.append(f"{'  ' + row.text:{width}}{cells}{sum(map(len, row.rounds)):7}")
        if row.failure:
            lines.append(f"    failed: {row.failure}")
    return "\n".join(lines)

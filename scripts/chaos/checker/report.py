"""What the checks of a run found."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Violations that are described; the others are counted. One fault tends to break a check again and again.
_DESCRIBED_MAX = 100


@dataclass
class Check:
    """One check: how much it looked at, and what it found."""

    name: str
    # What `looked` counts.
    unit: str
    looked: int = 0
    violations: list[str] = field(default_factory=list)
    # All violations, those that are not described too.
    found: int = 0
    # What could not be judged, and why.
    skipped: int = 0
    why_skipped: str = ""

    def violate(self, text: str, *records: object) -> None:
        self.found += 1
        if len(self.violations) < _DESCRIBED_MAX:
            self.violations.append("\n    ".join([text, *map(str, records)]))


@dataclass
class Report:
    """All checks of a run, and what the run did."""

    checks: list[Check] = field(default_factory=list)
    # Why the run says little, if it does.
    weak: list[str] = field(default_factory=list)
    operations: int = 0
    ok: int = 0
    refused: int = 0
    unknown: int = 0
    # Unknown outcomes that no later answer has settled.
    unknown_unresolved: int = 0
    grants: int = 0
    # Longest time in which no call had an ok answer.
    longest_gap_ms: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def violations(self) -> int:
        return sum(check.found for check in self.checks)

    @property
    def is_good(self) -> bool:
        return not self.violations and not self.weak

    def as_json(self) -> dict[str, Any]:
        return {
            "good": self.is_good,
            "operations": self.operations, "ok": self.ok, "refused": self.refused, "unknown": self.unknown,
            "unknown_unresolved": self.unknown_unresolved, "grants": self.grants,
            "longest_gap_ms": round(self.longest_gap_ms, 1), "violations": self.violations, "weak": self.weak,
            "figures": self.figures,
            "checks": [{"name": check.name, "unit": check.unit, "looked": check.looked, "violations": check.found,
                        "skipped": check.skipped, "first": check.violations[:10]} for check in self.checks],
        }

    def as_text(self, first: int = 5) -> str:
        """A table of the checks, and the first violations of each."""
        lines = [f"{'CHECK':<11}{'LOOKED AT':>26}  {'VIOLATIONS':>10}  SKIPPED"]
        for check in self.checks:
            looked = f"{check.looked} {check.unit}"
            skipped = f"{check.skipped}: {check.why_skipped}" if check.skipped else ""
            lines.append(f"{check.name:<11}{looked:>26}  {check.found:>10}  {skipped}".rstrip())
        lines.append(f"{self.operations} operations: {self.ok} ok, {self.refused} refused, {self.unknown} unknown "
                     f"({self.unknown_unresolved} unresolved); {self.grants} grants; "
                     f"{self.longest_gap_ms:.0f} ms at most without an ok answer")
        lines += [f"{name}: {value}" for name, value in self.figures.items()]

        for check in self.checks:
            lines += [f"{check.name}: {text}" for text in check.violations[:first]]
            if check.found > first:
                lines.append(f"{check.name}: and {check.found - first} more")
        lines += [f"weak: {text}" for text in self.weak]
        lines.append(f"check: {self.violations} violations, {len(self.weak)} weaknesses")
        return "\n".join(lines)

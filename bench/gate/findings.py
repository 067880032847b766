"""What a tier of the gate has found: rows that every output is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from bench.errors import DONE, SOME_FAILED

Status = Literal["regression", "failed", "undecided", "not comparable", "no regression", "better"]
REGRESSION_FOUND: Final = 3


@dataclass(frozen=True)
class Finding:
    """One thing compared.

    Attributes
    ----------
    tier
        ``"wall clock"``, ``"counts"``, ``"quality"`` or ``"benchmarks"``.
    subject
        The model, or the benchmark.
    measure
        What of it.
    status
        ``"undecided"``: the measurements do not tell. ``"not comparable"``: there is nothing to compare it
        with. ``"better"``: so much less than the baseline that this should be accepted.
    baseline, current
        Values; None where there is none.
    unit
        ``"s"``, or ``""`` for a count or a score.
    ratio
        Of current to baseline, as the tier takes it.
    allowed
        Words for what the verdict hangs on: bounds, tolerance, interval.
    note
        One line of whatever else a reader must know.
    """

    tier: str
    subject: str
    measure: str
    status: Status
    baseline: float | None = None
    current: float | None = None
    unit: str = ""
    ratio: float | None = None
    allowed: str = ""
    note: str = ""

    @property
    def title(self) -> str:
        """Subject and measure, for headings."""
        return f"{self.subject} · {self.measure}" if self.measure else self.subject


@dataclass
class Outcome:
    """Everything the gate found.

    Attributes
    ----------
    findings
        Row by row.
    remarks
        Lines that belong to no row, such as how quiet the machine was.
    """

    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def extend(self, other: Outcome) -> None:
        """Take over what another tier has found."""
        self.findings += other.findings
        self.remarks += other.remarks

    @property
    def exit_code(self) -> int:
        """3 with a regression, else 1 if something failed, else 0."""
        found = {finding.status for finding in self.findings}
        return REGRESSION_FOUND if "regression" in found else SOME_FAILED if "failed" in found else DONE

    @property
    def headline(self) -> str:
        """One line: how many findings of each kind, the worst first."""
        numbers = {kind: sum(row.status == kind for row in self.findings) for kind in get_args(Status)}
        return ", ".join(f"{number} {kind}" for kind, number in numbers.items() if number) or "nothing to do"

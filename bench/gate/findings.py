"""What a tier of the gate has found, and how people are told: on the console, in Markdown, by GitHub."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, Literal, get_args

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.errors import DONE, SOME_FAILED

Status = Literal["regression", "failed", "undecided", "not comparable", "no regression", "better"]
REGRESSION_FOUND: Final = 3
COLUMNS: Final = ("tier", "what", "base", "now", "ratio", "bounds", "verdict")
UNDECIDED: Final = (
    "*undecided*: the measurements neither show a regression nor rule one out; the build does not fail."
)
_BAD, _GOOD = ("bold red", "❌ ", "error"), ("green", "✅ ", None)
_SHOWN: Final[dict[Status, tuple[str, str, str | None]]] = {
    "regression": _BAD,
    "failed": _BAD,
    "undecided": ("yellow", "❔ ", "warning"),
    "not comparable": ("yellow", "➖ ", "notice"),
    "no regression": _GOOD,
    "better": _GOOD,
}
"""Of each status: style in a terminal, mark in Markdown, level of an annotation in CI."""


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
        What was measured of it, such as ``fit operators``.
    status
        ``"undecided"``: the measurements do not tell. ``"not comparable"``: there is nothing to compare it
        with. ``"better"``: so much less than the baseline that this should be accepted.
    baseline, current
        Values; None where there is none.
    unit
        ``"s"``, or ``""`` for a count or a score.
    ratio
        Ratio of current to baseline, computed as the tier does.
    allowed
        Words for what the verdict depends on: bounds, tolerance, interval.
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
        The findings, in the order of the table.
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


def cells(finding: Finding) -> tuple[str, ...]:
    """Return a finding's row, below `COLUMNS`."""
    verdict = f"{finding.status} ({finding.note})" if finding.note else finding.status
    return (
        finding.tier,
        finding.title,
        _number(finding.baseline, finding.unit),
        _number(finding.current, finding.unit),
        "–" if finding.ratio is None else f"{finding.ratio:.3f}",
        finding.allowed or "–",
        verdict,
    )


def print_outcome(outcome: Outcome, *, console: Console) -> None:
    """Print a table for each tier, the notes, the remarks and the headline."""
    for tier, findings in groupby(outcome.findings, key=lambda finding: finding.tier):
        table = Table(title=tier, box=SIMPLE_HEAD, pad_edge=False)
        for column in COLUMNS[1:]:
            right = column in ("base", "now", "ratio")
            table.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=right)
        for finding in findings:
            _, *row, _ = cells(finding)
            # Narrow terminals have no room for words that say that all is well.
            verdict = finding.status.replace("no regression", "ok")
            # As text: a test's name may hold what Rich would take for markup.
            table.add_row(*map(Text, [*row, verdict]), style=_SHOWN[finding.status][0])
        console.print(table)
    notes = [f"{finding.title}: {finding.note}" for finding in outcome.findings if finding.note]
    for remark in [*notes, *outcome.remarks]:
        console.print(remark, highlight=False, markup=False, soft_wrap=True)
    console.print(f"gate: {outcome.headline}", highlight=False)


def markdown(outcome: Outcome) -> str:
    """Return the same as Markdown, for a job's summary or a comment on a pull request."""
    lines = [f"## Gate: {outcome.headline}", ""]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|---|---|--:|--:|--:|---|---|"]
    for finding in outcome.findings:
        *row, verdict = map(_in_a_cell, cells(finding))
        lines.append("| " + " | ".join([*row, _SHOWN[finding.status][1] + verdict]) + " |")
    lines += ["", *(f"- {remark}" for remark in outcome.remarks)]
    if any(finding.status == "undecided" for finding in outcome.findings):
        lines.append(f"- {UNDECIDED}")
    return "\n".join(lines).rstrip() + "\n"


def workflow_commands(outcome: Outcome) -> list[str]:
    """Return GitHub's annotations of whatever a reviewer should see beside the changes, a line each."""
    lines = []
    for finding in outcome.findings:
        if level := _SHOWN[finding.status][2]:
            title = _escaped(f"gate: {finding.title}").replace(":", "%3A").replace(",", "%2C")
            *_, base, now, ratio, allowed, verdict = cells(finding)
            message = f"{verdict}: {now} against {base}, ratio {ratio} ({finding.tier}, {allowed})"
            lines.append(f"::{level} title={title}::{_escaped(message)}")
    return lines


def _in_a_cell(text: str) -> str:
    """Keep text within one cell of a Markdown table, and from being read as HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"
    if value == int(value):
        return f"{int(value):,}".replace(",", " ")
    return f"{value:.4g}"

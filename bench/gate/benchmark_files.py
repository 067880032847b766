"""Files of pytest-benchmark, of base and head in alternation: pairs in the order in which they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from bench.errors import RequestError
from bench.gate.counts import compare_each
from bench.gate.findings import Finding, Outcome
from bench.gate.looks import fewest_pairs, judge_at_once
from bench.gate.wall_clock import timing_finding

TIER: Final = "benchmarks"
Document = Mapping[str, Any]


def is_benchmark_file(path: Path) -> bool:
    """Tell whether a file is one of pytest-benchmark.

    Raises
    ------
    RequestError
        If it cannot be read as JSON.
    """
    return {"benchmarks", "machine_info"} <= set(_read(path))


def compare_files(baseline: Sequence[Path], current: Sequence[Path], *, factor: float) -> Outcome:
    """Compare benchmarks by name: the first file of base with the first of head, and so on.

    Medians are compared as the wall clock is, whole numbers in ``extra_info`` as counts.

    Raises
    ------
    RequestError
        If the sides have unlike numbers of files, or a file was made on another machine.
    """
    if len(baseline) != len(current):
        raise RequestError(
            f"--baseline has {len(baseline)} files, --current {len(current)}: give as many of each"
        )
    sides = [sorted(map(_read, files), key=_made) for files in (baseline, current)]
    machines = {_machine(document) for side in sides for document in side}
    if len(machines) > 1:
        names = " and ".join(sorted(machines))
        raise RequestError(f"benchmarks of different machines do not compare: {names}")
    return compare_documents(*sides, factor=factor)


def compare_documents(base: Sequence[Document], head: Sequence[Document], *, factor: float) -> Outcome:
    """Compare parsed files, each side in the order in which they were made."""
    tables = [[_by_name(document) for document in side] for side in (base, head)]
    names = dict.fromkeys(name for table in tables[0] + tables[1] for name in table)
    n_measures = sum(all(name in table for table in tables[0] + tables[1]) for name in names)
    reason = _reason_to_doubt(base, head, fewest=fewest_pairs(max(1, n_measures)))
    findings: list[Finding] = []
    for name in names:
        rows = [[table[name] for table in side if name in table] for side in tables]
        if len(rows[0]) < len(base) or len(rows[1]) < len(head):
            findings.append(Finding(TIER, name, "", "not comparable", note="not in every file"))
            continue
        medians = [[row["stats"]["median"] for row in side] for side in rows]
        middles = (sorted(medians[0])[len(base) // 2], sorted(medians[1])[len(head) // 2])
        if reason:
            findings.append(Finding(TIER, name, "median", "undecided", *middles, "s", note=reason))
        else:
            judgement = judge_at_once(*medians, factor=factor, n_measures=n_measures)
            findings.append(timing_finding(TIER, name, "median", judgement, *middles, ""))
        findings += compare_each(TIER, name, *(_counts(side[0]) for side in rows))
    return Outcome(findings)


def _reason_to_doubt(base: Sequence[Document], head: Sequence[Document], *, fewest: int) -> str:
    if len(base) < fewest:
        return f"too few pairs of files: {len(base)}, where {fewest} are wanted for so many benchmarks"
    pairs = [sorted((_made(one), _made(other))) for one, other in zip(base, head, strict=True)]
    if any(earlier[1] > later[0] for earlier, later in pairwise(pairs)):
        return "base and head did not take turns: run them in alternation"
    return ""


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{str(path)!r} cannot be read as JSON: {error}") from error
    return document if isinstance(document, dict) else {}


def _made(document: Document) -> datetime:
    return datetime.fromisoformat(document["datetime"])


def _machine(document: Document) -> str:
    facts = document["machine_info"]
    cpu = facts.get("cpu", {})
    words = [*map(facts.get, ("node", "machine", "system")), *map(cpu.get, ("brand_raw", "count"))]
    return " ".join(str(word) for word in words if word)


def _by_name(document: Document) -> dict[str, Any]:
    return {row["fullname"]: row for row in document["benchmarks"]}


def _counts(row: Mapping[str, Any]) -> dict[str, int]:
    """Return the whole numbers of ``extra_info``; whatever else stands there is no count."""
    return {name: value for name, value in row["extra_info"].items() if type(value) is int}

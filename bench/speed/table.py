"""What timings say: a row for each contender, beside the baseline and a floor; the table and document."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench.speed.workload import Request
from bench.work.clock import summarise

Row = dict[str, Any]


def row(
    measure: str,
    name: str,
    seconds: Sequence[float],
    *,
    baseline: Sequence[float] | None,
    floor_seconds: float | None = None,
    **facts: Any,
) -> Row:
    """Return a row: what was measured of whom, every value, `compare` of them, and `facts`."""
    compared = compare(seconds, baseline=baseline, floor_seconds=floor_seconds)
    return {"measure": measure, "name": name, "seconds": list(seconds), **compared, **facts}


def failed_row(measure: str, name: str, reason: str) -> Row:
    """Return the row of a contender of which nothing could be measured."""
    return {"measure": measure, "name": name, "failed": reason}


def compare(
    seconds: Sequence[float], *, baseline: Sequence[float] | None, floor_seconds: float | None = None
) -> dict[str, Any]:
    """Put a contender's timings beside the baseline's of the same rounds and beside the floor.

    Parameters
    ----------
    seconds, baseline
        Seconds of the contender and of the baseline (None: there is none), a value a round.
    floor_seconds
        Least seconds that the machine could take, or None.

    Returns
    -------
    dict
        ``repeats``, what `bench.work.clock.summarise` gives, ``floor_seconds`` and ``times_floor`` (median
        over floor), ``baseline`` (its summary), ``ratio`` (the baseline's median over the contender's) with
        ``ratio_min`` and ``ratio_max``, the least and the greatest of a single round.
    """
    summary = summarise(seconds)
    median = summary["median_seconds"]
    figures: dict[str, Any] = {"repeats": len(seconds), **summary, "floor_seconds": floor_seconds}
    figures["times_floor"] = median / floor_seconds if floor_seconds else None
    figures |= dict.fromkeys(("baseline", "ratio", "ratio_min", "ratio_max"))
    if baseline:
        of_rounds = [theirs / ours for theirs, ours in zip(baseline, seconds, strict=True)]
        figures |= {"baseline": summarise(baseline), "ratio": statistics.median(baseline) / median}
        figures |= {"ratio_min": min(of_rounds), "ratio_max": max(of_rounds)}
    return figures


def speed_table(rows: Sequence[Row], *, title: str, caption: str) -> Table:
    """Lay out rows: medians with their spread (median absolute deviation), the baseline's, how many times as
    fast that is, and, where a floor is known, how many times it.
    """
    with_floor = any(row.get("floor_seconds") for row in rows)
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure", overflow="fold")
    for column in ("median", "±", "baseline", "ratio", *(("floor", "× floor") if with_floor else ())):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        name = f"{row['measure']}: {row['name']}"
        if "failed" in row:
            table.add_row(f"{name}\n  {row['failed']}")
            continue
        theirs = row["baseline"]
        cells = [
            duration(row["median_seconds"]),
            duration(row["mad_seconds"] if row["repeats"] > 1 else None),
            duration(theirs["median_seconds"] if theirs else None),
            _times(row["ratio"]),
        ]
        if with_floor:
            cells += [duration(row["floor_seconds"]), _times(row["times_floor"])]
        table.add_row(f"{name}\n  {notes(row)}", *cells)
    return table


def duration(seconds: float | None) -> str:
    """Write seconds with three figures, in the unit that suits them."""
    if seconds is None:
        return "–"
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def notes(row: Mapping[str, Any]) -> str:
    """Write what else is known of a row."""
    words = [f"{row['repeats']} repeat{'s' if row['repeats'] > 1 else ''}"]
    if "n_cells" in row:
        words.append(f"{row['n_cells']} cells")
    if "density" in row:
        words.append(f"{100 * row['density']:.1f} % non-zero")
    if row.get("wide_floor_seconds") is not None:
        of_wide = row["median_seconds"] / row["wide_floor_seconds"]
        words.append(f"{of_wide:.2f} × the floor of the wide layers alone")
    if "draws" in row:
        words.append(f"{row['draws']} draws")
    if row.get("peak_rss_bytes") is not None:
        words.append(f"peak {row['peak_rss_bytes'] / 2**30:.2f} GiB above the model")
    if row.get("steps", 1) > 1:
        words[0] += f" of {row['steps']} steps"
    return ", ".join(words)


def write_document(request: Request, rows: Sequence[Row], *, machine: Row, **facts: Any) -> Row:
    """Put everything measured together, as JSON can hold it; write it if a file is given, and return it."""
    found = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": request.device,
        **facts,
        "machine": machine,
        "shape": asdict(request.shape),
        "effort": asdict(request.effort),
        "rows": list(rows),
    }
    if request.json is not None:
        request.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"
